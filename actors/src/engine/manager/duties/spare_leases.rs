//! When the clock was set forward, or the server stood still: no worker has had that time, or could say anything in it, so
//! every lease gets it back.

use std::time::Duration;

use crate::engine::manager::ledger::Ledger;
use crate::ids::Timestamp;
use crate::jobs::Command;
use crate::jobs::model::policy::millis;

/// Whether there are leases that nobody could report on for this long.
pub(super) fn run(ledger: &mut Ledger, now: Timestamp, away: Duration) -> bool {
    // Never rejected; nothing follows when nothing is in flight.
    let event = ledger.execute(Command::SpareLeases { away_ms: millis(away) }, now);
    event.is_ok_and(|event| event.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::duties::run_due;
    use crate::engine::manager::testing::{NOW, ledger_with, start_local, start_remote};
    use crate::ids::WorkerId;
    use crate::jobs::Status;

    #[test]
    fn a_clock_that_jumps_over_the_end_of_leases_ends_none_of_them() {
        const JUMP_MS: u64 = 3_600_000;
        let mut ledger = ledger_with(2);
        let held = [start_remote(&mut ledger, "w1"), start_local(&mut ledger, WorkerId(0))];
        let deadlines = held.clone().map(|(job, _)| ledger.table.lease(&job).unwrap().deadline);
        let (now, last) = (NOW.plus_ms(JUMP_MS), ledger.table.last());
        assert!(run(&mut ledger, now, Duration::MAX));
        assert_eq!(ledger.table.last(), last.next(), "one event, however many leases there are");
        for ((job, _), deadline) in held.iter().zip(deadlines) {
            assert_eq!(ledger.table.lease(job).unwrap().deadline, deadline.plus_ms(JUMP_MS));
        }
        run_due(&mut ledger, now);
        assert_eq!(ledger.table.counts().of(Status::InFlight), 2);
    }
}
