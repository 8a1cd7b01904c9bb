//! SupervisorActor: runs recovery, starts the others in order, restarts what may be restarted, ends them in order.
//!
//! ```text
//! supervisor
//! ├── wal          at the manager's side, with a thread for what takes long; its death ends the engine
//! ├── manager      its own thread; its death ends the engine
//! ├── snapshot     its own thread; restarted
//! └── worker[0..n] share a thread (handlers run elsewhere); restarted one by one
//! ```
//!
//! Every start, exit, restart and escalation is logged with the actor's path (`supervisor/worker[3]`), so the tree
//! can be read from the log alone. WalActor and JobManagerActor are never patched up in place: state and log could
//! disagree. The engine ends, and recovers from disk at its next start.
//!
//! `policy`: what is restarted, how soon and how often; `heartbeat`: how a child that stands still is noticed.

mod heartbeat;
mod policy;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use tokio::runtime;
use tokio::sync::{oneshot, watch};

use crate::api::handler::Handlers;
use crate::api::outcome::{Ending, FailCause, Phase, Progress};
use crate::base::failpoint;
use crate::base::metrics::Metrics;
use crate::engine::admission::intake::Intake;
use crate::engine::liveness::ExitGuard;
use crate::engine::log::actor::WalActor;
use crate::engine::log::task::WalSettings;
use crate::engine::manager::{JobManagerActor, ManagerSettings};
use crate::engine::messages::{
    AbortEngine, ChildExited, CloseIntake, CloseLog, DamageMet, Damaged, Drain, End, HaltAll, LogFailed,
    StopEngine, TakeSnapshot, WorkerDown, WorkerUp,
};
use crate::engine::read_only::ReadOnlyState;
use crate::engine::snapshot::SnapshotActor;
use crate::engine::snapshot_settings::SnapshotSettings;
use crate::engine::supervisor::policy::{ChildHistory, INTENSITY_WINDOW, RestartDecision, verdict};
use crate::engine::threads::{ActorThread, ActorThreads, Threads};
use crate::engine::worker::actor::{WorkerActor, WorkerSettings};
use crate::ids::{ChildId, WorkerId};
use crate::recovery::boot::{Boot, BootError, QUARANTINE, ReadOnly, Recovered};
use crate::recovery::payload_store::StoredPayloads;
use crate::recovery::sealed_log::read_sealed_log;

/// How long the end of the log's actor is waited for.
const LOG_END_WAIT: Duration = Duration::from_secs(2);
/// How long jobs that were told to stop may take, beyond the drain time.
const HALT_WAIT: Duration = Duration::from_secs(15);

/// Where the engine's holders see what there is.
pub(crate) struct StateSenders {
    pub phase: watch::Sender<Phase>,
    /// None before recovery has ended, and after the engine has.
    pub manager: watch::Sender<Option<Addr<JobManagerActor>>>,
    /// Whether it accepts new jobs.
    pub intake: Arc<Intake>,
    /// Of an engine that only looks: that one has no children.
    pub read_only: Option<watch::Sender<Option<Arc<ReadOnlyState>>>>,
}

/// The root of the tree, on the thread that starts the engine.
pub struct SupervisorActor {
    boot: Option<Boot>,
    threads: Threads,
    handlers: Handlers,
    metrics: Arc<Metrics>,
    senders: StateSenders,
    dice: fastrand::Rng,
    children: Option<Children>,
    histories: HashMap<ChildId, ChildHistory>,
    stopping: bool,
    /// What is damaged on disk and could not be mended so far.
    damage: Option<String>,
    /// How it ends, as soon as that is known.
    ending: Option<Ending>,
    log_is_gone: bool,
}

/// Addresses of all children, and what it takes to build those that may be restarted.
struct Children {
    wal: Addr<WalActor>,
    /// Counts where the log begins and ends to keep the manager's thread waiting for the disk. Odd meanwhile.
    log_blocks: Arc<AtomicU64>,
    manager: Addr<JobManagerActor>,
    snapshot: Addr<SnapshotActor>,
    workers: Vec<Addr<WorkerActor>>,
    snapshot_settings: SnapshotSettings,
    runtime: runtime::Handle,
    payload_store: Arc<StoredPayloads>,
    actor_threads: ActorThreads,
    boot: Boot,
}

/// Data has been opened only to be looked at.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Opened(Box<Result<ReadOnly, BootError>>);

/// Recovery has ended.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct BootEnded(Box<Result<Recovered, BootError>>);

impl SupervisorActor {
    /// One that begins with recovery as soon as it is started.
    pub(crate) fn new(
        boot: Boot,
        threads: Threads,
        handlers: Handlers,
        metrics: Arc<Metrics>,
        senders: StateSenders,
    ) -> SupervisorActor {
        let dice = fastrand::Rng::with_seed(boot.dice.clone().u64(..));
        SupervisorActor {
            boot: Some(boot),
            threads,
            handlers,
            metrics,
            senders,
            dice,
            children: None,
            histories: HashMap::new(),
            stopping: false,
            damage: None,
            ending: None,
            log_is_gone: false,
        }
    }

    fn start_children(&mut self, boot: Boot, recovered: Recovered, ctx: &mut Context<SupervisorActor>) {
        let Recovered { table, payload_store, writer, store, snapshot, status, lock, .. } = recovered;
        let counts = table.counts();
        tracing::info!(
            actor = "supervisor",
            milliseconds = status.duration_ms,
            snapshot_jobs = status.snapshot_jobs,
            events = status.events,
            interrupted = status.interrupted,
            unfinished = counts.unfinished(),
            completed = counts.of(crate::jobs::Status::Completed),
            "recovered"
        );
        self.metrics.recovery_micros.set((status.duration_ms * 1e3) as u64);
        let actor_threads = ActorThreads::new(self.threads);
        let log_blocks = Arc::new(AtomicU64::new(0));

        let wal_settings = WalSettings {
            durability: boot.options.durability,
            clock: boot.clock.clone(),
            metrics: self.metrics.clone(),
            failed: ctx.address().recipient(),
            thread: ActorThreads::log_thread(self.threads),
            blocks: log_blocks.clone(),
        };
        let guard = self.guard(ChildId::Wal, ctx);
        let wal = actor_threads.manager.start(|| WalActor::new(writer, wal_settings, lock, guard));
        let manager_settings = ManagerSettings {
            clock: boot.clock.clone(),
            wal: wal.clone().recipient(),
            subscribe: wal.clone().recipient(),
            payload_store: payload_store.clone(),
            payload_memory_bytes: boot.options.payload_memory_bytes,
            metrics: self.metrics.clone(),
            intake: self.senders.intake.clone(),
            free_space: {
                let (storage, dir) = (boot.storage.clone(), boot.options.wal_dir.clone());
                Arc::new(move || storage.free_bytes(&dir).ok())
            },
            worker_count: boot.options.worker_count,
            kinds: boot.kinds.clone(),
            recovery: status,
        };
        let (snapshot, dice) = (snapshot.map(Into::into), boot.dice.clone());
        let guard = self.guard(ChildId::Manager, ctx);
        let manager = actor_threads
            .manager
            .start(move || JobManagerActor::new(table, snapshot, dice, manager_settings, guard));

        let (storage, wal_dir) = (boot.storage.clone(), boot.options.wal_dir.clone());
        let snapshot_settings = SnapshotSettings {
            store: boot.snapshots(),
            store_id: store.0,
            interval: boot.options.snapshot_interval,
            kept: boot.options.snapshots_kept,
            age_max: boot.options.snapshot_age_max,
            log: Arc::new(move |after, through, visit| {
                read_sealed_log(&*storage, &wal_dir, after, through, visit)
            }),
            clock: boot.clock.clone(),
            metrics: self.metrics.clone(),
            seal: wal.clone().recipient(),
            prune: wal.clone().recipient(),
            taken: manager.clone().recipient(),
            rescue: manager.clone().recipient(),
            set_aside: wal.clone().recipient(),
            quarantine: boot.options.data_dir.join(QUARANTINE),
            damage: ctx.address().recipient(),
            texts: payload_store.clone(),
            images: {
                let payload_store = payload_store.clone();
                Arc::new(move |images| payload_store.set_images(Arc::new(images)))
            },
        };
        let supervisor = ctx.address();
        payload_store.on_damage(move |error| supervisor.do_send(DamageMet(error.to_string())));
        let snapshot = self.start_snapshot(&snapshot_settings, &actor_threads.snapshot, ctx);
        let mut children = Children {
            wal,
            log_blocks,
            manager: manager.clone(),
            snapshot,
            workers: Vec::new(),
            snapshot_settings,
            runtime: runtime::Handle::current(),
            payload_store,
            actor_threads,
            boot,
        };
        for number in 0..children.boot.options.worker_count {
            let id = WorkerId(u32::try_from(number).unwrap_or(u32::MAX));
            let worker = self.start_worker(id, &children, ctx);
            children.workers.push(worker);
        }
        self.watch_heartbeats(children.boot.options.heartbeat_timeout, ctx);
        self.children = Some(children);
        self.senders.manager.send_replace(Some(manager));
        self.enter(Phase::Serving);
    }

    fn start_snapshot(
        &mut self,
        settings: &SnapshotSettings,
        thread: &ActorThread,
        ctx: &mut Context<SupervisorActor>,
    ) -> Addr<SnapshotActor> {
        let (settings, guard) = (settings.clone(), self.guard(ChildId::Snapshot, ctx));
        thread.start(move || SnapshotActor::new(settings, guard))
    }

    fn start_worker(
        &mut self,
        id: WorkerId,
        children: &Children,
        ctx: &mut Context<SupervisorActor>,
    ) -> Addr<WorkerActor> {
        let guard = self.guard(ChildId::Worker(id), ctx);
        let settings = WorkerSettings {
            id,
            handlers: self.handlers.clone(),
            runtime: children.runtime.clone(),
            payload_store: children.payload_store.clone(),
            finished: children.manager.clone().recipient(),
        };
        let worker = children.actor_threads.workers.start(move || WorkerActor::new(settings, guard));
        let (run, halt) = (worker.clone().recipient(), worker.clone().recipient());
        children.manager.do_send(WorkerUp { worker: id, run, halt });
        worker
    }

    /// Counts a new life of a child and logs it.
    fn guard(&mut self, child: ChildId, ctx: &mut Context<SupervisorActor>) -> ExitGuard {
        let history = self.histories.entry(child).or_default();
        history.generation += 1;
        tracing::info!(actor = %child, generation = history.generation, "started");
        ExitGuard::new(child, history.generation, ctx.address().recipient())
    }

    fn restart(&mut self, child: ChildId, ctx: &mut Context<SupervisorActor>) {
        let Some(mut children) = self.children.take() else { return };
        match child {
            ChildId::Worker(id) => {
                self.metrics.restarts_worker.add(1);
                let worker = self.start_worker(id, &children, ctx);
                children.workers[id.0 as usize] = worker;
            }
            ChildId::Snapshot => {
                self.metrics.restarts_snapshot.add(1);
                children.snapshot =
                    self.start_snapshot(&children.snapshot_settings, &children.actor_threads.snapshot, ctx);
                if let Some(problem) = self.damage.clone() {
                    children.snapshot.do_send(DamageMet(problem));
                }
            }
            // Never: the policy ends the engine for these.
            ChildId::Wal | ChildId::Manager => {}
        }
        self.children = Some(children);
        self.metrics.changes.tell();
    }

    /// How often this child has ended within the window, this time included.
    fn count_end(&mut self, child: ChildId) -> usize {
        let Some(children) = &self.children else { return 0 };
        let now = children.boot.clock.ticks();
        self.histories.entry(child).or_default().ended(now)
    }

    /// Ends everything at once. What was not confirmed is answered "unknown"; the next start recovers from disk.
    fn fail_stop(&mut self, cause: FailCause, message: String, ctx: &mut Context<SupervisorActor>) {
        if self.ending.is_some() {
            return;
        }
        tracing::error!(actor = "supervisor", ?cause, message, "fail-stop");
        self.end(Ending::Failed { cause, message }, ctx);
    }

    /// Tells all children to end, and has ended itself when the log has: only then is the data directory free.
    fn end(&mut self, ending: Ending, ctx: &mut Context<SupervisorActor>) {
        self.stopping = true;
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(ending);
        self.senders.manager.send_replace(None);
        if let Some(read_only) = &self.senders.read_only {
            read_only.send_replace(None);
        }
        let Some(children) = &self.children else { return self.has_ended(ctx) };
        children.workers.iter().for_each(|worker| worker.do_send(End));
        children.snapshot.do_send(End);
        children.manager.do_send(End);
        children.wal.do_send(End);
        if self.log_is_gone {
            return self.has_ended(ctx);
        }
        // A disk that hangs must not keep the process from ending.
        ctx.run_later(LOG_END_WAIT, |supervisor, ctx| supervisor.has_ended(ctx));
    }

    fn enter(&self, phase: Phase) {
        self.senders.phase.send_replace(phase);
        self.metrics.changes.tell();
    }

    fn has_ended(&mut self, ctx: &mut Context<SupervisorActor>) {
        let Some(ending) = self.ending.clone() else { return };
        if let Some(children) = self.children.take() {
            children.actor_threads.close();
        }
        self.enter(Phase::Stopped(ending));
        ctx.stop();
    }

    /// Everything is on disk, unless what is there is damaged.
    fn ending_of_drain(&self) -> Ending {
        match &self.damage {
            None => Ending::Clean,
            Some(message) => Ending::Failed { cause: FailCause::Damaged, message: message.clone() },
        }
    }

    /// Drains: nothing more is started, what runs may end; then it is told to; then a snapshot is taken, nothing more is
    /// accepted, and the log is closed. What was accepted meanwhile is behind the snapshot, and runs after the next start.
    fn drain(&mut self, within: Option<Duration>, ctx: &mut Context<SupervisorActor>) {
        self.stopping = true;
        let Some(children) = &self.children else {
            return self.end(Ending::Clean, ctx);
        };
        self.enter(Phase::Draining);
        let within = within.unwrap_or(children.boot.options.drain_timeout);
        let takes_snapshot = children.boot.options.snapshot_at_stop;
        let accepts_jobs = children.boot.options.accepts_while_draining;
        tracing::info!(actor = "supervisor", seconds = within.as_secs_f64(), "draining");
        let (manager, wal, snapshot) =
            (children.manager.clone(), children.wal.clone(), children.snapshot.clone());
        let steps = async move {
            let (done, mut drained) = oneshot::channel();
            manager.do_send(Drain { accepts_jobs, done });
            if tokio::time::timeout(within, &mut drained).await.is_err() {
                tracing::warn!(
                    actor = "supervisor",
                    "jobs still run: they are stopped and will be run again"
                );
                manager.do_send(HaltAll);
                // A child that does not even stop is left to the next boot, as after a crash.
                let _ = tokio::time::timeout(HALT_WAIT, drained).await;
            }
            if takes_snapshot {
                let (done, taken) = oneshot::channel();
                snapshot.do_send(TakeSnapshot { done });
                // An actor that has died takes none; the next start replays more of the log.
                let _ = taken.await;
            }
            let (done, all_told) = oneshot::channel();
            manager.do_send(CloseIntake { done });
            // A disk that does not answer is left to the log's end, which tells of it.
            let _ = tokio::time::timeout(HALT_WAIT, all_told).await;
            let (done, closed) = oneshot::channel();
            wal.do_send(CloseLog { done });
            // Dropped unanswered if the log fails now; then the fail-stop is on its way.
            closed.await.ok()?;
            Some(())
        };
        ctx.spawn(steps.into_actor(self).map(|closed, supervisor, ctx| {
            if closed.is_some() {
                tracing::info!(actor = "supervisor", "stopped");
                supervisor.end(supervisor.ending_of_drain(), ctx);
            }
        }));
    }
}

impl Actor for SupervisorActor {
    type Context = Context<SupervisorActor>;

    fn started(&mut self, ctx: &mut Context<SupervisorActor>) {
        let Some(boot) = self.boot.clone() else { return };
        tracing::info!(actor = "supervisor", data_dir = %boot.options.data_dir.display(), "recovering");
        let (address, phase) = (ctx.address(), self.senders.phase.clone());
        let mut progress = move |progress: Progress| {
            phase.send_replace(Phase::Recovering(progress));
        };
        let (storage, only_looks) = (boot.storage.clone(), self.senders.read_only.is_some());
        // Reading gigabytes must not stop this Arbiter, which others share.
        storage.in_background(Box::new(move || match only_looks {
            true => address.do_send(Opened(Box::new(boot.open_read_only(&mut progress)))),
            false => address.do_send(BootEnded(Box::new(boot.run(&mut progress)))),
        }));
    }
}

impl Handler<Opened> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Opened(result): Opened, ctx: &mut Context<SupervisorActor>) {
        let (Some(boot), Some(read_only)) = (self.boot.take(), &self.senders.read_only) else { return };
        match *result {
            // Asked to stop in the meantime.
            Ok(_) if self.stopping => self.end(Ending::Clean, ctx),
            Ok(opened) => {
                read_only.send_replace(Some(Arc::new(ReadOnlyState::new(opened, boot.clock))));
                self.enter(Phase::Serving);
            }
            Err(BootError { cause, message }) => self.end(Ending::Failed { cause, message }, ctx),
        }
    }
}

impl Handler<BootEnded> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, BootEnded(result): BootEnded, ctx: &mut Context<SupervisorActor>) {
        let Some(boot) = self.boot.take() else { return };
        match *result {
            // Asked to stop in the meantime.
            Ok(_) if self.stopping => self.end(Ending::Clean, ctx),
            Ok(recovered) => self.start_children(boot, recovered, ctx),
            // The caller that started the engine reports it; nothing was running that could be stopped.
            Err(BootError { cause, message }) => self.end(Ending::Failed { cause, message }, ctx),
        }
    }
}

impl Handler<ChildExited> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited, ctx: &mut Context<SupervisorActor>) {
        failpoint::pass("supervisor.exit").expect("this point is for panics");
        let ChildExited { child, generation, panicked } = exited;
        if child == ChildId::Wal {
            self.log_is_gone = true;
            if self.ending.is_some() {
                return self.has_ended(ctx);
            }
        }
        if self.stopping && !panicked {
            tracing::debug!(actor = %child, generation, "ended");
            return;
        }
        let cause = if panicked { "panicked" } else { "ended by itself" };
        tracing::error!(actor = %child, generation, cause, "exited");
        if let (ChildId::Worker(worker), Some(children)) = (child, &self.children) {
            children.manager.do_send(WorkerDown { worker, cause: cause.to_owned() });
        }
        let crashes = self.count_end(child);
        match verdict(child, crashes) {
            RestartDecision::FailStop => self.fail_stop(FailCause::Crashed, format!("{child} {cause}"), ctx),
            RestartDecision::Escalate => {
                let seconds = INTENSITY_WINDOW.as_secs();
                let message = format!("{child} {cause} {crashes} times within {seconds} s");
                tracing::error!(actor = %child, crashes, "escalated");
                self.fail_stop(FailCause::Crashed, message, ctx);
            }
            // What is not needed for stopping is not restarted any more.
            RestartDecision::RestartAfter(_) if self.stopping => {}
            RestartDecision::RestartAfter(backoff) => {
                let backoff = backoff.mul_f64(1.0 + self.dice.f64() / 4.0);
                tracing::warn!(actor = %child, milliseconds = backoff.as_secs_f64() * 1e3, "restarting");
                ctx.run_later(backoff, move |supervisor, ctx| supervisor.restart(child, ctx));
            }
        }
    }
}

impl Handler<DamageMet> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, met: DamageMet, _: &mut Context<SupervisorActor>) {
        if let Some(children) = &self.children {
            children.snapshot.do_send(met);
        }
    }
}

impl Handler<Damaged> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Damaged(problem): Damaged, _: &mut Context<SupervisorActor>) {
        match (&self.damage, &problem) {
            // It is tried once more; why it failed the last time stays told.
            (Some(told), Some(problem)) if told.starts_with(problem) => {}
            _ => self.damage = problem,
        }
    }
}

impl Handler<LogFailed> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, failed: LogFailed, ctx: &mut Context<SupervisorActor>) {
        self.fail_stop(failed.cause, failed.message, ctx);
    }
}

impl Handler<AbortEngine> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, _: AbortEngine, ctx: &mut Context<SupervisorActor>) {
        self.end(Ending::Clean, ctx);
    }
}

impl Handler<StopEngine> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, stop: StopEngine, ctx: &mut Context<SupervisorActor>) {
        match (self.stopping, &self.boot) {
            (true, _) => {}
            // Recovery is running: its end looks at this.
            (false, Some(_)) => self.stopping = true,
            (false, None) => self.drain(stop.within, ctx),
        }
    }
}

#[cfg(feature = "testing")]
impl Handler<crate::engine::messages::CrashSupervisor> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, _: crate::engine::messages::CrashSupervisor, _: &mut Context<SupervisorActor>) {
        panic!("a test asked the supervisor to crash");
    }
}

#[cfg(feature = "testing")]
impl Handler<crate::engine::messages::FreezeChild> for SupervisorActor {
    type Result = ();

    fn handle(
        &mut self,
        crate::engine::messages::FreezeChild(child, freeze): crate::engine::messages::FreezeChild,
        _: &mut Context<SupervisorActor>,
    ) {
        let Some(children) = &self.children else { return };
        match child {
            ChildId::Wal => children.wal.do_send(freeze),
            ChildId::Manager => children.manager.do_send(freeze),
            ChildId::Worker(worker) => children.workers[worker.0 as usize].do_send(freeze),
            ChildId::Snapshot => {}
        }
    }
}

#[cfg(feature = "testing")]
impl Handler<crate::engine::messages::Crash> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, crash: crate::engine::messages::Crash, _: &mut Context<SupervisorActor>) {
        let Some(children) = &self.children else { return };
        match crash.0 {
            ChildId::Wal => children.wal.do_send(crash),
            ChildId::Manager => children.manager.do_send(crash),
            ChildId::Snapshot => children.snapshot.do_send(crash),
            ChildId::Worker(worker) => children.workers[worker.0 as usize].do_send(crash),
        }
    }
}
