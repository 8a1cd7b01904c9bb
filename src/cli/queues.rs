//! `beaver queues`: which queues there are and who waits in them; pausing, resuming and removing them.

use std::collections::BTreeMap;

use beaver_actors::ids::QueueName;
use beaver_actors::jobs::Status;
use clap::{Args, ValueEnum};
use comfy_table::Table;
use indicatif::HumanCount;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::answer_of;
use super::exit::{CliFailure, Exit};
use super::output::Output;
use super::table::{count, fitted, of_numbers, time};
use super::target::{Access, Target, TargetArgs};
use crate::client::{Client, ClientError};
use crate::plain::plain;
use crate::query::queue_words::{self, QueueWords, is_pattern, no_such_queue, queue_test};

/// Examples below `beaver queues --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver queues
  beaver queues pause mail reports     # what runs goes on; nobody gets further jobs of them
  beaver queues resume mail
  beaver queues remove reports --yes   # discards its pending jobs and forgets it
  beaver queues remove 'customer-*' --yes

A pause is durable: it outlives the server. A queue that does not exist, or a pattern that none matches:
exit code 3, and none of those named is touched. A queue that is empty, not paused and got no job for
queue_idle_timeout is forgotten by itself.";

/// Flags of `beaver queues`.
#[derive(Debug, Args)]
pub(crate) struct QueuesArgs {
    /// What to do
    #[arg(value_enum, value_name = "ACTION", default_value_t = QueuesAction::List)]
    action: QueuesAction,
    /// The queues to do it to; with * (any text), ? (any character) or [..], all that match
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
    /// Discard the pending jobs of a queue that is removed
    #[arg(long)]
    yes: bool,
    /// Print one JSON object a queue
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum QueuesAction {
    /// Show every queue, or those that are named
    List,
    /// Give nobody jobs of them any more
    Pause,
    /// The reverse
    Resume,
    /// Discard their pending jobs and forget them
    Remove,
}

/// Jobs by status, as it is written.
pub(crate) type CountsByStatus = BTreeMap<String, u64>;

/// What people are shown of a queue.
#[derive(Debug, Deserialize)]
pub(crate) struct QueueRow {
    pub(super) queue: String,
    pub(super) paused: bool,
    latency_ms: u64,
    pub(super) jobs: CountsByStatus,
}

/// Runs `beaver queues`.
///
/// # Errors
/// The command line makes no sense, a queue does not exist, or nobody answers.
pub(crate) fn run(args: &QueuesArgs) -> Result<(), CliFailure> {
    let names = args.names()?;
    let access = match args.action {
        QueuesAction::List => Access::Look,
        QueuesAction::Pause | QueuesAction::Resume | QueuesAction::Remove => Access::Change,
    };
    let answers = args.target.with_target(&args.target.load()?, access, async |target| {
        carry_out(target, args.action, &names).await
    })?;
    let mut output = Output::stdout();
    if args.json {
        answers.iter().try_for_each(|answer| output.json(answer))?;
    } else if args.action == QueuesAction::List {
        let rows = answers.into_iter().map(answer_of).collect::<Result<Vec<QueueRow>, _>>()?;
        output.line(fitted(&counts_table(&rows, None)))?;
    } else {
        answers.iter().try_for_each(|answer| output.line(told(args.action, answer)))?;
    }
    output.finish()
}

impl QueuesArgs {
    /// What is named, each once.
    fn names(&self) -> Result<Vec<Named>, CliFailure> {
        let mut names = Vec::new();
        for name in &self.names {
            let name = Named::read(name).map_err(CliFailure::usage)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        match self.action {
            QueuesAction::List => {}
            _ if names.is_empty() => {
                return Err(CliFailure::usage("no queue is named").hint("`beaver queues` shows them all"));
            }
            QueuesAction::Remove if !self.yes => {
                return Err(CliFailure::usage("removing a queue discards its pending jobs")
                    .hint("add --yes if that is what you want"));
            }
            QueuesAction::Pause | QueuesAction::Resume | QueuesAction::Remove => {}
        }
        Ok(names)
    }
}

/// A queue, or all that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    Queue(QueueName),
    Pattern(String),
}

impl Named {
    fn read(text: &str) -> Result<Named, String> {
        if is_pattern(text) {
            return queue_test(text).map(|_| Named::Pattern(text.to_owned()));
        }
        QueueName::parse(text).map(Named::Queue).map_err(|error| error.to_string())
    }

    /// As a pattern: no name has a character that means something in one.
    fn pattern(&self) -> &str {
        match self {
            Named::Queue(name) => name.as_str(),
            Named::Pattern(pattern) => pattern,
        }
    }
}

/// Does it to all that are named if all of them exist.
async fn carry_out(target: &Target, action: QueuesAction, names: &[Named]) -> Result<Vec<Value>, CliFailure> {
    let failed = |error| target.failure(error);
    if names.is_empty() {
        return all(&target.client, None).await.map_err(failed);
    }
    let mut found = Vec::new();
    for named in names {
        let queues = all(&target.client, Some(named.pattern())).await.map_err(failed)?;
        match named {
            _ if !queues.is_empty() => found.push((named, queues)),
            Named::Queue(name) => return Err(unknown(target, name).await),
            Named::Pattern(pattern) => {
                let message = format!("no queue matches {pattern}");
                return Err(CliFailure::new(Exit::NotFound, message).hint("`beaver queues` shows them all"));
            }
        }
    }
    let mut answers = Vec::new();
    for (named, queues) in found {
        match (action, named) {
            (QueuesAction::List, _) => answers.extend(queues),
            (QueuesAction::Remove, Named::Pattern(pattern)) => {
                let removed = target.client.remove_queues(pattern).await.map_err(failed)?;
                let mut answer = json!(removed);
                answer["match"] = json!(pattern);
                answers.push(answer);
            }
            _ => {
                for name in queues.iter().filter_map(|queue| queue["queue"].as_str()) {
                    answers.push(do_to(&target.client, action, name).await.map_err(failed)?);
                }
            }
        }
    }
    Ok(answers)
}

/// Every queue, or those that match, page by page.
async fn all(client: &Client, pattern: Option<&str>) -> Result<Vec<Value>, ClientError> {
    let mut found: Vec<Value> = Vec::new();
    loop {
        let after = found.last().and_then(|last| last["queue"].as_str()).map(ToOwned::to_owned);
        let pattern = pattern.map(ToOwned::to_owned);
        let words = QueueWords { pattern, after, limit: Some(queue_words::LIMIT_MAX) };
        let page = client.queues(&words).await?;
        let is_last = page.len() < queue_words::LIMIT_MAX;
        found.extend(page);
        if is_last {
            return Ok(found);
        }
    }
}

async fn unknown(target: &Target, name: &QueueName) -> CliFailure {
    let words = QueueWords { limit: Some(queue_words::LIMIT_MAX), ..QueueWords::default() };
    let known = match target.client.queues(&words).await {
        Ok(known) => known,
        Err(error) => return target.failure(error),
    };
    let known: Vec<QueueName> =
        known.iter().filter_map(|queue| QueueName::parse(queue["queue"].as_str()?).ok()).collect();
    CliFailure::new(Exit::NotFound, no_such_queue(name, known.iter()))
}

async fn do_to(client: &Client, action: QueuesAction, queue: &str) -> Result<Value, ClientError> {
    Ok(match action {
        QueuesAction::Remove => json!(client.remove_queue(queue).await?),
        _ => json!(client.set_paused(queue, action == QueuesAction::Pause).await?),
    })
}

fn told(action: QueuesAction, answer: &Value) -> String {
    let queue = plain(answer["queue"].as_str().unwrap_or_default());
    match action {
        QueuesAction::List | QueuesAction::Pause => format!("paused {queue}"),
        QueuesAction::Resume => format!("resumed {queue}"),
        QueuesAction::Remove => {
            let number = |name: &str| answer[name].as_u64().unwrap_or_default();
            let discarded = count(number("discarded"), "pending job");
            match answer["match"].as_str() {
                Some(pattern) => {
                    format!(
                        "removed {} ({}) with {discarded}",
                        count(number("removed"), "queue"),
                        plain(pattern)
                    )
                }
                None => format!("removed {queue} with {discarded}"),
            }
        }
    }
}

/// Queues with their jobs by status, and if wanted the sum of all.
pub(crate) fn counts_table(queues: &[QueueRow], all: Option<&CountsByStatus>) -> Table {
    let header = ["queue", "latency"].into_iter().chain(Status::ALL.map(Status::as_str));
    let mut table = of_numbers(header);
    let row = |name: String, latency: String, jobs: &CountsByStatus| {
        let counts = Status::ALL
            .map(|status| HumanCount(jobs.get(status.as_str()).copied().unwrap_or_default()).to_string());
        [name, latency].into_iter().chain(counts).collect::<Vec<_>>()
    };
    for queue in queues {
        let paused = if queue.paused { " (paused)" } else { "" };
        let latency = if queue.latency_ms == 0 { String::new() } else { time(queue.latency_ms) };
        table.add_row(row(format!("{}{paused}", plain(&queue.queue)), latency, &queue.jobs));
    }
    if let Some(all) = all {
        table.add_row(row("(all)".to_owned(), String::new(), all));
    }
    table
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct QueuesLine {
        #[command(flatten)]
        args: QueuesArgs,
    }

    fn args(line: &[&str]) -> QueuesArgs {
        QueuesLine::try_parse_from([&["queues"], line].concat()).unwrap().args
    }

    #[test]
    fn without_an_action_the_queues_are_listed() {
        assert_eq!(args(&[]).action, QueuesAction::List);
        assert_eq!(args(&["resume", "a", "b", "a"]).names().unwrap().len(), 2);
    }

    #[test]
    fn what_needs_a_queue_or_a_yes_is_not_done_without() {
        for (line, told) in [
            (&["pause"][..], "no queue is named"),
            (&["remove", "--yes"], "no queue is named"),
            (&["remove", "mail"], "add --yes"),
            (&["pause", "a b"], "may only use"),
        ] {
            let failure = args(line).names().unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains(told), "{failure}");
        }
        assert!(args(&["remove", "mail", "--yes"]).names().is_ok());
        let pattern = args(&["remove", "customer-*", "--yes"]).names().unwrap();
        assert_eq!(pattern, [Named::Pattern("customer-*".to_owned())]);
    }

    #[test]
    fn the_table_shows_who_is_paused_and_how_long_the_first_job_waits() {
        let rows: Vec<QueueRow> = serde_json::from_value(json!([
            {"queue": "mail", "paused": true, "latency_ms": 90_000, "jobs": {"pending": 12_000}},
            {"queue": "other", "paused": false, "latency_ms": 0, "jobs": {}},
        ]))
        .unwrap();
        let table = counts_table(&rows, None).to_string();
        let row_of = |name: &str| table.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(row_of("mail (paused)").contains("1m 30s"), "{table}");
        assert!(row_of("mail").contains("12,000"), "{table}");
        assert!(!row_of("other").contains("paused"), "{table}");
    }
}
