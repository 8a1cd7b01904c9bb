//! What is held of the clock when it was set, and whether it is still to be doubted.
//!
//! Interval: a minute, while it is doubted.

use crate::base::clock::Jump;
use crate::engine::manager::ledger::Ledger;
use crate::ids::Timestamp;
use crate::jobs::Command;
use crate::recovery::clock_news;

const INTERVAL_MS: u64 = 60_000;

/// When the machine is asked next whether its clock is right; none while nobody doubts that.
pub(super) fn next_look(ledger: &Ledger, now: Timestamp) -> Option<Timestamp> {
    let is_doubted = ledger.table.clock().doubted_since.is_some();
    is_doubted.then(|| ledger.next_clock_look.unwrap_or_else(|| now.plus_ms(INTERVAL_MS)))
}

/// The clock was set.
pub(super) fn on_jump(ledger: &mut Ledger, now: Timestamp, jump: Jump, is_synchronised: bool) {
    look(ledger, now, jump.expected, is_synchronised);
    if now < jump.expected {
        ledger.fetches.set_back(jump.expected, now);
    }
}

/// Asks, if the clock is doubted and it is time.
pub(super) fn run(ledger: &mut Ledger, now: Timestamp, is_synchronised: impl FnOnce() -> bool) {
    // It was asked when the doubt began.
    ledger.next_clock_look = next_look(ledger, now);
    let Some(due) = ledger.next_clock_look else { return };
    // A clock that was set back must not make it wait for longer than usual.
    if now < due && due.since_ms(now) <= INTERVAL_MS {
        return;
    }
    ledger.next_clock_look = Some(now.plus_ms(INTERVAL_MS));
    look(ledger, now, now, is_synchronised());
}

/// Somebody says that the clock is right. Whether that was doubted.
pub fn trust(ledger: &mut Ledger, now: Timestamp) -> bool {
    record(ledger, Command::TrustClock, now)
}

fn look(ledger: &mut Ledger, now: Timestamp, expected: Timestamp, is_synchronised: bool) {
    record(ledger, Command::SetClock { expected, is_synchronised }, now);
}

fn record(ledger: &mut Ledger, command: Command, now: Timestamp) -> bool {
    // Never rejected; nothing follows when there is no news.
    let Ok(Some(event)) = ledger.decide(command, now) else { return false };
    clock_news::tell(&ledger.table, &event);
    ledger.record(event);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::duties::{run_due, until_next};
    use crate::engine::manager::testing::{NOW, enqueue, fetch, ledger_with, spec};
    use crate::ids::JobId;
    use crate::jobs::Status;

    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

    fn status(ledger: &Ledger, job: &JobId) -> Option<Status> {
        ledger.table.view(job).map(|view| view.status)
    }

    /// Row 67.
    #[test]
    fn by_a_clock_that_is_far_ahead_nothing_is_too_old_until_the_machine_says_that_it_is_right() {
        let mut ledger = ledger_with(0);
        let job = enqueue(&mut ledger, spec());
        ledger.execute(Command::Cancel { job: job.clone() }, NOW).unwrap();
        let far = NOW.plus_ms(400 * DAY_MS);
        on_jump(&mut ledger, far, Jump { expected: NOW }, false);
        for minute in 0..3 {
            let now = far.plus_ms(minute * INTERVAL_MS);
            run(&mut ledger, now, || false);
            run_due(&mut ledger, now);
            assert_eq!(status(&ledger, &job), Some(Status::Cancelled), "minute {minute}");
            assert!(until_next(&ledger, now).is_some_and(|nap| nap.as_millis() == u128::from(INTERVAL_MS)));
        }
        let now = far.plus_ms(3 * INTERVAL_MS);
        run(&mut ledger, now, || true);
        run_due(&mut ledger, now);
        assert_eq!(status(&ledger, &job), None, "it is old indeed");
    }

    /// Row 67.
    #[test]
    fn a_worker_that_waits_for_a_job_waits_no_longer_when_the_clock_goes_back() {
        let mut ledger = ledger_with(1);
        let late = NOW.plus_ms(2 * DAY_MS);
        on_jump(&mut ledger, late, Jump { expected: NOW }, true);
        ledger.fetches.add(fetch(1, &["elsewhere"], late.0 + 2_000).0);
        on_jump(&mut ledger, NOW, Jump { expected: late.plus_ms(500) }, true);
        assert_eq!(ledger.fetches.next_deadline(), Some(NOW.plus_ms(1_500)));
    }
}
