//! Finished jobs beyond their retention: they are forgotten.
//!
//! Interval: the manager's timer fires when the oldest may go, at most once a second, or at once while there are too many
//! of a status. Limit: 1,000 of each status a turn; the others stay due. Both are rules about events and stand in
//! `jobs/decide/retention.rs`.

use crate::engine::manager::ledger::Ledger;
use crate::ids::Timestamp;
use crate::jobs::Command;

pub(super) fn run(ledger: &mut Ledger, now: Timestamp) {
    // Never rejected; nothing follows when nothing is due.
    let _ = ledger.execute(Command::Forget, now);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::manager::testing::{NOW, enqueue, ledger_under, spec};
    use crate::jobs::{Policy, Status};

    #[test]
    fn finished_jobs_are_forgotten_when_their_time_is_over_a_thousand_at_a_time() {
        let mut policy = Policy::default();
        policy.cancelled.age = Duration::from_secs(60);
        let mut ledger = ledger_under(policy);
        for _ in 0..1_500 {
            let job = enqueue(&mut ledger, spec());
            ledger.execute(Command::Cancel { job }, NOW).unwrap();
        }
        run(&mut ledger, NOW.plus_ms(59_000));
        assert_eq!(ledger.table.counts().of(Status::Cancelled), 1_500);
        for left in [500, 0] {
            run(&mut ledger, NOW.plus_ms(60_000));
            assert_eq!(ledger.table.counts().of(Status::Cancelled), left);
        }
    }
}
