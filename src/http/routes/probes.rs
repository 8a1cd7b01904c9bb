//! What machines look at: whether the server lives, whether it takes jobs, what it has counted.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use beaver_actors::engine::{Ending, EngineError, Phase, Progress};
use serde::Serialize;

use crate::http::context::{Api, phase_name};

pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    // The page reads what is counted; this is known only to who asks. The answer is for the gauge.
    let _ = api.engine.accepts_jobs();
    api.metrics.response()
}

pub(crate) async fn live() -> &'static str {
    "ok"
}

pub(crate) async fn ready(State(api): State<Arc<Api>>) -> Response {
    readiness(&api.engine.phase(), api.engine.accepts_jobs())
}

/// Ready is who would accept a job in this moment.
fn readiness(phase: &Phase, accepts_jobs: Result<(), EngineError>) -> Response {
    #[derive(Serialize)]
    struct Readiness<'p> {
        ready: bool,
        phase: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        progress: Option<RecoveryProgress>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<Cow<'p, str>>,
    }

    #[derive(Serialize)]
    struct RecoveryProgress {
        snapshot_jobs: u64,
        events: u64,
        log_bytes: u64,
        log_bytes_total: u64,
    }

    let progress = match *phase {
        Phase::Recovering(Progress { snapshot_jobs, events, log_bytes, log_bytes_total }) => {
            Some(RecoveryProgress { snapshot_jobs, events, log_bytes, log_bytes_total })
        }
        _ => None,
    };
    let message = match phase {
        Phase::Stopped(Ending::Failed { message, .. }) => Some(message.into()),
        Phase::Serving | Phase::Draining => accepts_jobs.as_ref().err().map(|error| error.to_string().into()),
        _ => None,
    };
    // Also one that drains: who puts servers behind each other looks at the phase as well.
    let ready = matches!(phase, Phase::Serving | Phase::Draining) && accepts_jobs.is_ok();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, phase: phase_name(phase), progress, message })).into_response()
}

#[cfg(test)]
mod tests {
    use beaver_actors::engine::FailCause;
    use beaver_actors::jobs::Rejection;

    use super::*;
    use crate::http::testing::read;

    #[tokio::test]
    async fn only_an_engine_that_accepts_jobs_is_ready_and_the_others_say_why_not() {
        let progress = Progress { snapshot_jobs: 1, events: 2, log_bytes: 3, log_bytes_total: 4 };
        let failed = Ending::Failed { cause: FailCause::Storage, message: "no space".into() };
        for (phase, status, body) in [
            (
                Phase::Recovering(progress),
                503,
                r#"{"ready":false,"phase":"recovering","progress":{"snapshot_jobs":1,"events":2,"log_bytes":3,"log_bytes_total":4}}"#,
            ),
            (Phase::Serving, 200, r#"{"ready":true,"phase":"serving"}"#),
            (Phase::Draining, 200, r#"{"ready":true,"phase":"draining"}"#),
            (Phase::Stopped(Ending::Clean), 503, r#"{"ready":false,"phase":"stopped"}"#),
            (Phase::Stopped(failed), 503, r#"{"ready":false,"phase":"stopped","message":"no space"}"#),
        ] {
            assert_eq!(read(readiness(&phase, Ok(()))).await, (status, body.to_owned()));
        }
        let full = Err(EngineError::Rejected(Rejection::DiskFull));
        let (status, body) = read(readiness(&Phase::Serving, full)).await;
        assert_eq!(status, 503);
        assert!(body.starts_with(r#"{"ready":false,"phase":"serving","message":"the disk"#), "{body}");
        let closed = Err(EngineError::Rejected(Rejection::Stopping));
        let (status, body) = read(readiness(&Phase::Draining, closed)).await;
        let told = r#"{"ready":false,"phase":"draining","message":"the server is stopping"}"#;
        assert_eq!((status, body.as_str()), (503, told));
    }
}
