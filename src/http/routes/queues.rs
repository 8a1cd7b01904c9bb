//! Queues: who waits how long, pausing, resuming, removing.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use beaver_actors::engine::{QueuePage, QueueSet};
use beaver_actors::ids::QueueName;

use crate::http::context::{Api, AskedBy, NameInPath, RouteAnswer, name_in};
use crate::http::deadline::{Deadline, in_time};
use crate::http::error::ApiError;
use crate::query::queue_words::{QueueWords, no_such_queue};
use crate::telemetry::acts::{self, Asker};
use crate::wire::answers::{PausedQueue, RemovedQueue, RemovedQueues};

/// Names among which one is looked for that is like an unknown one.
const SUGGESTED_FROM: usize = 10_000;

/// The parts of a query.
type QueryParts = Result<Query<Vec<(String, String)>>, QueryRejection>;

pub(crate) async fn list(State(api): State<Arc<Api>>, query: QueryParts) -> RouteAnswer {
    let page = words(query)?.read().map_err(ApiError::bad_request)?;
    Ok(Json(in_time(api.deadline(), api.engine.queues(page)).await?).into_response())
}

fn words(query: QueryParts) -> Result<QueueWords, ApiError> {
    let Query(pairs) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let mut words = QueueWords::default();
    for (name, value) in pairs {
        words.set(&name, value).map_err(ApiError::bad_request)?;
    }
    Ok(words)
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
    if in_time(deadline, api.engine.queues(QueuePage::only(queue.clone()))).await?.is_empty() {
        return Err(unknown_queue(&api, deadline, &queue).await);
    }
    let removed = api.engine.remove_queues(QueueSet::Named(vec![queue.clone()]));
    let discarded = in_time(deadline, removed).await?;
    acts::tell("queue removed", &format!("{queue} with {discarded} pending jobs"), by);
    Ok(Json(RemovedQueue { queue, discarded }).into_response())
}

/// Removes every queue whose name matches a pattern.
pub(crate) async fn remove_matching(
    State(api): State<Arc<Api>>,
    AskedBy(by): AskedBy,
    query: QueryParts,
) -> RouteAnswer {
    let (deadline, words) = (api.deadline(), words(query)?);
    let Some(pattern) = words.pattern.clone().filter(|_| words.after.is_none() && words.limit.is_none())
    else {
        return Err(ApiError::bad_request(WHICH_ARE_REMOVED));
    };
    let page = words.read().map_err(ApiError::bad_request)?;
    let page = QueuePage { limit: usize::MAX, ..page };
    let queues = in_time(deadline, api.engine.queues(page)).await?;
    let names: Vec<_> = queues.into_iter().map(|queue| queue.queue).collect();
    let removed = names.len() as u64;
    let discarded = in_time(deadline, api.engine.remove_queues(QueueSet::Named(names))).await?;
    let told = format!("{removed} that match {pattern:?}, with {discarded} pending jobs");
    acts::tell("queues removed", &told, by);
    Ok(Json(RemovedQueues { removed, discarded }).into_response())
}

const WHICH_ARE_REMOVED: &str =
    "say which queues are removed, and nothing else: ?match=PATTERN; match=* means all";

fn queue_name(name: NameInPath) -> Result<QueueName, ApiError> {
    QueueName::parse(&name_in(name)?).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// What is said about a queue that the engine did not find.
async fn unknown_queue(api: &Api, deadline: Deadline, queue: &QueueName) -> ApiError {
    let page = QueuePage { test: None, after: None, limit: SUGGESTED_FROM };
    match in_time(deadline, api.engine.queues(page)).await {
        Ok(known) => ApiError::no_such_queue(&no_such_queue(queue, known.iter().map(|known| &known.queue))),
        Err(error) => error,
    }
}
