//! How it is noticed that an actor has ended: a guard inside it reports when it is dropped, for any cause. And how it is
//! noticed that an actor hangs: it does not answer.
//!
//! `actix` tells nobody when an actor panics. Dropping happens in every case, and while unwinding
//! [`std::thread::panicking`] tells a panic from an orderly end.

use actix::Recipient;

use crate::engine::messages::ChildExited;
use crate::ids::ChildId;

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

/// Lets an actor answer its supervisor's pings; and, under test, be frozen and crashed by it.
macro_rules! gives_signs_of_life {
    ($actor:ty) => {
        impl actix::Handler<$crate::engine::messages::Ping> for $actor {
            type Result = ();

            fn handle(&mut self, _: $crate::engine::messages::Ping, _: &mut actix::Context<$actor>) {}
        }

        #[cfg(feature = "testing")]
        impl actix::Handler<$crate::engine::messages::Freeze> for $actor {
            type Result = ();

            fn handle(&mut self, freeze: $crate::engine::messages::Freeze, _: &mut actix::Context<$actor>) {
                freeze.stand_still();
            }
        }

        #[cfg(feature = "testing")]
        impl actix::Handler<$crate::engine::messages::Crash> for $actor {
            type Result = ();

            fn handle(&mut self, crash: $crate::engine::messages::Crash, _: &mut actix::Context<$actor>) {
                panic!("a test asked {} to crash", crash.0);
            }
        }
    };
}
pub(crate) use gives_signs_of_life;
