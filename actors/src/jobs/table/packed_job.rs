//! A job as the table holds it, in 88 bytes: what many jobs have in common is in their profile, what most jobs do not
//! have is behind one pointer, and a payload that is not small may be on disk.

use crate::base::bugs::{self, Bug};
use crate::ids::{Attempt, Holder, JobId, Seq, Timestamp, Token};
use crate::jobs::event::EventKind;
use crate::jobs::model::failure::{FAILURES_KEPT, FailedAttempt, Failure};
use crate::jobs::model::job::{Finish, JobState, Lease, Misfit, Status};
use crate::jobs::model::payload::{Payload, PayloadRef};
use crate::jobs::table::list::Slot;
use crate::jobs::table::profiles::ProfileId;
use crate::jobs::table::slots::Slots;

const _: () = assert!(size_of::<Option<PackedJob>>() == 88, "memory per job is a promise");

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackedJob {
    pub id: JobId,
    /// Position of the event that created it: its number, never used twice.
    pub number: Seq,
    /// Its place in line: the position at which it last joined the pending jobs. When it has ended: where that was.
    pub order: Seq,
    pub created_at: Timestamp,
    /// Pending: since when. Scheduled, retrying: until when. Ended: when. In flight, the lease says all.
    moment: Timestamp,
    pub body: PayloadRef,
    rare: Option<Box<Rare>>,
    pub profile: ProfileId,
    status: Status,
    /// [`ATTEMPT_IN_RARE`]: there.
    attempt: u8,
}

/// Few jobs are started so often.
const ATTEMPT_IN_RARE: u8 = u8::MAX;

/// What most jobs do not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rare {
    /// While it is in flight.
    lease: Option<Lease>,
    /// The last failed attempts, oldest first, at most [`FAILURES_KEPT`].
    pub failures: Vec<FailedAttempt>,
    /// How many attempts failed that count against `max_retry`.
    pub failed: u32,
    /// What the last attempt that had something to say left behind.
    pub result: Option<Payload>,
    /// What travels with the job unread.
    pub custom: Option<Payload>,
    attempt: u32,
}

impl Rare {
    #[inline]
    fn is_empty(&self) -> bool {
        let Rare { lease, failures, failed, result, custom, attempt } = self;
        lease.is_none()
            && failures.is_empty()
            && *failed == 0
            && result.is_none()
            && custom.is_none()
            && *attempt == 0
    }
}

/// Empty boxes of jobs whose lease has ended, for those that are dispatched next: a start and an end take 290
/// instructions less than with the allocator, whose own stock of such boxes is small.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
pub(crate) struct EmptyBoxes(Vec<Box<Rare>>);

impl EmptyBoxes {
    /// So many jobs are rarely in flight at the same time.
    const MAX: usize = 1024;

    fn take(&mut self) -> Box<Rare> {
        self.0.pop().unwrap_or_default()
    }

    fn put(&mut self, rare: Box<Rare>) {
        if self.0.len() < EmptyBoxes::MAX {
            self.0.push(rare);
        }
    }
}

/// What decides where a job is found.
pub(crate) enum IndexedAs<'a> {
    /// Pending, at its place in line.
    Line,
    /// In flight.
    Leased(&'a Lease),
    /// Scheduled or retrying, until then.
    Waiting(Timestamp),
    /// Ended, like this.
    Finished(Finish),
}

/// What a job begins with, or goes on with.
pub(crate) struct Parts {
    pub id: JobId,
    pub number: Seq,
    pub order: Seq,
    pub created_at: Timestamp,
    pub state: JobState,
    pub attempt: Attempt,
    pub body: PayloadRef,
    pub profile: ProfileId,
    pub failures: Vec<FailedAttempt>,
    pub failed: u32,
    pub result: Option<Payload>,
    pub custom: Option<Payload>,
}

impl PackedJob {
    /// Puts a job together.
    pub fn new(parts: Parts) -> PackedJob {
        let Parts { id, number, order, created_at, state, attempt, body, profile, .. } = parts;
        let Parts { failures, failed, result, custom, .. } = parts;
        let status = state.status();
        let (moment, order, lease) = match state {
            JobState::Pending { since } => (since, order, None),
            JobState::Scheduled { run_at: moment } | JobState::Retrying { retry_at: moment } => {
                (moment, order, None)
            }
            JobState::InFlight(lease) => (Timestamp(0), order, Some(*lease)),
            JobState::Completed(finish) | JobState::Dead(finish) | JobState::Cancelled(finish) => {
                (finish.at, finish.seq, None)
            }
        };
        let rare = Rare { lease, failures, failed, result, custom, attempt: 0 };
        let rare = (!rare.is_empty()).then(|| Box::new(rare));
        let mut job =
            PackedJob { id, number, order, created_at, moment, body, rare, profile, status, attempt: 0 };
        job.set_attempt(attempt);
        job
    }

    /// A new one, which most jobs are once: without anything rare.
    #[inline]
    pub fn accepted(
        id: JobId,
        seq: Seq,
        at: Timestamp,
        run_at: Option<Timestamp>,
        body: PayloadRef,
        profile: ProfileId,
    ) -> PackedJob {
        PackedJob {
            id,
            number: seq,
            order: seq,
            created_at: at,
            moment: run_at.unwrap_or(at),
            body,
            rare: None,
            profile,
            status: if run_at.is_some() { Status::Scheduled } else { Status::Pending },
            attempt: 0,
        }
    }

    /// As it comes from an image while it is pending and has nothing rare: at this place in line, since then.
    #[inline]
    pub fn pending_since_then(mut self, order: Seq, since: Timestamp) -> PackedJob {
        (self.order, self.moment) = (order, since);
        self
    }

    /// Lets something unread travel with it.
    pub fn set_custom(&mut self, custom: Option<Payload>) {
        if custom.is_some() {
            self.rare.get_or_insert_default().custom = custom;
        }
    }

    /// The reverse of [`PackedJob::new`].
    pub fn into_parts(self) -> Parts {
        let (state, attempt) = (self.state(), self.attempt());
        let rare = self.rare.map(|rare| *rare).unwrap_or_default();
        Parts {
            id: self.id,
            number: self.number,
            order: self.order,
            created_at: self.created_at,
            state,
            attempt,
            body: self.body,
            profile: self.profile,
            failures: rare.failures,
            failed: rare.failed,
            result: rare.result,
            custom: rare.custom,
        }
    }

    /// Where it is in its life.
    #[inline]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Where it is in its life, with what that means.
    pub fn state(&self) -> JobState {
        let (moment, finish) = (self.moment, Finish { at: self.moment, seq: self.order });
        match self.status {
            Status::Pending => JobState::Pending { since: moment },
            Status::Scheduled => JobState::Scheduled { run_at: moment },
            Status::InFlight => {
                JobState::InFlight(Box::new(self.lease().expect("a job in flight has a lease").clone()))
            }
            Status::Retrying => JobState::Retrying { retry_at: moment },
            Status::Completed => JobState::Completed(finish),
            Status::Dead => JobState::Dead(finish),
            Status::Cancelled => JobState::Cancelled(finish),
        }
    }

    /// Which run is, or was, the last.
    #[inline]
    pub fn attempt(&self) -> Attempt {
        match self.attempt {
            ATTEMPT_IN_RARE => Attempt(self.rare.as_ref().map_or(0, |rare| rare.attempt)),
            few => Attempt(u32::from(few)),
        }
    }

    #[inline]
    fn set_attempt(&mut self, attempt: Attempt) {
        self.attempt = match u8::try_from(attempt.0) {
            Ok(few) if few < ATTEMPT_IN_RARE => few,
            _ => {
                self.rare.get_or_insert_default().attempt = attempt.0;
                ATTEMPT_IN_RARE
            }
        };
    }

    /// The moment that a waiting job (scheduled, retrying) waits for.
    pub fn due(&self) -> Option<Timestamp> {
        matches!(self.status, Status::Scheduled | Status::Retrying).then_some(self.moment)
    }

    /// How it ended.
    #[inline]
    pub fn finish(&self) -> Option<Finish> {
        self.status.is_finished().then_some(Finish { at: self.moment, seq: self.order })
    }

    /// In which of the table's indexes it belongs.
    #[inline]
    pub fn place(&self) -> IndexedAs<'_> {
        match self.status {
            Status::Pending => IndexedAs::Line,
            Status::InFlight => IndexedAs::Leased(self.lease().expect("a job in flight has a lease")),
            Status::Scheduled | Status::Retrying => IndexedAs::Waiting(self.moment),
            Status::Completed | Status::Dead | Status::Cancelled => {
                IndexedAs::Finished(Finish { at: self.moment, seq: self.order })
            }
        }
    }

    /// The lease that it is held under.
    #[inline]
    pub fn lease(&self) -> Option<&Lease> {
        self.rare.as_ref()?.lease.as_ref()
    }

    /// What it has that most have not.
    #[inline]
    pub fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// Moves the job to the state that `change`, logged at `seq` and `at`, puts it in.
    ///
    /// Only changes that name this job, and `Promote` when it covers it. The caller keeps the indexes.
    pub fn change(
        &mut self,
        seq: Seq,
        at: Timestamp,
        change: EventKind,
        boxes: &mut EmptyBoxes,
    ) -> Result<(), Misfit> {
        let name = change.name();
        let misfit = |job: &PackedJob| Misfit {
            seq,
            change: name,
            problem: format!(
                "job {} is {} under another lease or in another state",
                job.id,
                job.status.as_str()
            ),
        };
        match change {
            EventKind::Dispatch { worker, attempt, deadline, .. } => {
                let lease = self.next_lease(seq, at, Holder::Local(worker), deadline);
                self.take_lease(lease, attempt, boxes).ok_or_else(|| misfit(self))?;
            }
            EventKind::Reserve { worker, attempt, deadline, .. } => {
                let lease = self.next_lease(seq, at, Holder::Remote(worker), deadline);
                self.take_lease(lease, attempt, boxes).ok_or_else(|| misfit(self))?;
            }
            EventKind::Ack { token, result, .. } => {
                self.leave_lease(token, boxes).ok_or_else(|| misfit(self))?;
                self.keep_result(result);
                self.end(Status::Completed, seq, at, boxes);
            }
            EventKind::Retry { token, failure, retry_at, result, .. }
            | EventKind::Timeout { token, failure, retry_at, result, .. } => {
                self.leave_lease(token, boxes).ok_or_else(|| misfit(self))?;
                self.remember(at, *failure, Some(retry_at), true);
                self.keep_result(result);
                (self.status, self.moment) = (Status::Retrying, retry_at);
            }
            EventKind::Requeue { token, failure, counted, .. } => {
                self.leave_lease(token, boxes).ok_or_else(|| misfit(self))?;
                self.remember(at, *failure, None, counted);
                // Its place in line stays: it was there before those that came while it ran.
                (self.status, self.moment) = (Status::Pending, at);
            }
            EventKind::Dead { token, failure, result, .. } => {
                self.leave_lease(token, boxes).ok_or_else(|| misfit(self))?;
                self.remember(at, *failure, None, true);
                self.keep_result(result);
                self.end(Status::Dead, seq, at, boxes);
            }
            EventKind::Drop { token, failure, result, .. } => {
                self.leave_lease(token, boxes).ok_or_else(|| misfit(self))?;
                self.remember(at, *failure, None, true);
                self.keep_result(result);
                self.end(Status::Cancelled, seq, at, boxes);
            }
            EventKind::Extend { token, deadline, .. } => {
                self.lease_under(token).ok_or_else(|| misfit(self))?;
                if let Some(lease) = self.rare.as_mut().and_then(|rare| rare.lease.as_mut()) {
                    lease.deadline = deadline;
                }
            }
            EventKind::Cancel { .. } => {
                if self.status.is_finished() {
                    return Err(misfit(self));
                }
                self.end(Status::Cancelled, seq, at, boxes);
            }
            EventKind::Kill { .. } => {
                if !self.status.can_be_killed() {
                    return Err(misfit(self));
                }
                self.end(Status::Dead, seq, at, boxes);
            }
            EventKind::RunNow { .. } => {
                if !self.status.can_run_now() {
                    return Err(misfit(self));
                }
                self.order = seq;
                (self.status, self.moment) = (Status::Pending, at);
            }
            EventKind::Move { .. } => {
                // The caller has changed the queue: here it is a name, there it is a number.
                if !self.status.can_be_moved() {
                    return Err(misfit(self));
                }
                if self.status == Status::Pending {
                    (self.order, self.moment) = (seq, at);
                }
            }
            EventKind::Promote { .. } => {
                self.due().ok_or_else(|| misfit(self))?;
                self.order = seq;
                (self.status, self.moment) = (Status::Pending, at);
            }
            EventKind::Enqueue(_)
            | EventKind::Discard { .. }
            | EventKind::Forget { .. }
            | EventKind::Pause { .. }
            | EventKind::Resume { .. }
            | EventKind::RemoveQueue { .. }
            | EventKind::Digest { .. } => return Err(misfit(self)),
        }
        Ok(())
    }

    #[inline]
    fn next_lease(&self, seq: Seq, at: Timestamp, holder: Holder, deadline: Timestamp) -> Lease {
        Lease { holder, token: Token(seq.0), since: at, deadline, pending_since: self.moment }
    }

    #[inline]
    fn take_lease(&mut self, lease: Lease, attempt: Attempt, boxes: &mut EmptyBoxes) -> Option<()> {
        if self.status != Status::Pending || attempt <= self.attempt() {
            return None;
        }
        self.set_attempt(attempt);
        self.rare.get_or_insert_with(|| boxes.take()).lease = Some(lease);
        self.status = Status::InFlight;
        self.moment = Timestamp(0);
        Some(())
    }

    /// The lease, if `token` names the one that the job is held under.
    #[inline]
    pub fn lease_under(&self, token: Token) -> Option<&Lease> {
        self.lease().filter(|lease| lease.token == token || bugs::has(Bug::NoTokenCheck))
    }

    #[inline]
    fn leave_lease(&mut self, token: Token, boxes: &mut EmptyBoxes) -> Option<()> {
        self.lease_under(token)?;
        self.drop_lease(boxes);
        Some(())
    }

    #[inline]
    fn drop_lease(&mut self, boxes: &mut EmptyBoxes) {
        if let Some(rare) = &mut self.rare {
            rare.lease = None;
            if rare.is_empty()
                && let Some(rare) = self.rare.take()
            {
                boxes.put(rare);
            }
        }
    }

    #[inline]
    fn end(&mut self, status: Status, seq: Seq, at: Timestamp, boxes: &mut EmptyBoxes) {
        self.drop_lease(boxes);
        (self.status, self.order, self.moment) = (status, seq, at);
    }

    fn keep_result(&mut self, result: Option<Payload>) {
        if result.is_some() {
            self.rare.get_or_insert_default().result = result;
        }
    }

    fn remember(&mut self, at: Timestamp, failure: Failure, next_at: Option<Timestamp>, counted: bool) {
        let attempt = self.attempt();
        let rare = self.rare.get_or_insert_default();
        rare.failed = rare.failed.saturating_add(u32::from(counted));
        if rare.failures.len() == FAILURES_KEPT {
            rare.failures.remove(0);
        }
        rare.failures.push(FailedAttempt { attempt, at, next_at, failure });
    }

    /// When it last joined the pending jobs, while it is one of them or runs.
    pub fn pending_since(&self) -> Option<Timestamp> {
        match self.status {
            Status::Pending => Some(self.moment),
            _ => self.lease().map(|lease| lease.pending_since),
        }
    }

    /// How many attempts failed that count against `max_retry`.
    pub fn failed(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.failed)
    }
}

/// Kept apart from the table's other fields, so that an index can be changed while jobs are looked at.
#[inline]
pub(super) fn occupied(jobs: &Slots<Option<PackedJob>>, slot: Slot) -> &PackedJob {
    jobs[slot as usize].as_ref().expect("a slot that an index names is occupied")
}

#[inline]
pub(super) fn occupied_mut(jobs: &mut Slots<Option<PackedJob>>, slot: Slot) -> &mut PackedJob {
    jobs[slot as usize].as_mut().expect("a slot that an index names is occupied")
}
