//! The interface to time. The engine reads no other clock, so a test can move time by hand.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::kernel_clock;
use crate::ids::Timestamp;

/// Where the engine gets the time from.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time in milliseconds since 1970 UTC.
    fn now(&self) -> Timestamp;

    /// Time that only runs forwards and at an even pace, for measuring; its zero is arbitrary.
    fn ticks(&self) -> Duration;

    /// Whether the machine says that [`Clock::now`] is right: it is kept so by others that know the time.
    fn is_synchronised(&self) -> bool {
        true
    }
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

    fn is_synchronised(&self) -> bool {
        kernel_clock::is_synchronised()
    }
}

/// The wall clock may be ahead of the time that has passed by this much before it counts as set.
const DRIFT: Duration = Duration::from_secs(1);
/// A clock that was set is believed when it still says so after this long.
const BELIEVED_AFTER: Duration = Duration::from_secs(10);
/// While a clock that is behind is waited for, one millisecond in this many is left out.
const LEFT_OUT: u64 = 10;

/// Time as the queue lives it: it never stands still, and follows the wall clock otherwise.
///
/// A clock that is set back is waited for: time goes on at nine tenths of its pace until the clock has caught up, so no delay
/// takes much longer than it should, and what was wrong is not believed for good. A clock that is set forward, or back by
/// more than `followed_back_ms`, is followed once that has lasted for ten seconds; leases must not expire early by that, or
/// late, so [`SteadyTime::now`] tells of it.
pub struct SteadyTime {
    clock: Arc<dyn Clock>,
    now: Timestamp,
    ticks: Duration,
    followed_back_ms: u64,
    /// Since when the wall clock has been ahead.
    ahead_since: Option<Duration>,
    /// Since when it has been behind.
    behind_since: Option<Duration>,
    /// Milliseconds that have passed while it is waited for, since one was left out.
    waited_ms: u64,
}

/// Time did not go on as it should: the clock was set, and is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// What time it should be.
    pub expected: Timestamp,
}

impl SteadyTime {
    /// Begins at the clock's time, but not before `at_least`.
    #[must_use]
    pub fn begin(clock: Arc<dyn Clock>, at_least: Timestamp, followed_back_ms: u64) -> SteadyTime {
        let (now, ticks) = (clock.now().max(at_least), clock.ticks());
        SteadyTime {
            clock,
            now,
            ticks,
            followed_back_ms,
            ahead_since: None,
            behind_since: None,
            waited_ms: 0,
        }
    }

    /// How far the clock's ticks had come when it was asked last.
    #[must_use]
    pub fn ticks(&self) -> Duration {
        self.ticks
    }

    /// Whether the machine says that its clock is synchronised.
    #[must_use]
    pub fn is_synchronised(&self) -> bool {
        self.clock.is_synchronised()
    }

    /// The time now, and whether it just jumped.
    pub fn now(&mut self) -> (Timestamp, Option<Jump>) {
        let (wall, ticks) = (self.clock.now(), self.clock.ticks());
        let passed = ticks.saturating_sub(self.ticks);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let expected = self.now.plus_ms(passed_ms);
        // Parts of a millisecond are kept for the next time.
        self.ticks += Duration::from_millis(passed_ms);
        let ahead = Duration::from_millis(wall.since_ms(expected));
        if ahead > DRIFT {
            self.behind_since = None;
            if !has_lasted(&mut self.ahead_since, ticks) {
                self.now = expected;
                return (self.now, None);
            }
            tracing::warn!(seconds = ahead.as_secs_f64(), "the clock was set forward");
            return self.follow(wall, expected);
        }
        self.ahead_since = None;
        if wall >= expected {
            self.behind_since = None;
            self.now = wall;
            return (self.now, None);
        }
        if !has_lasted(&mut self.behind_since, ticks) {
            self.now = expected;
            return (self.now, None);
        }
        let behind_ms = expected.since_ms(wall);
        if behind_ms > self.followed_back_ms {
            return self.follow(wall, expected);
        }
        self.waited_ms += passed_ms;
        let left_out = (self.waited_ms / LEFT_OUT).min(behind_ms).min(passed_ms);
        self.waited_ms %= LEFT_OUT;
        self.now = Timestamp(expected.0 - left_out);
        (self.now, None)
    }

    fn follow(&mut self, wall: Timestamp, expected: Timestamp) -> (Timestamp, Option<Jump>) {
        (self.ahead_since, self.behind_since) = (None, None);
        self.now = wall;
        (self.now, Some(Jump { expected }))
    }
}

/// Whether what goes on now has lasted for the time after which it is believed.
fn has_lasted(since: &mut Option<Duration>, ticks: Duration) -> bool {
    ticks.saturating_sub(*since.get_or_insert(ticks)) >= BELIEVED_AFTER
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

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
        (clock.clone(), SteadyTime::begin(clock, Timestamp(0), DAY_MS))
    }

    #[test]
    fn a_clock_that_is_set_back_neither_turns_time_back_nor_stops_it() {
        for back in [0, 1_000, 3_600_000] {
            let (clock, mut time) = at(10_000_000);
            clock.set(back);
            assert_eq!(time.now(), (Timestamp(10_000_000), None));
            clock.pass(5_000);
            assert_eq!(time.now(), (Timestamp(10_005_000), None));
        }
    }

    #[test]
    fn a_clock_that_is_set_forward_is_followed_when_it_stays_there_and_the_jump_is_told_once() {
        let (clock, mut time) = at(10_000_000);
        clock.set(13_600_000);
        clock.pass(1_000);
        assert_eq!(time.now(), (Timestamp(10_001_000), None), "perhaps a mistake that is put right at once");
        clock.pass(9_000);
        assert_eq!(time.now(), (Timestamp(10_010_000), None));
        clock.pass(1_000);
        assert_eq!(time.now(), (Timestamp(13_611_000), Some(Jump { expected: Timestamp(10_011_000) })));
        clock.pass(1_000);
        assert_eq!(time.now(), (Timestamp(13_612_000), None));
    }

    #[test]
    fn a_clock_that_is_put_right_within_seconds_was_never_followed() {
        let (clock, mut time) = at(10_000_000);
        clock.set(4_102_444_800_000);
        clock.pass(5_000);
        assert_eq!(time.now(), (Timestamp(10_005_000), None));
        clock.set(10_006_000);
        assert_eq!(time.now(), (Timestamp(10_006_000), None), "small corrections are followed at once");
    }

    #[test]
    fn time_begins_where_the_log_ended_if_the_clock_is_behind_it() {
        let clock = Arc::new(Set::default());
        let mut time = SteadyTime::begin(clock.clone(), Timestamp(5_000), DAY_MS);
        clock.pass(10);
        assert_eq!(time.now(), (Timestamp(5_010), None));
    }

    /// Row 67.
    #[test]
    fn a_clock_that_stays_a_little_behind_is_waited_for_until_it_has_caught_up() {
        for (step_ms, steps) in [(1_u64, 40_000_u64), (7, 6_000), (5_000, 8)] {
            let (clock, mut time) = at(10_000_000);
            clock.set(9_997_000);
            let mut before = time.now().0;
            for nth in 1..=steps {
                clock.pass(step_ms);
                let (now, jump) = time.now();
                assert!(jump.is_none() && now >= before, "{step_ms}: time goes on");
                if nth * step_ms < 10_000 {
                    assert_eq!(
                        now.0,
                        10_000_000 + nth * step_ms,
                        "perhaps a mistake that is put right at once"
                    );
                }
                assert!(10 * now.since_ms(before) + 10 >= 9 * step_ms, "{step_ms}: nearly at its pace");
                before = now;
            }
            // Three seconds are left out of thirty.
            assert_eq!(time.now().0, clock.now(), "{step_ms}");
        }
    }

    /// Row 67.
    #[test]
    fn a_clock_that_stays_far_behind_is_followed_back_and_that_is_told_once() {
        let (clock, mut time) = at(2 * DAY_MS);
        clock.set(DAY_MS - 60_000);
        clock.pass(9_000);
        assert_eq!(time.now(), (Timestamp(2 * DAY_MS + 9_000), None));
        clock.pass(1_000);
        assert_eq!(time.now(), (Timestamp(2 * DAY_MS + 10_000), None));
        clock.pass(10_000);
        let expected = Timestamp(2 * DAY_MS + 20_000);
        assert_eq!(time.now(), (Timestamp(DAY_MS - 40_000), Some(Jump { expected })));
        clock.pass(1_000);
        assert_eq!(time.now(), (Timestamp(DAY_MS - 39_000), None));
    }
}
