//! Where actors live: each on a thread of its own, or all on the thread of whoever started the engine.

use actix::{Actor, Addr, Arbiter, Context};
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use crate::urgent::make_urgent;

/// Weight 110 where others have 1,024 (`sched_prio_to_weight` in Linux' kernel/sched/core.c).
const PATIENT_NICENESS: i32 = 10;

/// Whose threads the actors of an engine live on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One for each actor that blocks or must not wait for others, one for all workers. Needs an actix system.
    Own,
    /// The caller's, within its `LocalSet`: for simulations, in which nothing may happen by itself. Disk and
    /// recovery then block that thread.
    Callers,
}

/// The thread that an actor lives on.
pub(super) enum Home {
    Own(Arbiter),
    Callers,
}

impl Home {
    fn new(threads: Threads) -> Home {
        match threads {
            Threads::Own => Home::Own(Arbiter::new()),
            Threads::Callers => Home::Callers,
        }
    }

    /// One that others wait for: it gets the processor soon after it wakes up.
    fn urgent(threads: Threads) -> Home {
        let home = Home::new(threads);
        if let Home::Own(arbiter) = &home {
            arbiter.spawn_fn(|| {
                if let Err(error) = make_urgent() {
                    tracing::debug!(%error, "the log's thread waits for its turn like any other");
                }
            });
        }
        home
    }

    /// One that takes its time when others have something to do: it gets about a tenth of a busy processor.
    ///
    /// Beside producers on two cores, snapshots took a third of the processor's time away from the queue without this.
    fn patient(threads: Threads) -> Home {
        let home = Home::new(threads);
        if let Home::Own(arbiter) = &home {
            arbiter.spawn_fn(|| {
                if let Err(error) = setpriority_process(Some(gettid()), PATIENT_NICENESS) {
                    tracing::debug!(%error, "snapshots are taken as eagerly as jobs are served");
                }
            });
        }
        home
    }

    /// Makes an actor there and starts it.
    pub fn start<A: Actor<Context = Context<A>>>(
        &self,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Addr<A> {
        match self {
            Home::Own(arbiter) => A::start_in_arbiter(&arbiter.handle(), |_| make()),
            Home::Callers => make().start(),
        }
    }
}

/// The homes of an engine's actors.
pub(super) struct Homes {
    pub wal: Home,
    pub manager: Home,
    pub snapshot: Home,
    pub workers: Home,
}

impl Homes {
    pub fn new(threads: Threads) -> Homes {
        let home = || Home::new(threads);
        Homes {
            wal: Home::urgent(threads),
            manager: home(),
            snapshot: Home::patient(threads),
            workers: home(),
        }
    }

    /// Ends the threads that were made; whatever still lives there ends with them.
    pub fn close(&self) {
        for home in [&self.wal, &self.manager, &self.snapshot, &self.workers] {
            if let Home::Own(arbiter) = home {
                arbiter.stop();
            }
        }
    }
}
