//! The interface to time. The engine reads no other clock, so a test can move time by hand.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ids::Timestamp;

/// Where the engine gets the time from.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time in milliseconds since 1970 UTC.
    fn now(&self) -> Timestamp;

    /// Time that only runs forwards and at an even pace, for measuring; its zero is arbitrary.
    fn ticks(&self) -> Duration;
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

    fn ticks(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The wall clock may differ by this much from the time that has passed before it counts as set.
const DRIFT: Duration = Duration::from_secs(1);
/// A clock that was set forward is believed when it still says so after this long.
const BELIEVED_AFTER: Duration = Duration::from_secs(10);

/// Time as the queue lives it: it never runs backwards, never stands still, and follows the wall clock otherwise.
///
/// A clock that is set back is waited for while time goes on at its own pace, so no delay takes longer than it
/// should. One that is set forward is followed once that has lasted for ten seconds; leases must
/// not expire early by that, so [`SteadyTime::now`] tells by how much time jumped.
pub struct SteadyTime {
    clock: Arc<dyn Clock>,
    now: Timestamp,
    ticks: Duration,
    /// Since when the wall clock has been ahead.
    ahead_since: Option<Duration>,
}

impl SteadyTime {
    /// Begins at the clock's time, but not before `at_least`.
    #[must_use]
    pub fn begin(clock: Arc<dyn Clock>, at_least: Timestamp) -> SteadyTime {
        let (now, ticks) = (clock.now().max(at_least), clock.ticks());
        SteadyTime { clock, now, ticks, ahead_since: None }
    }

    /// How far the clock's ticks had come when it was asked last.
    #[must_use]
    pub fn ticks(&self) -> Duration {
        self.ticks
    }

    /// The time now, and by how many milliseconds it just jumped ahead of the time that has passed.
    pub fn now(&mut self) -> (Timestamp, u64) {
        let (wall, ticks) = (self.clock.now(), self.clock.ticks());
        let passed = ticks.saturating_sub(self.ticks);
        let expected = self.now.plus_ms(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        // Parts of a millisecond are kept for the next time.
        self.ticks += Duration::from_millis(expected.since_ms(self.now));
        let ahead = Duration::from_millis(wall.since_ms(expected));
        if ahead <= DRIFT {
            self.ahead_since = None;
            self.now = expected.max(wall);
            return (self.now, 0);
        }
        let since = *self.ahead_since.get_or_insert(ticks);
        if ticks.saturating_sub(since) < BELIEVED_AFTER {
            self.now = expected;
            return (self.now, 0);
        }
        self.ahead_since = None;
        self.now = wall;
        tracing::warn!(seconds = ahead.as_secs_f64(), "the clock was set forward");
        (self.now, wall.since_ms(expected))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Set(Mutex<(u64, u64)>);

    impl Set {
        fn pass(&self, ms: u64) {
            let mut time = self.0.lock().unwrap();
            *time = (time.0 + ms, time.1 + ms);
        }

        fn set(&self, wall: u64) {
            self.0.lock().unwrap().0 = wall;
        }
    }

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.lock().unwrap().0)
        }

        fn ticks(&self) -> Duration {
            Duration::from_millis(self.0.lock().unwrap().1)
        }
    }

    fn at(wall: u64) -> (Arc<Set>, SteadyTime) {
        let clock = Arc::new(Set::default());
        clock.set(wall);
        (clock.clone(), SteadyTime::begin(clock, Timestamp(0)))
    }

    #[test]
    fn a_clock_that_is_set_back_neither_turns_time_back_nor_stops_it() {
        for back in [0, 1_000, 3_600_000] {
            let (clock, mut time) = at(10_000_000);
            clock.set(back);
            assert_eq!(time.now(), (Timestamp(10_000_000), 0));
            clock.pass(5_000);
            assert_eq!(time.now(), (Timestamp(10_005_000), 0));
        }
    }

    #[test]
    fn a_clock_that_is_set_forward_is_followed_when_it_stays_there_and_the_jump_is_told_once() {
        let (clock, mut time) = at(10_000_000);
        clock.set(13_600_000);
        clock.pass(1_000);
        assert_eq!(time.now(), (Timestamp(10_001_000), 0), "perhaps a mistake that is put right at once");
        clock.pass(9_000);
        assert_eq!(time.now(), (Timestamp(10_010_000), 0));
        clock.pass(1_000);
        assert_eq!(time.now(), (Timestamp(13_611_000), 3_600_000));
        clock.pass(1_000);
        assert_eq!(time.now(), (Timestamp(13_612_000), 0));
    }

    #[test]
    fn a_clock_that_is_put_right_within_seconds_was_never_followed() {
        let (clock, mut time) = at(10_000_000);
        clock.set(4_102_444_800_000);
        clock.pass(5_000);
        assert_eq!(time.now(), (Timestamp(10_005_000), 0));
        clock.set(10_006_000);
        assert_eq!(time.now(), (Timestamp(10_006_000), 0), "small corrections are followed at once");
    }

    #[test]
    fn time_begins_where_the_log_ended_if_the_clock_is_behind_it() {
        let clock = Arc::new(Set::default());
        let mut time = SteadyTime::begin(clock.clone(), Timestamp(5_000));
        clock.pass(10);
        assert_eq!(time.now(), (Timestamp(5_010), 0));
    }
}
