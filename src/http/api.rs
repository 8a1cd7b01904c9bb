//! The routes: each reads its request, asks the engine once, and turns the answer into JSON.

use std::future::Future;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use beaver_actors::engine::{Ending, Engine, EngineError, EngineStatus, Phase, Progress};
use beaver_actors::ids::JobId;
use beaver_actors::jobs::{JobView, Status};
use serde::Serialize;
use tokio::time::timeout_at;

use super::HttpState;
use super::body::{Bodies, Deadline, HeldBody};
use super::error::ApiError;
use super::metrics::MetricsPage;
use super::{queues, sets, workers};
use crate::config::HttpLimits;
use crate::fwp::workers::{Registry, RemoteStatus};
use crate::job_json::{JobDefaults, ParsedJobs, Shape, parse_jobs};

/// A body up to this size is parsed in well under a millisecond, where it was read; a larger one would keep
/// other connections waiting and moves to a thread of its own.
const PARSED_IN_PLACE_BYTES_MAX: usize = 128 << 10;

/// What every route may use.
pub(super) struct Api {
    pub(super) engine: Engine,
    defaults: JobDefaults,
    limits: HttpLimits,
    pub(super) bodies: Bodies,
    metrics: MetricsPage,
    pub(super) remote: Registry,
}

/// All routes, ready to serve.
pub(super) fn router(state: HttpState) -> Router {
    let HttpState { engine, defaults, limits, remote } = state;
    let api = Api {
        bodies: Bodies::new(&limits),
        metrics: MetricsPage::new(Arc::clone(engine.metrics()), remote.clone()),
        engine,
        defaults,
        limits,
        remote,
    };
    let routes = Router::new()
        .route("/api/v1/jobs", post(enqueue).get(sets::list))
        // A job may be named "actions" as well: it has other methods.
        .route("/api/v1/jobs/{id}", get(job).delete(cancel).post(sets::act))
        .route("/api/v1/queues", get(queues::list))
        .route("/api/v1/queues/{queue}", delete(queues::remove))
        .route("/api/v1/queues/{queue}/pause", post(queues::pause))
        .route("/api/v1/queues/{queue}/resume", post(queues::resume))
        .route("/api/v1/workers", get(workers::list))
        .route("/api/v1/workers/{wid}/quiet", post(workers::quiet))
        .route("/api/v1/workers/{wid}/terminate", post(workers::terminate))
        .route("/api/v1/status", get(status))
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready));
    with_fallbacks(routes).with_state(Arc::new(api))
}

fn with_fallbacks<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.fallback(no_such_path).method_not_allowed_fallback(wrong_method)
}

pub(super) type Answer = Result<Response, ApiError>;

async fn enqueue(State(api): State<Arc<Api>>, request: Request) -> Answer {
    refuse_web_pages(request.headers())?;
    let deadline = api.deadline();
    let body = api.bodies.read(request, deadline).await.inspect_err(|refusal| api.count(refusal))?;
    let ParsedJobs { specs, shape } = parse(&api, body).await?;
    let enqueued = in_time(deadline, api.engine.enqueue(specs)).await.map_err(|error| match shape {
        Shape::One => error.about_the_only_job(),
        Shape::Many => error,
    })?;
    let created = enqueued.iter().any(|job| job.created);
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(match (shape, enqueued.first()) {
        (Shape::One, Some(job)) => (status, Json(job)).into_response(),
        _ => (status, Json(&enqueued)).into_response(),
    })
}

async fn parse(api: &Arc<Api>, body: HeldBody) -> Result<ParsedJobs, ApiError> {
    let (large, api) = (body.bytes().len() > PARSED_IN_PLACE_BYTES_MAX, Arc::clone(api));
    let parse = move || Ok(parse_jobs(body.text()?, &api.defaults)?);
    if large { tokio::task::spawn_blocking(parse).await.map_err(|_| ApiError::panicked())? } else { parse() }
}

async fn job(State(api): State<Arc<Api>>, id: Result<Path<String>, PathRejection>) -> Answer {
    let id = job_id(id)?;
    let job: JobView = in_time(api.deadline(), api.engine.job(id)).await?;
    Ok(Json(job).into_response())
}

async fn cancel(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Answer {
    #[derive(Serialize)]
    struct Cancelled {
        id: JobId,
        status: Status,
    }

    refuse_web_pages(&headers)?;
    let id = job_id(id)?;
    in_time(api.deadline(), api.engine.cancel(id.clone())).await?;
    Ok(Json(Cancelled { id, status: Status::Cancelled }).into_response())
}

async fn status(State(api): State<Arc<Api>>) -> Answer {
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

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    api.metrics.response()
}

async fn live() -> &'static str {
    "ok"
}

async fn ready(State(api): State<Arc<Api>>) -> Response {
    readiness(&api.engine.phase().borrow())
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::no_such_path(&uri)
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(&method, &uri)
}

impl Api {
    /// By when a request that comes now is answered.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.limits.request_timeout)
    }

    pub(super) fn count(&self, refusal: &ApiError) {
        if refusal.is_busy() {
            self.engine.metrics().requests_busy.add(1);
        }
    }
}

/// What the engine answers, if it does so in time. An answer that comes later finds nobody, but is not undone.
pub(super) async fn in_time<T>(
    deadline: Deadline,
    answer: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, ApiError> {
    match timeout_at(deadline.at, answer).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(ApiError::no_answer_in_time(deadline.timeout)),
    }
}

fn job_id(id: Result<Path<String>, PathRejection>) -> Result<JobId, ApiError> {
    let Path(id) = id.map_err(|rejection| ApiError::bad_id(rejection.body_text()))?;
    Ok(JobId::parse(&id)?)
}

/// Any web page can make its visitor's browser send requests to this machine, and a job may run a program.
/// Browsers mark such requests with an `Origin`; programs do not send one.
pub(super) fn refuse_web_pages(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(ORIGIN) { Err(ApiError::from_a_web_page()) } else { Ok(()) }
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Recovering(_) => "recovering",
        Phase::Serving => "serving",
        Phase::Draining => "draining",
        Phase::Stopped(_) => "stopped",
    }
}

fn readiness(phase: &Phase) -> Response {
    #[derive(Serialize)]
    struct Readiness<'p> {
        ready: bool,
        phase: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        progress: Option<RecoveryProgress>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'p str>,
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
        Phase::Stopped(Ending::Failed { message, .. }) => Some(message.as_str()),
        _ => None,
    };
    let ready = *phase == Phase::Serving;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, phase: phase_name(phase), progress, message })).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use beaver_actors::engine::FailCause;
    use tower::ServiceExt;

    use super::*;

    async fn answer(router: Router, method: &str, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_unknown_path_and_a_wrong_method_are_json_errors() {
        let router = with_fallbacks(Router::new().route("/livez", get(live)));
        assert_eq!(answer(router.clone(), "GET", "/livez").await, (200, "ok".into()));
        assert_eq!(
            answer(router.clone(), "GET", "/nowhere?x=1").await,
            (404, r#"{"error":{"code":"not_found","message":"there is nothing at /nowhere"}}"#.into())
        );
        let (status, body) = answer(router, "PUT", "/livez").await;
        assert_eq!(status, 405);
        assert!(
            body.contains(r#""code":"method_not_allowed","message":"/livez does not know the method PUT""#)
        );
    }

    #[tokio::test]
    async fn an_id_is_decoded_and_a_malformed_one_is_a_bad_request() {
        let shown = |id| async { job_id(id).map(|id| id.to_string()) };
        let router = Router::new().route("/jobs/{id}", get(shown));
        assert_eq!(answer(router.clone(), "GET", "/jobs/caf%C3%A9%2F1").await, (200, "café/1".into()));
        for path in
            ["/jobs/%FF".to_owned(), "/jobs/a%0Ab".to_owned(), format!("/jobs/{}", "x".repeat(10_000))]
        {
            let (status, body) = answer(router.clone(), "GET", &path).await;
            assert_eq!(status, 400, "{body}");
            assert!(
                body.starts_with(r#"{"error":{"code":"bad_id","message":""#) && body.len() < 300,
                "{body}"
            );
        }
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_in_time_leaves_the_outcome_unknown() {
        let deadline = Deadline::after(std::time::Duration::from_millis(1));
        let error = in_time(deadline, std::future::pending::<Result<(), EngineError>>()).await.unwrap_err();
        assert_eq!(error.into_response().status().as_u16(), 500);
    }

    #[test]
    fn what_a_web_page_sends_is_refused_and_what_a_program_sends_is_not() {
        let mut headers = HeaderMap::new();
        assert_eq!(refuse_web_pages(&headers), Ok(()));
        headers.insert(ORIGIN, "https://example.org".parse().unwrap());
        assert_eq!(refuse_web_pages(&headers), Err(ApiError::from_a_web_page()));
    }

    #[tokio::test]
    async fn only_a_serving_engine_is_ready_and_the_others_say_why_not() {
        let progress = Progress { snapshot_jobs: 1, events: 2, log_bytes: 3, log_bytes_total: 4 };
        let failed = Ending::Failed { cause: FailCause::Storage, message: "no space".into() };
        for (phase, status, body) in [
            (
                Phase::Recovering(progress),
                503,
                r#"{"ready":false,"phase":"recovering","progress":{"snapshot_jobs":1,"events":2,"log_bytes":3,"log_bytes_total":4}}"#,
            ),
            (Phase::Serving, 200, r#"{"ready":true,"phase":"serving"}"#),
            (Phase::Draining, 503, r#"{"ready":false,"phase":"draining"}"#),
            (Phase::Stopped(Ending::Clean), 503, r#"{"ready":false,"phase":"stopped"}"#),
            (Phase::Stopped(failed), 503, r#"{"ready":false,"phase":"stopped","message":"no space"}"#),
        ] {
            let response = readiness(&phase);
            assert_eq!(response.status().as_u16(), status);
            let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            assert_eq!(std::str::from_utf8(&bytes).unwrap(), body);
        }
    }
}
