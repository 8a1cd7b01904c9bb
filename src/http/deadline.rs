//! By when a request is answered, even if what it waits for has not come.

use std::future::Future;
use std::time::Duration;

use beaver_actors::engine::EngineError;
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;

/// By when a request must be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) timeout: Duration,
}

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Deadline {
        Deadline { at: Instant::now() + timeout, timeout }
    }
}

/// What the engine answers, if it does so in time. An answer that comes later finds nobody, but is not undone.
pub(crate) async fn in_time<T>(
    deadline: Deadline,
    answer: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, ApiError> {
    match timeout_at(deadline.at, answer).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(ApiError::no_answer_in_time(deadline.timeout)),
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn an_answer_that_does_not_come_in_time_leaves_the_outcome_unknown() {
        let deadline = Deadline::after(Duration::from_millis(1));
        let error = in_time(deadline, std::future::pending::<Result<(), EngineError>>()).await.unwrap_err();
        assert_eq!(error.into_response().status().as_u16(), 500);
    }
}
