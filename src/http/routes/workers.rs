//! Remote workers: who is connected, and asking them to stop.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;

use crate::http::context::{Api, AskedBy, NameInPath, RouteAnswer, name_in};
use crate::http::error::ApiError;
use crate::remote::registry::Registry;
use crate::remote::status::WorkerState;
use crate::telemetry::acts::{self, Asker};

pub(crate) async fn list(State(api): State<Arc<Api>>) -> RouteAnswer {
    Ok(Json(api.remote()?.status()).into_response())
}

pub(crate) async fn quiet(State(api): State<Arc<Api>>, AskedBy(by): AskedBy, wid: NameInPath) -> RouteAnswer {
    ask(api.remote()?, by, wid, WorkerState::Quiet)
}

pub(crate) async fn terminate(
    State(api): State<Arc<Api>>,
    AskedBy(by): AskedBy,
    wid: NameInPath,
) -> RouteAnswer {
    ask(api.remote()?, by, wid, WorkerState::Terminate)
}

/// What the worker is to do; it hears of it with its next sign of life.
fn ask(remote: &Registry, by: Asker, wid: NameInPath, state: WorkerState) -> RouteAnswer {
    #[derive(Serialize)]
    struct Asked {
        wid: String,
        state: WorkerState,
    }

    let wid = name_in(wid)?;
    if !remote.ask(&wid, state) {
        return Err(ApiError::no_such_worker(&wid));
    }
    acts::tell("worker asked", &format!("{wid} to {}", state.as_str()), by);
    Ok(Json(Asked { wid, state }).into_response())
}

#[cfg(test)]
mod tests {
    use axum::extract::Path;
    use beaver_actors::base::clock::SystemClock;

    use super::*;

    #[test]
    fn a_worker_that_is_not_connected_cannot_be_asked_for_anything() {
        let remote = Registry::new(Arc::new(SystemClock::default()));
        let refused = ask(&remote, Asker::InProcess, Ok(Path("w1".into())), WorkerState::Quiet).unwrap_err();
        assert_eq!(refused.into_response().status().as_u16(), 404);
    }
}
