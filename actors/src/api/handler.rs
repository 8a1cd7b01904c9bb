//! What runs a job: a [`JobHandler`] for each kind.
//!
//! # Example
//! ```
//! use beaver_actors::api::handler::{HandlerFuture, JobHandler, JobRun};
//!
//! /// Says hello to the name in the payload.
//! struct Greet;
//!
//! impl JobHandler for Greet {
//!     fn run(&self, job: JobRun) -> HandlerFuture {
//!         Box::pin(async move {
//!             let name: String = job.payload.read()?;
//!             println!("hello {name}");
//!             Ok(None)
//!         })
//!     }
//! }
//! ```

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::ids::{Attempt, JobId, KindName, QueueName, Token};
use crate::jobs::Payload;

/// What [`JobHandler::run`] returns: the job's result (JSON, kept with the job), or why it failed.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<Option<Payload>, JobError>> + Send>>;

/// Runs jobs of one kind.
///
/// The future runs on the tokio runtime in which the engine was started, never on the Arbiter of the job table,
/// the log or the workers. It must not block its thread for long; wrap blocking work in [`tokio::task::spawn_blocking`]. A panic inside is a failed attempt.
pub trait JobHandler: Send + Sync + 'static {
    /// Starts one attempt. The same job may be run again after a crash: make the work idempotent, or use
    /// [`JobRun::token`] to fence it.
    fn run(&self, job: JobRun) -> HandlerFuture;

    /// How long the handler may take to end by itself once [`StopSignal`] fires; after that, its future is dropped.
    ///
    /// `None`, the default, means that it does not listen: its future is dropped at once.
    fn grace(&self) -> Option<Duration> {
        None
    }
}

/// One attempt at a job.
#[derive(Clone, Debug)]
pub struct JobRun {
    /// The name under which the job was accepted.
    pub id: JobId,
    /// The line it waited in.
    pub queue: QueueName,
    /// Its kind, as the handler was registered.
    pub kind: KindName,
    /// What the producer gave.
    pub payload: Payload,
    /// Which run this is, from 1.
    pub attempt: Attempt,
    /// Fencing token: larger than that of every earlier run of any job.
    pub token: Token,
    /// After this long the attempt is stopped and counts as failed.
    pub timeout: Duration,
    /// Fires when the attempt must end.
    pub stop: StopSignal,
}

/// Why an attempt must end before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It ran longer than its timeout.
    Timeout,
    /// The job was cancelled, or its lease was lost.
    Cancelled,
    /// The server is stopping; the job will be run again.
    Shutdown,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopReason::Timeout => "timeout",
            StopReason::Cancelled => "cancelled",
            StopReason::Shutdown => "shutdown",
        })
    }
}

/// Tells a handler that its attempt must end. Cloning it listens twice.
#[derive(Clone, Debug)]
pub struct StopSignal(Arc<StopState>);

/// The other end of a [`StopSignal`]. Dropping it means [`StopReason::Cancelled`].
#[derive(Debug)]
pub struct StopSender(Arc<StopState>);

/// Every attempt has one and few attempts are ever stopped, so it is cheaper to make and drop than a watch channel
/// (`docs/decisions/0010-an-attempt-reports-by-itself.md`).
#[derive(Debug, Default)]
struct StopState {
    reason: OnceLock<StopReason>,
    told: Notify,
}

impl StopSignal {
    /// A signal and the end that fires it.
    #[must_use]
    pub fn new() -> (StopSender, StopSignal) {
        let stop = Arc::new(StopState::default());
        (StopSender(stop.clone()), StopSignal(stop))
    }

    /// Waits until the attempt must end; returns at once if it must already. Safe to drop and call again.
    pub async fn stopped(&mut self) -> StopReason {
        loop {
            let mut told = pin!(self.0.told.notified());
            // From here on nothing is missed that happens after the look at the reason.
            told.as_mut().enable();
            if let Some(reason) = self.0.reason.get() {
                return *reason;
            }
            told.await;
        }
    }
}

impl StopSender {
    /// The reason, if it has fired.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.0.reason.get().copied()
    }

    /// Fires the signal; the first reason counts.
    pub fn stop(&self, reason: StopReason) {
        if self.0.reason.set(reason).is_ok() {
            self.0.told.notify_waiters();
        }
    }
}

impl Drop for StopSender {
    fn drop(&mut self) {
        self.stop(StopReason::Cancelled);
    }
}

/// An attempt failed: why, in words, and what it leaves behind all the same.
#[derive(Debug)]
pub struct JobError {
    /// For the job's history.
    pub message: String,
    /// Kept as the job's result, such as the output of a program that failed.
    pub result: Option<Payload>,
    /// The job never began, for lack of something that is not its fault (descriptors, processes, memory): it is tried
    /// again after a pause, and this was no attempt.
    pub is_shortage: bool,
}

impl JobError {
    /// A failure in words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> JobError {
        JobError { message: message.into(), result: None, is_shortage: false }
    }

    /// What was lacking, so that the job never began.
    #[must_use]
    pub fn shortage(message: impl Into<String>) -> JobError {
        JobError { is_shortage: true, ..JobError::new(message) }
    }
}

impl<E: std::error::Error> From<E> for JobError {
    fn from(error: E) -> JobError {
        JobError::new(error.to_string())
    }
}

/// The handlers of a process, by kind.
#[derive(Clone, Default)]
pub struct Handlers(Arc<HashMap<KindName, Arc<dyn JobHandler>>>);

impl Handlers {
    /// No handlers: every job waits.
    #[must_use]
    pub fn new() -> Handlers {
        Handlers::default()
    }

    /// Registers the handler of a kind; a second one for the same kind replaces the first.
    #[must_use]
    pub fn with(mut self, kind: KindName, handler: impl JobHandler) -> Handlers {
        Arc::make_mut(&mut self.0).insert(kind, Arc::new(handler));
        self
    }

    /// The handler of a kind.
    #[must_use]
    pub fn get(&self, kind: &KindName) -> Option<&Arc<dyn JobHandler>> {
        self.0.get(kind)
    }

    /// The kinds that have a handler, sorted.
    #[must_use]
    pub fn kinds(&self) -> Vec<KindName> {
        let mut kinds: Vec<_> = self.0.keys().cloned().collect();
        kinds.sort();
        kinds
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds()).finish()
    }
}
