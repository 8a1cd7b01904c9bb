//! Sets of jobs: those in one status that pass a filter, looked through a piece at a time.

use std::fmt;
use std::sync::Arc;

use crate::ids::{JobId, KindName, QueueName, Seq};
use crate::jobs::model::job::{JobView, Status};
use crate::jobs::model::payload::PayloadStore;
use crate::jobs::table::list::Slot;
use crate::jobs::table::packed_job::PackedJob;
use crate::jobs::table::{JobTable, finished_index};

/// A list ends after the job with which its texts exceed this many bytes: it is in memory as a whole, and the texts are read
/// from disk for it.
pub const LISTED_BYTES_MAX: usize = 8 << 20;

/// Looks at a whole job.
pub type JobTest = Arc<dyn Fn(&JobView) -> bool + Send + Sync>;

/// Which jobs are meant; one without conditions means all.
#[derive(Clone, Default)]
pub struct Filter {
    /// Only jobs with these ids.
    pub ids: Option<Vec<JobId>>,
    /// Only of this kind.
    pub kind: Option<KindName>,
    /// Only in this queue.
    pub queue: Option<QueueName>,
    /// Only those that pass this; it is asked last.
    pub test: Option<JobTest>,
    /// Whether what jobs left behind is read from the disk for the test and the list; else they seem to have left nothing.
    pub reads_results: bool,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("ids", &self.ids.as_ref().map(Vec::len))
            .field("kind", &self.kind)
            .field("queue", &self.queue)
            .field("test", &self.test.is_some())
            .field("reads_results", &self.reads_results)
            .finish()
    }
}

/// The jobs that were in a status at one moment. Memory: 16 bytes a job.
#[derive(Debug)]
pub struct Members {
    /// Slot and number of each, the first ones last.
    left: Vec<(Slot, Seq)>,
}

impl Members {
    /// How many have not been looked at yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.left.len()
    }

    /// Whether all have been looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }
}

/// How much more a list takes.
#[derive(Clone, Copy, Debug)]
pub struct ListRoom {
    jobs: usize,
    bytes: usize,
}

impl ListRoom {
    /// For a list of at most this many jobs, and one job more than [`LISTED_BYTES_MAX`] allows: it tells that there are more.
    #[must_use]
    pub fn of_jobs(jobs: usize) -> ListRoom {
        ListRoom { jobs, bytes: LISTED_BYTES_MAX }
    }

    /// Whether it takes no other job.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.jobs == 0
    }

    fn take(&mut self, job: &JobView) {
        self.jobs = if self.bytes == 0 { 0 } else { self.jobs - 1 };
        self.bytes = self.bytes.saturating_sub(job.text_bytes());
    }
}

impl JobTable {
    /// The jobs that are in one of `statuses` now, told by the table's lists without a look at each job; the first `max`
    /// of each status.
    #[must_use]
    pub fn members(&self, statuses: &[Status], filter: &Filter, max: usize) -> Members {
        let mut slots: Vec<Slot> = Vec::new();
        if let Some(ids) = &filter.ids {
            slots.extend(ids.iter().filter_map(|id| self.slot_of(id)));
            // A job that is named twice is meant once.
            slots.sort_unstable();
            slots.dedup();
        } else {
            statuses.iter().for_each(|status| self.slots_of(*status, filter, max, &mut slots));
        }
        let left = slots.into_iter().rev().map(|slot| (slot, self.job(slot).enqueued_seq)).collect();
        Members { left }
    }

    fn slots_of(&self, status: Status, filter: &Filter, max: usize, slots: &mut Vec<Slot>) {
        match (status, &filter.queue) {
            (Status::Pending, None) => {
                slots.extend(self.ready.iter(&self.links).map(|(_, slot)| slot).take(max))
            }
            (Status::Pending, Some(queue)) => {
                let queue = self.sections.queues.find(queue);
                slots.extend(
                    queue.into_iter().flat_map(|queue| self.ready.iter_in(&self.links, queue)).take(max),
                );
            }
            (Status::Scheduled | Status::Retrying, _) => {
                let waiting = self.waiting.iter().map(|&(_, _, slot)| slot);
                let of_status = waiting.filter(|slot| self.job(*slot).status() == status);
                slots.extend(of_status.take(max));
            }
            (Status::InFlight, _) => slots.extend(self.leases.iter(&self.links, &self.jobs).take(max)),
            (Status::Completed | Status::Dead | Status::Cancelled, _) => {
                slots.extend(self.finished[finished_index(status)].iter(&self.links).take(max));
            }
        }
    }

    /// Looks at the next `count` of `members`, and returns those that are still in one of `statuses` and pass.
    #[must_use]
    pub fn examine(
        &self,
        members: &mut Members,
        statuses: &[Status],
        filter: &Filter,
        count: usize,
        payload_store: &dyn PayloadStore,
    ) -> Vec<JobId> {
        let mut passing = Vec::new();
        for job in self.candidates(members, statuses, filter, count) {
            let passes = match &filter.test {
                Some(test) => test(&self.whole_view_of(job, payload_store, filter.reads_results)),
                None => true,
            };
            if passes {
                passing.push(job.id.clone());
            }
        }
        passing
    }

    /// As [`JobTable::examine`], for those that there is room for, as people see them.
    #[must_use]
    pub fn examine_whole(
        &self,
        members: &mut Members,
        statuses: &[Status],
        filter: &Filter,
        count: usize,
        room: &mut ListRoom,
        payload_store: &dyn PayloadStore,
    ) -> Vec<JobView> {
        let mut found = Vec::new();
        for job in self.candidates(members, statuses, filter, count) {
            if room.is_full() {
                break;
            }
            let view = self.whole_view_of(job, payload_store, filter.reads_results);
            if filter.test.as_ref().is_none_or(|test| test(&view)) {
                room.take(&view);
                found.push(view);
            }
        }
        found
    }

    /// Those of the next `count` that pass, `filter.test` not yet asked.
    fn candidates<'a>(
        &'a self,
        members: &mut Members,
        statuses: &'a [Status],
        filter: &'a Filter,
        count: usize,
    ) -> impl Iterator<Item = &'a PackedJob> + use<'a> {
        let at = members.left.len().saturating_sub(count);
        let piece = members.left.split_off(at);
        piece.into_iter().rev().filter_map(|(slot, number)| {
            let job = self.jobs.get(slot as usize)?.as_ref().filter(|job| job.enqueued_seq == number)?;
            let profile = self.profile_of(job);
            let of_kind = filter.kind.as_ref().is_none_or(|kind| self.kinds.name(profile.kind.0) == kind);
            let in_queue =
                filter.queue.as_ref().is_none_or(|queue| self.sections.queues.name(profile.queue) == queue);
            (statuses.contains(&job.status()) && of_kind && in_queue).then_some(job)
        })
    }
}
