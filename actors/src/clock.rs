//! The seam to time. The engine reads no other clock, so a test can move time by hand.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::ids::Timestamp;

/// Where the engine gets the time from.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time in milliseconds since 1970 UTC.
    fn now(&self) -> Timestamp;

    /// Time that only runs forwards and at an even pace, for measuring; its zero is arbitrary.
    fn ticks(&self) -> std::time::Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // Before 1970 the clock is unset; the log keeps time from running backwards.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }

    fn ticks(&self) -> std::time::Duration {
        self.started.elapsed()
    }
}
