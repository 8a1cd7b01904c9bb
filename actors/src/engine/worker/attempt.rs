//! One attempt at a job: the handler's future on the engine's runtime, and the one report of how it ended.
//!
//! The task that runs the handler reports to the manager itself: the worker is only needed when an attempt must be
//! stopped. (With a hop back to the worker, a job that does nothing cost a third more.)

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::api::handler::{HandlerFuture, JobError, JobHandler, JobRun, StopReason, StopSender, StopSignal};
use crate::engine::messages::{Finished, Outcome, Reported};
use crate::ids::{JobId, Token, WorkerId};
use crate::jobs::table::Assignment;
use crate::jobs::{Failure, FailureKind, Payload, PayloadRef, PayloadStore};

/// What a handler made of its job.
type Made = Result<Option<Payload>, JobError>;

/// How an attempt is reported: once, by whoever is first.
pub(super) struct Report {
    pub worker: WorkerId,
    pub job: JobId,
    pub token: Token,
    pub timeout: Duration,
    pub stop: StopSender,
    pub to: Reported,
    pub is_made: AtomicBool,
}

impl Report {
    /// Reports what the handler made, or that it is not there any more.
    pub fn ended(&self, ended: Option<Result<Made, Failure>>) {
        // When the handler has heard that it must stop, it ended because of that.
        let outcome = match (self.stop.reason(), ended) {
            (Some(reason), ended) => outcome_when_stopped(reason, self.timeout, ended),
            (None, Some(ended)) => outcome_of(ended),
            (None, None) => {
                let message = "the handler's task was cancelled".to_owned();
                Outcome::Failed(Failure::new(FailureKind::Panic, message), None)
            }
        };
        if !self.is_made.swap(true, Ordering::AcqRel) {
            let (worker, job, token) = (self.worker, self.job.clone(), self.token);
            // A closed mailbox means that the manager has gone, and with it the engine.
            self.to.do_send(Finished { worker, job, token, outcome });
        }
    }
}

/// Reports even if the task is dropped before its end.
struct Reports(Arc<Report>);

impl Drop for Reports {
    fn drop(&mut self) {
        if !self.0.is_made.load(Ordering::Acquire) {
            self.0.ended(None);
        }
    }
}

/// Runs the handler and reports how it ended.
pub(super) async fn run(
    handler: Arc<dyn JobHandler>,
    assignment: Assignment,
    payload_store: Arc<dyn PayloadStore>,
    signal: StopSignal,
    report: Arc<Report>,
) {
    let reports = Reports(report);
    let payload = match assignment.payload {
        PayloadRef::Here(payload) => payload,
        // Jobs mostly start in the order in which they came, so the disk has been asked for this one with its
        // neighbours: not worth a thread of its own, which costs ten times as much.
        PayloadRef::Stored { .. } => match payload_store.read(assignment.number) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, "a job cannot be run");
                return reports.0.ended(Some(Ok(Err(JobError::new(error.to_string())))));
            }
        },
    };
    let run = JobRun {
        id: assignment.job,
        queue: assignment.queue,
        kind: assignment.kind,
        payload,
        attempt: assignment.attempt,
        token: assignment.token,
        timeout: reports.0.timeout,
        stop: signal,
    };
    // Making the future is the handler's code as well, and may panic.
    let ended = match catch_unwind(AssertUnwindSafe(|| handler.run(run))) {
        Ok(future) => Caught(future).await,
        Err(panic) => Err(panicked(&*panic)),
    };
    reports.0.ended(Some(ended));
}

/// A handler's future whose panic is a failure.
struct Caught(HandlerFuture);

impl Future for Caught {
    type Output = Result<Made, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(made)) => Poll::Ready(Ok(made)),
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::new(FailureKind::Panic, format!("panicked: {}", text.unwrap_or("without a message")))
}

fn outcome_of(ended: Result<Made, Failure>) -> Outcome {
    match ended {
        Ok(Ok(result)) => Outcome::Succeeded(result),
        Ok(Err(error)) => Outcome::Failed(Failure::new(FailureKind::Error, error.message), error.result),
        Err(failure) => Outcome::Failed(failure, None),
    }
}

fn outcome_when_stopped(
    reason: StopReason,
    timeout: Duration,
    ended: Option<Result<Made, Failure>>,
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
