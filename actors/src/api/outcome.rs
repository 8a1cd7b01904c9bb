//! How an engine is and how it ended, and why there is no answer.

use crate::jobs::Rejection;

/// Where an engine is in its life.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Recovery runs: how far it is.
    Recovering(Progress),
    /// Requests are served.
    Serving,
    /// Running jobs are finished, and none is started. New ones are accepted until the log is closed, unless
    /// [`accepts_while_draining`](crate::api::options::EngineOptions::accepts_while_draining) is off.
    Draining,
    /// It has ended.
    Stopped(Ending),
}

/// How far recovery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Jobs read from the snapshot.
    pub snapshot_jobs: u64,
    /// Events replayed from the log.
    pub events: u64,
    /// Bytes of the log read so far.
    pub log_bytes: u64,
    /// Bytes of the log to read.
    pub log_bytes_total: u64,
}

/// How an engine ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// It was asked to stop, and everything is on disk.
    Clean,
    /// It could not start, or had to stop at once.
    Failed {
        /// Which sort, for exit codes.
        cause: FailCause,
        /// What happened and what can be done, for people.
        message: String,
    },
}

/// What sort of trouble ended an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailCause {
    /// Another process holds the data directory.
    Locked,
    /// There is no data to look at; nothing was made.
    Absent,
    /// Durable data is damaged, missing or not ours; nothing was changed.
    Damaged,
    /// The storage reported an error.
    Storage,
    /// An actor died that cannot be replaced, or one died too often.
    Crashed,
}

/// Why the engine gave no answer, or not the one that was hoped for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The caller can act on this one. Nothing of the request was done.
    #[error("{0}")]
    Rejected(#[from] Rejection),
    /// Job number `index` (from 0) of a batch was rejected. Nothing of the request was done.
    #[error("job {index}: {rejection}")]
    RejectedAt {
        /// Which of the batch.
        index: usize,
        /// Why this one was rejected.
        rejection: Rejection,
    },
    /// Too many requests wait already. Nothing was done; try again later.
    #[error("busy: too many requests are waiting")]
    Busy,
    /// Recovery has not ended yet. Nothing was done; try again later.
    #[error("the server is still recovering")]
    Recovering,
    /// The data was opened only to be looked at. Nothing was done.
    #[error("the data was opened only to be looked at")]
    ReadOnly,
    /// The engine stopped before the log confirmed: it may be done or not. Ask again by id after a restart.
    #[error("the outcome is unknown: the server stopped before the log confirmed it")]
    Unknown,
}
