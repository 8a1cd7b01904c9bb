//! The actors, the messages between them, and the handle by which users hold all of it. The only room that knows actix.
//!
//! [`handle`]: the engine as its users hold it; [`answer`]: what it gives them; [`admission`]: who is told that it is too
//! much; `read_only`: data that is only looked at; [`messages`]: who tells whom what; [`liveness`]: how an actor's end is
//! noticed; [`threads`]: where actors live; [`supervisor`]: the tree of actors; [`manager`]: the owner of the jobs;
//! `manager_thread`: who else may run beside it; [`log`]: the owner of the log; [`snapshot`] and [`snapshot_settings`]: when
//! snapshots are taken, and how; [`rescue`]: the state is written out anew, as what is on disk is damaged;
//! [`worker`]: runs jobs.

pub(crate) mod admission;
pub(crate) mod answer;
pub(crate) mod handle;
pub(crate) mod liveness;
pub(crate) mod log;
pub(crate) mod manager;
pub(crate) mod manager_thread;
pub(crate) mod messages;
pub(crate) mod read_only;
pub(crate) mod rescue;
pub(crate) mod snapshot;
pub(crate) mod snapshot_settings;
pub(crate) mod supervisor;
pub(crate) mod threads;
pub(crate) mod worker;

pub use self::answer::Answer;
pub use self::handle::{Engine, Environment};
pub use self::manager_thread::{ManagerThread, Tenant};
pub use self::threads::Threads;
pub use crate::api::outcome::{Ending, EngineError, FailCause, Phase, Progress};
pub use crate::api::requests::{AttemptEnd, Claim, Delivery, QueuePage, QueueSet, QueueTest, SetAction};
pub use crate::api::status::{
    ClockStatus, EngineStatus, LeftOut, LogStatus, QUEUES_SHOWN, QueueStatus, RecoveryStatus, SnapshotStatus,
    WaitingKind, WorkersStatus,
};
