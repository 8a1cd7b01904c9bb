//! What the table should hold, in the simplest way: a list of jobs, and a map of queues.

use std::collections::BTreeMap;

use beaver_actors::ids::{Epoch, Holder, JobId, RemoteName, Seq, Timestamp, Token};
use beaver_actors::internals::jobs::event::{ClockStep, NewJob};
use beaver_actors::internals::jobs::sections::totals::Totals;
use beaver_actors::jobs::{Backoff, Event, EventKind, Exhausted, Payload, Status};

/// How long an attempt may take.
pub(super) const TIMEOUT_MS: u64 = 10_000;

#[derive(Clone, Debug)]
pub(super) struct ModelJob {
    pub id: JobId,
    pub status: Status,
    pub queue: String,
    pub priority: u8,
    pub order: u64,
    pub number: u64,
    pub due: u64,
    pub deadline: u64,
    pub token: Token,
    /// What its last attempt left behind.
    pub result: Option<Payload>,
    pub is_followed: bool,
    /// Its last lease is over for good: not even success is heard under it any more.
    pub is_fenced: bool,
    pub attempt: u32,
    pub failed: u32,
    pub max_retry: u32,
    pub backoff: Backoff,
    pub exhausted: Exhausted,
    pub foreign: bool,
    /// In flight at a remote worker: which.
    pub remote: Option<RemoteName>,
    pub finished: (u64, u64),
}

/// What the table should hold.
#[derive(Default)]
pub(super) struct Model {
    pub jobs: Vec<ModelJob>,
    /// Those that exist, and whether they are paused.
    pub queues: BTreeMap<String, bool>,
    pub totals: Totals,
    pub epoch: Epoch,
    /// The event by which the clock was set back, and to when.
    set_back: Option<(u64, u64)>,
    /// The events between which it was behind, and until when.
    behind: Vec<(u64, u64, u64)>,
    pub is_doubted: bool,
}

impl Model {
    pub fn position(&self, id: &JobId) -> Option<usize> {
        self.jobs.iter().position(|job| job.id == *id)
    }

    /// When a job ended, by what is known.
    pub fn ended_at(&self, job: &ModelJob) -> u64 {
        let (seq, mut at) = job.finished;
        for (first, last, until) in &self.behind {
            if *first < seq && seq < *last {
                at = at.max(*until);
            }
        }
        match self.set_back {
            Some((set_back, to)) if seq < set_back => at.min(to),
            _ => at,
        }
    }

    fn in_line(&self) -> impl Iterator<Item = &ModelJob> {
        let is_open = |job: &&ModelJob| !self.queues.get(&job.queue).is_some_and(|paused| *paused);
        self.jobs.iter().filter(|job| job.status == Status::Pending).filter(is_open)
    }

    /// What a local worker gets next.
    pub fn next(&self) -> Option<JobId> {
        let handled = self.in_line().filter(|job| !job.foreign);
        handled.min_by_key(|job| (u8::MAX - job.priority, job.order, job.number)).map(|job| job.id.clone())
    }

    /// What a remote worker gets next.
    pub fn next_of(&self, queues: &[String]) -> Option<JobId> {
        let first = |queue: &String| {
            let inside = self.in_line().filter(|job| job.queue == *queue);
            inside.min_by_key(|job| (u8::MAX - job.priority, job.order, job.number))
        };
        queues.iter().find_map(first).map(|job| job.id.clone())
    }

    /// Follows an event; everything it says was decided by the table.
    pub fn follow(&mut self, seq: Seq, event: &Event) {
        match &event.kind {
            EventKind::Enqueue(new) => self.add(seq, new),
            EventKind::Discard { job } => self.jobs.retain(|other| other.id != *job),
            EventKind::SetPaused { queue, paused } => {
                self.queues.insert(queue.to_string(), *paused);
            }
            EventKind::Term { epoch, .. } => {
                assert!(self.epoch < *epoch, "terms grow");
                self.epoch = *epoch;
            }
            EventKind::Lead { grace_ms, margin_ms } => {
                for job in self.jobs.iter_mut().filter(|job| job.status == Status::InFlight) {
                    let whole_ms = TIMEOUT_MS + if job.remote.is_some() { 0 } else { *margin_ms };
                    job.deadline = job.deadline.max(event.at.0 + whole_ms.min(*grace_ms));
                }
            }
            EventKind::SetClock { step, doubted_since, margin_ms, backoff_max_ms } => {
                self.is_doubted = doubted_since.is_some();
                match step {
                    ClockStep::None => {}
                    ClockStep::Back { .. } => {
                        self.set_back = Some((seq.0, event.at.0));
                        for job in &mut self.jobs {
                            job.set_back(event.at.0, *margin_ms, *backoff_max_ms);
                        }
                    }
                    ClockStep::Again => {
                        let (first, _) = self.set_back.take().expect("it was set back");
                        self.behind.push((first, seq.0, event.at.0));
                    }
                }
            }
            EventKind::RemoveQueue { queue } => drop(self.queues.remove(queue.as_str())),
            EventKind::Promote { due, through } => {
                let mut waiting: Vec<_> = self.jobs.iter_mut().filter(|job| is_waiting(job.status)).collect();
                waiting.retain(|job| (job.due, job.number) <= (due.0, through.0));
                for job in waiting {
                    (job.status, job.order) = (Status::Pending, seq.0);
                }
            }
            EventKind::Forget { completed, dead, cancelled } => self.jobs.retain(|job| match job.status {
                Status::Completed => job.finished.0 > completed.0,
                Status::Dead => job.finished.0 > dead.0,
                Status::Cancelled => job.finished.0 > cancelled.0,
                _ => true,
            }),
            change => {
                self.count(change);
                if let EventKind::Move { queue, .. } = change {
                    self.queues.entry(queue.to_string()).or_default();
                }
                let position =
                    change.job().and_then(|id| self.position(id)).expect("the model knows the job");
                let token = Token { epoch: self.epoch, seq };
                self.jobs[position].follow(token, event.at, change);
            }
        }
    }

    fn add(&mut self, seq: Seq, new: &NewJob) {
        self.queues.entry(new.profile.queue.to_string()).or_default();
        self.jobs.retain(|job| job.id != new.id);
        self.jobs.push(ModelJob {
            id: new.id.clone(),
            status: if new.run_at.is_some() { Status::Scheduled } else { Status::Pending },
            queue: new.profile.queue.to_string(),
            priority: new.profile.priority.level(),
            order: seq.0,
            number: seq.0,
            due: new.run_at.map_or(0, |run_at| run_at.0),
            deadline: 0,
            token: Token { epoch: self.epoch, seq: Seq::ZERO },
            result: None,
            is_followed: false,
            is_fenced: false,
            attempt: 0,
            failed: 0,
            max_retry: new.profile.max_retry,
            backoff: new.profile.backoff,
            exhausted: new.profile.exhausted,
            foreign: new.profile.kind.as_str() == "foreign",
            remote: None,
            finished: (0, 0),
        });
    }

    fn count(&mut self, change: &EventKind) {
        let failed = match change {
            EventKind::Ack { .. } => 0,
            EventKind::Retry { .. } | EventKind::Exhaust { .. } => 1,
            _ => return,
        };
        self.totals.processed += 1;
        self.totals.failed += failed;
    }
}

impl ModelJob {
    fn follow(&mut self, token: Token, at: Timestamp, change: &EventKind) {
        let seq = token.seq.0;
        let end = (seq, at.0);
        match change {
            EventKind::Dispatch { attempt, deadline, holder, .. } => {
                let remote = match holder {
                    Holder::Local(_) => None,
                    Holder::Remote(name) => Some(name.clone()),
                };
                self.begin(token, attempt.0, deadline.0, remote);
            }
            EventKind::Ack { token, .. } => {
                assert!(self.may_succeed() && token.seq == self.token.seq, "{self:?}");
                (self.status, self.finished) = (Status::Completed, end);
            }
            EventKind::Retry { retry_at, .. } => {
                assert!(self.failed < self.max_retry, "it has a retry left");
                self.failed += 1;
                (self.status, self.due) = (Status::Retrying, retry_at.0);
                let (least, most) = pause(self.backoff, self.failed);
                let given = retry_at.since_ms(at);
                assert!((least..=most).contains(&given), "{:?}: {given} ms", self.backoff);
            }
            EventKind::Requeue { counted, fenced, not_before, .. } => {
                self.is_fenced = *fenced;
                assert!(!counted || self.failed < self.max_retry, "it has a retry left");
                self.failed += u32::from(*counted);
                self.status = Status::Pending;
                if let Some(not_before) = not_before {
                    assert!(!counted && (1_000..=60_000).contains(&not_before.since_ms(at)));
                    (self.status, self.due) = (Status::Retrying, not_before.0);
                }
            }
            EventKind::Exhaust { end: becomes, .. } => {
                assert!(self.failed >= self.max_retry, "it is out of attempts");
                assert_eq!(*becomes, self.exhausted);
                self.failed += 1;
                self.status = match becomes {
                    Exhausted::Drop => Status::Cancelled,
                    Exhausted::Dead => Status::Dead,
                };
                self.finished = end;
            }
            EventKind::Extend { deadline, .. } => {
                assert!(deadline.0 >= self.deadline, "a lease only gets longer");
                self.deadline = deadline.0;
            }
            EventKind::Output { token, result, .. } => {
                assert!(self.status.is_finished() && token.seq == self.token.seq);
                self.result = Some(result.clone());
            }
            EventKind::Follow { .. } => {
                assert_eq!(self.status, Status::InFlight);
                self.is_followed = true;
            }
            EventKind::Cancel { .. } => {
                (self.status, self.finished, self.is_followed) = (Status::Cancelled, end, false);
            }
            EventKind::Kill { .. } => (self.status, self.finished) = (Status::Dead, end),
            EventKind::RunNow { .. } => (self.status, self.order) = (Status::Pending, seq),
            EventKind::Move { queue, .. } => {
                self.queue = queue.to_string();
                if self.status == Status::Pending {
                    self.order = seq;
                }
            }
            other => panic!("{} is not about one job", other.name()),
        }
    }

    fn set_back(&mut self, at: u64, margin_ms: u64, backoff_max_ms: u64) {
        match self.status {
            Status::InFlight => {
                let margin_ms = if self.remote.is_some() { 0 } else { margin_ms };
                self.deadline = self.deadline.min(at + TIMEOUT_MS + margin_ms);
            }
            Status::Retrying => {
                let longest_ms = match self.backoff {
                    Backoff::Server => backoff_max_ms,
                    Backoff::Exponential { max_ms, .. } => max_ms,
                    backoff => pause(backoff, self.failed.max(1)).1,
                };
                self.due = self.due.min(at + longest_ms.max(60_000));
            }
            _ => {}
        }
    }

    /// Whether its last holder is heard when it says that the job is done.
    pub fn may_succeed(&self) -> bool {
        let waits = matches!(self.status, Status::Retrying | Status::Pending);
        self.status == Status::InFlight || (waits && self.attempt > 0 && !self.is_fenced)
    }

    fn begin(&mut self, token: Token, attempt: u32, deadline: u64, remote: Option<RemoteName>) {
        assert_eq!(self.status, Status::Pending);
        assert_eq!(attempt, self.attempt + 1);
        (self.status, self.is_fenced) = (Status::InFlight, false);
        (self.token, self.attempt, self.deadline, self.remote) = (token, attempt, deadline, remote);
    }
}

/// The shortest and the longest pause after the n-th failure, in milliseconds.
fn pause(backoff: Backoff, nth: u32) -> (u64, u64) {
    let doubled = |first: u64, max: u64| (first << (nth - 1)).min(max);
    match backoff {
        Backoff::Server => (doubled(1_000, 600_000) / 2, doubled(1_000, 600_000)),
        Backoff::Quartic => {
            let least = u64::from(nth - 1).pow(4) + 15;
            (least * 1_000, (least + 29 * u64::from(nth)) * 1_000)
        }
        Backoff::Fixed { delay_ms } => (delay_ms.max(1), delay_ms.max(1)),
        Backoff::Exponential { first_ms, max_ms, jitter_percent } => {
            let full = doubled(first_ms, max_ms);
            ((full - full * u64::from(jitter_percent) / 100).max(1), full.max(1))
        }
    }
}

pub(super) fn is_waiting(status: Status) -> bool {
    matches!(status, Status::Scheduled | Status::Retrying)
}
