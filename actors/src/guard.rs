//! How an actor's end is noticed: a guard inside it that reports when it is dropped, whatever the cause.
//!
//! `actix` tells nobody when an actor panics. Dropping happens in every case, and while unwinding
//! [`std::thread::panicking`] tells a panic from an orderly end.

use actix::Recipient;

use crate::ids::ChildId;
use crate::messages::ChildExited;

/// Lives inside an actor; reports its end to the supervisor.
pub struct ExitGuard {
    child: ChildId,
    generation: u64,
    report: Recipient<ChildExited>,
}

impl ExitGuard {
    /// For life number `generation` of `child`.
    #[must_use]
    pub fn new(child: ChildId, generation: u64, report: Recipient<ChildExited>) -> ExitGuard {
        ExitGuard { child, generation, report }
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let exited = ChildExited {
            child: self.child,
            generation: self.generation,
            panicked: std::thread::panicking(),
        };
        // A closed mailbox means that the supervisor itself has gone: then the whole engine ends.
        self.report.do_send(exited);
    }
}
