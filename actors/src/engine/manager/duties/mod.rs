//! What is due without anybody asking, each duty with its interval and limit: `expire`, `succeed`, `promote`, `retain`,
//! `forget_queues`; `watch_clock`, what is held of the clock; and `spare_leases`, what is owed to workers when it was set
//! forward or the server stood still.

mod expire;
pub(super) mod forget_queues;
mod promote;
mod retain;
mod spare_leases;
mod succeed;
pub(super) mod watch_clock;

use std::time::Duration;

use crate::base::clock::Jump;
use crate::engine::manager::ledger::Ledger;
use crate::engine::manager::pulse::PULSE;
use crate::ids::Timestamp;
use crate::jobs::Status;

/// The manager looks again after this time at the latest, so that a clock that was set forward is noticed.
const NAP_MAX: Duration = Duration::from_secs(60);

/// Does what is due, if anything is.
pub(super) fn run_due(ledger: &mut Ledger, now: Timestamp) {
    forget_queues::run(ledger, now);
    if ledger.table.next_due().is_none_or(|due| due > now) {
        return;
    }
    expire::run(ledger, now);
    succeed::run(ledger, now);
    promote::run(ledger, now);
    retain::run(ledger, now);
}

/// How long until something is due, or a remote worker has waited long enough; none if neither will be.
pub(super) fn until_next(ledger: &Ledger, now: Timestamp) -> Option<Duration> {
    let dues = [
        ledger.table.next_due(),
        ledger.fetches.next_deadline(),
        forget_queues::next_look(ledger, now),
        watch_clock::next_look(ledger, now),
    ];
    let due = dues.into_iter().flatten().min()?;
    // Where there are leases, one of them is due some time.
    let has_leases = ledger.table.counts().of(Status::InFlight) > 0;
    Some(Duration::from_millis(due.since_ms(now)).min(if has_leases { PULSE } else { NAP_MAX }))
}

/// The clock has jumped, to `now`.
pub(super) fn on_clock_jump(ledger: &mut Ledger, now: Timestamp, jump: Jump, is_synchronised: bool) {
    watch_clock::on_jump(ledger, now, jump, is_synchronised);
    if now > jump.expected {
        spare_leases::run(ledger, now, Duration::MAX);
    }
}

/// The state stood still, and nobody could report.
pub(super) fn after_standstill(ledger: &mut Ledger, now: Timestamp) {
    spare_leases::run(ledger, now, Duration::MAX);
}

/// Asks whether the clock is right, if that is doubted and it is time.
pub(super) fn watch_clock(ledger: &mut Ledger, now: Timestamp, is_synchronised: impl FnOnce() -> bool) {
    watch_clock::run(ledger, now, is_synchronised);
}

/// Nobody had a turn for this long, though one was due.
pub(super) fn on_pause(ledger: &mut Ledger, now: Timestamp, away: Duration) {
    if spare_leases::run(ledger, now, away) {
        tracing::warn!(seconds = away.as_secs_f64(), "the server stood still: leases get that time back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::testing::{NOW, enqueue, fetch, ledger_with, spec, start_remote};
    use crate::ids::Seq;
    use crate::jobs::{JobSpec, Start};

    #[test]
    fn while_nothing_is_due_nothing_is_done() {
        let mut ledger = ledger_with(1);
        start_remote(&mut ledger, "w1");
        run_due(&mut ledger, NOW);
        assert_eq!((ledger.table.last(), ledger.effects.is_empty()), (Seq(2), true));
    }

    #[test]
    fn the_next_look_is_at_the_first_moment_that_matters_and_within_a_minute() {
        let mut ledger = ledger_with(0);
        assert_eq!(until_next(&ledger, NOW), None);
        let ms = Duration::from_millis;
        enqueue(&mut ledger, JobSpec { start: Start::At(NOW.plus_ms(100_000)), ..spec() });
        assert_eq!(until_next(&ledger, NOW), Some(NAP_MAX));
        assert_eq!(until_next(&ledger, NOW.plus_ms(70_000)), Some(ms(30_000)));
        ledger.fetches.add(fetch(1, &["default"], NOW.0 + 50).0);
        assert_eq!(until_next(&ledger, NOW.plus_ms(20)), Some(ms(30)));
        assert_eq!(until_next(&ledger, NOW.plus_ms(90)), Some(ms(0)), "it is late");
    }

    #[test]
    fn while_somebody_holds_a_lease_a_look_is_due_every_pulse() {
        let mut ledger = ledger_with(1);
        assert_eq!(until_next(&ledger, NOW), Some(NAP_MAX));
        start_remote(&mut ledger, "w1");
        assert_eq!(until_next(&ledger, NOW), Some(PULSE));
    }
}
