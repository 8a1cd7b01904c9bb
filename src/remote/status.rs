//! Remote workers as people and programs see them.

use beaver_actors::ids::Timestamp;
use serde::Serialize;

/// What a worker is to do. It only moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Take jobs.
    #[default]
    Running,
    /// Take no more jobs, end those that run.
    Quiet,
    /// End.
    Terminate,
}

impl WorkerState {
    /// As it goes over the wire.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            WorkerState::Running => "running",
            WorkerState::Quiet => "quiet",
            WorkerState::Terminate => "terminate",
        }
    }

    /// What a worker says of itself; a word that is none of the three means nothing.
    #[must_use]
    pub(crate) fn read(text: &str) -> WorkerState {
        match text {
            "quiet" => WorkerState::Quiet,
            "terminate" => WorkerState::Terminate,
            _ => WorkerState::Running,
        }
    }

    pub(super) fn from_number(number: u8) -> WorkerState {
        match number {
            0 => WorkerState::Running,
            1 => WorkerState::Quiet,
            _ => WorkerState::Terminate,
        }
    }
}

/// All remote workers and connections, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RemoteStatus {
    /// Open connections, of workers and producers.
    pub connections: usize,
    /// The workers, by name.
    pub workers: Vec<RemoteWorker>,
}

/// One remote worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoteWorker {
    /// The name that it gave in its HELLO.
    pub wid: String,
    /// Its machine, as it says.
    pub hostname: String,
    /// Its process, as it says.
    pub pid: i64,
    /// What it says about itself.
    pub labels: Vec<String>,
    /// What it is to do.
    pub state: WorkerState,
    /// When it introduced itself.
    pub started_at: Timestamp,
    /// When it last gave a sign of life.
    pub last_beat: Timestamp,
    /// Its memory, if it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_kb: Option<i64>,
    /// Its open connections.
    pub connections: usize,
    /// Jobs that it has fetched and not reported, under leases that run.
    pub running: usize,
}
