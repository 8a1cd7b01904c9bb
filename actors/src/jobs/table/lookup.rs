//! Where a job is: by its id, or by its number if it has just been decided about.

use crate::ids::{JobId, Timestamp};
use crate::jobs::event::Event;
use crate::jobs::table::JobTable;
use crate::jobs::table::list::Slot;
use crate::jobs::table::packed_job::{PackedJob, occupied};

impl JobTable {
    pub(in crate::jobs) fn job(&self, slot: Slot) -> &PackedJob {
        occupied(&self.jobs, slot)
    }

    pub(in crate::jobs) fn slot_of(&self, id: &JobId) -> Option<Slot> {
        let has = |slot: Slot| self.jobs.get(slot as usize)?.as_ref().filter(|job| job.id == *id);
        if let Some(slot) = self.recent.guess(id).filter(|slot| has(*slot).is_some()) {
            return Some(slot);
        }
        let slot = self.ids.find(id, |slot| self.job(slot).id == *id)?;
        self.recent.note(id, slot);
        Some(slot)
    }

    /// The job in a slot, which is about to be decided about.
    #[inline]
    pub(in crate::jobs) fn decide_about(&self, slot: Slot) -> &PackedJob {
        let job = self.job(slot);
        self.decided.set((job.enqueued_seq, slot));
        job
    }

    /// The slot of the job that an event is about, if it is the one that was decided about last: its number says so, which
    /// no two jobs share.
    #[inline]
    pub(super) fn decided_slot(&self, event: &Event) -> Option<Slot> {
        let (number, slot) = self.decided.get();
        let is_there = || self.jobs.get(slot as usize).and_then(Option::as_ref);
        (number == event.job_seq && is_there()?.enqueued_seq == number).then_some(slot)
    }

    /// The job that an event is about, which has just been decided.
    #[must_use]
    pub fn created_at_of(&self, event: &Event) -> Option<Timestamp> {
        let slot = self.decided_slot(event).or_else(|| self.slot_of(event.kind.job()?))?;
        Some(self.job(slot).created_at)
    }

    /// Whether no job has this id, which has just been generated.
    pub(in crate::jobs) fn is_free(&self, id: &JobId) -> bool {
        self.ids.find(id, |slot| self.job(slot).id == *id).is_none()
    }

    /// The job in a slot, which is about to be asked for by its id.
    pub(in crate::jobs) fn next_job(&self, slot: Slot) -> &PackedJob {
        let job = self.decide_about(slot);
        self.recent.note(&job.id, slot);
        job
    }
}
