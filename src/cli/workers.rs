//! `beaver workers`: who is connected over the work protocol, and asking them to stop.
//!
//! Remote workers are connections, not actors: nothing that they do crashes anything in the server.

use beaver_actors::ids::Timestamp;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::Value;

use super::answer::answer_of;
use super::exit::CliFailure;
use super::output::Output;
use super::table::{count, fitted, of_facts};
use super::target::{Access, TargetArgs};
use crate::client::{Client, ClientError};
use crate::plain::plain;

/// Examples below `beaver workers --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver workers
  beaver workers quiet 8a2f      # it takes no more jobs and ends those that run
  beaver workers terminate 8a2f  # it ends

A worker hears of it with its next sign of life, seconds later. One that is not connected: exit code 3.
Workers inside of the server are shown by `beaver status`.";

/// Flags of `beaver workers`.
#[derive(Debug, Args)]
pub(crate) struct WorkersArgs {
    /// What to do
    #[arg(value_enum, value_name = "ACTION", default_value_t = WorkersAction::List)]
    action: WorkersAction,
    /// The worker to ask
    #[arg(value_name = "WID")]
    wid: Option<String>,
    /// Print one line of JSON, as the server gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WorkersAction {
    /// Show all remote workers
    List,
    /// Ask one to take no more jobs
    Quiet,
    /// Ask one to end
    Terminate,
}

/// Remote workers and connections, as the server tells of them.
#[derive(Debug, Deserialize)]
pub(crate) struct RemoteView {
    connections: u64,
    pub(super) workers: Vec<WorkerView>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WorkerView {
    wid: String,
    hostname: String,
    pid: i64,
    labels: Vec<String>,
    state: String,
    last_beat: Timestamp,
    connections: u64,
    running: u64,
}

/// Runs `beaver workers`.
///
/// # Errors
/// The command line makes no sense, the worker is not connected, or nobody answers.
pub(crate) fn run(args: &WorkersArgs) -> Result<(), CliFailure> {
    let usage = |message: &str| CliFailure::usage(message).hint("`beaver workers` shows them all");
    match (args.action, &args.wid) {
        (WorkersAction::List, Some(_)) => return Err(usage("a list is of all workers: name none")),
        (WorkersAction::Quiet | WorkersAction::Terminate, None) => return Err(usage("no worker is named")),
        _ => {}
    }
    let answer =
        args.target.ask(Access::Look, async |client| ask(client, args.action, args.wid.as_deref()).await)?;
    let mut output = Output::stdout();
    match (args.json, &args.wid) {
        (true, _) => output.json(&answer)?,
        (false, Some(wid)) => {
            output.line(format_args!("asked {} to {}", plain(wid), told_request(args.action)))?;
        }
        (false, None) => output.line(table(&answer_of(answer)?))?,
    }
    output.finish()
}

async fn ask(client: &Client, action: WorkersAction, wid: Option<&str>) -> Result<Value, ClientError> {
    match (action, wid) {
        (WorkersAction::Quiet, Some(wid)) => client.ask_worker(wid, false).await,
        (WorkersAction::Terminate, Some(wid)) => client.ask_worker(wid, true).await,
        _ => client.workers().await,
    }
}

fn told_request(action: WorkersAction) -> &'static str {
    match action {
        WorkersAction::List | WorkersAction::Quiet => "take no more jobs",
        WorkersAction::Terminate => "end",
    }
}

fn table(remote: &RemoteView) -> String {
    if remote.workers.is_empty() {
        return remote.told();
    }
    let mut table = of_facts();
    table.set_header([
        "worker",
        "state",
        "machine",
        "process",
        "labels",
        "connections",
        "running",
        "last beat",
    ]);
    for worker in &remote.workers {
        let labels: Vec<_> = worker.labels.iter().map(|label| plain(label)).collect();
        table.add_row([
            plain(&worker.wid),
            plain(&worker.state),
            plain(&worker.hostname),
            worker.pid.to_string(),
            labels.join(", "),
            worker.connections.to_string(),
            worker.running.to_string(),
            worker.last_beat.to_string(),
        ]);
    }
    fitted(&table)
}

impl RemoteView {
    /// All of them in one line.
    pub(crate) fn told(&self) -> String {
        let connections = count(self.connections, "connection");
        match self.workers.len() {
            0 => format!("no workers; {connections}"),
            workers => {
                let running = self.workers.iter().map(|worker| worker.running).sum();
                let (workers, running) = (count(workers as u64, "worker"), count(running, "job"));
                format!("{workers}, {running} running; {connections}, not actors")
            }
        }
    }

    /// The first `most` of the workers with their places in the tree of supervision, and how many are left out.
    pub(crate) fn branches(&self, most: usize) -> (Vec<(String, String)>, usize) {
        let branch = |worker: &WorkerView| {
            let place = format!("remote[{}]", plain(&worker.wid));
            let told = format!(
                "{} on {}, process {}; runs {}; {}; last beat {}",
                plain(&worker.state),
                plain(&worker.hostname),
                worker.pid,
                count(worker.running, "job"),
                count(worker.connections, "connection"),
                worker.last_beat
            );
            (place, told)
        };
        let shown = self.workers.iter().take(most).map(branch).collect();
        (shown, self.workers.len().saturating_sub(most))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn remote() -> RemoteView {
        let worker = |wid: &str| {
            json!({"wid": wid, "hostname": "here", "pid": 7, "labels": ["ruby", "3.4"], "state": "quiet",
                   "started_at": "2026-11-21T09:30:00Z", "last_beat": "2026-11-21T09:30:00Z",
                   "connections": 2, "running": 1})
        };
        answer_of(json!({"connections": 5, "workers": [worker("w1"), worker("w2")]})).unwrap()
    }

    #[test]
    fn remote_workers_are_told_as_connections_and_by_name() {
        assert_eq!(remote().told(), "2 workers, 2 jobs running; 5 connections, not actors");
        let (branches, left_out) = remote().branches(1);
        assert_eq!((branches[0].0.as_str(), left_out), ("remote[w1]", 1));
        assert!(
            branches[0].1.starts_with("quiet on here, process 7; runs 1 job; 2 connections"),
            "{branches:?}"
        );
        let table = table(&remote());
        assert!(table.contains("w2") && table.contains("ruby, 3.4"), "{table}");
    }

    #[test]
    fn nobody_connected_is_told_in_words() {
        let remote = RemoteView { connections: 1, workers: Vec::new() };
        assert_eq!(table(&remote), "no workers; 1 connection");
    }
}
