//! The job table: the single source of truth about every job, and `apply`, the only thing that changes it.
//!
//! `apply` is deterministic: the same events in the same order give the same table on every machine and in every
//! run. The indexes (line of pending jobs, waiting jobs by moment, leases by deadline, finished jobs by age,
//! counters) follow from the jobs and the queues' settings alone and are rebuilt by [`JobTable::restore`].
//!
//! - What is kept of a job: `packed_job`, in one of `slots`, with what many jobs have in common in `profiles`; `texts`, those
//!   of it that may be on disk.
//! - What changes it: `apply`, by events; `entries`, jobs that enter indexes and leave them.
//! - What names it uses: `names`, those of queues and kinds that are given back when nobody uses them.
//! - By what it is found: `lookup`; `id_index`, and `recent` in front of it; `lane`, `lane_heap` and `ready`, pending jobs in line;
//!   `leases`, jobs in flight; `list`, the links that such lines are made of.
//! - What is made of all: `view`, what is told of it; [`digest`], its sum; `restore`, a table from an image; `check`, its
//!   invariants; [`copy`], the state piece by piece, to be written out whole.

mod apply;
mod check;
pub(crate) mod copy;
pub mod digest;
mod entries;
mod id_index;
mod lane;
mod lane_heap;
mod leases;
pub(crate) mod list;
mod lookup;
pub mod names;
pub(crate) mod packed_job;
pub(crate) mod profiles;
mod ready;
mod recent;
mod restore;
mod slots;
mod texts;
mod view;

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};

use crate::ids::{Attempt, Epoch, JobId, KindName, QueueName, Seq, Timestamp, Token};
use crate::jobs::counts::Counts;
use crate::jobs::event::{Event, NewJob};
use crate::jobs::intern::{Interner, KindKey, QueueKey};
use crate::jobs::model::job::{Finish, Status};
use crate::jobs::model::payload::PayloadRef;
use crate::jobs::model::policy::Policy;
use crate::jobs::model::profile::Profile;
use crate::jobs::record::JobRecord;
use crate::jobs::sections::Sections;
use crate::jobs::table::id_index::IdIndex;
use crate::jobs::table::leases::Leases;
use crate::jobs::table::list::{Links, List, Slot};
use crate::jobs::table::packed_job::{EmptyBoxes, PackedJob, ProfileId};
use crate::jobs::table::profiles::{JobProfile, Profiles};
use crate::jobs::table::ready::Ready;
use crate::jobs::table::recent::Recent;
use crate::jobs::table::slots::Slots;

/// A job that was dispatched, as its worker gets it.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub job: JobId,
    /// Its number, by which a payload on disk is found.
    pub number: Seq,
    /// The line it waited in.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: KindName,
    /// What the handler gets.
    pub payload: PayloadRef,
    /// Which run this is.
    pub attempt: Attempt,
    /// The lease it is run under.
    pub token: Token,
    /// Longest run of this attempt, in milliseconds.
    pub timeout_ms: u64,
}

/// Every job and where it stands.
#[derive(Debug)]
pub struct JobTable {
    pub(super) policy: Policy,
    pub(super) jobs: Slots<Option<PackedJob>>,
    pub(super) links: Slots<Links>,
    pub(super) free: Vec<Slot>,
    pub(super) ids: IdIndex,
    pub(super) sections: Sections,
    /// Jobs of each queue in each status.
    pub(super) queue_counts: Vec<Counts>,
    /// When a job came last into each queue, since the image.
    pub(super) queue_used_at: Vec<Timestamp>,
    /// The last moment of the image.
    pub(super) restored_at: Timestamp,
    /// Queues that were removed since names were given back last.
    removed_queues: usize,
    pub(super) kinds: Interner<KindName>,
    pub(super) profiles: Profiles,
    /// Kinds that a worker of this process handles.
    pub(super) handled: Vec<KindKey>,
    pub(super) ready: Ready,
    /// Scheduled and retrying jobs by the moment they wait for.
    pub(super) waiting: BTreeSet<(Timestamp, Seq, Slot)>,
    /// Jobs in flight by the moment their lease expires.
    pub(super) leases: Leases,
    /// Completed, dead and cancelled jobs, each in the order in which they ended.
    pub(super) finished: [List; 3],
    /// Those of them that another job is to follow, by the positions at which they ended.
    pub(super) succeeded: BTreeSet<(Seq, Slot)>,
    pub(super) counts: Counts,
    /// The sum over the jobs; the sections sum themselves up.
    pub(super) digest: u64,
    /// Bytes of what jobs came with in memory that could be on disk only: all but small texts.
    pub(super) resident: u64,
    /// Jobs whose payload came with their event, which is perhaps not yet on disk, in the order of their numbers.
    fresh: VecDeque<(Seq, Slot)>,
    /// Events that brought a report on a job, which are perhaps not yet on disk, with the job's number and slot.
    reports: VecDeque<(Seq, Seq, Slot)>,
    boxes: EmptyBoxes,
    /// What is left of the last job that was accepted: its box and its names.
    emptied: Option<Box<NewJob>>,
    recent: Recent,
    /// Number and slot of the job that was decided about last: its event is applied next, mostly.
    decided: Cell<(Seq, Slot)>,
    pub(super) last: Seq,
    pub(super) last_at: Timestamp,
}

/// Statuses of [`JobTable::finished`], in its order.
pub(super) const FINISHED: [Status; 3] = [Status::Completed, Status::Dead, Status::Cancelled];

#[inline]
pub(crate) fn finished_index(status: Status) -> usize {
    status as usize - Status::Completed as usize
}

impl JobTable {
    /// A table without jobs, before the first event.
    ///
    /// `handled` are the kinds that local workers take; jobs of other kinds stay pending.
    #[must_use]
    pub fn new(policy: Policy, handled: &[KindName]) -> JobTable {
        let mut kinds = Interner::default();
        let handled = handled.iter().map(|kind| KindKey(kinds.intern(kind))).collect();
        JobTable {
            policy,
            jobs: Slots::new(),
            links: Slots::new(),
            free: Vec::new(),
            ids: IdIndex::default(),
            sections: Sections::default(),
            queue_counts: Vec::new(),
            queue_used_at: Vec::new(),
            restored_at: Timestamp(0),
            removed_queues: 0,
            kinds,
            handled,
            ready: Ready::default(),
            waiting: BTreeSet::new(),
            leases: Leases::default(),
            finished: [List::EMPTY; 3],
            succeeded: BTreeSet::new(),
            counts: Counts::default(),
            profiles: Profiles::default(),
            digest: 0,
            resident: 0,
            fresh: VecDeque::new(),
            reports: VecDeque::new(),
            boxes: EmptyBoxes::default(),
            emptied: None,
            recent: Recent::default(),
            decided: Cell::default(),
            last: Seq::ZERO,
            last_at: Timestamp(0),
        }
    }

    /// The box of the last job that was accepted, for the next one. The names in it are still there.
    pub fn take_emptied(&mut self) -> Option<Box<NewJob>> {
        self.emptied.take()
    }

    /// The event that says what the state sums up to, if the next position is meant for it.
    #[must_use]
    pub fn due_digest(&self) -> Option<Event> {
        let is_due = self.last.next().0.is_multiple_of(digest::EVERY);
        is_due.then(|| self.digest_now())
    }

    /// Bytes of the texts of jobs that are in memory.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.resident
    }

    /// Position of the last event that was applied.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Latest moment that an event carries since the clock was set back last: otherwise time never runs backwards in the log.
    #[must_use]
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// What the whole state sums up to.
    #[inline]
    pub(super) fn digest(&self) -> u64 {
        self.digest.wrapping_add(self.sections.digest())
    }

    /// The term that the state is in: leases that are given now are stamped with it.
    #[must_use]
    #[inline]
    pub fn epoch(&self) -> Epoch {
        self.sections.epoch()
    }

    pub(super) fn profile_of(&self, job: &PackedJob) -> &JobProfile {
        self.profiles.get(job.profile)
    }

    /// The number of a profile for one more job.
    #[inline]
    pub(super) fn join_named(&mut self, profile: &Profile) -> ProfileId {
        let queue = self.sections.queues.intern(&profile.queue);
        let kind = KindKey(self.kinds.intern(&profile.kind));
        self.join(JobProfile::of(profile, queue, kind))
    }

    pub(super) fn join(&mut self, profile: JobProfile) -> ProfileId {
        let JobProfile { queue, kind, priority, .. } = profile;
        let is_known = self.queue_counts.len() > queue.0 as usize;
        if !is_known {
            self.make_room_for_queue(queue);
        }
        let lane = || self.ready.lane_of(queue, kind, priority);
        self.profiles.join(profile, lane)
    }

    pub(super) fn finish_of(&self, slot: Slot) -> Finish {
        self.job(slot).finish().expect("only finished jobs are in the lists of finished jobs")
    }

    pub(super) fn record_of(&self, job: &PackedJob) -> JobRecord {
        job.clone().into_record(self.named_profile_of(job))
    }

    fn named_profile_of(&self, job: &PackedJob) -> Profile {
        let profile = self.profile_of(job);
        profile.named(self.sections.queues.name(profile.queue), self.kinds.name(profile.kind.0))
    }

    /// Whether there is such a queue: one that was removed is there again as soon as a job waits in it, also one that was
    /// scheduled before.
    pub(super) fn queue_is_there(&self, key: QueueKey) -> bool {
        self.sections.queues.get(key).exists || self.counts_of_queue(key).of(Status::Pending) > 0
    }

    pub(super) fn counts_of_queue(&self, key: QueueKey) -> Counts {
        self.queue_counts.get(key.0 as usize).copied().unwrap_or_default()
    }
}
