//! The threads that actors live on.

use actix::Arbiter;

/// One for each actor that blocks or must not wait for others, one for all workers.
pub(super) struct Arbiters {
    pub wal: Arbiter,
    pub manager: Arbiter,
    pub snapshot: Arbiter,
    pub workers: Arbiter,
}

impl Arbiters {
    pub fn start() -> Arbiters {
        Arbiters {
            wal: Arbiter::new(),
            manager: Arbiter::new(),
            snapshot: Arbiter::new(),
            workers: Arbiter::new(),
        }
    }

    pub fn stop(&self) {
        for arbiter in [&self.wal, &self.manager, &self.snapshot, &self.workers] {
            arbiter.stop();
        }
    }
}
