//! An answer that is still to come.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::api::outcome::EngineError;

/// What becomes of a request. The request was sent when this was created, so several can be under way at once; they
/// are worked off in the order in which they were made.
#[derive(Debug)]
#[must_use = "nobody hears the answer"]
pub struct Answer<T>(State<T>);

#[derive(Debug)]
enum State<T> {
    /// None once it has been taken.
    Now(Option<Result<T, EngineError>>),
    Later(oneshot::Receiver<Result<T, EngineError>>),
}

impl<T> Answer<T> {
    pub(crate) fn now(answer: Result<T, EngineError>) -> Answer<T> {
        Answer(State::Now(Some(answer)))
    }

    pub(crate) fn later(answer: oneshot::Receiver<Result<T, EngineError>>) -> Answer<T> {
        Answer(State::Later(answer))
    }
}

impl<T: Unpin> Future for Answer<T> {
    type Output = Result<T, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Now(answer) => Poll::Ready(answer.take().expect("an answer is taken once")),
            State::Later(answer) => {
                Pin::new(answer).poll(context).map(|answer| answer.unwrap_or(Err(EngineError::Unknown)))
            }
        }
    }
}
