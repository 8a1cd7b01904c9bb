//! How recovery is shown while it runs: a bar on a terminal, a log line a second elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use beaver_actors::engine::Progress;
use indicatif::{BinaryBytes, HumanCount, ProgressBar, ProgressStyle};
use tracing::info;

use crate::telemetry::logging::{self, LogFormat};

/// Most recoveries are over by then; a bar would only flicker.
const BAR_AFTER: Duration = Duration::from_millis(300);
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What a person sees of one recovery. Dropping it clears the bar.
#[derive(Debug)]
pub(crate) struct RecoveryView {
    on_terminal: bool,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl RecoveryView {
    /// Shows nothing yet.
    #[must_use]
    pub(crate) fn new() -> RecoveryView {
        let on_terminal = logging::format() == Some(LogFormat::Human) && io::stderr().is_terminal();
        let now = Instant::now();
        RecoveryView { on_terminal, started: now, last_line: now, bar: None }
    }

    /// Shows how far recovery is, if it is time to.
    pub(crate) fn show(&mut self, progress: Progress) {
        if self.on_terminal {
            return self.show_bar(progress);
        }
        if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            info!(
                snapshot_jobs = progress.snapshot_jobs,
                events = progress.events,
                log_bytes = progress.log_bytes,
                log_bytes_total = progress.log_bytes_total,
                "recovering"
            );
        }
    }

    fn show_bar(&mut self, progress: Progress) {
        if self.started.elapsed() < BAR_AFTER {
            return;
        }
        let bar = self.bar.get_or_insert_with(new_bar);
        bar.set_length(progress.log_bytes_total);
        bar.set_position(progress.log_bytes);
        bar.set_message(format!(
            "{} jobs, {} events, {} of log",
            HumanCount(progress.snapshot_jobs),
            HumanCount(progress.events),
            BinaryBytes(progress.log_bytes),
        ));
    }
}

impl Drop for RecoveryView {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("recovering {bar:24} {percent:>3}% {msg}")
        .expect("the template is valid");
    logging::show(ProgressBar::new(0).with_style(style))
}
