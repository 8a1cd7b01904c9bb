//! The queue at a glance.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use beaver_actors::engine::{EngineStatus, QUEUES_SHOWN};
use serde::Serialize;

use crate::auth::memory::MemoryPart;
use crate::auth::places::ConnectionLimits;
use crate::http::context::{Api, RouteAnswer};
use crate::http::deadline::in_time;
use crate::http::error::ApiError;
use crate::query::queue_words::LIMIT_MAX;
use crate::remote::registry::Registry;
use crate::remote::status::RemoteStatus;

pub(crate) async fn status(
    State(api): State<Arc<Api>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> RouteAnswer {
    #[derive(Serialize)]
    struct StatusAnswer {
        version: &'static str,
        phase: &'static str,
        #[serde(flatten)]
        status: EngineStatus,
        #[serde(skip_serializing_if = "Option::is_none")]
        remote: Option<RemoteStatus>,
        #[serde(skip_serializing_if = "Option::is_none")]
        connections: Option<ConnectionLimits>,
        /// None of a directory that no server works on.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        memory: Vec<MemoryPart>,
    }

    let Query(pairs) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let queues_max = queues_max(pairs).map_err(ApiError::bad_request)?;
    let status = in_time(api.deadline(), api.engine.status_with(queues_max)).await?;
    let remote = api.remote.as_ref().map(Registry::status);
    let connections = api.connections;
    let memory = match api.remote {
        Some(_) => api.memory.parts(api.engine.metrics()),
        None => Vec::new(),
    };
    let (version, phase) = (env!("CARGO_PKG_VERSION"), api.phase());
    Ok(Json(StatusAnswer { version, phase, status, remote, connections, memory }).into_response())
}

/// How many queues are shown one by one.
fn queues_max(pairs: Vec<(String, String)>) -> Result<usize, String> {
    let mut queues_max = QUEUES_SHOWN;
    for (name, value) in pairs {
        queues_max = match name.as_str() {
            "queues" => value.parse().map_err(|_| format!("queues: {value:?} is no number"))?,
            _ => return Err(format!("unknown parameter {name:?}: there is queues")),
        };
    }
    match queues_max <= LIMIT_MAX {
        true => Ok(queues_max),
        false => Err(format!("queues: {queues_max} is not 0 to {LIMIT_MAX}")),
    }
}
