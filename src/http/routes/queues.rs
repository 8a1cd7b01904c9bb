//! Queues: who waits how long, pausing, resuming, removing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use beaver_actors::engine::{QueueSet, QueueStatus};
use beaver_actors::ids::QueueName;

use crate::http::context::{Api, AskedBy, NameInPath, RouteAnswer, name_in};
use crate::http::deadline::{Deadline, in_time};
use crate::http::error::ApiError;
use crate::query::words::no_such_queue;
use crate::telemetry::acts::{self, Asker};
use crate::wire::answers::{PausedQueue, RemovedQueue};

pub(crate) async fn list(State(api): State<Arc<Api>>) -> RouteAnswer {
    let status = in_time(api.deadline(), api.engine.status()).await?;
    Ok(Json(status.queues).into_response())
}

pub(crate) async fn pause(
    State(api): State<Arc<Api>>,
    AskedBy(by): AskedBy,
    name: NameInPath,
) -> RouteAnswer {
    set_paused(&api, by, name, true).await
}

pub(crate) async fn resume(
    State(api): State<Arc<Api>>,
    AskedBy(by): AskedBy,
    name: NameInPath,
) -> RouteAnswer {
    set_paused(&api, by, name, false).await
}

async fn set_paused(api: &Api, by: Asker, name: NameInPath, paused: bool) -> RouteAnswer {
    let (deadline, queue) = (api.deadline(), queue_name(name)?);
    let set = QueueSet::Named(vec![queue.clone()]);
    let answer = if paused { api.engine.pause(set) } else { api.engine.resume(set) };
    if in_time(deadline, answer).await?.is_empty() {
        return Err(unknown_queue(api, deadline, &queue).await);
    }
    acts::tell(if paused { "queue paused" } else { "queue resumed" }, queue.as_str(), by);
    Ok(Json(PausedQueue { queue, paused }).into_response())
}

pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    AskedBy(by): AskedBy,
    name: NameInPath,
) -> RouteAnswer {
    let (deadline, queue) = (api.deadline(), queue_name(name)?);
    // The engine passes over unknown ones, which would hide a slip of the pen; what is removed does not come back.
    let queues = in_time(deadline, api.engine.status()).await?.queues;
    if !queues.iter().any(|known| known.queue == queue) {
        return Err(no_queue(&queue, &queues));
    }
    let removed = api.engine.remove_queues(QueueSet::Named(vec![queue.clone()]));
    let discarded = in_time(deadline, removed).await?;
    acts::tell("queue removed", &format!("{queue} with {discarded} pending jobs"), by);
    Ok(Json(RemovedQueue { queue, discarded }).into_response())
}

fn queue_name(name: NameInPath) -> Result<QueueName, ApiError> {
    QueueName::parse(&name_in(name)?).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// What is said about a queue that the engine did not find.
async fn unknown_queue(api: &Api, deadline: Deadline, queue: &QueueName) -> ApiError {
    match in_time(deadline, api.engine.status()).await {
        Ok(status) => no_queue(queue, &status.queues),
        Err(error) => error,
    }
}

fn no_queue(queue: &QueueName, known: &[QueueStatus]) -> ApiError {
    ApiError::no_such_queue(&no_such_queue(queue, known.iter().map(|known| &known.queue)))
}
