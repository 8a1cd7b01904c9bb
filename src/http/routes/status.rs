//! The queue at a glance.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use beaver_actors::engine::EngineStatus;
use serde::Serialize;

use crate::http::context::{Api, RouteAnswer, phase_name};
use crate::http::deadline::in_time;
use crate::remote::status::RemoteStatus;

pub(crate) async fn status(State(api): State<Arc<Api>>) -> RouteAnswer {
    #[derive(Serialize)]
    struct StatusAnswer {
        version: &'static str,
        phase: &'static str,
        #[serde(flatten)]
        status: EngineStatus,
        remote: RemoteStatus,
    }

    let status = in_time(api.deadline(), api.engine.status()).await?;
    let phase = phase_name(&api.engine.phase().borrow());
    let remote = api.remote.status();
    Ok(Json(StatusAnswer { version: env!("CARGO_PKG_VERSION"), phase, status, remote }).into_response())
}
