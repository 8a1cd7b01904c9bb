//! A job as the table and the pages of a snapshot hold it, in 88 bytes: what many jobs have in common is in their profile,
//! what most jobs do not have is behind one pointer, and a payload that is not small may be on disk.
//!
//! What events do to it is written in [`crate::jobs::apply`].

use crate::base::bugs::{self, Bug};
use crate::ids::{Attempt, JobId, Seq, Timestamp, Token};
use crate::jobs::event::NewJob;
use crate::jobs::model::failure::KeptFailure;
use crate::jobs::model::job::{EndedLease, Finish, JobState, Lease, Status};
use crate::jobs::model::payload::{Content, Payload, PayloadRef};
use crate::jobs::model::profile::Profile;
use crate::jobs::model::text::EventText;
use crate::jobs::record::{JobRecord, Life};
use crate::jobs::table::list::Slot;
use crate::jobs::table::slots::Slots;

const _: () = assert!(size_of::<Option<PackedJob>>() == 88, "memory per job is a promise");

/// Number of a profile in one table, or on one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProfileId(pub u32);

/// A job. `line_seq` and `moment` mean what its status says; [`PackedJob::state`] tells them by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackedJob {
    pub id: JobId,
    /// Number of the event that created it: never used twice, and so the job's own number.
    pub enqueued_seq: Seq,
    /// Its place in line: the number of the event by which it last joined the pending jobs. When it has ended: of the one
    /// by which it did.
    pub line_seq: Seq,
    pub created_at: Timestamp,
    /// Pending: since when. Scheduled, retrying: until when. Ended: when. In flight, the lease says all.
    pub(in crate::jobs) moment: Timestamp,
    pub payload: PayloadRef,
    pub(in crate::jobs) rare: Option<Box<Rare>>,
    pub profile: ProfileId,
    pub(in crate::jobs) status: Status,
    /// [`ATTEMPT_IN_RARE`]: the number is in the rare part.
    attempt: u8,
}

/// The value of `attempt` for a number that does not fit into it; few jobs are started that often.
const ATTEMPT_IN_RARE: u8 = u8::MAX;

/// What most jobs do not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rare {
    /// While it is in flight.
    pub(in crate::jobs) lease: Option<Lease>,
    /// The last lease that has ended, while there may still be a word about it: until the job has succeeded, is put back by
    /// hand, or is given to a worker again.
    pub last_lease: Option<EndedLease>,
    /// The last failed attempts, oldest first, at most [`FAILURES_KEPT`](crate::jobs::model::failure::FAILURES_KEPT).
    pub failures: Vec<KeptFailure>,
    /// How many attempts failed that count against `max_retry`.
    pub failed: u32,
    /// What the last attempt that had something to say left behind.
    pub result: Option<EventText<Payload>>,
    /// What travels with the job unread.
    pub custom: Option<PayloadRef>,
    /// The job of the same name that follows when it has ended.
    pub successor: Option<Box<NewJob>>,
    attempt: u32,
}

impl Rare {
    #[inline]
    pub(in crate::jobs) fn is_empty(&self) -> bool {
        let Rare { lease, last_lease, failures, failed, result, custom, successor, attempt } = self;
        lease.is_none()
            && last_lease.is_none()
            && failures.is_empty()
            && *failed == 0
            && result.is_none()
            && custom.is_none()
            && successor.is_none()
            && *attempt == 0
    }
}

/// Empty boxes of jobs whose lease has ended, for the jobs that are dispatched next: cheaper than the allocator, whose
/// own stock of such boxes is small (`docs/decisions/0013-leases-in-a-list.md`).
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
pub(crate) struct EmptyBoxes(Vec<Box<Rare>>);

impl EmptyBoxes {
    /// Few servers have more jobs than this in flight at the same time.
    const MAX: usize = 1024;

    pub(in crate::jobs) fn take(&mut self) -> Box<Rare> {
        self.0.pop().unwrap_or_default()
    }

    pub(in crate::jobs) fn put(&mut self, rare: Box<Rare>) {
        if self.0.len() < EmptyBoxes::MAX {
            self.0.push(rare);
        }
    }
}

/// What decides where a job is found.
pub(crate) enum IndexedAs<'a> {
    /// Pending, at its place in line.
    Line,
    Leased(&'a Lease),
    /// Scheduled or retrying, until then.
    Waiting(Timestamp),
    /// Ended then and there.
    Finished(Finish),
}

impl PackedJob {
    /// A new one, which most jobs are once: without anything rare.
    #[inline]
    pub fn accepted(
        id: JobId,
        seq: Seq,
        at: Timestamp,
        run_at: Option<Timestamp>,
        payload: PayloadRef,
        profile: ProfileId,
    ) -> PackedJob {
        PackedJob {
            id,
            enqueued_seq: seq,
            line_seq: seq,
            created_at: at,
            moment: run_at.unwrap_or(at),
            payload,
            rare: None,
            profile,
            status: if run_at.is_some() { Status::Scheduled } else { Status::Pending },
            attempt: 0,
        }
    }

    /// The same job in another state, as a snapshot says.
    #[inline]
    pub fn with_state(mut self, state: JobState, line_seq: Seq) -> PackedJob {
        self.status = state.status();
        self.line_seq = line_seq;
        match state {
            JobState::Pending { since: moment }
            | JobState::Scheduled { run_at: moment }
            | JobState::Retrying { retry_at: moment } => self.moment = moment,
            JobState::InFlight(lease) => {
                self.moment = Timestamp(0);
                self.rare.get_or_insert_default().lease = Some(*lease);
            }
            JobState::Completed(finish) | JobState::Dead(finish) | JobState::Cancelled(finish) => {
                (self.moment, self.line_seq) = (finish.at, finish.seq);
            }
        }
        self
    }

    /// What most jobs do not have, to be filled.
    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Lets something unread travel with it.
    pub fn set_custom(&mut self, custom: Option<Payload>) {
        if let Some(custom) = custom {
            self.rare.get_or_insert_default().custom = Some(PayloadRef::Here(custom));
        }
    }

    /// A job that stood by itself, with the number that its profile has here.
    pub fn of_record(record: JobRecord, profile: ProfileId) -> PackedJob {
        let JobRecord { id, enqueued_seq, created_at, content, life, .. } = record;
        let Content { payload, custom } = content;
        let Life { state, attempt, line_seq, failures, failed, result, last_lease, successor } = life;
        let rare = Rare { lease: None, last_lease, failures, failed, result, custom, successor, attempt: 0 };
        let mut job = PackedJob::accepted(id, enqueued_seq, created_at, None, payload, profile);
        job.rare = (!rare.is_empty()).then(|| Box::new(rare));
        let mut job = job.with_state(state, line_seq);
        job.set_attempt(attempt);
        job
    }

    /// The reverse of [`PackedJob::of_record`].
    pub fn into_record(self, profile: Profile) -> JobRecord {
        let (state, attempt) = (self.state(), self.attempt());
        let rare = self.rare.map(|rare| *rare).unwrap_or_default();
        let Rare { failures, failed, result, custom, last_lease, successor, .. } = rare;
        JobRecord {
            id: self.id,
            enqueued_seq: self.enqueued_seq,
            created_at: self.created_at,
            profile,
            content: Content { payload: self.payload, custom },
            life: Life {
                state,
                attempt,
                line_seq: self.line_seq,
                failures,
                failed,
                result,
                last_lease,
                successor,
            },
        }
    }

    /// Where it is in its life.
    #[inline]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Where it is in its life, with what that means.
    pub fn state(&self) -> JobState {
        let (moment, finish) = (self.moment, Finish { at: self.moment, seq: self.line_seq });
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
    pub fn set_attempt(&mut self, attempt: Attempt) {
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

    #[inline]
    pub fn finish(&self) -> Option<Finish> {
        self.status.is_finished().then_some(Finish { at: self.moment, seq: self.line_seq })
    }

    /// In which of the table's indexes it belongs.
    #[inline]
    pub fn indexed_as(&self) -> IndexedAs<'_> {
        match self.status {
            Status::Pending => IndexedAs::Line,
            Status::InFlight => IndexedAs::Leased(self.lease().expect("a job in flight has a lease")),
            Status::Scheduled | Status::Retrying => IndexedAs::Waiting(self.moment),
            Status::Completed | Status::Dead | Status::Cancelled => {
                IndexedAs::Finished(Finish { at: self.moment, seq: self.line_seq })
            }
        }
    }

    /// The lease that it is held under.
    #[inline]
    pub fn lease(&self) -> Option<&Lease> {
        self.rare.as_ref()?.lease.as_ref()
    }

    /// The lease, if `token` names the one that the job is held under.
    #[inline]
    pub fn lease_under(&self, token: Token) -> Option<&Lease> {
        self.lease().filter(|lease| lease.token == token || bugs::has(Bug::NoTokenCheck))
    }

    /// The last lease that has ended, if there may still be a word about it.
    pub fn last_lease(&self) -> Option<&EndedLease> {
        self.rare.as_ref()?.last_lease.as_ref()
    }

    /// Whether a report of success under the last lease still counts: the job waits, and nobody was given it since.
    pub fn may_succeed_late(&self, token: Token) -> bool {
        let waits = matches!(self.status, Status::Retrying | Status::Pending);
        waits && self.last_lease().is_some_and(|last| last.token == token)
    }

    /// What it has that most have not.
    #[inline]
    pub fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// The job that follows when it has ended.
    #[inline]
    pub fn successor(&self) -> Option<&NewJob> {
        self.rare.as_ref()?.successor.as_deref()
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
