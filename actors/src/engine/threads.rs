//! Threads of the actors: one for each, or the caller's thread for all.

use std::ffi::CStr;
use std::io;

use actix::{Actor, Addr, Arbiter, Context};
use rustix::process::setpriority_process;
use rustix::thread::{gettid, set_name};

use crate::engine::log::thread::LogThread;
use crate::storage::sched::{make_patient, make_urgent_if_possible};

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
pub(super) enum ActorThread {
    Own(Arbiter),
    Callers,
}

impl ActorThread {
    /// The system's tools show the thread under this name, of 15 characters at most.
    fn new(threads: Threads, name: &'static CStr) -> ActorThread {
        if threads == Threads::Callers {
            return ActorThread::Callers;
        }
        let arbiter = Arbiter::new();
        arbiter.spawn_fn(move || {
            if let Err(error) = set_name(name) {
                tracing::debug!(%error, "a thread goes without a name");
            }
        });
        ActorThread::Own(arbiter)
    }

    /// One that others wait for: it gets the processor soon after it wakes up.
    fn urgent(threads: Threads, name: &'static CStr) -> ActorThread {
        let thread = ActorThread::new(threads, name);
        if let ActorThread::Own(arbiter) = &thread {
            arbiter.spawn_fn(make_urgent_if_possible);
        }
        thread
    }

    /// One that takes its time when others have something to do: it gets about a tenth of a busy processor.
    ///
    /// Beside producers on two cores, snapshots took a third of the processor's time away from the queue without this.
    fn patient(threads: Threads, name: &'static CStr) -> ActorThread {
        let thread = ActorThread::new(threads, name);
        if let ActorThread::Own(arbiter) = &thread {
            arbiter.spawn_fn(|| {
                let nice = setpriority_process(Some(gettid()), PATIENT_NICENESS).map_err(io::Error::from);
                if let Err(error) = make_patient().and(nice) {
                    tracing::debug!(%error, "snapshots are taken as eagerly as jobs are served");
                }
            });
        }
        thread
    }

    /// Makes an actor there and starts it.
    pub fn start<A: Actor<Context = Context<A>>>(
        &self,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Addr<A> {
        match self {
            ActorThread::Own(arbiter) => A::start_in_arbiter(&arbiter.handle(), |_| make()),
            ActorThread::Callers => make().start(),
        }
    }
}

/// The threads of an engine's actors.
pub(super) struct ActorThreads {
    /// The log's, too: what it does at once needs no change of threads.
    pub manager: ActorThread,
    pub snapshot: ActorThread,
    pub workers: ActorThread,
}

impl ActorThreads {
    pub fn new(threads: Threads) -> ActorThreads {
        ActorThreads {
            manager: ActorThread::urgent(threads, c"beaver-manager"),
            snapshot: ActorThread::patient(threads, c"beaver-snapshot"),
            workers: ActorThread::new(threads, c"beaver-workers"),
        }
    }

    /// For what keeps the log's disk busy for long; none where nothing may happen by itself.
    pub fn log_thread(threads: Threads) -> Option<LogThread> {
        match threads {
            Threads::Own => Some(LogThread::start().expect("the system has a thread left")),
            Threads::Callers => None,
        }
    }

    /// Ends the threads that were made, and with them the actors that still run there.
    pub fn close(&self) {
        for thread in [&self.manager, &self.snapshot, &self.workers] {
            if let ActorThread::Own(arbiter) = thread {
                arbiter.stop();
            }
        }
    }
}
