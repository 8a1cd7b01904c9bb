//! The job table: the single source of truth about every job, and `apply`, the only thing that changes it.
//!
//! `apply` is deterministic: the same events in the same order give the same table on every machine and in every
//! run. The indexes (line of pending jobs, waiting jobs by moment, leases by deadline, finished jobs by age,
//! counters) follow from the jobs alone and are rebuilt by [`JobTable::restore`].

use std::collections::{BTreeSet, HashSet};

use super::digest;
use super::event::{Change, Event, NewJob};
use super::id_index::IdIndex;
use super::job::{Finish, Job, JobState, JobView, Lease, Misfit, Status};
use super::list::{Links, List, Slot};
use super::names::{Interner, KindKey, QueueKey};
use super::policy::Policy;
use super::ready::{Ready, place};
use super::record::JobRecord;
use crate::bugs::{self, Bug};
use crate::ids::{Attempt, JobId, KindName, Lsn, QueueName, Timestamp, Token, WorkerId};

/// How many jobs are in each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Status::ALL.len()]);

impl Counts {
    /// Jobs in `status`.
    #[must_use]
    pub fn of(&self, status: Status) -> u64 {
        self.0[status as usize]
    }

    /// Jobs that may still run.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        Status::ALL.iter().filter(|status| !status.is_finished()).map(|&status| self.of(status)).sum()
    }

    /// All jobs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn of_mut(&mut self, status: Status) -> &mut u64 {
        &mut self.0[status as usize]
    }
}

impl serde::Serialize for Counts {
    /// As a map from status to count.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Status::ALL.iter().map(|&status| (status.as_str(), self.of(status))))
    }
}

/// A job that was dispatched, as its worker gets it.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The job.
    pub job: JobId,
    /// The line it waited in.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: KindName,
    /// What the handler gets.
    pub payload: super::Payload,
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
    pub(super) jobs: Vec<Option<Job>>,
    pub(super) links: Vec<Links>,
    pub(super) free: Vec<Slot>,
    pub(super) ids: IdIndex,
    pub(super) queues: Interner<QueueName>,
    pub(super) kinds: Interner<KindName>,
    /// Kinds that a worker of this process handles.
    pub(super) handled: Vec<KindKey>,
    pub(super) ready: Ready,
    /// Scheduled and retrying jobs by the moment they wait for.
    pub(super) waiting: BTreeSet<(Timestamp, Lsn, Slot)>,
    /// Jobs in flight by the moment their lease expires.
    pub(super) leases: BTreeSet<(Timestamp, Lsn, Slot)>,
    /// Completed, dead and cancelled jobs, each in the order in which they ended.
    pub(super) finished: [List; 3],
    pub(super) counts: Counts,
    pub(super) counts_by_queue: Vec<Counts>,
    pub(super) digest: u64,
    pub(super) last: Lsn,
    pub(super) last_at: Timestamp,
}

/// Statuses of [`JobTable::finished`], in its order.
pub(super) const FINISHED: [Status; 3] = [Status::Completed, Status::Dead, Status::Cancelled];

pub(super) fn finished_index(status: Status) -> usize {
    status as usize - Status::Completed as usize
}

impl JobTable {
    /// A table without jobs, before the first event.
    ///
    /// `handled` are the kinds that local workers take; jobs of other kinds stay pending.
    #[must_use]
    pub fn new(policy: Policy, handled: &[KindName]) -> JobTable {
        let mut kinds = Interner::new();
        let handled = handled.iter().map(|kind| KindKey(kinds.intern(kind))).collect();
        JobTable {
            policy,
            jobs: Vec::new(),
            links: Vec::new(),
            free: Vec::new(),
            ids: IdIndex::default(),
            queues: Interner::new(),
            kinds,
            handled,
            ready: Ready::default(),
            waiting: BTreeSet::new(),
            leases: BTreeSet::new(),
            finished: [List::EMPTY; 3],
            counts: Counts::default(),
            counts_by_queue: Vec::new(),
            digest: 0,
            last: Lsn::ZERO,
            last_at: Timestamp(0),
        }
    }

    /// Changes the table by the next event of the log.
    ///
    /// # Errors
    /// The event does not follow the last one, or does not fit the job it names. The table must not be used
    /// after that: log and state disagree.
    pub fn apply(&mut self, lsn: Lsn, event: Event) -> Result<(), Misfit> {
        if lsn != self.last.next() {
            let problem = format!("it should follow event {}", self.last);
            return Err(Misfit { lsn, change: event.change.name(), problem });
        }
        match event.change {
            Change::Enqueue(new) => self.add(lsn, event.at, *new)?,
            Change::Promote { due, number } => self.promote(lsn, event.at, (due, number))?,
            Change::Forget { completed, dead, cancelled } => {
                for (status, through) in FINISHED.into_iter().zip([completed, dead, cancelled]) {
                    self.forget(status, through);
                }
            }
            Change::Digest { digest } if digest != self.digest => {
                let problem = format!(
                    "the state sums up to {:016x}, but the log says {digest:016x}: they were not made by the same rules",
                    self.digest
                );
                return Err(Misfit { lsn, change: "DIGEST", problem });
            }
            Change::Digest { .. } => {}
            change => {
                let slot = change.job().and_then(|job| self.slot_of(job)).ok_or_else(|| Misfit {
                    lsn,
                    change: change.name(),
                    problem: format!(
                        "there is no job {}",
                        change.job().map_or(String::new(), JobId::to_string)
                    ),
                })?;
                self.change(lsn, event.at, slot, change)?;
            }
        }
        self.last = lsn;
        self.last_at = self.last_at.max(event.at);
        Ok(())
    }

    /// The event that says what the state sums up to, if the next position is meant for it.
    #[must_use]
    pub fn due_digest(&self) -> Option<Event> {
        let is_due = self.last.next().0.is_multiple_of(digest::EVERY);
        is_due.then_some(Event { at: self.last_at, change: Change::Digest { digest: self.digest } })
    }

    /// Position of the last event that was applied.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// Latest moment that an event carries: time never runs backwards in the log.
    #[must_use]
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// How many jobs are in each status.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many jobs of each queue are in each status. Queues without jobs are left out.
    pub fn counts_by_queue(&self) -> impl Iterator<Item = (&QueueName, Counts)> {
        let all = self.queues.all().iter().zip(self.counts_by_queue.iter().copied());
        all.filter(|(_, counts)| counts.total() > 0)
    }

    /// Kinds with pending jobs that no local worker takes, and how many.
    pub fn pending_without_worker(&self) -> impl Iterator<Item = (&KindName, u64)> {
        let all = self.kinds.all().iter().enumerate().map(|(number, name)| (KindKey(number as u32), name));
        all.filter(|(kind, _)| !self.handled.contains(kind))
            .map(|(kind, name)| (name, self.ready.len_of(kind)))
            .filter(|(_, len)| *len > 0)
    }

    /// Whether a worker could take a job now.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.ready.first(&self.handled).is_some()
    }

    /// The job with this id, as people see it.
    #[must_use]
    pub fn view(&self, id: &JobId) -> Option<JobView> {
        self.slot_of(id).map(|slot| self.view_of(self.job(slot)))
    }

    /// Whether the job with this id is known to have succeeded.
    #[must_use]
    pub fn is_completed(&self, id: &JobId) -> bool {
        self.slot_of(id).is_some_and(|slot| self.job(slot).state.status() == Status::Completed)
    }

    /// When the job with this id was accepted.
    #[must_use]
    pub fn created_at(&self, id: &JobId) -> Option<Timestamp> {
        self.slot_of(id).map(|slot| self.job(slot).created_at)
    }

    /// What the worker needs to run the job with this id; none unless it is in flight.
    #[must_use]
    pub fn assignment(&self, id: &JobId) -> Option<(WorkerId, Assignment)> {
        let job = self.job(self.slot_of(id)?);
        let JobState::InFlight(lease) = job.state else { return None };
        let assignment = Assignment {
            job: job.id.clone(),
            queue: self.queues.name(job.queue.0).clone(),
            kind: self.kinds.name(job.kind.0).clone(),
            payload: job.payload.clone(),
            attempt: job.attempt,
            token: lease.token,
            timeout_ms: job.timeout_ms,
        };
        Some((lease.worker, assignment))
    }

    /// The lease of the job with this id, while it is in flight.
    #[must_use]
    pub fn lease(&self, id: &JobId) -> Option<Lease> {
        match self.job(self.slot_of(id)?).state {
            JobState::InFlight(lease) => Some(lease),
            _ => None,
        }
    }

    /// The jobs whose lease expires at or before `now`, the longest expired first, at most `max`.
    #[must_use]
    pub fn expired(&self, now: Timestamp, max: usize) -> Vec<(JobId, Token)> {
        let expired = self.leases.iter().take_while(|(deadline, ..)| *deadline <= now).take(max);
        expired.map(|(_, token, slot)| (self.job(*slot).id.clone(), Token(token.0))).collect()
    }

    /// The jobs in flight, of one worker or of all, in the order in which they were dispatched.
    #[must_use]
    pub fn in_flight(&self, worker: Option<WorkerId>) -> Vec<(JobId, Token)> {
        let mut held: Vec<_> = self
            .leases
            .iter()
            .map(|&(_, _, slot)| self.job(slot))
            .filter_map(|job| match &job.state {
                JobState::InFlight(lease) => Some((lease, job)),
                _ => None,
            })
            .filter(|(lease, _)| worker.is_none_or(|worker| lease.worker == worker))
            .map(|(lease, job)| (job.id.clone(), lease.token))
            .collect();
        held.sort_unstable_by_key(|(_, token)| *token);
        held
    }

    /// When something is due next without anybody asking: a promotion, an expired lease, something to forget.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let promotion = self.waiting.first().map(|(due, ..)| *due);
        let expiry = self.leases.first().map(|(deadline, ..)| *deadline);
        [promotion, expiry, self.next_forget()].into_iter().flatten().min()
    }

    /// Every job, as it is written to an image, in the order of their numbers.
    #[must_use]
    pub fn records(&self) -> Vec<JobRecord> {
        let mut all: Vec<_> = self.jobs.iter().flatten().map(|job| self.record_of(job)).collect();
        all.sort_unstable_by_key(|record| record.number);
        all
    }

    /// Rebuilds a table and its indexes from the jobs of an image.
    ///
    /// # Errors
    /// A record cannot be: two with the same id, or a position after `last`.
    pub fn restore(
        policy: Policy,
        handled: &[KindName],
        last: Lsn,
        last_at: Timestamp,
        records: impl IntoIterator<Item = JobRecord>,
    ) -> Result<JobTable, Misfit> {
        let mut table = JobTable::new(policy, handled);
        let mut pending = Vec::new();
        let mut finished: [Vec<(Lsn, Slot)>; 3] = Default::default();
        for record in records {
            let misfit = |problem| Misfit { lsn: record.number, change: "image", problem };
            if table.slot_of(&record.id).is_some() {
                return Err(misfit(format!("job {} is there twice", record.id)));
            }
            if record.number > last || record.order > last {
                return Err(misfit(format!("job {} is from after the image's end, {last}", record.id)));
            }
            let slot = table.store(record);
            let job = table.job(slot);
            match (&job.state, job.state.finish()) {
                (JobState::Pending, _) => pending.push((place(job), slot)),
                (state, Some(finish)) => finished[finished_index(state.status())].push((finish.lsn, slot)),
                _ => table.link(slot),
            }
        }
        // Joining in order makes every insertion an append.
        pending.sort_unstable();
        finished.iter_mut().for_each(|list| list.sort_unstable());
        let pending = pending.into_iter().map(|(_, slot)| slot);
        for slot in pending.chain(finished.into_iter().flatten().map(|(_, slot)| slot)) {
            table.link(slot);
        }
        table.last = last;
        table.last_at = last_at;
        Ok(table)
    }

    pub(super) fn job(&self, slot: Slot) -> &Job {
        occupied(&self.jobs, slot)
    }

    pub(super) fn slot_of(&self, id: &JobId) -> Option<Slot> {
        self.ids.find(id, |slot| self.job(slot).id == *id)
    }

    fn add(&mut self, lsn: Lsn, at: Timestamp, new: NewJob) -> Result<(), Misfit> {
        if let Some(slot) = self.slot_of(&new.id) {
            if !self.job(slot).state.status().is_finished() {
                let problem = format!("job {} is there already", new.id);
                return Err(Misfit { lsn, change: "ENQUEUE", problem });
            }
            // A dead or cancelled job gives way to a new one of its name.
            self.unlink(slot);
            self.drop_job(slot);
        }
        let slot = self.store(JobRecord::accepted(lsn, at, new));
        self.link(slot);
        Ok(())
    }

    fn promote(&mut self, lsn: Lsn, at: Timestamp, through: (Timestamp, Lsn)) -> Result<(), Misfit> {
        let due = self.waiting.range(..=(through.0, through.1, Slot::MAX));
        let mut due: Vec<Slot> = due.map(|(_, _, slot)| *slot).collect();
        // They join the line in the order in which they were accepted, so that the place in line of each can be
        // told from the job alone.
        due.sort_unstable_by_key(|slot| self.job(*slot).number);
        for &slot in &due {
            self.change(lsn, at, slot, Change::Promote { due: through.0, number: through.1 })?;
        }
        if bugs::has(Bug::HashMapOrder) {
            self.shuffle(lsn, due.into_iter().collect());
        }
        Ok(())
    }

    /// What [`Bug::HashMapOrder`] does.
    fn shuffle(&mut self, lsn: Lsn, due: HashSet<Slot>) {
        for (nth, slot) in due.into_iter().enumerate() {
            self.unlink(slot);
            let job = self.jobs[slot as usize].as_mut().expect("a slot that an index names is occupied");
            job.order = Lsn(lsn.0.saturating_sub(nth as u64));
            self.link(slot);
        }
    }

    fn forget(&mut self, status: Status, through: Lsn) {
        while let Some(slot) = self.finished[finished_index(status)].head() {
            if self.finish_of(slot).lsn > through {
                break;
            }
            self.unlink(slot);
            self.drop_job(slot);
        }
    }

    fn change(&mut self, lsn: Lsn, at: Timestamp, slot: Slot, change: Change) -> Result<(), Misfit> {
        self.unlink(slot);
        let job = self.jobs[slot as usize].as_mut().expect("a slot that an index names is occupied");
        job.change(lsn, at, change)?;
        self.link(slot);
        Ok(())
    }

    /// Puts a job into a free slot and into the id index, and into no other.
    fn store(&mut self, record: JobRecord) -> Slot {
        let job = self.job_of(record);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.jobs.push(None);
                self.links.push(Links::LOOSE);
                Slot::try_from(self.jobs.len() - 1).expect("fewer than 2^32 jobs fit in memory")
            }
        };
        self.ids.insert(&job.id, slot);
        self.jobs[slot as usize] = Some(job);
        slot
    }

    fn drop_job(&mut self, slot: Slot) {
        let job = self.jobs[slot as usize].take().expect("a slot that an index names is occupied");
        self.ids.remove(&job.id, slot);
        self.free.push(slot);
    }

    /// Enters a job into the index and the counters of its state.
    fn link(&mut self, slot: Slot) {
        let job = occupied(&self.jobs, slot);
        let status = job.state.status();
        match &job.state {
            JobState::Pending => self.ready.insert(&mut self.links, |slot| occupied(&self.jobs, slot), slot),
            JobState::Scheduled { run_at: due } | JobState::Retrying { retry_at: due } => {
                self.waiting.insert((*due, job.number, slot));
            }
            JobState::InFlight(lease) => {
                self.leases.insert((lease.deadline, Lsn(lease.token.0), slot));
            }
            JobState::Completed(_) | JobState::Dead(_) | JobState::Cancelled(_) => {
                self.finished[finished_index(status)].push_back(&mut self.links, slot);
            }
        }
        self.digest = self.digest.wrapping_add(digest::of(job));
        *self.counts.of_mut(status) += 1;
        *self.counts_by_queue[job.queue.0 as usize].of_mut(status) += 1;
    }

    /// The reverse of [`JobTable::link`].
    fn unlink(&mut self, slot: Slot) {
        let job = occupied(&self.jobs, slot);
        let status = job.state.status();
        match &job.state {
            JobState::Pending => self.ready.remove(&mut self.links, |slot| occupied(&self.jobs, slot), slot),
            JobState::Scheduled { run_at: due } | JobState::Retrying { retry_at: due } => {
                self.waiting.remove(&(*due, job.number, slot));
            }
            JobState::InFlight(lease) => {
                self.leases.remove(&(lease.deadline, Lsn(lease.token.0), slot));
            }
            JobState::Completed(_) | JobState::Dead(_) | JobState::Cancelled(_) => {
                self.finished[finished_index(status)].remove(&mut self.links, slot);
            }
        }
        self.digest = self.digest.wrapping_sub(digest::of(job));
        *self.counts.of_mut(status) -= 1;
        *self.counts_by_queue[job.queue.0 as usize].of_mut(status) -= 1;
    }

    pub(super) fn finish_of(&self, slot: Slot) -> Finish {
        self.job(slot).state.finish().expect("only finished jobs are in the lists of finished jobs")
    }

    fn job_of(&mut self, record: JobRecord) -> Job {
        let queue = QueueKey(self.queues.intern(&record.queue));
        let kind = KindKey(self.kinds.intern(&record.kind));
        if self.counts_by_queue.len() <= queue.0 as usize {
            self.counts_by_queue.resize(queue.0 as usize + 1, Counts::default());
        }
        record.into_job(queue, kind)
    }

    fn record_of(&self, job: &Job) -> JobRecord {
        JobRecord::of(job, self.queues.name(job.queue.0), self.kinds.name(job.kind.0))
    }

    fn view_of(&self, job: &Job) -> JobView {
        let lease = match job.state {
            JobState::InFlight(lease) => Some(lease),
            _ => None,
        };
        let past = job.past.as_deref();
        JobView {
            id: job.id.clone(),
            status: job.state.status(),
            queue: self.queues.name(job.queue.0).clone(),
            kind: self.kinds.name(job.kind.0).clone(),
            priority: job.priority,
            attempt: job.attempt,
            max_retry: job.max_retry,
            timeout_ms: job.timeout_ms,
            created_at: job.created_at,
            run_at: job.state.due(),
            worker: lease.map(|lease| lease.worker),
            started_at: lease.map(|lease| lease.since),
            deadline: lease.map(|lease| lease.deadline),
            token: lease.map(|lease| lease.token),
            finished_at: job.state.finish().map(|finish| finish.at),
            errors: past.map_or_else(Vec::new, |past| past.failures.clone()),
            result: past.and_then(|past| past.result.clone()),
            payload: job.payload.clone(),
        }
    }
}

/// Kept apart from the table's other fields, so that an index can be changed while jobs are looked at.
fn occupied(jobs: &[Option<Job>], slot: Slot) -> &Job {
    jobs[slot as usize].as_ref().expect("a slot that an index names is occupied")
}
