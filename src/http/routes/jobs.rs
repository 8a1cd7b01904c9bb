//! Single jobs: adding them, looking at one, withdrawing one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use beaver_actors::ids::JobId;
use beaver_actors::jobs::{JobView, Status};

use crate::http::answer::held;
use crate::http::body::HeldBody;
use crate::http::context::{Api, AskedBy, NameInPath, RouteAnswer};
use crate::http::deadline::in_time;
use crate::http::error::ApiError;
use crate::telemetry::acts;
use crate::wire::answers::CancelledJob;
use crate::wire::job::{ParsedJobs, Shape, parse_jobs};

/// A body up to this size is parsed in well under a millisecond, where it was read; a larger one would keep
/// other connections waiting and moves to a thread of its own.
const PARSED_IN_PLACE_BYTES_MAX: usize = 128 << 10;

/// What a job with its payload and its result may take on its way out; more than nearly all do.
const JOB_BYTES: usize = 1 << 20;

pub(crate) async fn enqueue(State(api): State<Arc<Api>>, request: Request) -> RouteAnswer {
    let deadline = api.deadline();
    let body = api.body(request, deadline).await?;
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

pub(crate) async fn job(State(api): State<Arc<Api>>, id: NameInPath) -> RouteAnswer {
    let id = job_id(id)?;
    let deadline = api.deadline();
    let room = api.room_for_answer(JOB_BYTES, deadline).await?;
    let job: JobView = in_time(deadline, api.engine.job(id)).await?;
    Ok(held(room, Json(job)).await)
}

pub(crate) async fn cancel(State(api): State<Arc<Api>>, AskedBy(by): AskedBy, id: NameInPath) -> RouteAnswer {
    let id = job_id(id)?;
    in_time(api.deadline(), api.engine.cancel(id.clone())).await?;
    acts::tell("job cancelled", &id.to_string(), by);
    Ok(Json(CancelledJob { id, status: Status::Cancelled }).into_response())
}

fn job_id(id: NameInPath) -> Result<JobId, ApiError> {
    let Path(id) = id.map_err(|rejection| ApiError::bad_id(rejection.body_text()))?;
    Ok(JobId::parse(&id)?)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::http::testing::answer;

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
}
