//! `beaver torture`: a real server on a real disk, killed again and again under load, and every job accounted for.
//!
//! Clients enqueue over HTTP, lose answers and ask again; the server gets SIGKILL at random moments, some of them
//! while it recovers, and is started again. After each kill the log is read from the disk; in the end the queue is
//! drained, stopped and judged from outside by [`beaver_actors::tools::oracle`]. A seed decides what is asked and when is
//! killed; the machine decides what exactly a kill meets.
//!
//! SIGKILL takes the process, not the power: what the kernel was given is still there after it.

mod clients;
mod history;

use std::fs;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use beaver_actors::tools::oracle::Verdict;
use clap::{Args, value_parser};
use comfy_table::Table;
use fastrand::Rng;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::clients::{Load, look, produce, watch};
use super::exit::{CliFailure, Exit};
use super::output::{Output, note};
use super::runtime;
use super::server_process::{self, ServerProcess, StartingServer, failed};
use super::table::{fitted, of_facts};
use crate::config::read_duration;
use crate::telemetry::logging;

/// How long it lasts when nobody says.
const FOR_DEFAULT: Duration = Duration::from_secs(60);
/// How long a server lives after it was ready.
const LIFE_MS: RangeInclusive<u64> = 50..=500;
/// One life in this many ends before the server is ready, after up to the milliseconds below.
const EARLY_KILL_ONE_IN: u8 = 8;
const EARLY_KILL_MS_MAX: u64 = 40;
/// And one in this many is about as long as the time to the snapshot, so that kills meet it before, in and after it.
/// Never twice as long: the log in front of the first of two new snapshots is deleted, and was not read yet.
const SNAPSHOT_ONE_IN: u8 = 6;
const SNAPSHOT_LIFE_MS: RangeInclusive<u64> = 800..=1_150;
const SNAPSHOT_AFTER: &str = "1s";
const NO_SNAPSHOT: &str = "1h";
/// What is asked right after a restart of the jobs that were seen completed just before.
const LOOKS_AFTER_RESTART: usize = 20;
/// A signal that went to all processes of the terminal has reached this one within this time.
const HEARD_WITHIN: Duration = Duration::from_millis(200);
/// Something is wrong if the queue is not empty this long after the last new job.
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Nothing may be forgotten before the end.
const FLAGS: [&str; 10] = [
    "--completed-retention-count",
    "4000000000",
    "--completed-retention-age",
    "3650d",
    "--dead-retention-count",
    "4000000000",
    "--dead-retention-age",
    "3650d",
    "--segment-bytes",
    "256KiB",
];

/// Examples below `beaver torture --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver torture                                     # a minute, in a temporary directory
  beaver torture --data-dir /mnt/new-disk --for 1h   # on the disk that shall hold your jobs
  beaver torture --kills 1000 --seed 1

Exit code 1 if a job was lost or a promise broken; then the directory is kept, with the server's log. Ctrl-C ends
the killing and goes on to the verdict.";

/// Flags of `beaver torture`.
#[derive(Debug, Args)]
pub(crate) struct TortureArgs {
    /// Empty directory, or one to be made, on the disk to be tried; else a temporary one
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Kill for this long, such as 90s or 1h [default: 60s, or without end with --kills]
    #[arg(long = "for", value_name = "TIME", value_parser = read_duration)]
    lasts: Option<Duration>,
    /// Kill at most this many times
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    kills: Option<u64>,
    /// Decides what is asked and when is killed; else a random one, which is shown
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = value_parser!(u32).range(1..=256))]
    workers: u32,
    /// How many clients enqueue
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = value_parser!(u32).range(1..=64))]
    clients: u32,
    /// Print one line of JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// Runs `beaver torture`.
///
/// # Errors
/// A job was lost or a promise broken, or it could not be carried through.
pub(crate) fn run(args: &TortureArgs) -> Result<(), CliFailure> {
    let dir = prepare(args)?;
    // A server that is left over is killed with the end of `play`.
    let outcome = runtime::block_on_one_thread(play(args, dir.path()));
    let outcome = outcome.and_then(|report| report.show(args).and_then(|()| report.judge()));
    match &outcome {
        Err(failure) if failure.exit != Exit::Ok => {
            server_process::show_log_tail(dir.path());
            note(format_args!("kept {}, with the server's log", dir.keep().display()));
        }
        _ => {
            if let Err(error) = dir.close() {
                note(format_args!("the directory was not removed: {error}"));
            }
        }
    }
    outcome
}

/// A directory of our own, below the one that was asked for.
fn prepare(args: &TortureArgs) -> Result<TempDir, CliFailure> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("beaver-torture-");
    let Some(dir) = &args.data_dir else {
        return builder
            .tempdir()
            .map_err(|error| failed(format!("cannot create a temporary directory: {error}")));
    };
    let shown = dir.display();
    let unusable = |error| failed(format!("{shown}: cannot be used: {error}"));
    match fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(CliFailure::usage(format!("{shown} is not empty"))
                    .hint("torture is for a directory that nobody needs: name one that does not exist"));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => fs::create_dir_all(dir).map_err(unusable)?,
        Err(error) => return Err(unusable(error)),
    }
    // The server runs there, and must find it from there.
    let dir = fs::canonicalize(dir).map_err(unusable)?;
    builder.tempdir_in(dir).map_err(unusable)
}

/// What the whole thing came to.
struct TortureReport {
    seed: u64,
    kills: u64,
    /// Of them, before the server was ready.
    early: u64,
    lasted: Duration,
    unanswered: u64,
    events: u64,
    slowest_recovery_ms: f64,
    slowest_restart: Duration,
    verdict: Verdict,
}

async fn play(args: &TortureArgs, dir: &Path) -> Result<TortureReport, CliFailure> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| failed(format!("cannot listen for signals: {error}")))?;
    let mut dice = Rng::with_seed(seed);
    let shared = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for client in 0..args.clients {
        clients.spawn(produce(Arc::clone(&shared), client as usize, dice.fork()));
    }
    clients.spawn(watch(Arc::clone(&shared), dice.fork()));
    let mut torture = Torture {
        dir,
        workers: args.workers,
        dice,
        shared,
        kills: 0,
        early: 0,
        slowest_recovery_ms: 0.0,
        slowest_restart: Duration::ZERO,
        bar: bar(args),
    };
    let started = Instant::now();
    torture.rounds(args, &mut interrupt).await?;
    let lasted = started.elapsed();
    let verdict = tokio::select! {
        verdict = torture.finish(&mut clients) => verdict?,
        _ = interrupt.recv() => return Err(failed("interrupted before there was a verdict")),
    };
    torture.bar.finish_and_clear();
    let Torture { shared, kills, early, slowest_recovery_ms, slowest_restart, .. } = torture;
    let history = shared.history();
    Ok(TortureReport {
        seed,
        kills,
        early,
        lasted,
        unanswered: history.unanswered(),
        events: history.events(),
        slowest_recovery_ms,
        slowest_restart,
        verdict,
    })
}

/// The one who kills.
struct Torture<'a> {
    dir: &'a Path,
    workers: u32,
    dice: Rng,
    shared: Arc<Load>,
    kills: u64,
    early: u64,
    slowest_recovery_ms: f64,
    slowest_restart: Duration,
    bar: ProgressBar,
}

impl Torture<'_> {
    /// Start, load, kill, read the log: until it has lasted long enough.
    async fn rounds(&mut self, args: &TortureArgs, interrupt: &mut Signal) -> Result<(), CliFailure> {
        let lasts = args.lasts.or((args.kills.is_none()).then_some(FOR_DEFAULT)).unwrap_or(Duration::MAX);
        let started = Instant::now();
        let mut is_over = false;
        while !is_over && started.elapsed() < lasts && args.kills.is_none_or(|kills| self.kills < kills) {
            let outcome = self.round(interrupt).await;
            self.shared.set_server(None);
            is_over = match outcome {
                Ok(is_over) => is_over,
                // On a terminal Ctrl-C reaches the server too, and then it ends by itself.
                Err(failure) => match timeout(HEARD_WITHIN, interrupt.recv()).await {
                    Ok(_) => true,
                    Err(_) => return Err(failure),
                },
            };
            self.shared.history().read_log(&server_process::data_dir(self.dir))?;
            self.bar.set_position(self.kills);
            self.bar.set_message(format!("{} jobs acknowledged", self.shared.history().acknowledged().len()));
        }
        Ok(())
    }

    /// One life of a server. Whether somebody wants no more of them.
    async fn round(&mut self, interrupt: &mut Signal) -> Result<bool, CliFailure> {
        let (interval, life_ms) = match self.dice.u8(..SNAPSHOT_ONE_IN) {
            0 => (SNAPSHOT_AFTER, SNAPSHOT_LIFE_MS),
            _ => (NO_SNAPSHOT, LIFE_MS),
        };
        let mut is_over = false;
        if self.dice.u8(..EARLY_KILL_ONE_IN) == 0 {
            let starting = self.spawn(interval)?;
            let moment = Duration::from_millis(self.dice.u64(..EARLY_KILL_MS_MAX));
            tokio::time::sleep(moment).await;
            starting.kill_9().await?;
            self.early += 1;
        } else {
            let (server, ready) = self.start(interval).await?;
            let life = Duration::from_millis(self.dice.u64(life_ms));
            tokio::select! {
                () = tokio::time::sleep_until((ready + life).into()) => {}
                _ = interrupt.recv() => is_over = true,
            }
            let killed = server.kill_9().await;
            if !is_over {
                killed?;
            }
        }
        self.kills += 1;
        Ok(is_over)
    }

    fn spawn(&self, snapshot_interval: &str) -> Result<StartingServer, CliFailure> {
        let workers = self.workers.to_string();
        let more = ["--snapshot-interval", snapshot_interval, "--workers", &workers];
        let flags: Vec<_> = FLAGS.iter().chain(&more).map(|&flag| flag.to_owned()).collect();
        StartingServer::spawn(self.dir, &flags)
    }

    /// Starts a server, holds it against what is known, and sends the clients there. Also when it was ready.
    async fn start(&mut self, snapshot_interval: &str) -> Result<(ServerProcess, Instant), CliFailure> {
        let asked = Instant::now();
        let server = self.spawn(snapshot_interval)?.ready().await?;
        let ready = Instant::now();
        self.slowest_restart = self.slowest_restart.max(ready - asked);
        let glance = server.glance().await?;
        self.slowest_recovery_ms = self.slowest_recovery_ms.max(glance.recovery_ms);
        self.shared.history().restarted(glance);
        for id in self.shared.take_fresh().iter().rev().take(LOOKS_AFTER_RESTART) {
            look(&self.shared, &server.client, id).await;
        }
        self.shared.set_server(Some(server.client.clone()));
        Ok((server, ready))
    }

    /// No new jobs, all that are there to their end, a clean stop, and the verdict.
    async fn finish(&mut self, clients: &mut JoinSet<()>) -> Result<Verdict, CliFailure> {
        let (server, _) = self.start(NO_SNAPSHOT).await?;
        self.shared.end();
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|error| failed(format!("a client broke: {error}")))?;
        }
        let started = Instant::now();
        loop {
            let glance = server.glance().await?;
            if glance.unfinished == 0 {
                break;
            }
            if started.elapsed() > DRAINED_WITHIN {
                // For the oracle these are lost.
                let problem = format!("{} jobs have not ended after {DRAINED_WITHIN:?}", glance.unfinished);
                self.shared.history().complain(problem);
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        server.drain().await?;
        let data_dir = server_process::data_dir(self.dir);
        let mut history = self.shared.history();
        history.read_log(&data_dir)?;
        history.ended(&data_dir)
    }
}

impl TortureReport {
    fn show(&self, args: &TortureArgs) -> Result<(), CliFailure> {
        let mut output = Output::stdout();
        match args.json {
            true => output.json(&self.json(args))?,
            false => output.line(fitted(&self.table(args)))?,
        }
        output.finish()
    }

    fn table(&self, args: &TortureArgs) -> Table {
        let verdict = &self.verdict;
        let mut table = of_facts();
        for (name, value) in [
            ("kills", format!("{} in {}", self.kills, HumanDuration(self.lasted))),
            ("  before the server was ready", self.early.to_string()),
            ("jobs acknowledged", verdict.acknowledged.to_string()),
            ("lost", verdict.lost.len().to_string()),
            ("other broken promises", verdict.broken.len().to_string()),
            ("jobs without an answer", self.unanswered.to_string()),
            ("  never asked for again, and there", verdict.recovered.to_string()),
            ("run more than once, under a new token", verdict.duplicated.to_string()),
            ("events in the log, all looked at", self.events.to_string()),
            ("slowest recovery", format!("{:.1} ms", self.slowest_recovery_ms)),
            ("slowest start until ready", format!("{:.1} ms", self.slowest_restart.as_secs_f64() * 1e3)),
            ("seed", self.seed.to_string()),
            ("again", self.command(args)),
        ] {
            table.add_row([name, &value]);
        }
        table
    }

    fn json(&self, args: &TortureArgs) -> Value {
        json!({
            "kills": self.kills,
            "kills_before_ready": self.early,
            "seconds": self.lasted.as_secs_f64(),
            "acknowledged": self.verdict.acknowledged,
            "lost": self.verdict.lost,
            "broken": self.verdict.broken,
            "unanswered": self.unanswered,
            "recovered": self.verdict.recovered,
            "duplicated": self.verdict.duplicated,
            "events": self.events,
            "slowest_recovery_ms": self.slowest_recovery_ms,
            "slowest_start_ms": self.slowest_restart.as_secs_f64() * 1e3,
            "seed": self.seed,
            "command": self.command(args),
        })
    }

    /// What asks for the same again.
    fn command(&self, args: &TortureArgs) -> String {
        let TortureArgs { workers, clients, .. } = args;
        format!(
            "beaver torture --kills {} --seed {} --workers {workers} --clients {clients}",
            self.kills.max(1),
            self.seed
        )
    }

    fn judge(&self) -> Result<(), CliFailure> {
        match self.verdict.holds() {
            true => Ok(()),
            false => Err(failed(self.verdict.to_string())),
        }
    }
}

fn bar(args: &TortureArgs) -> ProgressBar {
    let (bar, template) = match args.kills {
        Some(kills) => (ProgressBar::new(kills), "{bar:40} {pos}/{len} kills, {msg} {elapsed}"),
        None => (ProgressBar::new_spinner(), "{spinner} {pos} kills, {msg} {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    logging::show(bar.with_style(style))
}
