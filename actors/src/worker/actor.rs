//! WorkerActor: runs one job at a time, stops it when it must, and reports how it ended.
//!
//! The handler's future runs on the engine's multi-thread runtime, so that no handler can block an Arbiter, and a
//! panic inside is caught there and becomes a failed attempt.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};
use tokio::runtime;
use tokio::task::{JoinError, JoinHandle};

use super::handler::{Handlers, JobError, JobRun, StopReason, StopSender, StopSignal};
use crate::guard::{ExitGuard, gives_signs_of_life};
use crate::ids::{Lsn, Token, WorkerId};
use crate::jobs::table::Assignment;
use crate::jobs::{Bodies, Body, Failure, FailureKind, Payload};
use crate::messages::{End, Finished, Halt, Outcome, Run};

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
    pub bodies: Arc<dyn Bodies>,
    /// Hears how attempts end.
    pub finished: Recipient<Finished>,
}

/// The actor.
pub struct WorkerActor {
    settings: WorkerSettings,
    running: Option<(Token, Arc<StopSender>)>,
    _guard: ExitGuard,
}

impl WorkerActor {
    /// An idle one.
    #[must_use]
    pub fn new(settings: WorkerSettings, guard: ExitGuard) -> WorkerActor {
        WorkerActor { settings, running: None, _guard: guard }
    }
}

impl Actor for WorkerActor {
    type Context = Context<WorkerActor>;
}

impl Handler<Run> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Run(assignment): Run, ctx: &mut Context<WorkerActor>) {
        let (job, token) = (assignment.job.clone(), assignment.token);
        let (sender, signal) = StopSignal::new();
        let sender = Arc::new(sender);
        self.running = Some((token, sender.clone()));
        let attempt = attempt(self.settings.clone(), assignment, sender, signal);
        ctx.spawn(attempt.into_actor(self).map(move |outcome, worker, _| {
            worker.running = None;
            let id = worker.settings.id;
            // A closed mailbox means that the manager has gone, and with it the engine.
            worker.settings.finished.do_send(Finished { worker: id, job, token, outcome });
        }));
    }
}

impl Handler<Halt> for WorkerActor {
    type Result = ();

    fn handle(&mut self, halt: Halt, _: &mut Context<WorkerActor>) {
        match &self.running {
            Some((token, stop)) if *token == halt.token => stop.stop(halt.reason),
            // It has ended by itself in the meantime.
            _ => {}
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

/// Runs the handler until it ends, or until it must.
async fn attempt(
    settings: WorkerSettings,
    assignment: Assignment,
    stop: Arc<StopSender>,
    signal: StopSignal,
) -> Outcome {
    let payload = match assignment.payload {
        Body::Here(payload) => payload,
        Body::Stored { .. } => match read(&settings, assignment.number).await {
            Ok(payload) => payload,
            Err(problem) => return Outcome::Failed(Failure::new(FailureKind::Error, problem), None),
        },
    };
    let Some(handler) = settings.handlers.get(&assignment.kind).cloned() else {
        let message = format!("no handler for kind {:?}", assignment.kind.as_str());
        return Outcome::Failed(Failure::new(FailureKind::Error, message), None);
    };
    let timeout = Duration::from_millis(assignment.timeout_ms);
    let grace = handler.grace();
    let run = JobRun {
        id: assignment.job,
        queue: assignment.queue,
        kind: assignment.kind,
        payload,
        attempt: assignment.attempt,
        token: assignment.token,
        timeout,
        stop: signal.clone(),
    };
    let mut task = settings.runtime.spawn(async move { handler.run(run).await });
    let mut stopped = signal;
    let reason = tokio::select! {
        biased;
        ended = &mut task => return match stop.reason() {
            // It heard of it first, and ended because of it.
            Some(reason) => outcome_when_stopped(reason, timeout, Some(ended)),
            None => outcome_of(ended),
        },
        reason = stopped.stopped() => reason,
        () = tokio::time::sleep(timeout) => StopReason::Timeout,
    };
    stop.stop(reason);
    let ended = end_within(&mut task, grace).await;
    outcome_when_stopped(reason, timeout, ended)
}

/// Reads a payload that is on disk, on a thread that may wait for it.
async fn read(settings: &WorkerSettings, number: Lsn) -> Result<Payload, String> {
    let bodies = settings.bodies.clone();
    let read = settings.runtime.spawn_blocking(move || bodies.read(number)).await;
    let read = read.map_err(|error| error.to_string())?;
    read.map_err(|error| {
        tracing::error!(%error, "a job cannot be run");
        error.to_string()
    })
}

/// Waits for a task that was told to stop; drops it when its grace is over. None if it cannot even be dropped.
async fn end_within(
    task: &mut JoinHandle<Result<Option<Payload>, JobError>>,
    grace: Option<Duration>,
) -> Option<Result<Result<Option<Payload>, JobError>, JoinError>> {
    if let Some(grace) = grace
        && let Ok(ended) = tokio::time::timeout(grace, &mut *task).await
    {
        return Some(ended);
    }
    task.abort();
    // A handler that blocks its thread does not notice; its worker is needed, so it is left behind.
    tokio::time::timeout(ABORT_WAIT, task).await.ok()
}

fn outcome_of(ended: Result<Result<Option<Payload>, JobError>, JoinError>) -> Outcome {
    match ended {
        Ok(Ok(result)) => Outcome::Succeeded(result),
        Ok(Err(error)) => Outcome::Failed(Failure::new(FailureKind::Error, error.message), error.result),
        Err(error) => Outcome::Failed(Failure::new(FailureKind::Panic, panic_message(error)), None),
    }
}

fn outcome_when_stopped(
    reason: StopReason,
    timeout: Duration,
    ended: Option<Result<Result<Option<Payload>, JobError>, JoinError>>,
) -> Outcome {
    let result = match ended {
        // It was done in the same moment: that counts, unless it was too late anyway.
        Some(Ok(Ok(result))) if reason != StopReason::Timeout => return Outcome::Succeeded(result),
        Some(Ok(Ok(result))) => result,
        Some(Ok(Err(error))) => error.result,
        Some(Err(_)) | None => None,
    };
    match reason {
        StopReason::Cancelled => Outcome::Cancelled,
        StopReason::Shutdown => Outcome::Interrupted,
        StopReason::Timeout => {
            let message = format!("ran longer than its timeout of {} ms", timeout.as_millis());
            Outcome::Failed(Failure::new(FailureKind::Timeout, message), result)
        }
    }
}

fn panic_message(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "the handler's task was cancelled".to_owned();
    };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("without a message"))
}
