//! The newtypes that everything else counts and names with.
//!
//! Two bare `u64` arguments are a trap; these cannot be swapped by accident. Nothing here does I/O, and
//! the only parsing is that of names that people give (job ids, queues, kinds).
//!
//! `job_id`: names of jobs; `names`: those of queues, kinds and remote workers; `token`: what names a lease for ever;
//! `timestamp`: moments; `invalid`: what is wrong with one of them. Here: what is only counted.

/// Shows each of these as what is in it.
macro_rules! shown_as_held {
    ($($name:ident),+) => {
        $(impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        })+
    };
}

mod invalid;
mod job_id;
mod names;
mod timestamp;
mod token;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

pub use crate::ids::invalid::InvalidName;
pub(crate) use crate::ids::job_id::made_at;
pub use crate::ids::job_id::{JOB_ID_BYTES_MAX, JobId};
pub use crate::ids::names::{KindName, NAME_BYTES_MAX, QueueName, RemoteName};
pub use crate::ids::timestamp::Timestamp;
pub use crate::ids::token::{Epoch, Term, Timeline, Token, TokenRef};

/// Position of an event in the log: 1 for the first one, then without gaps. 0 means "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Seq = Seq(0);

    /// No log gets here: a position beyond it in a file is damage, and is refused before anything counts on from it.
    pub const MAX: Seq = Seq(u64::MAX >> 1);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }

    /// The position `count` events further on.
    #[must_use]
    pub fn plus(self, count: u64) -> Seq {
        Seq(self.0 + count)
    }
}

/// Which run of a job this is: 0 before the first, 1 during the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

shown_as_held!(Seq, Attempt);

/// A local worker: its place in the pool. It keeps the number when it is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker[{}]", self.0)
    }
}

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Holder {
    /// One of this process's pool; its leases end with the process.
    Local(WorkerId),
    /// Somebody at the other end of a connection; such a lease outlives both the connection and the server.
    Remote(RemoteName),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Local(worker) => worker.fmt(f),
            Holder::Remote(worker) => worker.fmt(f),
        }
    }
}

/// One of the supervisor's children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildId {
    /// WalActor, the log's owner.
    Wal,
    /// JobManagerActor, the job table's owner.
    Manager,
    /// SnapshotActor.
    Snapshot,
    /// A WorkerActor, by its place in the pool.
    Worker(WorkerId),
}

impl fmt::Display for ChildId {
    /// As a path in the tree.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChildId::Wal => f.write_str("supervisor/wal"),
            ChildId::Manager => f.write_str("supervisor/manager"),
            ChildId::Snapshot => f.write_str("supervisor/snapshot"),
            ChildId::Worker(worker) => write!(f, "supervisor/{worker}"),
        }
    }
}

/// 0 to 9; a job of a higher priority is dispatched before all of a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Priority(u8);

impl Priority {
    /// The most urgent.
    pub const MAX: Priority = Priority(9);

    /// Checks that it is 0 to 9.
    ///
    /// # Errors
    /// It is larger than 9.
    pub fn new(level: u8) -> Result<Priority, InvalidName> {
        match level <= Priority::MAX.0 {
            true => Ok(Priority(level)),
            false => Err(InvalidName::new("priority", &level.to_string(), "is not 0 to 9 (9 is first)")),
        }
    }

    /// The number, 0 to 9.
    #[must_use]
    pub fn level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    /// In the middle, so that there is room on both sides.
    fn default() -> Priority {
        Priority(5)
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Priority, D::Error> {
        Priority::new(u8::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_name_is_named_and_shortened_in_its_error() {
        let error = JobId::parse(&"x".repeat(10_000)).unwrap_err().to_string();
        assert!(error.contains("10000 bytes") && error.contains("at most 1024"), "{error}");
        assert!(error.len() < 200, "{error}");
        assert!(JobId::parse("").is_err());
        assert!(JobId::parse("a\nb").is_err());
        assert!(QueueName::parse("mail/out").unwrap_err().to_string().contains("a-z A-Z 0-9 . _ -"));
        assert!(Priority::new(10).is_err());
    }
}
