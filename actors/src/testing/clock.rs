//! Time that is moved by hand.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::ids::Timestamp;

/// A clock that stands still until it is told otherwise. Starts at 2026-01-01T00:00:00Z.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: AtomicU64,
    ticks_ms: AtomicU64,
    is_unsynchronised: AtomicBool,
}

impl Default for ManualClock {
    fn default() -> ManualClock {
        ManualClock {
            now_ms: AtomicU64::new(1_767_225_600_000),
            ticks_ms: AtomicU64::new(0),
            is_unsynchronised: AtomicBool::new(false),
        }
    }
}

impl ManualClock {
    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.now_ms.fetch_add(ms, SeqCst);
        self.ticks_ms.fetch_add(ms, SeqCst);
    }

    /// Sets the wall clock, as an operator or a time server might; no time passes by it.
    pub fn set_wall(&self, now: Timestamp) {
        self.now_ms.store(now.0, SeqCst);
    }

    /// Whether the machine says that its clock is right. It does, unless told otherwise.
    pub fn set_synchronised(&self, is_synchronised: bool) {
        self.is_unsynchronised.store(!is_synchronised, SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now_ms.load(SeqCst))
    }

    fn ticks(&self) -> Duration {
        Duration::from_millis(self.ticks_ms.load(SeqCst))
    }

    fn is_synchronised(&self) -> bool {
        !self.is_unsynchronised.load(SeqCst)
    }
}
