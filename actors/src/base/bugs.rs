//! Deliberate bugs, to test the tests: a harness that does not notice them proves nothing.
//!
//! One is switched on for the current thread by `testing::plant`, or for a whole process by the environment variable
//! `BEAVER_BUG`, such as `BEAVER_BUG=LogDeletedTooEarly`. Both in builds with the feature `testing` only; in all others
//! [`has`] is the constant "no", and nothing of them is left in the program. Every part of the engine may ask.

/// A way to break the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A sync reports success without having asked the disk.
    #[cfg(feature = "testing")]
    AckBeforeFsync,
    /// A file is published without a sync of its directory.
    #[cfg(feature = "testing")]
    NoDirectorySync,
    /// Everything unreadable in the last segment passes for a torn tail.
    TruncateOnAnyError,
    /// Reports are accepted under any token.
    NoTokenCheck,
    /// A new segment begins with what the one before it held, which looks as if both had the same salt.
    #[cfg(feature = "testing")]
    RecycledWithoutSalt,
    /// A requeue is written as a removal and an addition.
    #[cfg(feature = "testing")]
    RequeueAsTwoRecords,
    /// The log is deleted up to the newest snapshot, not up to the one before it.
    LogDeletedTooEarly,
    /// The leases of remote workers get nothing back for the time in which the server was down.
    NoGraceAtBoot,
    /// A report of success still counts after its job was put back by hand.
    PutBackUnfenced,
    /// Promoted jobs join the line in the order of a hash map.
    #[cfg(feature = "testing")]
    HashMapOrder,
}

#[cfg(feature = "testing")]
pub(crate) use planted::{disorder, has};

#[cfg(feature = "testing")]
mod planted {
    use std::cell::Cell;
    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::sync::OnceLock;

    use super::Bug;

    const ALL: [Bug; 10] = [
        Bug::AckBeforeFsync,
        Bug::NoDirectorySync,
        Bug::TruncateOnAnyError,
        Bug::NoTokenCheck,
        Bug::RecycledWithoutSalt,
        Bug::RequeueAsTwoRecords,
        Bug::LogDeletedTooEarly,
        Bug::NoGraceAtBoot,
        Bug::PutBackUnfenced,
        Bug::HashMapOrder,
    ];

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub(crate) fn has(bug: Bug) -> bool {
        PLANTED.get() == Some(bug) || everywhere() == Some(bug)
    }

    /// The bug that the environment of this process names; read once.
    fn everywhere() -> Option<Bug> {
        static EVERYWHERE: OnceLock<Option<Bug>> = OnceLock::new();
        *EVERYWHERE.get_or_init(|| {
            let name = std::env::var("BEAVER_BUG").ok().filter(|name| !name.is_empty())?;
            let named = ALL.into_iter().find(|bug| format!("{bug:?}") == name);
            Some(named.unwrap_or_else(|| panic!("BEAVER_BUG={name}: known are {ALL:?}")))
        })
    }

    /// How far a job joins the line before its place, among the jobs that are promoted together.
    pub(crate) fn disorder(jobs: usize) -> u64 {
        match has(Bug::HashMapOrder) {
            true => RandomState::new().build_hasher().finish() % jobs as u64,
            false => 0,
        }
    }

    pub(crate) fn set(bug: Option<Bug>) -> Option<Bug> {
        PLANTED.replace(bug)
    }
}

#[cfg(feature = "testing")]
pub(crate) use planted::set;

/// Whether this bug is planted: never.
#[cfg(not(feature = "testing"))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

/// How far a job joins the line before its place: not at all.
#[cfg(not(feature = "testing"))]
pub(crate) const fn disorder(_: usize) -> u64 {
    0
}
