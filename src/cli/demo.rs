//! `beaver demo`: a real server is killed with jobs in its hands, and every job is accounted for afterwards.
//!
//! The server is a child process of this same program, with its data in a temporary directory. What the demo
//! says it has read through the API, job by job: a count could hide a lost job behind one that ran twice.

mod account;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use beaver_actors::jobs::Status;
use clap::{Args, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use self::account::Account;
use super::exit::{CliFailure, Exit};
use super::job_view::{Glance, Sighting};
use super::output::{Output, note};
use super::runtime;
use super::server_process::{self, ServerProcess, StartingServer, failed, unanswered};
use super::table::fitted;
use crate::client::{Client, ClientError};
use crate::telemetry::logging;

/// All jobs together are made to take about this long, few or many.
const WORK: Duration = Duration::from_secs(5);
/// Something is wrong if a half of them takes longer than this.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// For this long the completed jobs are looked at one by one before the kill; the others run on meanwhile.
const LOOK_CLOSELY_FOR: Duration = Duration::from_millis(300);
/// Jobs that are asked for at the same time.
const ASK_AT_ONCE: usize = 8;
const FAIL_RATE: f64 = 0.05;
/// With this many further runs at that rate, a dead job is a one-in-10^14 matter.
const MAX_RETRY: u32 = 10;

/// Examples below `beaver demo --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver demo
  beaver demo --jobs 2000 --workers 32 --keep

Exit code 1 if a job was lost, or one ran again after its completion had been seen.";

/// Flags of `beaver demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many jobs
    #[arg(long, value_name = "N", default_value_t = 300)]
    #[arg(value_parser = value_parser!(u32).range(20..=10_000))]
    jobs: u32,
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = value_parser!(u32).range(1..=256))]
    workers: u32,
    /// Keep the data directory and the server's log, and say where they are
    #[arg(long)]
    keep: bool,
}

/// Runs `beaver demo`.
///
/// # Errors
/// A job was lost or ran again after its completion, or the demo could not be carried through.
pub(crate) fn run(args: &DemoArgs) -> Result<(), CliFailure> {
    let dir = tempfile::Builder::new()
        .prefix("beaver-demo-")
        .tempdir()
        .map_err(|error| failed(format!("cannot create a temporary directory: {error}")))?;
    let outcome = runtime::block_on_one_thread(async {
        tokio::select! {
            outcome = play(args, dir.path()) => outcome.inspect_err(|failure| {
                if failure.exit != Exit::Ok {
                    server_process::show_log_tail(dir.path());
                }
            }),
            _ = tokio::signal::ctrl_c() => Err(failed("interrupted")),
        }
    });
    // A server that is left over was killed with the end of `play`; its directory goes after it.
    clean_up(dir, args.keep);
    outcome
}

fn clean_up(dir: TempDir, keep: bool) {
    if keep {
        note(format_args!("kept {}", dir.keep().display()));
    } else if let Err(error) = dir.close() {
        note(format_args!("the temporary directory was not removed: {error}"));
    }
}

async fn play(args: &DemoArgs, dir: &Path) -> Result<(), CliFailure> {
    let ids: Vec<String> = (1..=args.jobs).map(|number| format!("demo-{number:05}")).collect();
    say(format_args!("{} jobs, {} workers, everything in {}", args.jobs, args.workers, dir.display()))?;

    let first = start(args, dir).await?;
    say(format_args!("started    `beaver run` as process {} at {}", first.pid, first.client.place()))?;
    let enqueued = first.client.enqueue(jobs(args, &ids), |_| {}).await.map_err(unanswered)?;
    say(format_args!("enqueued   {} jobs: all of them are on disk", enqueued.len()))?;

    let bar = completed_bar(args.jobs);
    let half = u64::from(args.jobs / 2);
    let before = until(&first, &bar, |glance| glance.completed >= half).await?;
    let seen_completed = completed_ones(&first.client, &ids).await?;
    let killed = first.pid;
    first.kill_9().await?;
    say(format_args!("kill -9    process {killed}, with {} jobs completed", before.completed))?;

    let second = start(args, dir).await?;
    let restarted = second.glance().await?;
    say(format_args!(
        "started    again as process {}: recovered {} jobs in {:.1} ms",
        second.pid, restarted.known, restarted.recovery_ms
    ))?;
    until(&second, &bar, |glance| glance.unfinished == 0).await?;
    bar.finish_and_clear();
    let after = sightings(&second.client, &ids).await?;
    second.drain().await?;
    say(format_args!("stopped    with SIGTERM, exit code 0"))?;

    let account = Account {
        enqueued: enqueued.iter().filter(|one| one.created).count(),
        before,
        seen_completed,
        restarted,
        after,
    };
    show(&account)
}

async fn start(args: &DemoArgs, dir: &Path) -> Result<ServerProcess, CliFailure> {
    StartingServer::spawn(dir, &["--workers".to_owned(), args.workers.to_string()])?.ready().await
}

/// The jobs as NDJSON: short sleeps, some failures.
fn jobs(args: &DemoArgs, ids: &[String]) -> Vec<u8> {
    let mean = (WORK * args.workers / args.jobs).clamp(Duration::from_millis(2), Duration::from_millis(500));
    let mean_ms = u64::try_from(mean.as_millis()).unwrap_or(u64::MAX);
    let mut lines = String::new();
    for (number, id) in ids.iter().enumerate() {
        // From half of it to one and a half, so that they do not all end at once.
        let sleep_ms = mean_ms / 2 + mean_ms * (number as u64 % 11) / 10;
        let payload = json!({ "sleep_ms": sleep_ms, "fail_rate": FAIL_RATE });
        let job = json!({ "id": id, "kind": "simulate", "payload": payload, "max_retry": MAX_RETRY });
        lines += &format!("{job}\n");
    }
    lines.into_bytes()
}

/// Looks at the server again and again until what it says is what is waited for.
async fn until(
    server: &ServerProcess,
    bar: &ProgressBar,
    done: impl Fn(&Glance) -> bool,
) -> Result<Glance, CliFailure> {
    let started = Instant::now();
    loop {
        let glance = server.glance().await?;
        bar.set_position(glance.completed);
        if done(&glance) {
            return Ok(glance);
        }
        if started.elapsed() > PATIENCE {
            return Err(failed(format!(
                "after {PATIENCE:?} the server still has {} jobs to do",
                glance.unfinished
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The jobs that are seen completed, looked at one by one in the order in which they were enqueued.
async fn completed_ones(client: &Client, ids: &[String]) -> Result<BTreeMap<String, Sighting>, CliFailure> {
    let started = Instant::now();
    let mut completed = BTreeMap::new();
    for some in ids.chunks(ASK_AT_ONCE) {
        let sighted = sightings(client, some).await?;
        let done = sighted.into_iter().filter_map(|(id, job)| Some((id, job?)));
        completed.extend(done.filter(|(_, job)| job.status == Status::Completed));
        if started.elapsed() > LOOK_CLOSELY_FOR {
            break;
        }
    }
    Ok(completed)
}

/// Asks for each job; `None` is one that the server does not know.
async fn sightings(
    client: &Client,
    ids: &[String],
) -> Result<BTreeMap<String, Option<Sighting>>, CliFailure> {
    let mut sighted = BTreeMap::new();
    let mut asked = JoinSet::new();
    let mut left = ids.iter();
    loop {
        while asked.len() < ASK_AT_ONCE
            && let Some(id) = left.next()
        {
            let (client, id) = (client.clone(), id.clone());
            asked.spawn(async move { (client.job(&id).await, id) });
        }
        let Some(answered) = asked.join_next().await else { return Ok(sighted) };
        let (answer, id) = answered.map_err(|error| failed(error.to_string()))?;
        let job = match answer {
            Ok(job) => Some(Sighting::read(&job)?),
            Err(ClientError::Refused { status: 404, .. }) => None,
            Err(error) => return Err(unanswered(error)),
        };
        sighted.insert(id, job);
    }
}

fn show(account: &Account) -> Result<(), CliFailure> {
    let verdict = account.verdict();
    let mut output = Output::stdout();
    output.line(fitted(&account.table(&verdict)))?;
    match verdict.complaint() {
        None => output.line("Every job is accounted for.")?,
        Some(complaint) => {
            output.finish()?;
            return Err(failed(complaint));
        }
    }
    output.finish()
}

fn say(text: std::fmt::Arguments<'_>) -> Result<(), CliFailure> {
    logging::beside_bars(|| {
        let mut output = Output::stdout();
        output.line(text)?;
        output.finish()
    })
}

fn completed_bar(jobs: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("           {bar:40} {pos}/{len} completed")
        .expect("the template is valid");
    logging::show(ProgressBar::new(jobs.into()).with_style(style))
}
