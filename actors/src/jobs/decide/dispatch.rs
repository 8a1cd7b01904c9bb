//! Which job a worker gets and for how long, and which waiting jobs become pending.

use crate::ids::{Attempt, Holder, QueueName, RemoteName, Timestamp, WorkerId};
use crate::jobs::event::{Event, EventKind};
use crate::jobs::model::policy::millis;
use crate::jobs::table::JobTable;

/// Most jobs that one `Promote` moves, so that a million jobs due at the same moment do not stop the server.
const PROMOTED_AT_ONCE_MAX: usize = 10_000;
/// How often a worker of the work protocol says that it is alive: <https://github.com/contribsys/faktory/wiki/Worker-Lifecycle>.
const HEARTBEAT_MS: u64 = 15_000;

impl JobTable {
    pub(super) fn decide_dispatch(&self, worker: WorkerId, now: Timestamp) -> Option<Event> {
        let job = self.next_job(self.ready.first(&self.handled)?);
        let lease_ms = self.profile_of(job).timeout_ms.saturating_add(millis(self.policy.lease_margin));
        let kind = EventKind::Dispatch {
            job: job.id.clone(),
            holder: Holder::Local(worker),
            attempt: Attempt(job.attempt().0.saturating_add(1)),
            deadline: now.plus_ms(lease_ms),
        };
        Some(Event { at: now, job_seq: job.enqueued_seq, kind })
    }

    pub(super) fn decide_reserve(
        &self,
        queues: &[QueueName],
        worker: RemoteName,
        now: Timestamp,
    ) -> Option<Event> {
        let first = |name| self.ready.first_in(self.sections.queues.find(name)?);
        let job = self.next_job(queues.iter().find_map(first)?);
        let kind = EventKind::Dispatch {
            job: job.id.clone(),
            holder: Holder::Remote(worker),
            attempt: Attempt(job.attempt().0.saturating_add(1)),
            deadline: now.plus_ms(self.profile_of(job).timeout_ms),
        };
        Some(Event { at: now, job_seq: job.enqueued_seq, kind })
    }

    /// Nobody could report for this long: every lease gets that time back, and at least the time in which a worker that
    /// lost its connection is sure to try again.
    pub(super) fn decide_spare_leases(&self, away_ms: u64) -> Option<EventKind> {
        let margin_ms = millis(self.policy.lease_margin);
        let whole_ms = self.leases.iter(&self.links, &self.jobs).map(|slot| {
            let job = self.job(slot);
            let is_local = job.lease().is_some_and(|lease| matches!(lease.holder, Holder::Local(_)));
            self.profile_of(job).timeout_ms.saturating_add(if is_local { margin_ms } else { 0 })
        });
        let longest_ms = whole_ms.max()?;
        Some(EventKind::Lead { grace_ms: away_ms.max(HEARTBEAT_MS).min(longest_ms), margin_ms })
    }

    pub(super) fn decide_promote(&self, now: Timestamp) -> Option<EventKind> {
        let due = self.waiting.iter().take_while(|(due, ..)| *due <= now);
        let (due, through, _) = *due.take(PROMOTED_AT_ONCE_MAX).last()?;
        Some(EventKind::Promote { due, through })
    }
}
