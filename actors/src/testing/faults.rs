//! What can be made to go wrong with a call to the simulated disk, and when.

use std::io::{self, ErrorKind};

/// The kinds of calls to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is named as the method of `Storage` or `StoredFile` that it counts")]
pub enum Call {
    CreateDir,
    List,
    Create,
    Open,
    Rename,
    Remove,
    SyncDir,
    Lock,
    Write,
    Read,
    Len,
    SetLen,
    Allocate,
    Sync,
}

impl Call {
    /// In the order of their numbers.
    pub const ALL: [Call; 14] = [
        Call::CreateDir,
        Call::List,
        Call::Create,
        Call::Open,
        Call::Rename,
        Call::Remove,
        Call::SyncDir,
        Call::Lock,
        Call::Write,
        Call::Read,
        Call::Len,
        Call::SetLen,
        Call::Allocate,
        Call::Sync,
    ];

    /// Whether the disk may be another one after it.
    #[must_use]
    pub fn changes(self) -> bool {
        !matches!(self, Call::CreateDir | Call::List | Call::Open | Call::Lock | Call::Read | Call::Len)
    }
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO, and nothing was done. A sync, in addition, marks its pages clean: the running system goes on to see
    /// them, a later sync passes them over, and a power cut takes them, unless they are written again.
    Eio,
    /// ENOSPC, and nothing was done.
    Enospc,
    /// EIO after half of the bytes were written; of other calls, as [`Fault::Eio`].
    Short,
    /// EIO, though everything was done.
    FalseFailure,
}

impl Fault {
    /// For tests that try one after the other.
    pub const ALL: [Fault; 4] = [Fault::Eio, Fault::Enospc, Fault::Short, Fault::FalseFailure];

    pub(super) fn error(self) -> io::Error {
        match self {
            Fault::Enospc => ErrorKind::StorageFull.into(),
            _ => io::Error::from_raw_os_error(5),
        }
    }
}

/// Which calls go wrong, and the count of all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultPlan {
    /// Calls of each kind so far.
    counts: [u64; Call::ALL.len()],
    calls: u64,
    /// By the number of the call among all, or among those of its kind.
    faults: Vec<(Option<Call>, u64, Fault)>,
    /// Calls that went wrong as planned.
    failed: u64,
    crash_at: Option<u64>,
    stopped: bool,
}

impl FaultPlan {
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    pub(super) fn calls_of(&self, call: Call) -> u64 {
        self.counts[call as usize]
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// The call with this number, counted from 1 over the disk's whole life, goes wrong.
    pub(super) fn fail(&mut self, of: Option<Call>, number: u64, fault: Fault) {
        self.faults.push((of, number, fault));
    }

    /// The machine stops at this call: it and all later ones do nothing.
    pub(super) fn crash_at(&mut self, number: u64) {
        self.crash_at = Some(number);
    }

    /// A new start: the counts go on, what was planned is off.
    pub(super) fn restart(&mut self) {
        self.faults.clear();
        (self.crash_at, self.stopped) = (None, false);
    }

    /// Counts a call; says how it goes wrong.
    pub(super) fn enter(&mut self, call: Call) -> io::Result<Option<Fault>> {
        if self.stopped || self.crash_at.is_some_and(|at| self.calls + 1 >= at) {
            self.stopped = true;
            return Err(io::Error::other("the machine has stopped"));
        }
        self.calls += 1;
        self.counts[call as usize] += 1;
        let (calls, of_kind) = (self.calls, self.counts[call as usize]);
        let is_now = |(of, number, _): &(Option<Call>, u64, Fault)| match of {
            None => *number == calls,
            Some(of) => *of == call && *number == of_kind,
        };
        let at = self.faults.iter().position(is_now);
        self.failed += u64::from(at.is_some());
        Ok(at.map(|at| self.faults.swap_remove(at).2))
    }
}
