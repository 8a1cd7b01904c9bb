//! What the job table tells: jobs, queues, numbers, and what is due. Nothing here changes anything.

use crate::ids::{Holder, JobId, KindName, QueueName, Seq, Timestamp, Token, WorkerId};
use crate::jobs::counts::Counts;
use crate::jobs::intern::KindKey;
use crate::jobs::model::failure::{FailedAttempt, Failure, KeptFailure};
use crate::jobs::model::job::{JobView, Lease, Status};
use crate::jobs::model::payload::{Payload, PayloadRef, PayloadStore, UnreadablePayload};
use crate::jobs::model::text::{EventText, TextAt, TextPart, TextRef};
use crate::jobs::record::JobRecord;
use crate::jobs::sections::queues::QueueView;
use crate::jobs::sections::totals::Totals;
use crate::jobs::sections::{Overview, Sections};
use crate::jobs::table::packed_job::{PackedJob, Rare};
use crate::jobs::table::{Assignment, JobTable};

impl JobTable {
    /// How many jobs are in each status.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Every queue that there is, in no particular order.
    pub fn queues(&self) -> impl Iterator<Item = QueueView> {
        let seen = self.sections.queues.iter().filter(|(key, ..)| self.queue_is_there(*key));
        seen.map(|(key, name, state)| QueueView {
            queue: name.clone(),
            paused: state.paused,
            oldest_at: self.ready.heads_in(key).filter_map(|slot| self.job(slot).pending_since()).min(),
            jobs: self.counts_of_queue(key),
        })
    }

    /// Whether there is a queue of this name.
    #[must_use]
    pub fn has_queue(&self, name: &QueueName) -> bool {
        self.sections.queues.find(name).is_some_and(|key| self.queue_is_there(key))
    }

    /// Whether a remote worker could take a job of this queue now.
    #[must_use]
    pub fn has_ready_in(&self, name: &QueueName) -> bool {
        self.sections.queues.find(name).is_some_and(|key| self.ready.first_in(key).is_some())
    }

    /// What an image holds beside the jobs.
    #[must_use]
    pub fn overview(&self) -> Overview {
        self.sections.overview()
    }

    /// What the state holds that is not a job.
    #[must_use]
    pub fn sections(&self) -> &Sections {
        &self.sections
    }

    /// How many attempts have ended since the store was created.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.sections.totals
    }

    /// Kinds with pending jobs that no local worker takes although their queue is not paused, and how many.
    pub fn pending_without_worker(&self) -> impl Iterator<Item = (&KindName, u64)> {
        let all = self.kinds.iter().map(|(number, name)| (KindKey(number), name));
        all.filter(|(kind, _)| !self.kind_is_handled(*kind))
            .map(|(kind, name)| (name, self.ready.len_of(kind)))
            .filter(|(_, len)| *len > 0)
    }

    /// Whether a worker could take a job now.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.ready.first(&self.handled).is_some()
    }

    /// The job with this id, as people see it, but for texts that are on disk.
    #[must_use]
    pub fn view(&self, id: &JobId) -> Option<JobView<PayloadRef>> {
        let job = self.job(self.slot_of(id)?);
        Some(self.view_of(job, job.payload.clone()))
    }

    /// The job with this id, as people see it, with its texts read back where they have to be. What cannot be read is said,
    /// and hides nothing else.
    #[must_use]
    pub fn whole_view(&self, id: &JobId, payload_store: &dyn PayloadStore) -> Option<JobView> {
        Some(self.whole_view_of(self.job(self.slot_of(id)?), payload_store, true))
    }

    /// With all its texts; with what it left behind only if that is wanted.
    pub(crate) fn whole_view_of(
        &self,
        job: &PackedJob,
        payload_store: &dyn PayloadStore,
        reads_results: bool,
    ) -> JobView {
        let number = job.enqueued_seq;
        let mut unreadable = Vec::new();
        let mut read = |text: &PayloadRef, at: TextAt| {
            read_text(text, at, payload_store).map_err(|error| unreadable.push(error.to_string())).ok()
        };
        let payload = read(&job.payload, TextAt::payload(number));
        let mut view = self.view_of(job, payload.unwrap_or_else(Payload::null));
        if let Some(rare) = job.rare() {
            let custom = |text: &PayloadRef| read(text, TextAt::custom(number));
            view.custom = rare.custom.as_ref().and_then(custom);
            let result = |text: &EventText<Payload>| read(&text.text, text.place(number, TextPart::Result));
            view.result = rare.result.as_ref().filter(|_| reads_results).and_then(result);
            view.errors = read_failures(rare, number, payload_store);
        }
        JobView { unreadable, ..view }
    }

    /// What a worker needs of the job with this id: all but what earlier attempts left behind, which must not keep the next
    /// one from running if it cannot be read.
    ///
    /// # Errors
    /// What the job came with is not in memory and cannot be read.
    pub fn delivered_view(
        &self,
        id: &JobId,
        payload_store: &dyn PayloadStore,
    ) -> Result<Option<JobView>, UnreadablePayload> {
        let Some(job) = self.slot_of(id).map(|slot| self.job(slot)) else { return Ok(None) };
        let number = job.enqueued_seq;
        let payload = read_text(&job.payload, TextAt::payload(number), payload_store)?;
        let mut view = self.view_of(job, payload);
        let Some(rare) = job.rare() else { return Ok(Some(view)) };
        if let Some(custom) = &rare.custom {
            view.custom = Some(read_text(custom, TextAt::custom(number), payload_store)?);
        }
        view.errors = read_failures(rare, number, payload_store);
        Ok(Some(view))
    }

    /// Whether the job with this id is known to have succeeded.
    #[must_use]
    pub fn is_completed(&self, id: &JobId) -> bool {
        self.slot_of(id).is_some_and(|slot| self.job(slot).status() == Status::Completed)
    }

    /// The number of the job with this id: the position of the event that created it.
    #[must_use]
    pub fn number(&self, id: &JobId) -> Option<Seq> {
        self.slot_of(id).map(|slot| self.job(slot).enqueued_seq)
    }

    /// What the local worker needs to run the job with this id; none unless one holds it.
    #[must_use]
    pub fn assignment(&self, id: &JobId) -> Option<(WorkerId, Assignment)> {
        let job = self.job(self.slot_of(id)?);
        let (lease, profile) = (job.lease()?, self.profile_of(job));
        let Holder::Local(worker) = lease.holder else { return None };
        let assignment = Assignment {
            job: job.id.clone(),
            number: job.enqueued_seq,
            queue: self.sections.queues.name(profile.queue).clone(),
            kind: self.kinds.name(profile.kind.0).clone(),
            payload: job.payload.clone(),
            attempt: job.attempt(),
            token: lease.token,
            timeout_ms: profile.timeout_ms,
        };
        Some((worker, assignment))
    }

    /// The lease of the job with this id, while it is in flight.
    #[must_use]
    pub fn lease(&self, id: &JobId) -> Option<&Lease> {
        self.job(self.slot_of(id)?).lease()
    }

    /// The jobs whose lease expires at or before `now`, the longest expired first, at most `max`.
    #[must_use]
    pub fn expired(&self, now: Timestamp, max: usize) -> Vec<(JobId, Token)> {
        let jobs = self.leases.iter(&self.links, &self.jobs).map(|slot| self.job(slot));
        let leases = jobs.filter_map(|job| Some((&job.id, job.lease()?)));
        let expired = leases.take_while(|(_, lease)| lease.deadline <= now).take(max);
        expired.map(|(id, lease)| (id.clone(), lease.token)).collect()
    }

    /// The jobs in flight of those holders, in the order in which they were dispatched.
    #[must_use]
    pub fn in_flight(&self, of: impl Fn(&Holder) -> bool) -> Vec<(JobId, Token)> {
        let mut held: Vec<_> = self
            .leases
            .iter(&self.links, &self.jobs)
            .map(|slot| self.job(slot))
            .filter_map(|job| {
                let lease = job.lease().filter(|lease| of(&lease.holder))?;
                Some((job.id.clone(), lease.token))
            })
            .collect();
        held.sort_unstable_by_key(|(_, token)| *token);
        held
    }

    /// When something is due next without anybody asking: a promotion, an expired lease, something to forget, a job that
    /// follows another.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let promotion = self.waiting.first().map(|(due, ..)| *due);
        let expiry = self.leases.first(&self.jobs);
        let succession = self.succeeded.first().map(|_| self.last_at);
        [promotion, expiry, self.next_forget(), succession].into_iter().flatten().min()
    }

    /// Every job, as it is written to an image, in the order of their numbers.
    #[must_use]
    pub fn records(&self) -> Vec<JobRecord> {
        let mut all: Vec<_> = self.jobs.iter().flatten().map(|job| self.record_of(job)).collect();
        all.sort_unstable_by_key(|record| record.enqueued_seq);
        all
    }

    fn view_of<P>(&self, job: &PackedJob, payload: P) -> JobView<P> {
        let (lease, rare, profile) = (job.lease(), job.rare(), self.profile_of(job));
        JobView {
            id: job.id.clone(),
            status: job.status(),
            queue: self.sections.queues.name(profile.queue).clone(),
            kind: self.kinds.name(profile.kind.0).clone(),
            priority: profile.priority,
            attempt: job.attempt(),
            failed: job.failed(),
            max_retry: profile.max_retry,
            backoff: profile.backoff,
            exhausted: profile.exhausted,
            timeout_ms: profile.timeout_ms,
            created_at: job.created_at,
            enqueued_at: job.pending_since().unwrap_or(job.created_at),
            run_at: job.due(),
            worker: lease.map(|lease| lease.holder.clone()),
            started_at: lease.map(|lease| lease.since),
            deadline: lease.map(|lease| lease.deadline),
            token: lease.map(|lease| lease.token),
            finished_at: job.finish().map(|finish| finish.at),
            errors: rare.map_or_else(Vec::new, errors_at_hand),
            result: rare.and_then(|rare| rare.result.as_ref()?.text.here().cloned()),
            custom: rare.and_then(|rare| rare.custom.as_ref()?.here().cloned()),
            backtrace_lines: profile.backtrace_lines,
            is_followed: job.successor().is_some(),
            unreadable: Vec::new(),
            payload,
        }
    }
}

/// The failed attempts whose text is in memory.
fn errors_at_hand(rare: &Rare) -> Vec<FailedAttempt> {
    let at_hand =
        |attempt: &KeptFailure| Some(with_failure(attempt, (**attempt.failure.text.here()?).clone()));
    rare.failures.iter().filter_map(at_hand).collect()
}

fn read_text(
    text: &PayloadRef,
    at: TextAt,
    payload_store: &dyn PayloadStore,
) -> Result<Payload, UnreadablePayload> {
    match text {
        PayloadRef::Here(text) => Ok(text.clone()),
        PayloadRef::Stored { .. } => payload_store.read(at),
    }
}

fn read_failures(rare: &Rare, job: Seq, payload_store: &dyn PayloadStore) -> Vec<FailedAttempt> {
    rare.failures.iter().map(|attempt| read_failed(job, attempt, payload_store)).collect()
}

fn read_failed(job: Seq, attempt: &KeptFailure, payload_store: &dyn PayloadStore) -> FailedAttempt {
    let failure = match &attempt.failure.text {
        TextRef::Here(failure) => (**failure).clone(),
        TextRef::Stored { .. } => match payload_store.read(attempt.failure.place(job, TextPart::Failure)) {
            Ok(text) => Failure::of_json(&text),
            Err(error) => Failure::unreadable(&error),
        },
    };
    with_failure(attempt, failure)
}

fn with_failure<F>(attempt: &FailedAttempt<F>, failure: Failure) -> FailedAttempt {
    let FailedAttempt { attempt, at, next_at, counted, .. } = *attempt;
    FailedAttempt { attempt, at, next_at, counted, failure }
}
