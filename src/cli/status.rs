//! `beaver status`: the queue at a glance, or one job with its attempts and errors.

use beaver_actors::jobs::{NO_TIMEOUT, Status};
use clap::Args;
use indicatif::{BinaryBytes, HumanCount};
use serde::Deserialize;

use super::answer::answer_of;
use super::clock::told_clock;
use super::exit::CliFailure;
use super::output::Output;
use super::queues::{QueueRow, counts_table};
use super::setup;
use super::status_view::{
    AttemptTotals, ConnectionsAnswer, JobAnswer, Log, MemoryAnswer, QueueAnswer, QueueOfJob, Recovery,
    Snapshot, StatusOfJob, Workers,
};
use super::table::{count, fitted, fitted_text, of_facts};
use super::target::{Access, TargetArgs};
use super::waiting;
use crate::plain::plain;
use crate::query::queue_words::QueueWords;
use crate::wire::answers::OFFLINE;

/// How many remote workers are shown one by one; `beaver workers` shows all.
const REMOTE_SHOWN_MAX: usize = 10;

/// Examples below `beaver status --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver status
  beaver status order-17
  beaver status --json | jq .jobs.pending

A job that is not known (any more): exit code 3. No server and no data: exit code 4.";

/// Flags of `beaver status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show this job instead of the whole queue
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Print one line of JSON, as the server gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Runs `beaver status`.
///
/// # Errors
/// The job is not there, or nobody answers.
pub(crate) fn run(args: &StatusArgs) -> Result<(), CliFailure> {
    let id = args.id.as_deref().map(setup::parse_id).transpose()?;
    let (answer, around, own) = args.target.ask(Access::Look, async |client| match &id {
        Some(id) => {
            let job = client.job(&id.to_string()).await?;
            // Why it waits lies around it.
            let is_waiting = !args.json
                && StatusOfJob::deserialize(&*job).is_ok_and(|job| job.status == Status::Pending.as_str());
            let around = if is_waiting { Some(client.status().await?) } else { None };
            // Its own queue may be none of those that a status shows.
            let of_job = QueueOfJob::deserialize(&*job).ok().filter(|_| is_waiting);
            let words = of_job.map(|job| QueueWords { pattern: Some(job.queue), ..QueueWords::default() });
            let own = match words {
                Some(words) => client.queues(&words).await?,
                None => Vec::new(),
            };
            Ok((job, around, own))
        }
        None => Ok((client.status().await?, None, Vec::new())),
    })?;
    let mut output = Output::stdout();
    if args.json {
        output.json(&answer)?;
        return output.finish();
    }
    match id {
        Some(_) => {
            let mut around: Option<QueueAnswer> = around.as_deref().map(answer_of).transpose()?;
            if let Some(around) = &mut around {
                let own: Vec<QueueRow> = own.into_iter().map(answer_of).collect::<Result<_, _>>()?;
                around.queues.extend(own);
            }
            show_job(&answer_of(&*answer)?, around.as_ref(), &mut output)?;
        }
        None => show_queue(&answer_of(&*answer)?, &mut output)?,
    }
    output.finish()
}

fn show_queue(answer: &QueueAnswer, output: &mut Output) -> Result<(), CliFailure> {
    output.line(fitted(&counts_table(&answer.queues, Some(&answer.jobs))))?;
    if answer.left_out.queues > 0 {
        output.line(format!("and {}: `beaver queues`", count(answer.left_out.queues, "further queue")))?;
    }
    output.line("")?;
    let mut facts = of_facts();
    let phase = answer.phase.as_str().map_or_else(|| answer.phase.to_string(), ToOwned::to_owned);
    facts.add_row(["server", &format!("{phase}, version {}", answer.version)]);
    facts.add_row(["attempts", &told_attempts(&answer.totals)]);
    facts.add_row(["workers", &told_workers(&answer.workers)]);
    if let Some(remote) = &answer.remote {
        facts.add_row(["remote", &remote.told()]);
        let (branches, left_out) = remote.branches(REMOTE_SHOWN_MAX);
        for (place, told) in branches {
            facts.add_row([&format!("  {place}"), &told]);
        }
        if left_out > 0 {
            facts.add_row(["", &format!("{left_out} more: `beaver workers`")]);
        }
    }
    facts.add_row([
        "snapshot",
        &answer.snapshot.as_ref().map_or_else(|| "none yet".to_owned(), told_snapshot),
    ]);
    if let Some(connections) = &answer.connections {
        facts.add_row(["connections", &told_connections(connections)]);
    }
    if !answer.memory.is_empty() {
        facts.add_row(["memory", &told_memory(&answer.memory)]);
    }
    facts.add_row(["log", &told_log(&answer.log)]);
    if answer.clock.doubted_since.is_some() || answer.clock.set_back_to.is_some() {
        facts.add_row(["clock", &told_clock(&answer.clock)]);
    }
    facts.add_row(["recovery", &told_recovery(&answer.recovery, answer.phase == OFFLINE)]);
    output.line(fitted(&facts))?;
    for waiting in waiting::told_of_all(answer) {
        output.line(fitted_text(&waiting))?;
    }
    Ok(())
}

fn told_attempts(totals: &AttemptTotals) -> String {
    format!("{} ended, {} failed", HumanCount(totals.processed), HumanCount(totals.failed))
}

fn told_workers(workers: &Workers) -> String {
    if workers.count == 0 {
        return "none".to_owned();
    }
    let kinds: Vec<_> = workers.kinds.iter().map(|kind| plain(kind)).collect();
    format!(
        "{}: {} busy, {} idle; {}; kinds: {}",
        workers.count,
        workers.busy,
        workers.idle,
        count(workers.restarts, "restart"),
        kinds.join(", ")
    )
}

fn told_snapshot(snapshot: &Snapshot) -> String {
    format!(
        "at position {}, taken {}, {}, {}",
        snapshot.seq,
        snapshot.taken_at,
        count(snapshot.jobs, "job"),
        BinaryBytes(snapshot.bytes)
    )
}

fn told_log(log: &Log) -> String {
    let position = format!("at position {}, durable up to {}", log.seq, log.durable_seq);
    if log.accepts_jobs {
        return position;
    }
    let why = match log.refusal.as_deref() {
        Some("disk_full") => "THE DISK IS FULL",
        Some("shortage") => "THE SERVER HAS NO FILE DESCRIPTORS OR MEMORY LEFT",
        Some("damaged") => "DATA ON DISK IS DAMAGED AND IS BEING WRITTEN OUT ANEW",
        Some("too_many_jobs") => "AS MANY JOBS AS jobs_max WAIT",
        Some("stopping") => "THE SERVER STOPS",
        _ => "NOT NOW",
    };
    format!("{position}; {why}: new jobs are refused, accepted ones still run")
}

/// Each part with its limit.
fn told_memory(parts: &[MemoryAnswer]) -> String {
    let told = parts.iter().map(|part| {
        let name = plain(&part.part).replace('_', " ");
        format!("{name} {} of {}", BinaryBytes(part.bytes), BinaryBytes(part.limit_bytes))
    });
    told.collect::<Vec<_>>().join(", ")
}

fn told_connections(limits: &ConnectionsAnswer) -> String {
    let mut told = format!("at most {} over HTTP", HumanCount(limits.http));
    for (most, whose) in [(limits.faktory, "of remote workers"), (limits.monitoring, "of monitoring")] {
        if let Some(most) = most {
            told += &format!(", {} {whose}", HumanCount(most));
        }
    }
    let (descriptors, kept_back) = (HumanCount(limits.descriptors), HumanCount(limits.kept_back));
    format!("{told}; {kept_back} of {descriptors} file descriptors are kept for the queue itself")
}

fn told_recovery(recovery: &Recovery, is_only_read: bool) -> String {
    let mut told = format!(
        "took {:.1} ms: {} from the snapshot, {} from the log",
        recovery.duration_ms,
        count(recovery.snapshot_jobs, "job"),
        count(recovery.events, "event")
    );
    if recovery.interrupted > 0 {
        told += &format!("; {} had been interrupted", count(recovery.interrupted, "job"));
    }
    if recovery.torn_bytes > 0 {
        let what = if is_only_read { "are passed over" } else { "were moved to quarantine" };
        told += &format!("; {} of an unfinished last write {what}", BinaryBytes(recovery.torn_bytes));
    }
    told
}

fn show_job(job: &JobAnswer, around: Option<&QueueAnswer>, output: &mut Output) -> Result<(), CliFailure> {
    let mut facts = of_facts();
    let mut fact = |name: &str, value: String| {
        facts.add_row([name, &value]);
    };
    fact("id", plain(&job.id));
    fact("status", plain(&job.status));
    if let Some(why) = waiting::told_of(job, around) {
        fact("waits", why);
    }
    if job.is_followed {
        fact("followed by", "another job of this id, which waits until this one has ended".to_owned());
    }
    fact("queue", plain(&job.queue));
    fact("kind", plain(&job.kind));
    fact("priority", job.priority.to_string());
    let runs_max = job.max_retry.saturating_add(1);
    fact("attempt", format!("{} (up to {} if they fail)", job.attempt, count(runs_max, "run")));
    if let Some(backoff) = &job.backoff {
        fact("back-off", plain(&backoff.to_string()));
    }
    if job.exhausted.as_deref() == Some("drop") {
        fact("exhausted", "drop: cancelled when all attempts failed".to_owned());
    }
    let timeout = std::time::Duration::from_millis(job.timeout_ms);
    fact("timeout", if timeout >= NO_TIMEOUT { "none".to_owned() } else { format!("{timeout:?}") });
    fact("created", job.created_at.to_string());
    let moments = [
        ("not before", job.run_at),
        ("started", job.started_at),
        ("lease until", job.deadline),
        ("finished", job.finished_at),
    ];
    for (name, moment) in moments {
        if let Some(moment) = moment {
            fact(name, moment.to_string());
        }
    }
    if let Some(worker) = &job.worker {
        let name = worker.as_str().map(|name| format!("remote[{}]", plain(name)));
        fact("worker", name.unwrap_or_else(|| worker.to_string()));
    }
    if let Some(custom) = &job.custom {
        fact("custom", plain(&custom.to_string()));
    }
    fact("payload", plain(&job.payload.to_string()));
    for text in &job.unreadable {
        fact("unreadable", plain(text));
    }
    if let Some(result) = &job.result {
        fact("result", plain(&result.to_string()));
    }
    for failed in &job.errors {
        let kind = serde_json::to_value(failed.failure.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or("failed");
        let mut message = plain(&failed.failure.message);
        if !failed.failure.errtype.is_empty() {
            message = format!("{}: {message}", plain(&failed.failure.errtype));
        }
        fact(&format!("attempt {}", failed.attempt), format!("{kind} at {}: {message}", failed.at));
    }
    output.line(fitted(&facts))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(workers: u64, waiting: u64) -> QueueAnswer {
        answer_of(json!({
            "phase": "serving", "version": "0.1.0",
            "jobs": {"pending": 12_000, "scheduled": 0, "in_flight": 1, "retrying": 0, "completed": 0,
                     "dead": 0, "cancelled": 0},
            "queues": [{"queue": "mail.out", "paused": true, "latency_ms": 2_000, "jobs": {"pending": 12_000}}],
            "totals": {"processed": 1_200, "failed": 34},
            "waiting_for_worker": [{"kind": "mail", "pending": waiting}],
            "left_out": {"queues": 0, "paused_pending": 0, "kinds": 0, "kinds_pending": 0},
            "workers": {"count": workers, "busy": 1, "idle": 0, "restarts": 1, "kinds": ["noop"]},
            "log": {"seq": 9, "durable_seq": 9, "accepts_jobs": false, "refusal": "disk_full"},
            "snapshot": null,
            "clock": {"doubted_since": null, "set_back_to": null},
            "recovery": {"duration_ms": 1.25, "snapshot_jobs": 1, "events": 2, "interrupted": 0,
                         "torn_bytes": 7},
        }))
        .unwrap()
    }

    #[test]
    fn the_table_counts_every_queue_and_all_together() {
        let answer = answer(1, 0);
        let table = counts_table(&answer.queues, Some(&answer.jobs)).to_string();
        let row_of = |name: &str| table.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(row_of("mail.out (paused)").contains("12,000"), "{table}");
        assert!(row_of("(all)").contains("12,000"), "{table}");
        assert!(row_of("queue").contains("in_flight"), "{table}");
    }

    #[test]
    fn a_full_disk_and_a_torn_tail_are_not_kept_quiet() {
        assert!(told_log(&answer(1, 0).log).contains("DISK IS FULL"));
        assert!(
            told_recovery(&answer(1, 0).recovery, false)
                .ends_with("7 B of an unfinished last write were moved to quarantine")
        );
    }

    #[test]
    fn an_answer_of_another_version_is_told_as_such() {
        let failure = answer_of::<QueueAnswer>(json!({"jobs": 1})).unwrap_err();
        assert!(failure.to_string().contains("not one of this version of beaver"), "{failure}");
    }

    #[test]
    fn attempts_are_counted_since_ever() {
        assert_eq!(told_attempts(&answer(1, 0).totals), "1,200 ended, 34 failed");
    }
}
