//! What the process says about itself, on stderr: for people, or as JSON lines for programs.
//!
//! `BEAVER_LOG` (else `RUST_LOG`) filters it, in the syntax of
//! [`EnvFilter`](https://docs.rs/tracing-subscriber/latest/tracing_subscriber/filter/struct.EnvFilter.html).
//! A panic anywhere in the process becomes one log line. Log lines and progress bars share the terminal
//! without running into each other. A reader of stderr that goes away stops nothing.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{LazyLock, OnceLock};

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar};
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{FmtSpan, Writer, debug_fn};
use tracing_subscriber::reload::Handle;

use crate::plain::{plain, plain_line};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line of text for people
    #[default]
    Human,
    /// A JSON object a line for programs
    Json,
}

/// A log filter that was asked for cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value:?} is not a log filter: {problem}")]
pub(crate) struct BadFilter {
    variable: &'static str,
    value: String,
    problem: String,
}

/// The filter in force, and what it is when nobody says anything.
struct ChangeableFilter {
    level: LevelFilter,
    change: Box<dyn Fn(EnvFilter) + Send + Sync>,
}

/// Where the filter is read from; the first that is set counts.
const FILTER_VARIABLES: [&str; 2] = ["BEAVER_LOG", "RUST_LOG"];

static FORMAT: OnceLock<LogFormat> = OnceLock::new();
/// Whether lines have colours of our own.
static COLOURED: OnceLock<bool> = OnceLock::new();
static FILTER: OnceLock<ChangeableFilter> = OnceLock::new();
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Starts logging for the whole process, from `level` on unless the environment says otherwise.
///
/// A second call changes nothing: the first one counts.
///
/// # Errors
/// The environment has a filter that cannot be read.
pub(crate) fn init(format: LogFormat, level: LevelFilter) -> Result<(), BadFilter> {
    let filter = filter_from(level, |name| std::env::var(name).ok())?;
    if FORMAT.set(format).is_err() {
        return Ok(());
    }
    let is_coloured = format == LogFormat::Human
        && io::stderr().is_terminal()
        && wants_colours(|name| std::env::var_os(name));
    COLOURED.get_or_init(|| is_coloured);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(is_coloured)
        // It would complain on stderr about a stderr that is gone, and panic.
        .log_internal_errors(false)
        .with_writer(|| BesideBars);
    // Only a test that brings its own subscriber can be here first; then that one listens.
    let change = match format {
        LogFormat::Human => {
            let builder = builder.fmt_fields(human_fields()).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            changer(handle)
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            changer(handle)
        }
    };
    let _ = FILTER.set(ChangeableFilter { level, change });
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn changer<S: 'static>(handle: Handle<EnvFilter, S>) -> Box<dyn Fn(EnvFilter) + Send + Sync>
where
    Handle<EnvFilter, S>: Send + Sync,
{
    // It fails only if nobody listens any more.
    Box::new(move |filter| drop(handle.reload(filter)))
}

/// Filters the log in another way from now on; without one, as [`init`] did. Without [`init`] it does nothing.
///
/// # Errors
/// It cannot be read.
pub(crate) fn set_filter(given: Option<&str>) -> Result<(), BadFilter> {
    let Some(ChangeableFilter { level, change }) = FILTER.get() else { return Ok(()) };
    let filter = match given {
        Some(text) => parse("log", text, *level)?,
        None => filter_from(*level, |name| std::env::var(name).ok())?,
    };
    change(filter);
    Ok(())
}

/// The format in force; `None` before [`init`].
#[must_use]
pub(crate) fn format() -> Option<LogFormat> {
    FORMAT.get().copied()
}

/// Shows a progress bar on stderr, below the log lines; nothing is shown if stderr is not a terminal that can.
#[must_use]
pub(crate) fn show(bar: ProgressBar) -> ProgressBar {
    if is_dumb(|name| std::env::var_os(name)) {
        return ProgressBar::hidden();
    }
    BARS.add(bar)
}

/// Does something that writes to the terminal while the progress bars are out of the way.
pub(crate) fn beside_bars<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

/// Whether a terminal is to have colours: <https://no-color.org>, and a dumb one has none.
fn wants_colours(environment: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_unwanted = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_unwanted && !is_dumb(environment)
}

fn is_dumb(environment: impl Fn(&str) -> Option<OsString>) -> bool {
    environment("TERM").is_some_and(|term| term == "dumb")
}

fn filter_from(
    level: LevelFilter,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<EnvFilter, BadFilter> {
    let given = FILTER_VARIABLES.iter().find_map(|variable| {
        let value = environment(variable)?;
        (!value.is_empty()).then_some((*variable, value))
    });
    let Some((variable, value)) = given else {
        return Ok(EnvFilter::default().add_directive(level.into()));
    };
    parse(variable, &value, level)
}

fn parse(variable: &'static str, value: &str, level: LevelFilter) -> Result<EnvFilter, BadFilter> {
    EnvFilter::builder().with_default_directive(level.into()).parse(value).map_err(|error| BadFilter {
        variable,
        value: value.to_owned(),
        problem: error.to_string(),
    })
}

/// How the message and the fields of a line are written: nothing in them can be taken for a colour of ours.
fn human_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        let text = plain(&format!("{value:?}"));
        match field.name() {
            "message" => write!(writer, "{text}"),
            // Of the crate `log`, told in front already.
            name if name.starts_with("log.") => Ok(()),
            name if writer.has_ansi_escapes() => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{text}"),
            name => write!(writer, "{name}={text}"),
        }
    })
    .delimited(" ")
}

/// Writes to stderr while the progress bars are out of the way. One log line is one write.
struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // What is told came with jobs.
        let safe = plain_line(&String::from_utf8_lossy(line), COLOURED.get() == Some(&true));
        beside_bars(|| io::stderr().write_all(safe.as_bytes()))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let message = panic.payload_as_str().unwrap_or("(the panic carries no text)");
    let location = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(thread = thread.name().unwrap_or("unnamed"), location, backtrace, "panic: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(pairs: &[(&str, &str)]) -> Result<String, String> {
        let environment = |name: &str| {
            pairs.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        };
        filter_from(LevelFilter::INFO, environment)
            .map(|filter| filter.to_string())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn beaver_log_is_asked_before_rust_log_and_an_empty_one_counts_as_unset() {
        assert_eq!(filter(&[]).unwrap(), "info");
        assert_eq!(filter(&[("RUST_LOG", "warn")]).unwrap(), "warn");
        assert_eq!(filter(&[("RUST_LOG", "warn"), ("BEAVER_LOG", "debug")]).unwrap(), "debug");
        assert_eq!(filter(&[("RUST_LOG", "warn"), ("BEAVER_LOG", "")]).unwrap(), "warn");
    }

    /// Row 91.
    #[test]
    fn a_coloured_line_has_no_escape_but_its_own() {
        #[derive(Clone, Default)]
        struct Kept(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Kept {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(line);
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(true);
        let subscriber = subscriber.fmt_fields(human_fields()).with_writer(move || writer.clone()).finish();
        let hostile = "\u{1b}[2J \u{9b}31m \u{202e}";
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(field = hostile, shown = %hostile, "told: {hostile}");
        });
        let line = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let line = plain_line(&line, true);
        assert!(line.contains("\u{1b}[0m told: \\u001b[2J"), "{line:?}");
        assert!(!line.contains("\u{1b}[2J") && !line.contains(['\u{9b}', '\u{202e}']), "{line:?}");
    }

    /// Row 94.
    #[test]
    fn colours_are_for_those_who_want_them() {
        let wants = |pairs: &[(&str, &str)]| {
            wants_colours(|name| {
                let found = pairs.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| OsString::from(value))
            })
        };
        assert!(wants(&[]) && wants(&[("TERM", "xterm"), ("NO_COLOR", "")]));
        assert!(!wants(&[("NO_COLOR", "1")]) && !wants(&[("TERM", "dumb")]));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named_with_its_variable() {
        let error = filter(&[("BEAVER_LOG", "beaver=loud")]).unwrap_err();
        assert!(error.starts_with(r#"BEAVER_LOG="beaver=loud" is not a log filter"#), "{error}");
    }
}
