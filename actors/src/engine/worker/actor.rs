//! WorkerActor: runs one job at a time, and stops it when it must.
//!
//! The handler's future runs on the engine's multi-thread runtime, so that no handler can block an Arbiter, and a
//! panic inside is caught there and becomes a failed attempt: see `attempt.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient};
use tokio::runtime;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::api::handler::{Handlers, JobHandler, StopReason, StopSignal};
use crate::api::requests::AttemptEnd;
use crate::engine::liveness::{ExitGuard, gives_signs_of_life};
use crate::engine::messages::{End, Finished, Halt, Run};
use crate::engine::worker::attempt::{self, AttemptReport};
use crate::ids::{Token, WorkerId};
use crate::jobs::{Failure, FailureKind, PayloadStore};

/// How long a dropped future may take to go away before its worker stops waiting for it.
const ABORT_WAIT: Duration = Duration::from_secs(1);

/// What a WorkerActor is made of; cloned for each of its lives.
#[derive(Clone)]
pub struct WorkerSettings {
    /// Which of the pool it is.
    pub id: WorkerId,
    /// What it can run.
    pub handlers: Handlers,
    /// Where handlers run.
    pub runtime: runtime::Handle,
    /// Payloads that are not in memory.
    pub payload_store: Arc<dyn PayloadStore>,
    /// Hears how attempts end.
    pub finished: Recipient<Finished>,
}

/// One place in the pool. All share the thread `beaver-workers`.
pub struct WorkerActor {
    settings: WorkerSettings,
    /// The last attempt; it may have ended without this worker's doing.
    running: Option<Running>,
    /// When the worker looks next whether an attempt has taken too long. Most end long before, so there is one such
    /// moment ahead at most, and not one for every job.
    look_at: Option<Instant>,
    _guard: ExitGuard,
}

struct Running {
    report: Arc<AttemptReport>,
    task: AbortHandle,
    handler: Arc<dyn JobHandler>,
    ends_at: Instant,
}

impl Running {
    fn is_over(&self) -> bool {
        self.report.is_made.load(Ordering::Acquire)
    }
}

impl Drop for Running {
    /// Its worker has died, or was ended: the handler may still run, and nobody wants what it makes.
    fn drop(&mut self) {
        if !self.is_over() {
            self.report.stop.stop(StopReason::Cancelled);
        }
    }
}

impl WorkerActor {
    /// An idle one.
    #[must_use]
    pub fn new(settings: WorkerSettings, guard: ExitGuard) -> WorkerActor {
        WorkerActor { settings, running: None, look_at: None, _guard: guard }
    }

    fn look_later(&mut self, at: Instant, ctx: &mut Context<WorkerActor>) {
        if self.look_at.is_some_and(|earlier| earlier <= at) {
            return;
        }
        self.look_at = Some(at);
        ctx.run_later(at.saturating_duration_since(Instant::now()), move |worker, ctx| {
            // Another one may have been set for an earlier moment since.
            if worker.look_at == Some(at) {
                worker.look_at = None;
            }
            worker.look(ctx);
        });
    }

    /// Whether the attempt has taken too long.
    fn look(&mut self, ctx: &mut Context<WorkerActor>) {
        let Some(running) = self.running.as_ref().filter(|running| !running.is_over()) else { return };
        match running.ends_at <= Instant::now() {
            true => self.stop(StopReason::Timeout, ctx),
            false => {
                let at = running.ends_at;
                self.look_later(at, ctx);
            }
        }
    }

    /// Tells the attempt to end, and drops it when its grace is over.
    fn stop(&mut self, reason: StopReason, ctx: &mut Context<WorkerActor>) {
        let Some(running) = self.running.as_ref().filter(|running| !running.is_over()) else { return };
        let was_told = running.report.stop.reason().is_some();
        running.report.stop.stop(reason);
        if was_told {
            return;
        }
        let (token, grace) = (running.report.token, running.handler.grace());
        match grace {
            Some(grace) => {
                ctx.run_later(grace, move |worker, ctx| worker.abort(token, ctx));
            }
            None => self.abort(token, ctx),
        }
    }

    fn abort(&mut self, token: Token, ctx: &mut Context<WorkerActor>) {
        let Some(running) = self.running.as_ref().filter(|running| running.report.token == token) else {
            return;
        };
        running.task.abort();
        let report = running.report.clone();
        // A handler that blocks its thread does not notice; its worker is needed, so it is left behind.
        ctx.run_later(ABORT_WAIT, move |_, _| report.ended(None));
    }
}

impl Actor for WorkerActor {
    type Context = Context<WorkerActor>;
}

impl Handler<Run> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Run(assignment): Run, ctx: &mut Context<WorkerActor>) {
        let WorkerSettings { id, handlers, runtime, payload_store, finished } = &self.settings;
        let (job, token) = (assignment.job.clone(), assignment.token);
        let Some(handler) = handlers.get(&assignment.kind).cloned() else {
            let message = format!("no handler for kind {:?}", assignment.kind.as_str());
            let end = AttemptEnd::Failure(Failure::new(FailureKind::Error, message), None);
            return finished.do_send(Finished { worker: *id, job, token, end });
        };
        let timeout = Duration::from_millis(assignment.timeout_ms);
        let (stop, signal) = StopSignal::new();
        let report = Arc::new(AttemptReport {
            worker: *id,
            job,
            token,
            timeout,
            stop,
            to: finished.clone(),
            is_made: AtomicBool::new(false),
        });
        let attempt =
            attempt::run(handler.clone(), assignment, payload_store.clone(), signal, report.clone());
        let task = runtime.spawn(attempt).abort_handle();
        // Times beyond what a clock can count are never reached.
        let now = Instant::now();
        let ends_at = now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()));
        self.running = Some(Running { report, task, handler, ends_at });
        self.look_later(ends_at, ctx);
    }
}

impl Handler<Halt> for WorkerActor {
    type Result = ();

    fn handle(&mut self, halt: Halt, ctx: &mut Context<WorkerActor>) {
        // Else it has ended by itself in the meantime.
        if self.running.as_ref().is_some_and(|running| running.report.token == halt.token) {
            self.stop(halt.reason, ctx);
        }
    }
}

impl Handler<End> for WorkerActor {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<WorkerActor>) {
        ctx.stop();
    }
}

gives_signs_of_life!(WorkerActor);
