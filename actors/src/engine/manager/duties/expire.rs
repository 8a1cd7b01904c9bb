//! Leases that have run out: the attempt counts as failed by its timeout.
//!
//! Interval: the manager's timer fires when the first lease runs out. Limit: [`AT_ONCE_MAX`] leases a turn.

use crate::api::handler::StopReason;
use crate::engine::manager::durable_effects::Effect;
use crate::engine::manager::ledger::Ledger;
use crate::engine::messages::Halt;
use crate::ids::{Holder, Timestamp};
use crate::jobs::{Command, Failure, FailureKind};

/// Leases that expire together are ended this many at a time; the others stay due.
const AT_ONCE_MAX: usize = 1_000;

/// What workers of the work protocol know an expired lease by.
const RESERVATION_EXPIRED: &str = "ReservationExpired";

pub(super) fn run(ledger: &mut Ledger, now: Timestamp) {
    for (job, token) in ledger.table.expired(now, AT_ONCE_MAX) {
        let holder = ledger.table.lease(&job).map(|lease| lease.holder.clone());
        let message = "the lease expired: its worker did not report in time";
        let failure = Failure::new(FailureKind::Timeout, message);
        let failure = match holder {
            Some(Holder::Remote(_)) => failure.of_type(RESERVATION_EXPIRED),
            _ => failure,
        };
        // The lease is held, so this is not rejected.
        let _ = ledger.execute(Command::Fail { job, token, failure, result: None }, now);
        if let Some(Holder::Local(worker)) = holder {
            ledger.hold(Effect::Halt(worker, Halt { token, reason: StopReason::Cancelled }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::testing::{NOW, held, ledger_with, start_local, start_remote};
    use crate::ids::{Seq, WorkerId};
    use crate::jobs::Status;

    /// Longer than any lease of these tests.
    const LONG_MS: u64 = 1_000_000;

    #[test]
    fn an_expired_lease_fails_the_attempt_and_a_local_worker_is_told_to_stop() {
        let mut ledger = ledger_with(2);
        let (remote_job, _) = start_remote(&mut ledger, "w1");
        let (local_job, token) = start_local(&mut ledger, WorkerId(4));
        run(&mut ledger, NOW.plus_ms(LONG_MS));
        let halt = Halt { token, reason: StopReason::Cancelled };
        assert_eq!(held(&mut ledger), [(Seq(6), Effect::Halt(WorkerId(4), halt))]);
        for (job, errtype) in [(remote_job, RESERVATION_EXPIRED), (local_job, "")] {
            let view = ledger.table.view(&job).unwrap();
            let failure = &view.errors[0].failure;
            assert_eq!((view.status, view.failed, failure.kind), (Status::Retrying, 1, FailureKind::Timeout));
            assert_eq!(&*failure.errtype, errtype);
        }
    }

    #[test]
    fn leases_that_expire_together_are_ended_a_thousand_at_a_time() {
        let mut ledger = ledger_with(AT_ONCE_MAX + 1);
        (0..=AT_ONCE_MAX).for_each(|_| _ = start_remote(&mut ledger, "w1"));
        let late = NOW.plus_ms(LONG_MS);
        for in_flight in [1, 0] {
            run(&mut ledger, late);
            assert_eq!(ledger.table.counts().of(Status::InFlight), in_flight);
        }
    }
}
