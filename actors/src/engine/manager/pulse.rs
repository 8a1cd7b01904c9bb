//! Whether the manager has its turns when they are due. If not, its process or its thread stood still, and what workers
//! said meanwhile has not been read yet: their leases must not end before it is.

use std::time::Duration;

/// While there are leases, two turns are at most this far apart.
pub(super) const PULSE: Duration = Duration::from_millis(500);
/// A turn may come this much later than it was due: the machine has other things to do, too.
const LATE: Duration = Duration::from_millis(500);

/// When the last turn was, and by when the next one is due.
pub(super) struct Pulse {
    last: Duration,
    due_by: Duration,
}

impl Pulse {
    /// At this moment of the clock's ticks, when the first turn is due at once.
    pub fn begin(ticks: Duration) -> Pulse {
        Pulse { last: ticks, due_by: ticks }
    }

    /// There is a turn. For how long there was none, if this one comes too late.
    pub fn turn(&mut self, ticks: Duration) -> Option<Duration> {
        let away = ticks.saturating_sub(self.last);
        let is_late = ticks > self.due_by + LATE;
        self.last = ticks;
        // Until the turn says when the next one is due, nobody can tell that it is late.
        self.due_by = Duration::MAX.saturating_sub(LATE);
        is_late.then_some(away)
    }

    /// The next turn is due `nap` after this one.
    pub fn expect(&mut self, nap: Duration) {
        self.due_by = self.last + nap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_turn_that_comes_long_after_it_was_due_tells_since_when_there_was_none() {
        let mut pulse = Pulse::begin(ms(1_000));
        assert_eq!(pulse.turn(ms(1_200)), None);
        pulse.expect(ms(300));
        assert_eq!(pulse.turn(ms(2_000)), None, "as late as a turn may be");
        pulse.expect(ms(300));
        assert_eq!(pulse.turn(ms(2_100)), None, "it may come early");
        pulse.expect(ms(300));
        assert_eq!(pulse.turn(ms(2_901)), Some(ms(801)));
        assert_eq!(pulse.turn(ms(9_000_000)), None, "nothing was due");
    }

    #[test]
    fn a_first_turn_that_comes_long_after_the_start_is_late() {
        assert_eq!(Pulse::begin(ms(1_000)).turn(ms(1_600)), Some(ms(600)));
    }
}
