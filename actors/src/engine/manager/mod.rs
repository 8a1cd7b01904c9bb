//! JobManagerActor: the only owner of the job table.
//!
//! Every turn is the same: decide, apply, encode the event for the log, and hold whatever follows from it (an
//! answer, a job for a worker) until the log says that it is durable. Events that gather while the mailbox is
//! worked through go to the log as one message.
//!
//! `mod.rs` is the turn itself, `turns` the messages that begin one, `effects` what is held; `remote` and `fetchers` are
//! about remote workers, `ship` about groups of events, `sweeps` about sets of jobs, `status` about the queue at a glance.

mod bulk_ops;
mod effects;
mod fetchers;
mod group_commit;
mod handlers;
mod remote;
mod status;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Recipient, SpawnHandle};
use tokio::sync::oneshot;

use crate::api::handler::StopReason;
use crate::api::outcome::EngineError;
use crate::api::status::{RecoveryStatus, SnapshotStatus};
use crate::base::clock::{Clock, Timeline};
use crate::base::failpoint;
use crate::base::metrics::Metrics;
use crate::engine::liveness::ExitGuard;
use crate::engine::manager::bulk_ops::Sweep;
use crate::engine::manager::effects::Effect;
use crate::engine::manager::fetchers::Fetchers;
use crate::engine::manager::group_commit::Shipping;
use crate::engine::manager::remote::Stirred;
use crate::engine::messages::{Append, Halt, Run, Subscribe};
use crate::ids::{Holder, JobId, KindName, Seq, Timestamp, Token, WorkerId};
use crate::jobs::command::Enqueued;
use crate::jobs::model::policy::millis;
use crate::jobs::{
    Command, Event, EventKind, Failure, FailureKind, JobSpec, JobTable, PayloadStore, Rejection, Status,
};
use crate::recovery::journal;
use crate::wal::Group;
use crate::wal::writer::Room;

/// A timer is set no further ahead than this, so that a clock that was set forward is noticed.
const NAP_MAX: Duration = Duration::from_secs(60);
/// Leases that expire together are ended so many at a time.
const EXPIRED_AT_ONCE_MAX: usize = 1_000;
/// While the disk is full, jobs are only started as long as the log has this much room for each that runs:
/// enough for its result.
const ROOM_PER_JOB: u64 = 512 << 10;

/// What workers of the work protocol know an expired lease by.
const RESERVATION_EXPIRED: &str = "ReservationExpired";

/// What a JobManagerActor is made of.
pub struct ManagerSettings {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The dice.
    pub dice: fastrand::Rng,
    /// Takes events.
    pub wal: Recipient<Append>,
    /// Tells it who hears what is durable.
    pub subscribe: Recipient<Subscribe>,
    /// Payloads that are not in memory.
    pub payload_store: Arc<dyn PayloadStore>,
    /// Payloads take at most about this much memory, beside the small ones.
    pub payload_memory_bytes: u64,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// How many workers there will be.
    pub worker_count: usize,
    /// Kinds that they handle.
    pub kinds: Vec<KindName>,
    /// What boot found.
    pub recovery: RecoveryStatus,
    /// The newest snapshot.
    pub snapshot: Option<SnapshotStatus>,
}

/// The actor.
pub struct JobManagerActor {
    table: JobTable,
    time: Timeline,
    settings: ManagerSettings,
    /// Events since the last [`Append`].
    gathered: Group,
    shipping: Shipping,
    /// What waits for the log, in the order of the positions that it waits for.
    held: VecDeque<(Seq, Effect)>,
    confirmed: Seq,
    durable: Seq,
    room: Room,
    workers: Vec<Option<Worker>>,
    idle: VecDeque<WorkerId>,
    /// Remote workers that wait for a job.
    fetchers: Fetchers,
    stirred: Stirred,
    /// Requests about many jobs, the first of which is being gone through.
    sweeps: VecDeque<Sweep>,
    timer: Option<(Timestamp, SpawnHandle)>,
    /// What could be seen when it was last told that there is something new to see.
    told: Seen,
    /// Set while draining: told when nothing runs and nothing is held any more.
    draining: Option<Option<oneshot::Sender<()>>>,
    _guard: ExitGuard,
}

/// Differs from one turn to the next only if there is something new to see.
#[derive(Default, PartialEq)]
struct Seen {
    last: Seq,
    idle: usize,
    accepts_jobs: bool,
}

struct Worker {
    run: Recipient<Run>,
    halt: Recipient<Halt>,
    busy: Option<Token>,
}

impl JobManagerActor {
    /// Around a recovered table whose every event is durable.
    #[must_use]
    pub fn new(table: JobTable, settings: ManagerSettings, guard: ExitGuard) -> JobManagerActor {
        let last = table.last();
        JobManagerActor {
            time: Timeline::begin(settings.clock.clone(), table.last_at()),
            gathered: Group { first: last.next(), ..Group::default() },
            shipping: Shipping::default(),
            held: VecDeque::new(),
            confirmed: last,
            durable: last,
            room: Room { bytes: 0, accepts_jobs: true },
            workers: (0..settings.worker_count).map(|_| None).collect(),
            idle: VecDeque::new(),
            fetchers: Fetchers::default(),
            stirred: Stirred::default(),
            sweeps: VecDeque::new(),
            timer: None,
            told: Seen::default(),
            draining: None,
            table,
            settings,
            _guard: guard,
        }
    }

    /// The time. When it has jumped, whoever holds a lease gets as much more.
    fn now(&mut self) -> Timestamp {
        let (now, jumped_ms) = self.time.now();
        if jumped_ms > 0 {
            for (job, token) in self.table.in_flight(|_| true) {
                // The lease is held, so this is not rejected.
                let _ = self.execute(Command::Extend { job, token, by_ms: jumped_ms }, now);
            }
        }
        now
    }

    /// Decides a command and records the event that follows, if one does.
    fn execute(&mut self, command: Command, now: Timestamp) -> Result<Option<Seq>, Rejection> {
        let event = self.table.decide(command, now, &mut self.settings.dice)?;
        Ok(event.map(|event| self.record(event)))
    }

    fn record(&mut self, event: Event) -> Seq {
        failpoint::pass("manager.record").expect("this point is for panics");
        self.count(&event);
        self.stir(&event.change);
        journal::record(&mut self.table, &mut self.gathered, event)
    }

    fn count(&self, event: &Event) {
        let metrics = &self.settings.metrics;
        match &event.change {
            EventKind::Dispatch { .. } | EventKind::Reserve { .. } => metrics.jobs_dispatched.add(1),
            EventKind::Ack { job, .. } => {
                metrics.jobs_completed.add(1);
                if let Some(created_at) = self.table.created_at(job) {
                    metrics.job_latency.observe(event.at.since_ms(created_at).saturating_mul(1_000));
                }
            }
            EventKind::Retry { .. } | EventKind::Timeout { .. } | EventKind::Requeue { .. } => {
                metrics.jobs_failed.add(1)
            }
            EventKind::Dead { .. } => {
                metrics.jobs_failed.add(1);
                metrics.jobs_dead.add(1);
            }
            EventKind::Drop { .. } => {
                metrics.jobs_failed.add(1);
                metrics.jobs_cancelled.add(1);
            }
            EventKind::Kill { .. } => metrics.jobs_dead.add(1),
            EventKind::Cancel { .. } => metrics.jobs_cancelled.add(1),
            EventKind::Enqueue(_)
            | EventKind::RunNow { .. }
            | EventKind::Discard { .. }
            | EventKind::Move { .. }
            | EventKind::Pause { .. }
            | EventKind::Resume { .. }
            | EventKind::RemoveQueue { .. }
            | EventKind::Extend { .. }
            | EventKind::Promote { .. }
            | EventKind::Forget { .. }
            | EventKind::Digest { .. } => {}
        }
    }

    fn enqueue(&mut self, jobs: Vec<JobSpec>, now: Timestamp) -> Result<Vec<Enqueued>, EngineError> {
        if self.draining.is_some() {
            return Err(Rejection::Stopping.into());
        }
        if !self.room.accepts_jobs {
            return Err(Rejection::DiskFull.into());
        }
        // All that could be rejected is rejected before the first job is added: all or nothing.
        self.table.admit(jobs.len())?;
        for (index, job) in jobs.iter().enumerate() {
            let rejection = self.table.admit_job(job).and_then(|()| self.table.admit_queue(&job.queue)).err();
            if let Some(rejection) = rejection {
                return Err(EngineError::RejectedAt { index, rejection });
            }
        }
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let given = job.id.clone();
            let event = self.table.decide_enqueue(job, now, &mut self.settings.dice)?;
            let created = event.is_some();
            let id = match event {
                Some(event) => {
                    let id = event.change.job().cloned();
                    self.record(event);
                    id
                }
                None => given,
            };
            let id = id.expect("a generated id is new, so an event follows that names it");
            answers.push(Enqueued { id, created, seq: self.table.last() });
        }
        Ok(answers)
    }

    /// Does something that takes a job away from whoever runs it.
    fn take_away(&mut self, command: Command, job: &JobId, now: Timestamp) -> Result<Option<Seq>, Rejection> {
        let lease = self.table.lease(job).cloned();
        let event = self.execute(command, now)?;
        // A remote worker hears of it when it reports: its report is refused.
        if let Some(lease) = lease
            && let Holder::Local(worker) = lease.holder
        {
            let halt = Halt { token: lease.token, reason: StopReason::Cancelled };
            self.hold(Effect::Halt(worker, halt));
        }
        Ok(event)
    }

    /// What is due without anybody asking: promotions, expired leases, retention.
    fn do_due(&mut self, now: Timestamp) {
        if self.table.next_due().is_none_or(|due| due > now) {
            return;
        }
        for (job, token) in self.table.expired(now, EXPIRED_AT_ONCE_MAX) {
            let holder = self.table.lease(&job).map(|lease| lease.holder.clone());
            let message = "the lease expired: its worker did not report in time";
            let failure = Failure::new(FailureKind::Timeout, message);
            let failure = match holder {
                Some(Holder::Remote(_)) => failure.of_type(RESERVATION_EXPIRED),
                _ => failure,
            };
            let _ = self.execute(Command::Fail { job, token, failure, result: None }, now);
            if let Some(Holder::Local(worker)) = holder {
                self.hold(Effect::Halt(worker, Halt { token, reason: StopReason::Cancelled }));
            }
        }
        // These are never rejected; nothing follows when nothing is due.
        let _ = self.execute(Command::Promote, now);
        let _ = self.execute(Command::Forget, now);
    }

    /// Gives ready jobs to idle workers. They start once their dispatch is durable.
    fn dispatch(&mut self, now: Timestamp) {
        while self.draining.is_none() && self.table.has_ready() && self.has_room_to_start() {
            let Some(worker) = self.idle.pop_front() else { return };
            let Ok(Some(event)) =
                self.table.decide(Command::Dispatch { worker }, now, &mut self.settings.dice)
            else {
                self.idle.push_front(worker);
                return;
            };
            let Some(job) = event.change.job().cloned() else { return };
            let token = Token(self.record(event).0);
            if let Some(Some(worker)) = self.workers.get_mut(worker.0 as usize) {
                worker.busy = Some(token);
            }
            self.hold(Effect::Run(worker, job, token));
        }
    }

    fn has_room_to_start(&self) -> bool {
        let running = self.table.counts().of(Status::InFlight);
        self.room.accepts_jobs || self.room.bytes > (running + 1) * ROOM_PER_JOB
    }

    /// Not in every turn: a request that only looks would wake whoever waits for a change, who looks again.
    fn tell_if_changed(&mut self) {
        let (last, idle) = (self.table.last(), self.idle.len());
        let seen = Seen { last, idle, accepts_jobs: self.room.accepts_jobs };
        if self.told != seen {
            self.told = seen;
            self.settings.metrics.changes.tell();
        }
    }

    fn set_timer(&mut self, ctx: &mut Context<JobManagerActor>, now: Timestamp) {
        let dues = [self.table.next_due(), self.fetchers.next_deadline()];
        let Some(due) = dues.into_iter().flatten().min() else { return };
        let nap = Duration::from_millis(due.since_ms(now)).min(NAP_MAX);
        let at = now.plus_ms(millis(nap));
        // One that fires too early does no harm: it sets the next. Most leases end long before they expire.
        if self.timer.is_some_and(|(earlier, _)| earlier <= at) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(nap, |manager, ctx| {
            manager.timer = None;
            manager.end_turn(ctx);
        });
        self.timer = Some((at, timer));
    }

    fn tell_if_drained(&mut self) {
        if self.draining.is_none() {
            return;
        }
        let is_quiet = self.workers.iter().flatten().all(|worker| worker.busy.is_none())
            && self.gathered.count == 0
            && self.held.is_empty()
            && self.sweeps.is_empty()
            && self.confirmed == self.table.last();
        if is_quiet && let Some(Some(done)) = self.draining.as_mut().map(Option::take) {
            let _ = done.send(());
        }
    }
}
