//! Jobs that were to follow another of their name, which has ended by now: they are accepted, and it gives way.
//!
//! Interval: at once after such an end. Limit: [`AT_ONCE_MAX`] a turn; the others stay due.

use crate::engine::manager::ledger::Ledger;
use crate::ids::Timestamp;
use crate::jobs::Command;

/// Jobs that end together are succeeded this many at a time.
const AT_ONCE_MAX: usize = 1_000;

pub(super) fn run(ledger: &mut Ledger, now: Timestamp) {
    for _ in 0..AT_ONCE_MAX {
        // Never rejected; nothing follows when no job has ended that another is to follow.
        let Ok(Some(_)) = ledger.execute(Command::Succeed, now) else { return };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::duties::{run_due, until_next};
    use crate::engine::manager::testing::{NOW, enqueue, ledger_with, spec, start_local};
    use crate::ids::WorkerId;
    use crate::jobs::{JobSpec, Status};

    #[test]
    fn a_job_that_is_to_follow_a_running_one_is_pending_as_soon_as_that_has_ended() {
        let mut ledger = ledger_with(0);
        let first = enqueue(&mut ledger, spec());
        let (job, token) = start_local(&mut ledger, WorkerId(0));
        assert_eq!(job, first);
        let next = JobSpec { id: Some(job.clone()), follows_running: true, ..spec() };
        assert_eq!(enqueue(&mut ledger, next), job);
        run_due(&mut ledger, NOW);
        assert_eq!(ledger.table.counts().of(Status::Pending), 0, "the first still runs");
        ledger.execute(Command::Ack { job: job.clone(), token, result: None }, NOW).unwrap();
        assert_eq!(until_next(&ledger, NOW), Some(std::time::Duration::ZERO));
        run_due(&mut ledger, NOW);
        let view = ledger.table.view(&job).unwrap();
        assert_eq!((view.status, view.attempt.0, view.is_followed), (Status::Pending, 0, false));
        assert_eq!(ledger.table.counts().total(), 1, "the first has given way");
    }
}
