//! Every message between actors.
//!
//! | message | from | to | says |
//! |---|---|---|---|
//! | [`Submit`] | engine handle | manager | decide these commands |
//! | [`Fetch`] | engine handle | manager | a remote worker wants a job |
//! | [`Host`] | a tenant of its thread | manager | let this run there |
//! | [`GiveBack`] | a delivery that nobody took | manager | it has not been run |
//! | [`Ask`] | engine handle | manager | answer when what you say is durable |
//! | [`Append`] | manager | wal | write these events |
//! | [`Subscribe`] | manager | wal | tell me what is durable |
//! | [`Confirmed`] | wal | manager | events up to here may be told |
//! | [`LogFailed`] | wal | supervisor | the log takes no more writes |
//! | [`Run`], [`Halt`] | manager | worker | run this job; end it |
//! | [`Finished`] | worker | manager | how the attempt ended |
//! | [`WorkerUp`], [`WorkerDown`] | supervisor | manager | there is a worker; it has died |
//! | [`Drain`], [`HaltAll`] | supervisor | manager | start nothing more; end what runs |
//! | [`TakeSnapshot`] | supervisor | snapshot | take one now |
//! | [`Seal`], [`Prune`] | snapshot | wal | end this segment; delete those before |
//! | [`SnapshotTaken`] | snapshot | manager | there is a new snapshot |
//! | [`CloseLog`] | supervisor | wal | make all durable and end |
//! | [`ChildExited`] | any child's guard | supervisor | it is gone, and why |
//! | [`Ping`] | supervisor | wal, manager, a worker | do you still turn? |
//! | [`End`] | supervisor | any child | stop |
//! | [`StopEngine`], [`AbortEngine`] | engine handle | supervisor | drain and stop; stop at once |
//!
//! What must happen once accepted travels with its own reply channel: actix skips a message whose sender has
//! stopped waiting.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::api::handler::StopReason;
use crate::api::outcome::{EngineError, FailCause};
use crate::api::requests::{AttemptEnd, Claim, Delivery, QueueSet, SetAction};
use crate::api::status::EngineStatus;
use crate::engine::admission::Ticket;
use crate::ids::{ChildId, JobId, QueueName, RemoteName, Seq, Token, WorkerId};
use crate::jobs::command::Enqueued;
use crate::jobs::table::Assignment;
use crate::jobs::{Failure, Filter, JobSpec, JobView, Payload, Status};
use crate::snapshot::store::SnapshotInfo;
use crate::wal::Group;
use crate::wal::writer::Room;

/// What a request takes up until it is answered.
#[derive(Debug)]
pub(crate) struct Place {
    /// Among the requests.
    pub _request: OwnedSemaphorePermit,
    /// What it holds, in KiB.
    pub _room: OwnedSemaphorePermit,
    /// In line, if its answer waits for nothing but the manager and the log.
    pub _ticket: Option<Ticket>,
}

/// Where an answer goes, and the place in the queue of requests that it frees.
#[derive(Debug)]
pub struct Reply<T> {
    pub(crate) to: oneshot::Sender<Result<T, EngineError>>,
    /// Only held: dropping it frees the place.
    pub(crate) _place: Place,
}

impl<T> Reply<T> {
    /// Answers. The caller may have stopped waiting; then it knows only "unknown".
    pub(crate) fn answer(self, answer: Result<T, EngineError>) {
        let _ = self.to.send(answer);
    }

    /// Whether the caller has stopped waiting.
    pub(crate) fn is_closed(&self) -> bool {
        self.to.is_closed()
    }
}

/// Something that changes jobs.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Submit {
    /// Add jobs, all or none.
    Enqueue {
        /// The jobs.
        jobs: Vec<JobSpec>,
        /// One answer a job.
        reply: Reply<Vec<Enqueued>>,
    },
    /// Withdraw a job.
    Cancel {
        /// The job.
        job: JobId,
        /// When it is durable.
        reply: Reply<()>,
    },
    /// A remote worker's attempt has ended.
    Report {
        /// The job.
        job: JobId,
        /// By what right.
        claim: Claim,
        /// How.
        verdict: AttemptEnd,
        /// When it is durable.
        reply: Reply<()>,
    },
    /// Do the same to a set of jobs.
    Act {
        /// What.
        action: SetAction,
        /// The status that they are in.
        set: Status,
        /// Which of them.
        filter: Filter,
        /// How many, when it is durable.
        reply: Reply<u64>,
    },
    /// Pause queues, or resume them.
    Pause {
        /// Which.
        queues: QueueSet,
        /// Or resume.
        paused: bool,
        /// Which of them there are, when it is durable.
        reply: Reply<Vec<QueueName>>,
    },
    /// Discard the pending jobs of queues, and forget the queues.
    RemoveQueues {
        /// Which.
        queues: QueueSet,
        /// How many jobs, when it is durable.
        reply: Reply<u64>,
    },
    /// Discard everything.
    Flush {
        /// How many jobs, when it is durable.
        reply: Reply<u64>,
    },
}

/// A remote worker wants a job.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Fetch {
    /// From the first of these that has one.
    pub queues: Arc<[QueueName]>,
    /// Who.
    pub worker: RemoteName,
    /// How long it waits for one.
    pub wait: Duration,
    /// The job, when its lease is durable.
    pub reply: Reply<Option<Delivery>>,
}

/// Let a future run on the manager's thread.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Host(pub std::pin::Pin<Box<dyn Future<Output = ()> + Send>>);

/// A job reached no worker.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct GiveBack {
    /// The job.
    pub job: JobId,
    /// The lease that it was given under.
    pub token: Token,
}

/// Something that changes nothing.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Ask {
    /// About one job.
    Job {
        /// The job.
        job: JobId,
        /// As it stands.
        reply: Reply<JobView>,
    },
    /// About some.
    List {
        /// The status that they are in.
        set: Status,
        /// Which of them.
        filter: Filter,
        /// At most so many.
        limit: usize,
        /// As they stand.
        reply: Reply<Vec<JobView>>,
    },
    /// About all.
    Status {
        /// As it stands.
        reply: Reply<EngineStatus>,
    },
}

/// Write these events.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Append {
    /// The events.
    pub group: Group,
    /// Takes the group's buffer back, empty, once it is written.
    pub emptied: mpsc::SyncSender<Vec<u8>>,
}

/// Tell this one what is durable.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Subscribe(pub actix::Recipient<Confirmed>);

/// Events up to `through` may be told: they are as durable as the setting asks for.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Confirmed {
    /// What may be told.
    pub through: Seq,
    /// What is on disk.
    pub durable: Seq,
    /// How much the log can still take.
    pub room: Room,
}

/// The log takes no more writes; what was not confirmed is unknown.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct LogFailed {
    /// In words.
    pub message: String,
    /// For the exit code.
    pub cause: FailCause,
}

/// Run this job.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Run(pub Assignment);

/// End the attempt under this lease.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Halt {
    /// The lease.
    pub token: Token,
    /// Why.
    pub reason: StopReason,
}

/// An attempt has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Finished {
    /// Who ran it.
    pub worker: WorkerId,
    /// The job.
    pub job: JobId,
    /// The lease it was run under.
    pub token: Token,
    /// How it ended.
    pub outcome: Outcome,
}

/// Where an attempt reports that it has ended.
pub type Reported = actix::Recipient<Finished>;

/// How an attempt ended.
#[derive(Debug)]
pub enum Outcome {
    /// It succeeded, and left this behind.
    Succeeded(Option<Payload>),
    /// It failed, and left this behind.
    Failed(Failure, Option<Payload>),
    /// It was ended because the job was cancelled or the lease lost.
    Cancelled,
    /// It was ended because the server stops.
    Interrupted,
}

/// There is a worker, new or restarted.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WorkerUp {
    /// Which.
    pub worker: WorkerId,
    /// Takes jobs.
    pub run: actix::Recipient<Run>,
    /// Ends them.
    pub halt: actix::Recipient<Halt>,
}

/// A worker has died.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WorkerDown {
    /// Which.
    pub worker: WorkerId,
    /// Why, in words.
    pub cause: String,
}

/// Start nothing more, accept nothing more; say when nothing runs and all is confirmed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Told when all is confirmed and no worker is busy.
    pub done: oneshot::Sender<()>,
}

/// End whatever still runs.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct HaltAll;

/// Take a snapshot now, if anything happened since the last.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TakeSnapshot {
    /// Told when it is done, or has failed.
    pub done: oneshot::Sender<()>,
}

/// End the current segment, so that all before may be folded.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Seal {
    /// Told the position up to which; none if that cannot be done now.
    pub done: oneshot::Sender<Option<Seq>>,
}

/// Delete the segments that end at or before a position.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Prune {
    /// The position.
    pub through: Seq,
}

/// There is a new snapshot.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SnapshotTaken(pub SnapshotInfo);

/// Make everything durable, say so in the log, and end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CloseLog {
    /// Told when that is done; dropped if it failed.
    pub done: oneshot::Sender<()>,
}

/// Give a sign of life.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Ping;

/// A child is gone.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ChildExited {
    /// Which.
    pub child: ChildId,
    /// Which life of it.
    pub generation: u64,
    /// Whether it panicked.
    pub panicked: bool,
}

/// Stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct End;

/// Drain and stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopEngine {
    /// How long running jobs may take to end; the option's time if not given.
    pub within: Option<Duration>,
}

/// Stop at once, as a crash would.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct AbortEngine;

/// Panic yourself, supervisor.
#[cfg(feature = "testing")]
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CrashSupervisor;

/// Make a child stand still for so long.
#[cfg(feature = "testing")]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FreezeChild(pub ChildId, pub Freeze);

/// Stand still for so long, to test what the supervisor makes of it.
#[cfg(feature = "testing")]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Freeze {
    /// How long.
    pub time: Duration,
    /// Told when it begins.
    pub begun: oneshot::Sender<()>,
}

#[cfg(feature = "testing")]
impl Freeze {
    /// Does it.
    pub(crate) fn stand_still(self) {
        // Whoever asked need not wait for it.
        let _ = self.begun.send(());
        std::thread::sleep(self.time);
    }
}

/// Panic, to test what the supervisor makes of it.
#[cfg(feature = "testing")]
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Crash(pub ChildId);
