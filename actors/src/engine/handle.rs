//! The engine as its users hold it: a handle that any thread may clone and call.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use tokio::sync::{oneshot, watch};

use crate::api::handler::Handlers;
use crate::api::options::EngineOptions;
use crate::api::outcome::{Ending, EngineError, FailCause, Phase, Progress};
use crate::api::requests::{AttemptEnd, Claim, Delivery, QueuePage, QueueSet, SetAction};
use crate::api::status::{EngineStatus, QUEUES_SHOWN, QueueStatus};
use crate::base::clock::{Clock, SystemClock};
use crate::base::metrics::Metrics;
use crate::engine::admission::{Admission, RequestPermits};
use crate::engine::answer::Answer;
use crate::engine::manager::JobManagerActor;
use crate::engine::manager_thread::{ManagerThread, Tenant};
use crate::engine::messages::{Ask, Fetch, Reply, StopEngine, Submit};
use crate::engine::read_only::ReadOnlyState;
use crate::engine::supervisor::{StateSenders, SupervisorActor};
use crate::engine::threads::Threads;
use crate::ids::{JobId, QueueName, RemoteName};
use crate::jobs::command::Enqueued;
use crate::jobs::{Filter, JobSpec, JobView, Rejection, Status};
use crate::recovery::boot::Boot;
use crate::storage::patient::PatientStorage;
use crate::storage::{DiskStorage, Storage};

/// Everything through which an engine touches the world. The real engine and the tests differ in nothing else.
pub struct Environment {
    /// The disk; the machine's by default.
    pub storage: Arc<dyn Storage>,
    /// The clock; the system's by default.
    pub clock: Arc<dyn Clock>,
    /// Where ids, jitter and salts come from.
    pub dice: fastrand::Rng,
    /// Where actors live.
    pub threads: Threads,
}

impl Default for Environment {
    /// The machine's disk and clock, dice of its own, and a thread for each actor that blocks.
    fn default() -> Environment {
        Environment {
            storage: Arc::new(DiskStorage::default()),
            clock: Arc::new(SystemClock::default()),
            dice: fastrand::Rng::new(),
            threads: Threads::Own,
        }
    }
}

/// A running engine. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    phase: watch::Receiver<Phase>,
    manager: watch::Receiver<Option<Addr<JobManagerActor>>>,
    /// Of an engine that only looks.
    read_only: Option<watch::Receiver<Option<Arc<ReadOnlyState>>>>,
    supervisor: Addr<SupervisorActor>,
    metrics: Arc<Metrics>,
    admission: Arc<Admission>,
}

impl Engine {
    /// Starts an engine on the machine's disk and clock, on the actix system of this thread. Recovery runs in the
    /// background: see [`Engine::watch_phase`].
    ///
    /// # Panics
    /// Outside an actix system.
    #[must_use]
    pub fn start(options: EngineOptions, handlers: Handlers) -> Engine {
        Engine::start_on(Environment::default(), options, handlers)
    }

    /// Starts an engine in surroundings of the caller's choice: the same engine on another disk, clock, dice or threads.
    ///
    /// # Panics
    /// Outside an actix system, or for [`Threads::Callers`] outside a `LocalSet`.
    #[must_use]
    pub fn start_on(environment: Environment, options: EngineOptions, handlers: Handlers) -> Engine {
        Engine::begin(environment, options, handlers, false)
    }

    /// Opens the data of a queue that no server holds, on the machine's disk, only to look at it: the directories stay as
    /// they are, byte for byte, and nothing runs. [`Engine::job`], [`Engine::list`] and [`Engine::status`] tell what the
    /// disk has; everything else is refused. Others may look at the same time; no server can start meanwhile.
    ///
    /// # Panics
    /// Outside an actix system.
    #[must_use]
    pub fn open_read_only(options: EngineOptions) -> Engine {
        Engine::open_read_only_on(Environment::default(), options)
    }

    /// The same in an [`Environment`] of the caller's choice.
    ///
    /// # Panics
    /// As [`Engine::start_on`].
    #[must_use]
    pub fn open_read_only_on(environment: Environment, options: EngineOptions) -> Engine {
        Engine::begin(environment, options, Handlers::new(), true)
    }

    fn begin(
        environment: Environment,
        options: EngineOptions,
        handlers: Handlers,
        only_looks: bool,
    ) -> Engine {
        let Environment { storage, clock, dice, threads } = environment;
        #[cfg(feature = "testing")]
        let storage = crate::storage::lying::lying_if_planted(storage);
        let (phase_sender, phase) = watch::channel(Phase::Recovering(Progress::default()));
        let (manager_sender, manager) = watch::channel(None);
        let (read_only_sender, read_only) = only_looks.then(|| watch::channel(None)).unzip();
        let metrics = Arc::new(Metrics::default());
        let admission = Admission::new(&options, clock.clone(), metrics.clone());
        // Who only looks is not kept waiting: nobody is served meanwhile.
        let storage: Arc<dyn Storage> = match only_looks {
            true => storage,
            false => Arc::new(PatientStorage::around(storage, admission.intake.shortage.clone())),
        };
        let senders = StateSenders {
            phase: phase_sender,
            manager: manager_sender,
            intake: admission.intake.clone(),
            read_only: read_only_sender,
        };
        let boot = Boot { kinds: handlers.kinds(), options, storage, clock, dice };
        let supervisor = SupervisorActor::new(boot, threads, handlers, metrics.clone(), senders).start();
        Engine { phase, manager, read_only, supervisor, metrics, admission }
    }

    /// Where the engine is in its life.
    // Not a look into the channel: who holds one and asks anything else of the engine would stand behind the writer that
    // waits for the look to end, and both for ever.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// To follow the engine through its life.
    #[must_use]
    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.clone()
    }

    /// Waits until recovery is over.
    ///
    /// # Errors
    /// The engine could not start, or has ended.
    pub async fn ready(&self) -> Result<(), Ending> {
        let mut phase = self.phase.clone();
        let reached = phase.wait_for(|phase| !matches!(phase, Phase::Recovering(_))).await;
        match reached.as_deref() {
            Ok(Phase::Stopped(ending)) => Err(ending.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(vanished()),
        }
    }

    /// Adds jobs: all of them or none. Answered when they are durable, one answer a job.
    ///
    /// Dropping the [`Answer`] does not take the jobs back.
    ///
    /// # Errors
    /// See [`EngineError`]; only after [`EngineError::Unknown`] may anything have been done.
    pub fn enqueue(&self, jobs: Vec<JobSpec>) -> Answer<Vec<Enqueued>> {
        let (count, bytes) = (jobs.len(), jobs.iter().map(JobSpec::weight).sum());
        let permits = |admission: &Admission| admission.new_jobs(count, bytes);
        self.ask_with(permits, |reply| Submit::Enqueue { jobs, reply })
    }

    /// Gives a remote worker the next job of the first of `queues` that has one, under a lease as long as the job's
    /// timeout. With none ready it waits, without polling: the first to ask is the first to get one. None after `wait`.
    ///
    /// Dropping the [`Answer`] before it came gives the job back.
    ///
    /// # Errors
    /// Any [`EngineError`]; only after [`EngineError::Unknown`] may anything have been done.
    pub fn fetch(
        &self,
        queues: Arc<[QueueName]>,
        worker: RemoteName,
        wait: Duration,
    ) -> Answer<Option<Delivery>> {
        // The same names are mostly shared with the connection, which is not known here.
        let bytes = queues.iter().map(|queue| queue.as_str().len()).sum();
        self.ask_with(|admission| admission.fetch(bytes), |reply| Fetch { queues, worker, wait, reply })
    }

    /// A remote worker's report on how an attempt ended.
    ///
    /// # Errors
    /// [`Rejection::NotFound`], [`Rejection::Finished`] or [`Rejection::NotHeld`] unless the job is in flight under
    /// that claim; nothing has changed then.
    pub fn report(&self, job: JobId, claim: Claim, end: AttemptEnd) -> Answer<()> {
        let bytes = end.weight();
        let message = |reply| Submit::Report { job, claim, end, reply };
        self.ask_with(|admission| admission.report(bytes), message)
    }

    /// One job, as of everything that is durable.
    ///
    /// # Errors
    /// [`Rejection::NotFound`] among others.
    pub fn job(&self, job: JobId) -> Answer<JobView> {
        match self.read_only(|state| state.job(job.clone())) {
            Some(answer) => answer,
            None => self.ask(|reply| Ask::Job { job, reply }),
        }
    }

    /// The first `limit` jobs in a status that pass a filter, or fewer if their texts are long: the last but one is then that
    /// with which they exceed [`LISTED_BYTES_MAX`](crate::jobs::LISTED_BYTES_MAX).
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn list(&self, status: Status, filter: Filter, limit: usize) -> Answer<Vec<JobView>> {
        match self.read_only(|state| Ok(state.list(status, &filter, limit))) {
            Some(answer) => answer,
            None => self.ask(|reply| Ask::List { status, filter, limit, reply }),
        }
    }

    /// Withdraws a job; if it runs here, its handler is told to stop.
    ///
    /// # Errors
    /// [`Rejection::NotFound`], [`Rejection::Finished`] among others.
    pub fn cancel(&self, job: JobId) -> Answer<()> {
        self.ask(|reply| Submit::Cancel { job, reply })
    }

    /// Does the same to every job that is in a status now and passes a filter; answers to how many. Those that
    /// cannot have it done to them are left alone.
    ///
    /// Large sets are gone through a piece at a time, so that the queue goes on beside it: after a crash in the middle,
    /// a part of them is done.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn act(&self, action: SetAction, status: Status, filter: Filter) -> Answer<u64> {
        self.ask(|reply| Submit::Act { action, status, filter, reply })
    }

    /// Gives nobody jobs of these queues any more; what runs goes on. Answers which of them there are: the names of no
    /// queue are passed over.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn pause(&self, queues: QueueSet) -> Answer<Vec<QueueName>> {
        self.ask(|reply| Submit::Pause { queues, paused: true, reply })
    }

    /// The reverse of [`Engine::pause`].
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn resume(&self, queues: QueueSet) -> Answer<Vec<QueueName>> {
        self.ask(|reply| Submit::Pause { queues, paused: false, reply })
    }

    /// Discards the pending jobs of these queues and forgets the queues; answers how many jobs.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn remove_queues(&self, queues: QueueSet) -> Answer<u64> {
        self.ask(|reply| Submit::RemoveQueues { queues, reply })
    }

    /// Says that the clock is right although the kernel does not: finished jobs are forgotten for their age again. Answers
    /// how many doubts ended by that: one, or none if nobody doubted it.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn trust_clock(&self) -> Answer<u64> {
        self.ask(|reply| Submit::TrustClock { reply })
    }

    /// Discards every job in every status and forgets every queue; answers the number of jobs.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn flush(&self) -> Answer<u64> {
        self.ask(|reply| Submit::Flush { reply })
    }

    /// Some of the queues, as of everything that is durable.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn queues(&self, page: QueuePage) -> Answer<Vec<QueueStatus>> {
        match self.read_only(|state| Ok(state.queues(&page))) {
            Some(answer) => answer,
            None => self.ask(|reply| Ask::Queues { page, reply }),
        }
    }

    /// The server at a glance, as of everything that is durable, with at most 100 of its queues.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn status(&self) -> Answer<EngineStatus> {
        self.status_with(QUEUES_SHOWN)
    }

    /// The same with at most this many queues.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn status_with(&self, queues_max: usize) -> Answer<EngineStatus> {
        match self.read_only(|state| Ok(state.status(queues_max))) {
            Some(answer) => answer,
            None => self.ask(|reply| Ask::Status { queues_max, reply }),
        }
    }

    /// The thread that decides about jobs, for one of those who may run there; once recovery is over.
    ///
    /// # Errors
    /// The engine has not recovered or has ended.
    pub fn manager_thread(&self, tenant: Tenant) -> Result<ManagerThread, EngineError> {
        Ok(ManagerThread::new(tenant, self.running()?.recipient()))
    }

    /// Whether a client that has asked for much should wait for answers before it asks for more, since much waits already:
    /// others then wait less, and do not find the engine busy.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.admission.is_crowded()
    }

    /// Turns new jobs of this size away as [`Engine::enqueue`] would, before they are read: refusing must cost less than
    /// accepting.
    ///
    /// # Errors
    /// [`EngineError::Busy`]; none is no promise.
    pub fn refuse_if_busy(&self, bytes: usize) -> Result<(), EngineError> {
        if self.admission.is_full(bytes) { Err(self.turn_away()) } else { Ok(()) }
    }

    /// Whether a new job would be accepted now: an engine that serves may have no space, or too many jobs. The metric
    /// `accepts_jobs` says the same from then on.
    ///
    /// # Errors
    /// What it would be told.
    pub fn accepts_jobs(&self) -> Result<(), EngineError> {
        let accepted = self.running().and_then(|_| match self.admission.is_full(0) {
            true => Err(EngineError::Busy),
            false => Ok(self.admission.intake.look()?),
        });
        self.metrics.accepts_jobs.set(u64::from(accepted.is_ok()));
        accepted
    }

    /// Counts a request that is turned away, and says so. For new jobs that have waited for
    /// [`Engine::request_wait_max`] before the engine is even asked.
    #[must_use]
    pub fn turn_away(&self) -> EngineError {
        self.admission.turn_away()
    }

    /// How long new jobs may wait for their answer: [`EngineOptions::request_wait_max`].
    #[must_use]
    pub fn request_wait_max(&self) -> Duration {
        self.admission.wait_max()
    }

    /// Changes whenever there may be something new to see: a job in another state, a worker that is free or was
    /// restarted, a snapshot, more or less space on the disk, another phase. For waiting without asking again and
    /// again: get this first, then look, and look again after every change (the [crate] has an example).
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.metrics.changes.listen()
    }

    /// What the engine counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Drains and stops: no job is started, running ones get `drain_timeout` (or `within`, if given), then a last snapshot is
    /// taken and the log closed. Until then new jobs are accepted, unless
    /// [`EngineOptions::accepts_while_draining`] is off. Returns how it ended; calling it again waits for the same end.
    pub async fn stop(&self, within: Option<Duration>) -> Ending {
        self.supervisor.do_send(StopEngine { within });
        self.stopped().await
    }

    /// Ends at once, without draining, closing the log or taking a snapshot: as a crash would. What was
    /// acknowledged is on disk; the next start recovers.
    pub async fn abort(&self) -> Ending {
        self.supervisor.do_send(crate::engine::messages::AbortEngine);
        self.stopped().await
    }

    /// Waits until the engine has ended, for any reason.
    pub async fn stopped(&self) -> Ending {
        let mut phase = self.phase.clone();
        let reached = phase.wait_for(|phase| matches!(phase, Phase::Stopped(_))).await;
        match reached.as_deref() {
            Ok(Phase::Stopped(ending)) => ending.clone(),
            _ => vanished(),
        }
    }

    /// Makes one of the actors panic, to test what follows.
    #[cfg(feature = "testing")]
    pub fn crash(&self, child: crate::ids::ChildId) {
        self.supervisor.do_send(crate::engine::messages::Crash(child));
    }

    /// Makes the supervisor panic, to test what follows.
    #[cfg(feature = "testing")]
    pub fn crash_supervisor(&self) {
        self.supervisor.do_send(crate::engine::messages::CrashSupervisor);
    }

    /// Makes one of the actors block its thread, to test what follows. Returns when it does.
    #[cfg(feature = "testing")]
    pub async fn freeze(&self, child: crate::ids::ChildId, time: Duration) {
        let (begun, begins) = oneshot::channel();
        let freeze = crate::engine::messages::Freeze { time, begun };
        self.supervisor.do_send(crate::engine::messages::FreezeChild(child, freeze));
        begins.await.expect("the child is there");
    }

    /// Sends a message to the manager.
    fn ask<T, M>(&self, message: impl FnOnce(Reply<T>) -> M) -> Answer<T>
    where
        M: actix::Message<Result = ()> + Send + 'static,
        JobManagerActor: actix::Handler<M>,
    {
        self.ask_with(Admission::other, message)
    }

    /// The permits are taken before the message is sent: a mailbox has no bound of its own.
    fn ask_with<T, M>(
        &self,
        permits: impl FnOnce(&Admission) -> Result<RequestPermits, EngineError>,
        message: impl FnOnce(Reply<T>) -> M,
    ) -> Answer<T>
    where
        M: actix::Message<Result = ()> + Send + 'static,
        JobManagerActor: actix::Handler<M>,
    {
        let manager = match self.running() {
            Ok(manager) => manager,
            Err(error) => return Answer::now(Err(error)),
        };
        let permits = match permits(&self.admission) {
            Ok(permits) => permits,
            Err(error) => return Answer::now(Err(error)),
        };
        let (to, answer) = oneshot::channel();
        manager.do_send(message(Reply { to, permits }));
        Answer::later(answer)
    }

    /// What data that is only looked at answers; none if this is not about such.
    fn read_only<T>(&self, look: impl FnOnce(&ReadOnlyState) -> Result<T, EngineError>) -> Option<Answer<T>> {
        let state = self.read_only.as_ref()?.borrow().clone();
        Some(Answer::now(state.ok_or_else(|| self.not_running()).and_then(|state| look(&state))))
    }

    fn running(&self) -> Result<Addr<JobManagerActor>, EngineError> {
        if self.read_only.is_some() {
            return Err(EngineError::ReadOnly);
        }
        // No lock is held while another is asked for.
        let manager = self.manager.borrow().clone();
        manager.ok_or_else(|| self.not_running())
    }

    fn not_running(&self) -> EngineError {
        match *self.phase.borrow() {
            Phase::Recovering(_) => EngineError::Recovering,
            _ => Rejection::Stopping.into(),
        }
    }
}

fn vanished() -> Ending {
    let message = "the supervisor died".to_owned();
    Ending::Failed { cause: FailCause::Crashed, message }
}
