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

use actix::Recipient;

use crate::api::handler::{HandlerFuture, JobError, JobHandler, JobRun, StopReason, StopSender, StopSignal};
use crate::api::requests::AttemptEnd;
use crate::engine::messages::Finished;
use crate::ids::{JobId, Token, WorkerId};
use crate::jobs::table::Assignment;
use crate::jobs::{Failure, FailureKind, Payload, PayloadRef, PayloadStore, TextAt};

/// What a handler made of its job.
type HandlerResult = Result<Option<Payload>, JobError>;

/// How an attempt is reported: once, by the first that can tell its end.
pub(super) struct AttemptReport {
    pub worker: WorkerId,
    pub job: JobId,
    pub token: Token,
    pub timeout: Duration,
    pub stop: StopSender,
    pub to: Recipient<Finished>,
    pub is_made: AtomicBool,
}

impl AttemptReport {
    /// Reports what the handler made, or that it is not there any more.
    pub fn ended(&self, ended: Option<Result<HandlerResult, Failure>>) {
        // When the handler has heard that it must stop, it ended because of that.
        let end = match (self.stop.reason(), ended) {
            (Some(reason), ended) => end_when_stopped(reason, self.timeout, ended),
            (None, Some(ended)) => end_of(ended),
            (None, None) => {
                let message = "the handler's task was cancelled".to_owned();
                AttemptEnd::Failure(Failure::new(FailureKind::Panic, message), None)
            }
        };
        self.report(end);
    }

    fn report(&self, end: AttemptEnd) {
        if !self.is_made.swap(true, Ordering::AcqRel) {
            let (worker, job, token) = (self.worker, self.job.clone(), self.token);
            // A closed mailbox means that the manager has gone, and with it the engine.
            self.to.do_send(Finished { worker, job, token, end });
        }
    }
}

/// Reports even if the task is dropped before its end.
struct ReportsOnDrop(Arc<AttemptReport>);

impl Drop for ReportsOnDrop {
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
    report: Arc<AttemptReport>,
) {
    let reports = ReportsOnDrop(report);
    let payload = match assignment.payload {
        PayloadRef::Here(payload) => payload,
        // Jobs mostly start in the order in which they came, so the disk has been asked for this one with its
        // neighbours: too cheap for a thread of its own (docs/decisions/0010-an-attempt-reports-by-itself.md).
        PayloadRef::Stored { .. } => match payload_store.read(TextAt::payload(assignment.number)) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(job = %assignment.job, %error, "a job cannot be run");
                return reports.0.report(AttemptEnd::from(&error));
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
    type Output = Result<HandlerResult, Failure>;

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

fn end_of(ended: Result<HandlerResult, Failure>) -> AttemptEnd {
    match ended {
        Ok(Ok(result)) => AttemptEnd::Success(result),
        Ok(Err(error)) if error.is_shortage => AttemptEnd::Undelivered(error.message),
        Ok(Err(error)) => AttemptEnd::Failure(Failure::new(FailureKind::Error, error.message), error.result),
        Err(failure) => AttemptEnd::Failure(failure, None),
    }
}

fn end_when_stopped(
    reason: StopReason,
    timeout: Duration,
    ended: Option<Result<HandlerResult, Failure>>,
) -> AttemptEnd {
    let result = match ended {
        // It was done in the same moment: that counts, unless it was too late anyway.
        Some(Ok(Ok(result))) if reason != StopReason::Timeout => return AttemptEnd::Success(result),
        Some(Ok(Ok(result))) => result,
        // It waited for what it lacked until it was too late to begin.
        Some(Ok(Err(error))) if error.is_shortage && reason == StopReason::Timeout => {
            return AttemptEnd::Undelivered(error.message);
        }
        Some(Ok(Err(error))) => error.result,
        Some(Err(_)) | None => None,
    };
    match reason {
        StopReason::Cancelled => AttemptEnd::Cancelled(result),
        StopReason::Shutdown => AttemptEnd::Interrupted,
        StopReason::Timeout => {
            let message = format!("ran longer than its timeout of {} ms", timeout.as_millis());
            AttemptEnd::Failure(Failure::new(FailureKind::Timeout, message), result)
        }
    }
}
