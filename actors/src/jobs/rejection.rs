//! How the job table says no.

use crate::ids::{JobId, RemoteName, Token};
use crate::jobs::model::job::Status;

/// The table says no. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No job has this id.
    #[error("no job {job}")]
    NotFound {
        /// The id that was asked for.
        job: JobId,
    },
    /// The lease is not (or no longer) the one that the job is held under.
    #[error("stale token {token} for job {job}: its lease ended or was given to another worker")]
    StaleToken {
        /// The job that the report is about.
        job: JobId,
        /// The token that was presented.
        token: Token,
    },
    /// It is not in flight at the remote worker that reports on it.
    #[error("job {job} is not held by {worker}: its lease ended or was given to another worker")]
    NotHeld {
        /// The job that the report is about.
        job: JobId,
        /// The worker that reports.
        worker: RemoteName,
    },
    /// It has already ended.
    #[error("job {job} is already {status}")]
    Finished {
        /// The job that was to be changed.
        job: JobId,
        /// How it ended: `completed`, `dead` or `cancelled`.
        status: &'static str,
    },
    /// A job of this id was cancelled or discarded while it ran, and that run has not ended yet.
    #[error("the run of job {job} that was cancelled is still ending: try again when it has ended")]
    Ending {
        /// The id that is not free yet.
        job: JobId,
    },
    /// It is in a state in which that cannot be done.
    #[error("job {job} is {status}: it cannot {action}")]
    WrongState {
        /// The job that was to be changed.
        job: JobId,
        /// The status that it is in.
        status: &'static str,
        /// What was asked for.
        action: &'static str,
    },
    /// There are as many queues as the policy allows, and each has a job or is paused.
    #[error(
        "at most {queues_max} queues are allowed at once on this server (queues_max): use one of them, or remove some"
    )]
    TooManyQueues {
        /// The policy's limit, `queues_max`.
        queues_max: usize,
    },
    /// Jobs have as many kinds as the policy allows.
    #[error(
        "at most {kinds_max} kinds of jobs that this server does not run itself are allowed at once (kinds_max): use one that a job has, or try again when the jobs of some have gone"
    )]
    TooManyKinds {
        /// The policy's limit, `kinds_max`.
        kinds_max: usize,
    },
    /// The payload is larger than the policy allows.
    #[error("payload has {bytes} bytes, and at most {bytes_max} are allowed (payload_bytes_max)")]
    PayloadTooLarge {
        /// Length of the payload as compact JSON.
        bytes: usize,
        /// The policy's limit, `payload_bytes_max`.
        bytes_max: usize,
    },
    /// All jobs of a request together are larger than the server takes at once.
    #[error(
        "the request holds {bytes} bytes of jobs, and at most {bytes_max} are allowed (request_bytes_max): send fewer at once"
    )]
    RequestTooLarge {
        /// What was given: see [`JobSpec::weight`](crate::jobs::JobSpec::weight).
        bytes: usize,
        /// The server's limit, `request_bytes_max`, or 512 MiB if that is less.
        bytes_max: usize,
    },
    /// There are as many unfinished jobs as the policy allows.
    #[error(
        "at most {jobs_max} unfinished jobs are allowed on this server (jobs_max): try again when some have ended"
    )]
    TooManyJobs {
        /// The policy's limit, `jobs_max`.
        jobs_max: u64,
    },
    /// The log cannot grow. What was accepted still runs; new jobs must wait.
    #[error("the disk of the log is full: free some space and try again")]
    DiskFull,
    /// No file of the log can be opened now.
    #[error(
        "the server has no file descriptors or memory left to open a file of its log: it tries again by itself, so try \
         again in a moment"
    )]
    Shortage,
    /// Files on disk turned out to be damaged. What was accepted is in memory, and is being written out anew.
    #[error(
        "data on the server's disk is damaged: new jobs are refused until the whole state has been written out anew"
    )]
    Damaged,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl Rejection {
    /// Whether it says that the job has succeeded already.
    #[must_use]
    pub fn is_of_completed(&self) -> bool {
        matches!(self, Rejection::Finished { status, .. } if *status == Status::Completed.as_str())
    }

    /// Stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Rejection::NotFound { .. } => "not_found",
            Rejection::StaleToken { .. } => "stale_token",
            Rejection::NotHeld { .. } => "not_held",
            Rejection::Finished { .. } => "finished",
            Rejection::Ending { .. } => "ending",
            Rejection::WrongState { .. } => "wrong_state",
            Rejection::TooManyQueues { .. } => "too_many_queues",
            Rejection::TooManyKinds { .. } => "too_many_kinds",
            Rejection::PayloadTooLarge { .. } => "payload_too_large",
            Rejection::RequestTooLarge { .. } => "request_too_large",
            Rejection::TooManyJobs { .. } => "too_many_jobs",
            Rejection::DiskFull => "disk_full",
            Rejection::Shortage => "shortage",
            Rejection::Damaged => "damaged",
            Rejection::Stopping => "stopping",
        }
    }
}
