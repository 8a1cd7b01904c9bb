//! The queue at a glance.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use beaver_actors::engine::EngineStatus;
use serde::Serialize;

use crate::http::context::{Api, RouteAnswer};
use crate::http::deadline::in_time;
use crate::remote::registry::Registry;
use crate::remote::status::RemoteStatus;

pub(crate) async fn status(State(api): State<Arc<Api>>) -> RouteAnswer {
    #[derive(Serialize)]
    struct StatusAnswer {
        version: &'static str,
        phase: &'static str,
        #[serde(flatten)]
        status: EngineStatus,
        #[serde(skip_serializing_if = "Option::is_none")]
        remote: Option<RemoteStatus>,
    }

    let status = in_time(api.deadline(), api.engine.status()).await?;
    let remote = api.remote.as_ref().map(Registry::status);
    let (version, phase) = (env!("CARGO_PKG_VERSION"), api.phase());
    Ok(Json(StatusAnswer { version, phase, status, remote }).into_response())
}
