//! `beaver jobs`: listing a set of jobs, and doing the same to all of them.

use beaver_actors::ids::Timestamp;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::answer_of;
use super::exit::CliFailure;
use super::output::{Output, note};
use super::table::{count, fitted, of_facts};
use super::target::{Access, TargetArgs};
use crate::plain::plain;
use crate::query::words::{ActionWords, FilterWords, ListWords};

/// Examples below `beaver jobs --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver jobs list --status dead
  beaver jobs run-now --status dead --kind mail      # try them again
  beaver jobs move --status pending --queue mail --match '*\"to\":\"ann\"*' --to slow
  beaver jobs requeue --status in-flight --id order-17   # its worker is gone
  beaver jobs kill --status retrying --id order-17 --id order-18
  beaver jobs discard --status dead --yes            # all of them

--match is a pattern with *, ? and [..] over the JSON that remote workers see of a job:
  {\"jid\":\"order-17\",\"queue\":\"mail\",\"jobtype\":\"mail\",\"args\":[{\"to\":\"ann\"}],...}
Statuses: pending, scheduled, in_flight, retrying, completed, dead, cancelled.";

/// How much of an error's message a list shows, in characters.
const MESSAGE_CHARS_MAX: usize = 60;

/// Flags of `beaver jobs`.
#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    /// What to do
    #[arg(value_enum, value_name = "ACTION")]
    action: JobsAction,
    /// Jobs in this status
    #[arg(long, value_name = "STATUS")]
    status: String,
    /// Only of this kind
    #[arg(short, long, value_name = "KIND")]
    kind: Option<String>,
    /// Only in this queue
    #[arg(short, long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Only this job; may be repeated
    #[arg(short, long, value_name = "ID")]
    id: Vec<String>,
    /// Only those whose JSON this pattern fits
    #[arg(long = "match", value_name = "GLOB")]
    pattern: Option<String>,
    /// How many are listed at most [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Show what they left behind, too
    #[arg(long)]
    results: bool,
    /// The queue to which jobs are moved
    #[arg(long, value_name = "QUEUE")]
    to: Option<String>,
    /// Requeue, kill, discard or cancel all jobs in the status, if no filter says which
    #[arg(long)]
    yes: bool,
    /// Print one JSON object a job, or {"changed"} for what is done to them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum JobsAction {
    /// Show them
    List,
    /// Make scheduled, retrying or dead jobs pending now
    RunNow,
    /// Put jobs in flight back in line; a report of the worker that had one counts no more
    Requeue,
    /// Declare pending, scheduled or retrying jobs dead
    Kill,
    /// Make them disappear
    Discard,
    /// Withdraw unfinished ones
    Cancel,
    /// Put pending, scheduled, retrying or dead jobs into another queue
    Move,
}

impl JobsAction {
    /// As it travels, and as it is told afterwards.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            JobsAction::List => ("list", "listed"),
            JobsAction::RunNow => ("run_now", "made pending"),
            JobsAction::Requeue => ("requeue", "put back in line"),
            JobsAction::Kill => ("kill", "killed"),
            JobsAction::Discard => ("discard", "discarded"),
            JobsAction::Cancel => ("cancel", "cancelled"),
            JobsAction::Move => ("move", "moved"),
        }
    }

    fn is_destructive(self) -> bool {
        matches!(self, JobsAction::Requeue | JobsAction::Kill | JobsAction::Discard | JobsAction::Cancel)
    }
}

/// The parts of a job that a list shows.
#[derive(Debug, Deserialize)]
struct JobRow {
    id: String,
    queue: String,
    kind: String,
    attempt: u64,
    created_at: Timestamp,
    run_at: Option<Timestamp>,
    errors: Vec<Value>,
}

/// Runs `beaver jobs`.
///
/// # Errors
/// The command line makes no sense, or nobody answers.
pub(crate) fn run(args: &JobsArgs) -> Result<(), CliFailure> {
    match args.action {
        JobsAction::List => list(args),
        _ => act(args),
    }
}

fn list(args: &JobsArgs) -> Result<(), CliFailure> {
    let words = args.list_words()?;
    let (jobs, more) = args.target.ask(Access::Look, async |client| client.jobs(&words).await)?;
    let shown = jobs.len();
    let mut output = Output::stdout();
    if args.json {
        jobs.iter().try_for_each(|job| output.json(job))?;
    } else if !jobs.is_empty() {
        output.line(table(&jobs)?)?;
    }
    output.finish()?;
    if more {
        note(format_args!("the first {shown}; there are more (--limit)"));
    }
    Ok(())
}

fn act(args: &JobsArgs) -> Result<(), CliFailure> {
    let words = args.action_words()?;
    let changed = args.target.ask(Access::Change, async |client| client.act(&words).await)?;
    let mut output = Output::stdout();
    match args.json {
        true => output.json(&json!({"changed": changed}))?,
        false => output.line(format_args!("{} {}", args.action.words().1, count(changed, "job")))?,
    }
    output.finish()
}

impl JobsArgs {
    fn filter(&self) -> FilterWords {
        FilterWords {
            ids: (!self.id.is_empty()).then(|| self.id.clone()),
            kind: self.kind.clone(),
            queue: self.queue.clone(),
            pattern: self.pattern.clone(),
        }
    }

    /// Statuses are typed with a dash or an underscore.
    fn status(&self) -> String {
        self.status.replace('-', "_")
    }

    fn list_words(&self) -> Result<ListWords, CliFailure> {
        if self.to.is_some() {
            return Err(CliFailure::usage("--to is only for move"));
        }
        let results = self.results.then_some(true);
        let words =
            ListWords { status: Some(self.status()), filter: self.filter(), limit: self.limit, results };
        words.read().map_err(CliFailure::usage)?;
        Ok(words)
    }

    fn action_words(&self) -> Result<ActionWords, CliFailure> {
        if self.limit.is_some() {
            return Err(CliFailure::usage("--limit is only for list"));
        }
        if self.results {
            return Err(CliFailure::usage("--results is only for list"));
        }
        if self.action == JobsAction::Move && self.to.is_none() {
            return Err(CliFailure::usage("--to is missing: the queue to which the jobs go"));
        }
        let (word, _) = self.action.words();
        let filter = self.filter();
        let means_all = filter.is_empty();
        let words = ActionWords {
            action: Some(word.to_owned()),
            status: Some(self.status()),
            filter,
            to: self.to.clone(),
        };
        words.read().map_err(CliFailure::usage)?;
        if means_all && self.action.is_destructive() && !self.yes {
            let message = format!("no filter says which: that is every job that is {}", self.status());
            return Err(CliFailure::usage(message)
                .hint("name some with --id, --kind, --queue or --match, or add --yes to mean all"));
        }
        Ok(words)
    }
}

fn table(jobs: &[Box<RawValue>]) -> Result<String, CliFailure> {
    let mut table = of_facts();
    table.set_header(["id", "queue", "kind", "attempt", "created", "not before", "last error"]);
    for job in jobs {
        let job: JobRow = answer_of(&**job)?;
        let error =
            job.errors.last().and_then(|error| error["failure"]["message"].as_str()).unwrap_or_default();
        table.add_row([
            plain(&job.id),
            plain(&job.queue),
            plain(&job.kind),
            job.attempt.to_string(),
            job.created_at.to_string(),
            job.run_at.map(|moment| moment.to_string()).unwrap_or_default(),
            plain(&error.chars().take(MESSAGE_CHARS_MAX).collect::<String>()),
        ]);
    }
    Ok(fitted(&table))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::exit::Exit;

    #[derive(Parser)]
    struct JobsLine {
        #[command(flatten)]
        args: JobsArgs,
    }

    fn args(line: &[&str]) -> JobsArgs {
        JobsLine::try_parse_from([&["jobs"], line].concat()).unwrap().args
    }

    #[test]
    fn flags_become_the_words_that_a_server_reads() {
        let line =
            ["run-now", "--status", "dead", "--kind", "mail", "--queue", "out", "--id", "a", "--match", "*"];
        let words = args(&line).action_words().unwrap();
        assert_eq!(words.action.as_deref(), Some("run_now"));
        assert_eq!(words.filter.ids, Some(vec!["a".to_owned()]));
        assert_eq!(words.filter.pattern.as_deref(), Some("*"));
        let words = args(&["list", "--status", "in-flight", "--limit", "7"]).list_words().unwrap();
        assert_eq!((words.status.as_deref(), words.limit), (Some("in_flight"), Some(7)));
    }

    #[test]
    fn what_cannot_be_undone_is_not_done_to_all_without_a_yes() {
        assert!(args(&["requeue", "--status", "in-flight"]).action_words().is_err());
        for action in ["kill", "discard", "cancel"] {
            let failure = args(&[action, "--status", "pending"]).action_words().unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains("add --yes"), "{failure}");
            assert!(args(&[action, "--status", "pending", "--yes"]).action_words().is_ok());
            assert!(args(&[action, "--status", "pending", "--kind", "a"]).action_words().is_ok());
        }
        assert!(args(&["run-now", "--status", "dead"]).action_words().is_ok());
    }

    #[test]
    fn a_mistake_is_found_before_anybody_is_asked() {
        for (line, told) in [
            (&["kill", "--status", "ded"][..], "did you mean \"dead\"?"),
            (&["kill", "--status", "completed", "--yes"], "cannot be killed"),
            (&["move", "--status", "dead"], "--to is missing"),
            (&["kill", "--status", "pending", "--to", "a"], "only for move"),
            (&["kill", "--status", "pending", "--limit", "1"], "only for list"),
            (&["kill", "--status", "pending", "--results"], "only for list"),
        ] {
            let failure = args(line).action_words().unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains(told), "{failure}");
        }
        assert!(args(&["list", "--status", "dead", "--limit", "0"]).list_words().is_err());
        assert!(args(&["list", "--status", "dead", "--to", "a"]).list_words().is_err());
    }
}
