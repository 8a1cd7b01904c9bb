//! Queues that nobody uses: empty, not paused, and without a new job for `queue_idle_timeout`. They are forgotten.
//!
//! Interval: a minute, or the tenth part of `queue_idle_timeout` if that is less; and at once when a job comes whose name
//! has no room, then without regard to the time. Limit: 1,000 queues a turn; of more, the others stay due.

use std::time::Duration;

use tracing::info;

use crate::engine::manager::ledger::Ledger;
use crate::ids::Timestamp;
use crate::jobs::Command;

/// Queues that one turn forgets.
const FORGOTTEN_AT_ONCE_MAX: usize = 1_000;
/// Longest time between two looks.
const INTERVAL_MAX: Duration = Duration::from_secs(60);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// When nothing could be forgotten, a job without room for its name makes nobody look again for this long.
const FRUITLESS_PAUSE_MS: u64 = 1_000;

/// When the next look is due; none while there is no queue.
pub(super) fn next_look(ledger: &Ledger, now: Timestamp) -> Option<Timestamp> {
    let has_queues = ledger.table.names().queues > 0;
    has_queues.then(|| ledger.next_queue_look.unwrap_or_else(|| now.plus_ms(interval_ms(ledger))))
}

/// Looks, if it is time.
pub(super) fn run(ledger: &mut Ledger, now: Timestamp) {
    let interval_ms = interval_ms(ledger);
    let due = *ledger.next_queue_look.get_or_insert_with(|| now.plus_ms(interval_ms));
    // A clock that was set back must not make it wait for longer than usual.
    if now < due && due.since_ms(now) <= interval_ms {
        return;
    }
    let forgotten = forget(ledger, ledger.table.queue_idle_ms(), now);
    let is_all = forgotten < FORGOTTEN_AT_ONCE_MAX;
    ledger.next_queue_look = Some(if is_all { now.plus_ms(interval_ms) } else { now });
}

/// Makes room for the names of this many jobs, where that loses nothing.
pub fn make_room(ledger: &mut Ledger, jobs: usize, now: Timestamp) {
    if now < ledger.no_room_until && ledger.no_room_until.since_ms(now) <= FRUITLESS_PAUSE_MS {
        return;
    }
    let before = ledger.table.names();
    let mut forgotten = 0;
    while forgotten < jobs {
        match forget(ledger, 0, now) {
            0 => break,
            more => forgotten += more,
        }
    }
    ledger.table.reclaim_names();
    let after = ledger.table.names();
    if (before.queues, before.kinds) == (after.queues, after.kinds) {
        ledger.no_room_until = now.plus_ms(FRUITLESS_PAUSE_MS);
    }
}

fn interval_ms(ledger: &Ledger) -> u64 {
    let tenth = Duration::from_millis(ledger.table.queue_idle_ms() / 10);
    tenth.clamp(INTERVAL_MIN, INTERVAL_MAX).as_millis() as u64
}

fn forget(ledger: &mut Ledger, idle_ms: u64, now: Timestamp) -> usize {
    // An event needs room in the log, which is kept for what runs while the disk is full.
    if !ledger.room.accepts_jobs {
        return 0;
    }
    let unused = ledger.table.unused_queues(now, idle_ms, FORGOTTEN_AT_ONCE_MAX);
    let count = unused.len();
    for (_, queue) in unused {
        // Never rejected.
        let _ = ledger.execute(Command::ForgetQueue { queue, idle_ms }, now);
    }
    if count > 0 {
        info!(queues = count, "queues that nobody uses are forgotten");
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::testing::{NOW, enqueue, ledger_under, queue, spec};
    use crate::jobs::{JobSpec, Policy};

    fn used(ledger: &mut Ledger, name: &str) {
        let job = enqueue(ledger, JobSpec { queue: queue(name), ..spec() });
        ledger.execute(Command::Discard { job }, NOW).unwrap();
    }

    fn names(ledger: &Ledger) -> Vec<String> {
        ledger.table.overview().queues.into_iter().map(|queue| queue.name.to_string()).collect()
    }

    /// Row 75.
    #[test]
    fn a_queue_that_is_empty_and_not_paused_is_forgotten_when_nobody_used_it_for_its_time() {
        let queue_idle_timeout = Duration::from_secs(60);
        let mut ledger = ledger_under(Policy { queue_idle_timeout, ..Policy::default() });
        ["empty", "paused", "busy"].iter().for_each(|name| used(&mut ledger, name));
        ledger.execute(Command::SetPaused { queue: queue("paused"), paused: true }, NOW).unwrap();
        enqueue(&mut ledger, JobSpec { queue: queue("busy"), ..spec() });
        run(&mut ledger, NOW);
        run(&mut ledger, NOW.plus_ms(59_999));
        assert_eq!(names(&ledger), ["busy", "empty", "paused"]);
        run(&mut ledger, NOW.plus_ms(66_000));
        assert_eq!(names(&ledger), ["busy", "paused"]);
        assert_eq!(ledger.table.check(), [""; 0]);
    }

    /// Row 75.
    #[test]
    fn a_thousand_queues_are_forgotten_a_turn_and_the_next_turn_goes_on() {
        let mut ledger = ledger_under(Policy::default());
        (0..1_500).for_each(|number| used(&mut ledger, &format!("customer-{number}")));
        run(&mut ledger, NOW);
        let hour = NOW.plus_ms(60 * 60_000);
        for left in [500, 0] {
            assert!(next_look(&ledger, hour).is_some_and(|due| due <= hour));
            run(&mut ledger, hour);
            assert_eq!(names(&ledger).len(), left);
        }
        assert_eq!(next_look(&ledger, hour), None, "no queue is left, and no name");
    }
}
