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
use crate::query::words::no_such_queue;

/// Examples below `beaver queues --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver queues
  beaver queues pause mail reports     # what runs goes on; nobody gets further jobs of them
  beaver queues resume mail
  beaver queues remove reports --yes   # discards its pending jobs and forgets it

A pause is durable: it outlives the server. A queue that does not exist: exit code 3, and none of
those named is touched.";

/// Flags of `beaver queues`.
#[derive(Debug, Args)]
pub(crate) struct QueuesArgs {
    /// What to do
    #[arg(value_enum, value_name = "ACTION", default_value_t = QueuesAction::List)]
    action: QueuesAction,
    /// The queues to do it to
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
        names
            .iter()
            .zip(&answers)
            .try_for_each(|(queue, answer)| output.line(told(args.action, queue, answer)))?;
    }
    output.finish()
}

impl QueuesArgs {
    /// The queues that are named, each once.
    fn names(&self) -> Result<Vec<QueueName>, CliFailure> {
        let mut names = Vec::new();
        for name in &self.names {
            let name = QueueName::parse(name).map_err(|error| CliFailure::usage(error.to_string()))?;
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

/// Does it to all of the queues if all of them exist.
async fn carry_out(
    target: &Target,
    action: QueuesAction,
    names: &[QueueName],
) -> Result<Vec<Value>, CliFailure> {
    let is_list = action == QueuesAction::List;
    let mut queues = Vec::new();
    // A single one that does not exist is refused when it is asked for.
    if is_list || names.len() > 1 {
        queues = target.client.queues().await.map_err(|error| target.failure(error))?;
        let known: Vec<QueueName> =
            queues.iter().filter_map(|queue| QueueName::parse(queue["queue"].as_str()?).ok()).collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
            return Err(CliFailure::new(Exit::NotFound, no_such_queue(unknown, known.iter())));
        }
    }
    if is_list {
        queues.retain(|queue| names.is_empty() || names.iter().any(|name| queue["queue"] == name.as_str()));
        return Ok(queues);
    }
    let mut answers = Vec::new();
    for name in names {
        let answer = do_to(&target.client, action, name).await;
        answers.push(answer.map_err(|error| target.failure(error))?);
    }
    Ok(answers)
}

async fn do_to(client: &Client, action: QueuesAction, queue: &QueueName) -> Result<Value, ClientError> {
    let queue = queue.as_str();
    Ok(match action {
        QueuesAction::Remove => json!(client.remove_queue(queue).await?),
        _ => json!(client.set_paused(queue, action == QueuesAction::Pause).await?),
    })
}

fn told(action: QueuesAction, queue: &QueueName, answer: &Value) -> String {
    match action {
        QueuesAction::List | QueuesAction::Pause => format!("paused {queue}"),
        QueuesAction::Resume => format!("resumed {queue}"),
        QueuesAction::Remove => {
            let discarded = answer["discarded"].as_u64().unwrap_or_default();
            format!("removed {queue} with {}", count(discarded, "pending job"))
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
