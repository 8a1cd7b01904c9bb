//! The state as it is in memory, handed out piece by piece while it stands still: what is on disk is made anew from it.

use std::ops::Range;

use crate::ids::{Seq, Timestamp};
use crate::jobs::event::{Event, EventKind};
use crate::jobs::model::profile::Profile;
use crate::jobs::sections::Sections;
use crate::jobs::table::list::Slot;
use crate::jobs::table::packed_job::PackedJob;
use crate::jobs::table::{JobTable, digest};

/// A job, and what it has in common with others.
pub(crate) type JobCopy = (Profile, PackedJob);

/// What a state is beside its jobs, and what they sum up to.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    /// Position of the last event in it.
    pub last: Seq,
    /// Latest moment of an event up to there.
    pub last_at: Timestamp,
    pub sections: Sections,
    /// How many jobs there are.
    pub jobs: u64,
    /// What all of it sums up to.
    pub digest: u64,
    /// Slots in which there may be a job.
    pub slots: usize,
}

impl JobTable {
    /// What there is to copy.
    pub(crate) fn outline(&self) -> Outline {
        Outline {
            last: self.last,
            last_at: self.last_at,
            sections: self.sections.clone(),
            jobs: self.counts.total(),
            digest: self.digest(),
            slots: self.slots(),
        }
    }

    /// Slots in which there may be a job.
    pub(crate) fn slots(&self) -> usize {
        self.jobs.len()
    }

    /// The event that says what the state sums up to, whether it is due or not.
    pub(crate) fn digest_now(&self) -> Event {
        Event { at: self.last_at, job_seq: Seq::ZERO, kind: EventKind::Digest { digest: self.digest() } }
    }

    /// The jobs in some of the slots, by their numbers. Slots beyond the last are empty.
    pub(crate) fn numbers_in(&self, slots: Range<usize>) -> impl Iterator<Item = (Seq, Slot)> {
        slots.filter_map(|slot| Some((self.jobs.get(slot)?.as_ref()?.enqueued_seq, slot as Slot)))
    }

    /// A job with what it has in common with others; its texts may be on disk only.
    pub(crate) fn copy_of(&self, slot: Slot) -> Option<JobCopy> {
        let job = self.jobs.get(slot as usize)?.as_ref()?;
        Some((self.named_profile_of(job), job.clone()))
    }
}

/// Sums up a state that is read job by job.
pub(crate) struct Sum<'a> {
    sections: &'a Sections,
    jobs: u64,
    digest: u64,
}

impl<'a> Sum<'a> {
    /// Of a state with these sections and no job yet.
    pub fn of(sections: &'a Sections) -> Sum<'a> {
        Sum { sections, jobs: 0, digest: sections.digest() }
    }

    /// One more job.
    pub fn add(&mut self, profile: &Profile, job: &PackedJob) {
        let queues = &self.sections.queues;
        let queue = queues.find(&profile.queue).map_or_else(
            // Not every queue that a job names exists.
            || digest::of_text(profile.queue.as_str()),
            |key| queues.get(key).digest,
        );
        self.jobs += 1;
        self.digest = self.digest.wrapping_add(digest::of(job, queue));
    }

    /// Whether that is the state of this outline.
    pub fn is_of(&self, outline: &Outline) -> bool {
        (self.jobs, self.digest) == (outline.jobs, outline.digest)
    }
}
