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
//! | [`CloseIntake`] | supervisor | manager | accept nothing more |
//! | [`TakeSnapshot`] | supervisor | snapshot | take one now |
//! | [`Seal`], [`Prune`] | snapshot | wal | end this segment; delete those before |
//! | [`DamageMet`] | readers of payloads, supervisor | supervisor, snapshot | what is on disk is damaged |
//! | [`RescueStep`] | snapshot | manager | stand still; show what you have; move on |
//! | [`SetAside`] | snapshot | wal | move damaged segments to quarantine |
//! | [`Damaged`] | snapshot | supervisor | whether something is damaged |
//! | [`SnapshotTaken`] | snapshot | manager | there is a new snapshot |
//! | [`CloseLog`] | supervisor | wal | make all durable and end |
//! | [`ChildExited`] | any child's guard | supervisor | it is gone, and why |
//! | [`Ping`] | supervisor | wal, manager, a worker | do you still turn? |
//! | [`End`] | supervisor | any child | stop |
//! | [`StopEngine`], [`AbortEngine`] | engine handle | supervisor | drain and stop; stop at once |
//!
//! What must happen once accepted travels with its own reply channel: actix skips a message whose sender has
//! stopped waiting.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix::Message;
use tokio::sync::oneshot;

use crate::api::handler::StopReason;
use crate::api::outcome::{EngineError, FailCause};
use crate::api::requests::{AttemptEnd, Claim, Delivery, QueuePage, QueueSet, SetAction};
use crate::api::status::{EngineStatus, QueueStatus};
use crate::engine::admission::RequestPermits;
use crate::ids::{ChildId, JobId, QueueName, RemoteName, Seq, Token, WorkerId};
use crate::jobs::command::Enqueued;
use crate::jobs::table::Assignment;
use crate::jobs::table::copy::{JobCopy, Outline};
use crate::jobs::table::list::Slot;
use crate::jobs::{Filter, JobSpec, JobView, Status};
use crate::snapshot::rescue::LostPayload;
use crate::snapshot::store::SnapshotInfo;
use crate::wal::writer::Room;
use crate::wal::{Group, WalError};

/// Where an answer goes, with the permits of the request that it gives back. Two are equal if they answer the same
/// request.
#[derive(Debug)]
pub struct Reply<T> {
    pub(crate) to: oneshot::Sender<Result<T, EngineError>>,
    pub(crate) permits: RequestPermits,
}

impl<T> PartialEq for Reply<T> {
    fn eq(&self, other: &Reply<T>) -> bool {
        self.permits.id() == other.permits.id()
    }
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

    /// An answer to a request of this number, and where it arrives.
    #[cfg(test)]
    pub(crate) fn with_receiver(request: u64) -> (Reply<T>, oneshot::Receiver<Result<T, EngineError>>) {
        let (to, answer) = oneshot::channel();
        (Reply { to, permits: RequestPermits::numbered(request) }, answer)
    }

    /// An answer to a request of this number, that nobody waits for.
    #[cfg(test)]
    pub(crate) fn numbered(request: u64) -> Reply<T> {
        Reply::with_receiver(request).0
    }
}

/// Something that changes jobs.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Submit {
    /// Add jobs, all or none.
    Enqueue {
        /// As their producer describes them.
        jobs: Vec<JobSpec>,
        /// One answer a job.
        reply: Reply<Vec<Enqueued>>,
    },
    /// Withdraw a job.
    Cancel {
        /// Unfinished; else the answer is a rejection.
        job: JobId,
        /// When it is durable.
        reply: Reply<()>,
    },
    /// A remote worker's attempt has ended.
    Report {
        /// In flight under the claim; else the answer is a rejection.
        job: JobId,
        /// The caller's right to report: the worker.
        claim: Claim,
        /// How the attempt ended.
        end: AttemptEnd,
        /// When it is durable.
        reply: Reply<()>,
    },
    /// Do the same to a set of jobs.
    Act {
        /// What is done with them.
        action: SetAction,
        /// The status that they are in.
        status: Status,
        /// Which jobs in that status.
        filter: Filter,
        /// How many, when it is durable.
        reply: Reply<u64>,
    },
    /// Pause queues, or resume them.
    Pause {
        /// Names of no queue are passed over.
        queues: QueueSet,
        /// `false` resumes them.
        paused: bool,
        /// Which of them there are, when it is durable.
        reply: Reply<Vec<QueueName>>,
    },
    /// Discard the pending jobs of queues, and forget the queues.
    RemoveQueues {
        /// Names of no queue are passed over.
        queues: QueueSet,
        /// How many jobs, when it is durable.
        reply: Reply<u64>,
    },
    /// The clock is right.
    TrustClock {
        /// How many doubts ended by it, one or none, when it is durable.
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
    /// The name that the lease is given to.
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
    /// Pending again afterwards, unless it is not in flight under the token any more.
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
        /// Not found is a rejection.
        job: JobId,
        /// The job with its payload, as of everything that is durable.
        reply: Reply<JobView>,
    },
    /// About the jobs that pass a filter.
    List {
        /// The status that they are in.
        status: Status,
        /// Which jobs in that status.
        filter: Filter,
        /// At most this many.
        limit: usize,
        /// The jobs with their payloads, as of everything that is durable.
        reply: Reply<Vec<JobView>>,
    },
    /// About queues.
    Queues {
        /// Which.
        page: QueuePage,
        /// As of everything that is durable.
        reply: Reply<Vec<QueueStatus>>,
    },
    /// About the server as a whole.
    Status {
        /// At most this many queues are shown.
        queues_max: usize,
        /// As of everything that is durable; while the log waits for space, as of now.
        reply: Reply<EngineStatus>,
    },
}

/// Write these events.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Append {
    /// They follow those of the group before without a gap.
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
    /// What went wrong, for people.
    pub message: String,
    /// For the exit code.
    pub cause: FailCause,
}

/// Run this job.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Run(pub Assignment);

/// End the attempt under this lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Halt {
    /// The lease of the attempt; under any other, nothing happens.
    pub token: Token,
    /// What the handler is told.
    pub reason: StopReason,
}

/// An attempt has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Finished {
    /// The worker, which is idle again.
    pub worker: WorkerId,
    /// The job that it ran.
    pub job: JobId,
    /// The lease it was run under.
    pub token: Token,
    /// Success, failure, or why it was stopped.
    pub end: AttemptEnd,
}

/// There is a worker, new or restarted.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WorkerUp {
    /// Its place in the pool.
    pub worker: WorkerId,
    /// Where jobs are sent to, one at a time.
    pub run: actix::Recipient<Run>,
    /// Where orders to end an attempt are sent to.
    pub halt: actix::Recipient<Halt>,
}

/// A worker has died.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WorkerDown {
    /// Its place in the pool.
    pub worker: WorkerId,
    /// For the history of the job that it ran: "panicked" or "ended by itself".
    pub cause: String,
}

/// Start nothing more; say when nothing runs and what ran is confirmed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Whether new jobs are accepted all the same, until [`CloseIntake`]: they run after the next start.
    pub accepts_jobs: bool,
    /// Told when no worker is busy and how the last attempts ended is confirmed, or cannot be for want of space.
    pub done: oneshot::Sender<()>,
}

/// Accept nothing more; say when all that was accepted is confirmed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CloseIntake {
    /// Told when everybody has heard, or nothing can be confirmed for want of space.
    pub done: oneshot::Sender<()>,
}

/// End all attempts that still run.
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
    /// Last event that the log need not keep.
    pub through: Seq,
}

/// What is on disk turned out not to be what was written.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct DamageMet(pub String);

/// What is damaged and not yet mended; nothing any more, if it is none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Damaged(pub Option<String>);

/// The state is written out anew from memory.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum RescueStep {
    /// Refuse new jobs, and let nothing change the state.
    StandStill {
        /// Told when all that has happened is confirmed.
        still: oneshot::Sender<Outline>,
    },
    /// Say which jobs there are, for a few milliseconds.
    ShowNumbers {
        /// From this slot on.
        from: usize,
        /// Told the numbers and slots, and where it goes on.
        shown: oneshot::Sender<(Vec<(Seq, Slot)>, usize)>,
    },
    /// Show jobs, for a few milliseconds.
    ShowJobs {
        /// Where they are.
        slots: Vec<Slot>,
        /// Told as many of the first of them as there was time for.
        shown: oneshot::Sender<Vec<JobCopy>>,
    },
    /// Things may change again.
    MoveOn {
        /// If all is on disk again: the jobs that wait and whose payload is lost. Else new jobs stay refused.
        mended: Option<Vec<LostPayload>>,
    },
}

/// Move sealed segments that are damaged to quarantine, with those before them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SetAside {
    /// The directory that they go to.
    pub quarantine: PathBuf,
    /// Told where they are.
    pub done: oneshot::Sender<Result<Vec<PathBuf>, WalError>>,
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
    /// Whose guard it was.
    pub child: ChildId,
    /// Counts its starts, from 1.
    pub generation: u64,
    /// Else it ended by itself, or was told to.
    pub panicked: bool,
}

/// Stop at once; what waits is not done.
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

/// Make a child stand still for a time.
#[cfg(feature = "testing")]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FreezeChild(pub ChildId, pub Freeze);

/// Stand still for a time, to test how the supervisor reacts.
#[cfg(feature = "testing")]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Freeze {
    /// How long its thread is blocked.
    pub time: Duration,
    /// Told when it begins.
    pub begun: oneshot::Sender<()>,
}

#[cfg(feature = "testing")]
impl Freeze {
    /// Blocks the calling thread for that time.
    pub(crate) fn stand_still(self) {
        // The caller need not wait for the end of it.
        let _ = self.begun.send(());
        std::thread::sleep(self.time);
    }
}

/// Panic, to test what the supervisor makes of it.
#[cfg(feature = "testing")]
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Crash(pub ChildId);
