//! Jobs enter their slots and the indexes of their state, and leave them.

use crate::jobs::table::list::{Links, Slot};
use crate::jobs::table::packed_job::{IndexedAs, PackedJob, occupied};
use crate::jobs::table::{JobTable, digest, finished_index};

impl JobTable {
    /// Puts a job into a free slot and into the id index, and into no other index; if its id is there, nothing is changed
    /// and the job is given back.
    pub(super) fn store_new(&mut self, job: PackedJob) -> Result<Slot, PackedJob> {
        let slot = self.next_slot();
        let is = |other: Slot| occupied(&self.jobs, other).id == job.id;
        match self.ids.insert_new(&job.id, slot, is) {
            true => {
                let resident = job.resident_bytes();
                self.fill(slot, job, resident);
                Ok(slot)
            }
            false => Err(job),
        }
    }

    /// Where the next job goes.
    pub(super) fn next_slot(&self) -> Slot {
        let end = || Slot::try_from(self.jobs.len()).expect("fewer than 2^32 jobs fit in memory");
        self.free.last().copied().unwrap_or_else(end)
    }

    /// Puts a job into the next slot.
    pub(super) fn fill(&mut self, slot: Slot, job: PackedJob, resident: u64) {
        self.resident += resident;
        match self.free.pop() {
            Some(free) => {
                debug_assert_eq!(free, slot, "it was the next");
                self.jobs[slot as usize] = Some(job);
            }
            None => {
                self.jobs.push(Some(job));
                self.links.push(Links::LOOSE);
            }
        }
    }

    pub(super) fn drop_job(&mut self, slot: Slot) {
        let job = self.jobs[slot as usize].take().expect("a slot that an index names is occupied");
        self.resident -= job.resident_bytes();
        self.profiles.leave(job.profile);
        self.ids.remove(&job.id, slot);
        self.free.push(slot);
    }

    /// Enters a job into the index and the counters of its state.
    pub(super) fn link(&mut self, slot: Slot) {
        let job = occupied(&self.jobs, slot);
        match job.indexed_as() {
            IndexedAs::Line => {
                let lane = self.profiles.lane(job.profile);
                self.ready.insert(&mut self.links, |slot| occupied(&self.jobs, slot), lane, slot);
            }
            IndexedAs::Leased(_) => self.leases.insert(&mut self.links, &self.jobs, slot),
            IndexedAs::Waiting(due) => {
                self.waiting.insert((due, job.enqueued_seq, slot));
            }
            IndexedAs::Finished(finish) => {
                self.finished[finished_index(job.status())].push_back(&mut self.links, slot);
                if job.successor().is_some() {
                    self.succeeded.insert((finish.seq, slot));
                }
            }
        }
        self.count_in(slot);
    }

    /// Enters a job into the sums: the counters and the digest.
    #[inline]
    pub(super) fn count_in(&mut self, slot: Slot) {
        let job = occupied(&self.jobs, slot);
        let (status, queue) = (job.status(), self.profiles.get(job.profile).queue);
        self.digest = self.digest.wrapping_add(digest::of(job, self.sections.queues.get(queue).digest));
        *self.counts.of_mut(status) += 1;
        *self.queue_counts[queue.0 as usize].of_mut(status) += 1;
    }

    /// The reverse of [`JobTable::link`].
    pub(super) fn unlink(&mut self, slot: Slot) {
        let job = occupied(&self.jobs, slot);
        match job.indexed_as() {
            IndexedAs::Line => {
                let lane = self.profiles.lane(job.profile);
                self.ready.remove(&mut self.links, |slot| occupied(&self.jobs, slot), lane, slot);
            }
            IndexedAs::Leased(_) => self.leases.remove(&mut self.links, &self.jobs, slot),
            IndexedAs::Waiting(due) => {
                self.waiting.remove(&(due, job.enqueued_seq, slot));
            }
            IndexedAs::Finished(finish) => {
                self.finished[finished_index(job.status())].remove(&mut self.links, slot);
                if job.successor().is_some() {
                    self.succeeded.remove(&(finish.seq, slot));
                }
            }
        }
        self.count_out(slot);
    }

    /// The reverse of [`JobTable::count_in`].
    #[inline]
    pub(super) fn count_out(&mut self, slot: Slot) {
        let job = occupied(&self.jobs, slot);
        let (status, queue) = (job.status(), self.profiles.get(job.profile).queue);
        self.digest = self.digest.wrapping_sub(digest::of(job, self.sections.queues.get(queue).digest));
        *self.counts.of_mut(status) -= 1;
        *self.queue_counts[queue.0 as usize].of_mut(status) -= 1;
    }
}
