//! The clock: saying that it is right.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;

use crate::http::context::{Api, AskedBy, RouteAnswer};
use crate::http::deadline::in_time;
use crate::telemetry::acts;
use crate::wire::answers::ConfirmedClock;

pub(crate) async fn confirm(State(api): State<Arc<Api>>, AskedBy(by): AskedBy) -> RouteAnswer {
    let was_doubted = in_time(api.deadline(), api.engine.trust_clock()).await? > 0;
    if was_doubted {
        acts::tell("clock confirmed", "it is believed from now on", by);
    }
    Ok(Json(ConfirmedClock { was_doubted }).into_response())
}
