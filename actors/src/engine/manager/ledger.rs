//! The one way in which the manager changes jobs: decide, apply, encode for the log, and hold what follows.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::handler::StopReason;
use crate::base::failpoint;
use crate::base::metrics::Metrics;
use crate::engine::manager::durable_effects::{Death, DurableEffects, Effect};
use crate::engine::manager::group_commit::GroupCommit;
use crate::engine::manager::ready_queues::ReadyQueues;
use crate::engine::manager::settings::FreeSpace;
use crate::engine::manager::waiting_fetches::WaitingFetches;
use crate::engine::messages::Halt;
use crate::ids::{Holder, JobId, Seq, Timestamp, Token, WorkerId};
use crate::jobs::event::MetricsClass;
use crate::jobs::{Command, Event, EventKind, Exhausted, JobSpec, JobTable, Rejection, Status};
use crate::recovery::journal;
use crate::storage::patient::Shortage;
use crate::wal::writer::Room;

/// While the disk is full, jobs are only started as long as the log has this much room for each that runs:
/// enough for its result.
const ROOM_PER_JOB: u64 = 512 << 10;
/// How much of a dead job's last error the log repeats, in characters.
const ERROR_CHARS_MAX: usize = 200;

/// The job table with all that follows from its events.
pub(super) struct Ledger {
    pub table: JobTable,
    /// Events on their way to the log.
    pub commit: GroupCommit,
    /// What waits for the log.
    pub effects: DurableEffects,
    /// Remote workers that wait for a job.
    pub fetches: WaitingFetches,
    /// Where these look next.
    pub ready: ReadyQueues,
    /// Jobs that were taken away from local workers, and the leases under which their attempts are still ending. Nothing of
    /// the state: when this process ends, its attempts have ended.
    pub ending: HashMap<JobId, (WorkerId, Token)>,
    /// When queues that nobody uses are looked for next.
    pub next_queue_look: Option<Timestamp>,
    /// While the clock is doubted: when the machine is asked next whether it is right.
    pub next_clock_look: Option<Timestamp>,
    /// Until then it is known that no queue can be forgotten to make room for others.
    pub no_room_until: Timestamp,
    pub metrics: Arc<Metrics>,
    /// How much the log can still take.
    pub room: Room,
    /// Nothing more is started: the server stops.
    pub is_draining: bool,
    /// Nothing more is accepted: it is about to have stopped.
    pub is_closed: bool,
    /// Whether files can be opened.
    pub shortage: Arc<Shortage>,
    /// What is on disk is damaged, and not yet written out anew: no new jobs.
    pub is_damaged: bool,
    /// How many bytes the log's disk could take beyond that; none if nobody can tell.
    pub free_space: FreeSpace,
    dice: fastrand::Rng,
}

impl Ledger {
    /// Around a table whose every event is durable.
    pub fn new(table: JobTable, dice: fastrand::Rng, metrics: Arc<Metrics>) -> Ledger {
        let last = table.last();
        Ledger {
            table,
            commit: GroupCommit::new(last.next()),
            effects: DurableEffects::new(last),
            fetches: WaitingFetches::default(),
            ready: ReadyQueues::default(),
            ending: HashMap::new(),
            next_queue_look: None,
            next_clock_look: None,
            no_room_until: Timestamp(0),
            metrics,
            room: Room { bytes: 0, accepts_jobs: true, is_stuck: false },
            is_draining: false,
            is_closed: false,
            shortage: Arc::default(),
            is_damaged: false,
            free_space: Arc::new(|| None),
            dice,
        }
    }

    /// What a command leads to; nothing has changed yet.
    pub fn decide(&mut self, command: Command, now: Timestamp) -> Result<Option<Event>, Rejection> {
        self.table.decide(command, now, &mut self.dice)
    }

    /// As [`Ledger::decide`], for a new job.
    pub fn decide_enqueue(&mut self, job: JobSpec, now: Timestamp) -> Result<Option<Event>, Rejection> {
        self.table.decide_enqueue(job, now, &mut self.dice)
    }

    /// Makes an event a fact, and returns its position.
    pub fn record(&mut self, event: Event) -> Seq {
        failpoint::pass("manager.record").expect("this point is for panics");
        self.count(&event);
        self.ready.mark_ready(&event.kind, &self.fetches);
        let death = self.death_by(&event);
        let seq = journal::record(&mut self.table, self.commit.group(), event);
        if let Some(death) = death {
            self.hold(Effect::Died(Box::new(death)));
        }
        seq
    }

    /// What is to be told of a job that uses up its attempts by this event.
    fn death_by(&self, event: &Event) -> Option<Death> {
        let EventKind::Exhaust { job, failure, end, .. } = &event.kind else { return None };
        let view = self.table.view(job)?;
        let error = failure.message.lines().next().unwrap_or_default();
        let error = error.chars().take(ERROR_CHARS_MAX).collect();
        let (kind, queue, attempt) = (view.kind, view.queue, view.attempt);
        Some(Death { job: job.clone(), kind, queue, attempt, at: event.at, end: *end, error })
    }

    /// Decides a command and records the event that follows, if one does.
    pub fn execute(&mut self, command: Command, now: Timestamp) -> Result<Option<Seq>, Rejection> {
        let event = self.decide(command, now)?;
        Ok(event.map(|event| self.record(event)))
    }

    /// Executes a command that starts a job: which, and under which lease. None if none is ready.
    pub fn start(&mut self, command: Command, now: Timestamp) -> Option<(JobId, Token)> {
        let event = self.decide(command, now).expect("nobody is refused a job")?;
        let job = event.kind.job()?.clone();
        let epoch = self.table.epoch();
        Some((job, Token { epoch, seq: self.record(event) }))
    }

    /// Executes a command that takes a job away from the worker that runs it.
    pub fn take_away(
        &mut self,
        command: Command,
        job: &JobId,
        now: Timestamp,
    ) -> Result<Option<Seq>, Rejection> {
        let lease = self.table.lease(job).cloned();
        let event = self.execute(command, now)?;
        // A remote worker hears of it when it reports: its report is refused.
        if let Some(lease) = lease
            && let Holder::Local(worker) = lease.holder
        {
            self.ending.insert(job.clone(), (worker, lease.token));
            let halt = Halt { token: lease.token, reason: StopReason::Cancelled };
            self.hold(Effect::Halt(worker, halt));
        }
        Ok(event)
    }

    /// Whether a job with this id may be accepted: not while an attempt at one that was taken away is still ending.
    ///
    /// # Errors
    /// [`Rejection::Ending`].
    pub fn admit_id(&self, id: Option<&JobId>) -> Result<(), Rejection> {
        match id.filter(|id| !self.ending.is_empty() && self.ending.contains_key(id)) {
            Some(id) => Err(Rejection::Ending { job: id.clone() }),
            None => Ok(()),
        }
    }

    /// An attempt of a local worker has ended, or never began. Whether its job had been taken away from it.
    pub fn attempt_ended(&mut self, job: &JobId, token: Token) -> bool {
        let is_ending =
            !self.ending.is_empty() && self.ending.get(job).is_some_and(|(_, held)| *held == token);
        if is_ending {
            self.ending.remove(job);
        }
        is_ending
    }

    /// Holds an effect until everything so far is durable.
    pub fn hold(&mut self, effect: Effect) {
        self.effects.hold(self.table.last(), effect);
    }

    /// Whether new jobs, of this many bytes together, may be added.
    pub fn admit(&self, jobs: usize, bytes: usize) -> Result<(), Rejection> {
        if self.is_closed {
            return Err(Rejection::Stopping);
        }
        if self.shortage.is_on() {
            return Err(Rejection::Shortage);
        }
        if self.is_damaged {
            return Err(Rejection::Damaged);
        }
        if !self.room.accepts_jobs || !self.has_room_for(bytes) {
            return Err(Rejection::DiskFull);
        }
        self.table.admit(jobs)
    }

    /// What does not fit must not become an event: the log could neither write it nor anything behind it. The file system is
    /// asked only about more than what is allocated already.
    fn has_room_for(&self, bytes: usize) -> bool {
        let needed = self.commit.bytes_ahead() + bytes as u64;
        bytes == 0 || needed <= self.room.bytes || (self.free_space)().is_none_or(|free| free >= needed)
    }

    /// Whether the log can take the result of one more job.
    pub fn has_room_to_start(&self) -> bool {
        let running = self.table.counts().of(Status::InFlight);
        self.room.accepts_jobs || self.room.bytes > (running + 1) * ROOM_PER_JOB
    }

    /// Whether every event is confirmed and every effect let out.
    pub fn all_is_told(&self) -> bool {
        self.commit.is_empty() && self.effects.is_empty() && self.effects.confirmed() == self.table.last()
    }

    fn count(&self, event: &Event) {
        let metrics = &self.metrics;
        match event.kind.event_type().metrics_class() {
            MetricsClass::None => {}
            MetricsClass::Dispatched => metrics.jobs_dispatched.add(1),
            MetricsClass::Completed => {
                metrics.jobs_completed.add(1);
                if let Some(created_at) = self.table.created_at_of(event) {
                    metrics.job_latency.observe(event.at.since_ms(created_at).saturating_mul(1_000));
                }
            }
            MetricsClass::Failed => match event.kind {
                EventKind::Requeue { counted: false, not_before: Some(_), .. } => {
                    metrics.jobs_postponed.add(1)
                }
                _ => metrics.jobs_failed.add(1),
            },
            MetricsClass::Exhausted => {
                metrics.jobs_failed.add(1);
                match event.kind {
                    EventKind::Exhaust { end: Exhausted::Drop, .. } => metrics.jobs_cancelled.add(1),
                    _ => metrics.jobs_dead.add(1),
                }
            }
            MetricsClass::Killed => metrics.jobs_dead.add(1),
            MetricsClass::Cancelled => metrics.jobs_cancelled.add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::testing::{NOW, ledger_with, start_local};

    #[test]
    fn on_a_full_disk_jobs_start_while_there_is_room_for_the_results_of_all_that_run() {
        let mut ledger = ledger_with(3);
        ledger.room = Room { bytes: 2 * ROOM_PER_JOB + 1, accepts_jobs: false, is_stuck: false };
        assert!(ledger.has_room_to_start());
        start_local(&mut ledger, WorkerId(0));
        assert!(ledger.has_room_to_start());
        start_local(&mut ledger, WorkerId(1));
        assert!(!ledger.has_room_to_start(), "two run, and there is room for two results");
        ledger.room.accepts_jobs = true;
        assert!(ledger.has_room_to_start());
    }

    #[test]
    fn every_event_goes_to_the_log_and_is_counted() {
        let mut ledger = ledger_with(1);
        let (job, token) = start_local(&mut ledger, WorkerId(0));
        let ack = Command::Ack { job: job.clone(), token, result: None };
        assert_eq!(ledger.execute(ack, NOW), Ok(Some(Seq(3))));
        let again = Command::Ack { job: job.clone(), token, result: None };
        let refused = Rejection::Finished { job, status: "completed" };
        assert_eq!(ledger.execute(again, NOW), Err(refused));
        let group = ledger.commit.take_group().unwrap().group;
        assert_eq!((group.first, group.last()), (Seq(1), Seq(3)));
        let metrics = &ledger.metrics;
        assert_eq!((metrics.jobs_dispatched.get(), metrics.jobs_completed.get()), (1, 1));
    }
}
