//! Scheduled and retrying jobs whose moment has come: they are pending from now on.
//!
//! Interval: the manager's timer fires at the first such moment. Limit: as many a turn as one PROMOTE moves, 10,000 (see
//! `jobs/decide/dispatch.rs`, where it is a rule about events); the others stay due.

use crate::engine::manager::ledger::Ledger;
use crate::ids::Timestamp;
use crate::jobs::Command;

pub(super) fn run(ledger: &mut Ledger, now: Timestamp) {
    // Never rejected; nothing follows when nothing is due.
    let _ = ledger.execute(Command::Promote, now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::testing::{NOW, enqueue, fetch, ledger_with, queue, spec};
    use crate::jobs::{Start, Status};

    #[test]
    fn jobs_whose_moment_has_come_are_pending_and_workers_that_wait_look_for_them() {
        let mut ledger = ledger_with(0);
        for ms in [10, 20, 30] {
            let mut later = spec();
            later.start = Start::At(NOW.plus_ms(ms));
            enqueue(&mut ledger, later);
        }
        ledger.fetches.add(fetch(1, &["default"], 100).0);
        assert_eq!(ledger.ready.take(&ledger.fetches), []);
        run(&mut ledger, NOW.plus_ms(20));
        let counts = ledger.table.counts();
        assert_eq!((counts.of(Status::Pending), counts.of(Status::Scheduled)), (2, 1));
        assert_eq!(ledger.ready.take(&ledger.fetches), [queue("default")]);
        let last = ledger.table.last();
        run(&mut ledger, NOW.plus_ms(20));
        assert_eq!(ledger.table.last(), last, "nothing is due any more");
    }
}
