//! The job table: the single source of truth about every job, and `apply`, the only thing that changes it.
//!
//! `apply` is deterministic: the same events in the same order give the same table on every machine and in every
//! run. The indexes (line of pending jobs, waiting jobs by moment, leases by deadline, finished jobs by age,
//! counters) follow from the jobs and the queues' settings alone and are rebuilt by [`JobTable::restore`].
//!
//! - What is kept of a job: `packed_job`, in one of `slots`, with what many jobs have in common in `profiles`; `texts`, those
//!   of it that may be on disk.
//! - By what it is found: `id_index`, and `recent` in front of it; `lane`, `lane_heap` and `ready`, pending jobs in line;
//!   `leases`, jobs in flight; `list`, the links that such lines are made of.
//! - What is made of all: `view`, what is told of it; [`digest`], its sum; `restore`, a table from an image; `check`, its
//!   invariants.

mod check;
pub mod digest;
mod id_index;
mod lane;
mod lane_heap;
mod leases;
pub(crate) mod list;
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

use crate::base::bugs;
use crate::ids::{Attempt, Epoch, JobId, KindName, QueueName, Seq, Timestamp, Token};
use crate::jobs::apply::Stamp;
use crate::jobs::counts::Counts;
use crate::jobs::event::{Event, EventKind, EventType, NewJob};
use crate::jobs::intern::{Interner, KindKey, QueueKey};
use crate::jobs::model::job::{Finish, Misfit, Status};
use crate::jobs::model::payload::PayloadRef;
use crate::jobs::model::policy::Policy;
use crate::jobs::model::profile::Profile;
use crate::jobs::record::JobRecord;
use crate::jobs::sections::Sections;
use crate::jobs::table::id_index::IdIndex;
use crate::jobs::table::leases::Leases;
use crate::jobs::table::list::{Links, List, Slot};
use crate::jobs::table::packed_job::{EmptyBoxes, IndexedAs, PackedJob, ProfileId, occupied, occupied_mut};
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

    /// Changes the table by the next event of the log.
    ///
    /// # Errors
    /// The event does not follow the last one, or does not fit the job it names. The table must not be used
    /// after that: log and state disagree.
    pub fn apply(&mut self, seq: Seq, event: Event) -> Result<(), Misfit> {
        if seq != self.last.next() {
            let problem = format!("it should follow event {}", self.last);
            return Err(Misfit { seq, event: event.kind.name(), problem });
        }
        self.sections.apply(seq, &event.kind);
        match event.kind {
            EventKind::Enqueue(new) => self.add(seq, event.at, event.job_seq, new)?,
            EventKind::Promote { due, through } => self.promote(seq, event.at, (due, through))?,
            EventKind::Forget { completed, dead, cancelled } => {
                for (status, through) in FINISHED.into_iter().zip([completed, dead, cancelled]) {
                    self.forget(status, through);
                }
            }
            EventKind::SetPaused { queue, paused } => self.set_reachable(&queue, !paused),
            EventKind::RemoveQueue { queue } => self.set_reachable(&queue, true),
            EventKind::Digest { digest } if digest != self.digest() => {
                let problem = format!(
                    "the state sums up to {:016x}, but the log says {digest:016x}: they were not made by the same rules",
                    self.digest()
                );
                return Err(Misfit { seq, event: "DIGEST", problem });
            }
            EventKind::Digest { .. } | EventKind::Term { .. } => {}
            EventKind::Lead { grace_ms, margin_ms } => {
                self.spare_leases(seq, event.at, &EventKind::Lead { grace_ms, margin_ms })?;
            }
            // What is bound here would be copied first, and it is not small.
            _ => {
                let job = event.kind.job();
                let found = self.decided_slot(&event).or_else(|| self.slot_of(job?));
                let slot = found.ok_or_else(|| Misfit {
                    seq,
                    event: event.kind.name(),
                    problem: format!("there is no job {}", job.map_or(String::new(), JobId::to_string)),
                })?;
                let found = self.job(slot).enqueued_seq;
                if event.job_seq != found {
                    let problem = format!("its job has number {found}, but it means {}", event.job_seq);
                    return Err(Misfit { seq, event: event.kind.name(), problem });
                }
                self.change(seq, event.at, slot, event.kind)?;
            }
        }
        self.last = seq;
        self.last_at = self.last_at.max(event.at);
        Ok(())
    }

    /// The box of the last job that was accepted, for the next one. The names in it are still there.
    pub fn take_emptied(&mut self) -> Option<Box<NewJob>> {
        self.emptied.take()
    }

    /// The event that says what the state sums up to, if the next position is meant for it.
    #[must_use]
    pub fn due_digest(&self) -> Option<Event> {
        let is_due = self.last.next().0.is_multiple_of(digest::EVERY);
        is_due.then_some(Event {
            at: self.last_at,
            job_seq: Seq::ZERO,
            kind: EventKind::Digest { digest: self.digest() },
        })
    }

    /// Position of the last event that was applied.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Latest moment that an event carries: time never runs backwards in the log.
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

    /// Whether workers may get the jobs of a queue, after the section of queues has changed.
    fn set_reachable(&mut self, queue: &QueueName, reachable: bool) {
        if let Some(key) = self.sections.queues.find(queue) {
            self.ready.set_paused(key, !reachable);
        }
    }

    fn spare_leases(&mut self, seq: Seq, at: Timestamp, lead: &EventKind) -> Result<(), Misfit> {
        let held: Vec<Slot> = self.leases.iter(&self.links, &self.jobs).collect();
        held.into_iter().try_for_each(|slot| self.change(seq, at, slot, lead.clone()))
    }

    pub(super) fn job(&self, slot: Slot) -> &PackedJob {
        occupied(&self.jobs, slot)
    }

    pub(super) fn profile_of(&self, job: &PackedJob) -> &JobProfile {
        self.profiles.get(job.profile)
    }

    pub(super) fn slot_of(&self, id: &JobId) -> Option<Slot> {
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
    pub(super) fn decide_about(&self, slot: Slot) -> &PackedJob {
        let job = self.job(slot);
        self.decided.set((job.enqueued_seq, slot));
        job
    }

    /// The slot of the job that an event is about, if it is the one that was decided about last: its number says so, which
    /// no two jobs share.
    #[inline]
    fn decided_slot(&self, event: &Event) -> Option<Slot> {
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
    pub(super) fn is_free(&self, id: &JobId) -> bool {
        self.ids.find(id, |slot| self.job(slot).id == *id).is_none()
    }

    /// The job in a slot, which is about to be asked for by its id.
    pub(super) fn next_job(&self, slot: Slot) -> &PackedJob {
        let job = self.decide_about(slot);
        self.recent.note(&job.id, slot);
        job
    }

    /// Leaves on disk only what is durable up to `through`: reports on jobs, and, as long as more than `bytes_max` of it
    /// are in memory, what jobs came with. Those that came first stay: they are wanted first.
    pub fn leave_payloads(&mut self, through: Seq, bytes_max: u64) {
        while let Some((number, slot)) = self.fresh.pop_front_if(|(number, _)| *number <= through) {
            if self.resident > bytes_max && self.is_in(slot, number) {
                self.leave_content(slot);
            }
        }
        while let Some((_, number, slot)) = self.reports.pop_front_if(|(seq, ..)| *seq <= through) {
            if self.is_in(slot, number) {
                occupied_mut(&mut self.jobs, slot).leave_reports(through);
            }
        }
    }

    /// Whether the job with this number is still in the slot.
    fn is_in(&self, slot: Slot, number: Seq) -> bool {
        self.jobs[slot as usize].as_ref().is_some_and(|job| job.enqueued_seq == number)
    }

    fn leave_content(&mut self, slot: Slot) {
        self.resident -= occupied_mut(&mut self.jobs, slot).leave_content();
    }

    fn add(&mut self, seq: Seq, at: Timestamp, gives_way: Seq, mut new: Box<NewJob>) -> Result<(), Misfit> {
        let misfit = |problem| Misfit { seq, event: "ENQUEUE", problem };
        let place = self.ids.place(&new.id);
        let older = self.ids.find_at(place, |slot| self.job(slot).id == new.id);
        let number = older.map_or(Seq::ZERO, |slot| self.job(slot).enqueued_seq);
        if gives_way != number {
            let problem = format!("job {} has number {number}, but it means {gives_way}", new.id);
            return Err(misfit(problem));
        }
        if let Some(slot) = older {
            if !self.job(slot).status().is_finished() {
                return Err(misfit(format!("job {} is there already", new.id)));
            }
            // A finished job gives way to a new one of its name.
            self.unlink(slot);
            self.drop_job(slot);
        }
        let profile = self.join_named(&new.profile);
        let id = std::mem::replace(&mut new.id, JobId::NOBODY);
        let payload = std::mem::replace(&mut new.content.payload, PayloadRef::Stored { bytes: 0 });
        let mut job = PackedJob::accepted(id, seq, at, new.run_at, payload, profile);
        job.set_custom(new.content.custom.take());
        self.emptied = Some(new);
        let resident = job.resident_bytes();
        let slot = self.next_slot();
        self.ids.insert_at(place, slot);
        self.fill(slot, job, resident);
        if resident > 0 {
            self.fresh.push_back((seq, slot));
        }
        self.link(slot);
        Ok(())
    }

    fn promote(&mut self, seq: Seq, at: Timestamp, through: (Timestamp, Seq)) -> Result<(), Misfit> {
        let due = self.waiting.range(..=(through.0, through.1, Slot::MAX));
        let mut due: Vec<Slot> = due.map(|(_, _, slot)| *slot).collect();
        // They join the line in the order in which they were accepted, so that the place in line of each can be
        // told from the job alone.
        due.sort_unstable_by_key(|slot| self.job(*slot).enqueued_seq);
        for &slot in &due {
            let line_seq = Seq(seq.0 - bugs::disorder(due.len()));
            self.change(line_seq, at, slot, EventKind::Promote { due: through.0, through: through.1 })?;
        }
        Ok(())
    }

    fn forget(&mut self, status: Status, through: Seq) {
        while let Some(slot) = self.finished[finished_index(status)].head() {
            if self.finish_of(slot).seq > through {
                break;
            }
            self.unlink(slot);
            self.drop_job(slot);
        }
    }

    fn change(&mut self, seq: Seq, at: Timestamp, slot: Slot, kind: EventKind) -> Result<(), Misfit> {
        let event_type = kind.event_type();
        // A finished job that is moved keeps its place among the others, which are in the order in which they ended.
        let keeps_its_place =
            matches!(event_type, EventType::Move | EventType::Output) && self.job(slot).finish().is_some();
        match keeps_its_place {
            true => self.count_out(slot),
            false => self.unlink(slot),
        }
        match &kind {
            EventKind::Discard { .. } => {
                self.drop_job(slot);
                return Ok(());
            }
            EventKind::Move { queue, .. } => {
                let queue = self.sections.queues.intern(queue);
                self.move_to(slot, queue);
            }
            _ => {}
        }
        let stamp = Stamp { seq, at, epoch: self.sections.epoch() };
        let job = occupied_mut(&mut self.jobs, slot);
        let timeout_ms = self.profiles.get(job.profile).timeout_ms;
        job.apply(stamp, timeout_ms, kind, &mut self.boxes)?;
        let is_report = matches!(
            event_type,
            EventType::Ack | EventType::Retry | EventType::Requeue | EventType::Exhaust | EventType::Output
        );
        if is_report && job.rare().is_some() {
            self.reports.push_back((seq, job.enqueued_seq, slot));
        }
        // What has run is on disk, and is seldom wanted again.
        if matches!(event_type, EventType::Ack | EventType::Exhaust) {
            self.leave_content(slot);
        }
        match keeps_its_place {
            true => self.count_in(slot),
            false => self.link(slot),
        }
        Ok(())
    }

    fn move_to(&mut self, slot: Slot, queue: QueueKey) {
        let before = self.job(slot).profile;
        let profile = JobProfile { queue, ..*self.profiles.get(before) };
        let profile = self.join(profile);
        self.profiles.leave(before);
        occupied_mut(&mut self.jobs, slot).profile = profile;
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
        let lane = || {
            let queues = self.queue_counts.len().max(queue.0 as usize + 1);
            self.queue_counts.resize(queues, Counts::default());
            self.ready.lane_of(queue, kind, priority)
        };
        self.profiles.join(profile, lane)
    }

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
    fn next_slot(&self) -> Slot {
        let end = || Slot::try_from(self.jobs.len()).expect("fewer than 2^32 jobs fit in memory");
        self.free.last().copied().unwrap_or_else(end)
    }

    /// Puts a job into the next slot.
    fn fill(&mut self, slot: Slot, job: PackedJob, resident: u64) {
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

    fn drop_job(&mut self, slot: Slot) {
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
    pub(super) fn count_in(&mut self, slot: Slot) {
        let job = occupied(&self.jobs, slot);
        let (status, queue) = (job.status(), self.profiles.get(job.profile).queue);
        self.digest = self.digest.wrapping_add(digest::of(job, self.sections.queues.get(queue).digest));
        *self.counts.of_mut(status) += 1;
        *self.queue_counts[queue.0 as usize].of_mut(status) += 1;
    }

    /// The reverse of [`JobTable::link`].
    fn unlink(&mut self, slot: Slot) {
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
    fn count_out(&mut self, slot: Slot) {
        let job = occupied(&self.jobs, slot);
        let (status, queue) = (job.status(), self.profiles.get(job.profile).queue);
        self.digest = self.digest.wrapping_sub(digest::of(job, self.sections.queues.get(queue).digest));
        *self.counts.of_mut(status) -= 1;
        *self.queue_counts[queue.0 as usize].of_mut(status) -= 1;
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
