//! Which path leads where.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use beaver_actors::engine::Engine;

use super::answer::{held, room_needed};
use super::context::{Api, HttpState};
use super::error::ApiError;
use super::routes::{clock, jobs, probes, queues, sets, status, workers};
use crate::auth::known_hosts::KnownHosts;
use crate::auth::web_pages;
use crate::config::Settings;

/// All routes, ready to serve.
pub(crate) fn router(state: HttpState) -> Router {
    let api = Arc::new(Api::new(state));
    routes(guarded).layer(from_fn_with_state(Arc::clone(&api), make_room)).with_state(api)
}

/// All routes for requests of this very process. They enter below what guards a server: who may change something is
/// decided by the rights to the data's files, and nobody else waits.
pub(crate) fn in_process(engine: Engine, settings: &Settings) -> Router {
    routes(|mutating| mutating).with_state(Arc::new(Api::in_process(engine, settings)))
}

fn routes(guarded: impl Fn(Router<Arc<Api>>) -> Router<Arc<Api>>) -> Router<Arc<Api>> {
    let reading = Router::new()
        .route("/api/v1/jobs", get(sets::list))
        .route("/api/v1/jobs/{id}", get(jobs::job))
        .route("/api/v1/queues", get(queues::list))
        .route("/api/v1/workers", get(workers::list))
        .route("/api/v1/status", get(status::status))
        .route("/metrics", get(probes::metrics))
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready));
    let mutating = Router::new()
        .route("/api/v1/jobs", post(jobs::enqueue))
        // A job may be named "actions" as well: it has other methods.
        .route("/api/v1/jobs/{id}", delete(jobs::cancel).post(sets::act))
        .route("/api/v1/queues", delete(queues::remove_matching))
        .route("/api/v1/queues/{queue}", delete(queues::remove))
        .route("/api/v1/queues/{queue}/pause", post(queues::pause))
        .route("/api/v1/queues/{queue}/resume", post(queues::resume))
        .route("/api/v1/clock/confirm", post(clock::confirm))
        .route("/api/v1/workers/{wid}/quiet", post(workers::quiet))
        .route("/api/v1/workers/{wid}/terminate", post(workers::terminate));
    with_fallbacks(reading.merge(guarded(mutating)))
}

/// Routes that change something, behind all that decides who may: a further one belongs there, too.
fn guarded<S: Clone + Send + Sync + 'static>(mutating: Router<S>) -> Router<S> {
    mutating.route_layer(from_fn(refuse_web_pages))
}

async fn refuse_web_pages(request: Request, next: Next) -> Result<Response, ApiError> {
    match web_pages::may_write(request.headers()) {
        true => Ok(next.run(request).await),
        false => Err(ApiError::from_a_web_page()),
    }
}

/// Routes that are there for those who ask for one of these hosts. In front of everything, also of what is not there:
/// nothing at all is said to others.
pub(crate) fn for_known_hosts(routes: Router, hosts: KnownHosts) -> Router {
    routes.layer(from_fn_with_state(Arc::new(hosts), refuse_unknown_hosts))
}

async fn refuse_unknown_hosts(
    State(hosts): State<Arc<KnownHosts>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match hosts.unknown_in(request.uri(), request.headers()) {
        None => Ok(next.run(request).await),
        Some(host) => Err(ApiError::unknown_host(&host)),
    }
}

fn with_fallbacks<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.fallback(no_such_path).method_not_allowed_fallback(wrong_method)
}

/// Gives room to long answers that have none yet.
async fn make_room(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    let Some(bytes) = room_needed(&answer) else { return answer };
    match api.room_for_answer(bytes, api.deadline()).await {
        Ok(room) => held(room, answer).await,
        Err(error) => error.into_response(),
    }
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::no_such_path(&uri)
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(&method, &uri)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::header::{HOST, ORIGIN};
    use tower::ServiceExt;

    use super::*;
    use crate::http::testing::answer;

    #[tokio::test]
    async fn an_unknown_path_and_a_wrong_method_are_json_errors() {
        let router = with_fallbacks(Router::new().route("/livez", get(probes::live)));
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
    async fn a_web_page_may_look_and_change_nothing() {
        let reading = Router::new().route("/jobs", get(|| async { "looked" }));
        let mutating = Router::new().route("/jobs", post(|| async { "changed" }));
        let router = with_fallbacks(reading.merge(guarded(mutating)));
        let answer = async |method: &str, origin: Option<&str>| {
            let mut request = Request::builder().method(method).uri("/jobs");
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            response.status().as_u16()
        };
        let page = Some("https://example.org");
        assert_eq!((answer("GET", None).await, answer("GET", page).await), (200, 200));
        assert_eq!((answer("POST", None).await, answer("POST", page).await), (200, 403));
        assert_eq!((answer("PUT", None).await, answer("PUT", page).await), (405, 405));
    }

    /// Row 81.
    #[tokio::test]
    async fn nothing_is_said_to_a_host_that_is_not_known_not_even_that_there_is_nothing() {
        let routes = with_fallbacks(Router::new().route("/jobs", get(|| async { "looked" })));
        let router = for_known_hosts(routes, KnownHosts::of("127.0.0.1:9090".parse().unwrap(), &[]));
        for (method, path, known, unknown) in
            [("GET", "/jobs", 200, 421), ("GET", "/nothing", 404, 421), ("PUT", "/jobs", 405, 421)]
        {
            for (host, status) in [("localhost:9090", known), ("rebound.example:9090", unknown)] {
                let request = Request::builder().method(method).uri(path).header(HOST, host);
                let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
                assert_eq!(response.status().as_u16(), status, "{method} {path} of {host}");
            }
        }
    }
}
