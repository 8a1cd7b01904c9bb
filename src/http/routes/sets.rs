//! Sets of jobs: listing them, and doing the same to all of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::IntoResponse;
use beaver_actors::jobs::{JobView, LISTED_BYTES_MAX};

use crate::http::answer::held;
use crate::http::context::{Api, AskedBy, NameInPath, RouteAnswer};
use crate::http::deadline::in_time;
use crate::http::error::ApiError;
use crate::query::words::{ActionWords, ListWords};
use crate::telemetry::acts;
use crate::wire::answers::{ChangedJobs, JobList};

/// What a list takes: the jobs that it is made of, and itself.
const ANSWER_BYTES_MAX: usize = 2 * LISTED_BYTES_MAX;
/// What takes requests about sets, among the names of jobs.
const ACTIONS: &str = "actions";
/// How much of what a JSON reader says is repeated, in characters.
const SHOWN_CHARS_MAX: usize = 300;

pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> RouteAnswer {
    let Query(pairs) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let mut words = ListWords::default();
    for (name, value) in pairs {
        words.set(&name, value).map_err(ApiError::bad_request)?;
    }
    let (set, filter, limit) = words.read().map_err(ApiError::bad_request)?;
    let deadline = api.deadline();
    let room = api.room_for_answer(ANSWER_BYTES_MAX, deadline).await?;
    let jobs = in_time(deadline, api.engine.list(set, filter, limit + 1)).await?;
    Ok(held(room, Json(listed(jobs, limit))).await)
}

pub(crate) async fn act(
    State(api): State<Arc<Api>>,
    AskedBy(by): AskedBy,
    path: NameInPath,
    request: Request,
) -> RouteAnswer {
    if !path.is_ok_and(|Path(name)| name == ACTIONS) {
        return Err(ApiError::wrong_method(request.method(), request.uri()));
    }
    let deadline = api.deadline();
    let body = api.body(request, deadline).await?;
    let words = read(body.text()?).map_err(ApiError::bad_request)?;
    let (action, set, filter) = words.read().map_err(ApiError::bad_request)?;
    let changed = in_time(deadline, api.engine.act(action, set, filter)).await?;
    let asked = serde_json::to_string(&words).unwrap_or_default();
    acts::tell("jobs changed", &format!("{changed} by {asked}"), by);
    Ok(Json(ChangedJobs { changed }).into_response())
}

fn read(text: &str) -> Result<ActionWords, String> {
    // An array would be taken for the fields in their order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err("the body is an object with action, status, and if wanted filter and to".to_owned());
    }
    serde_json::from_str(text).map_err(|error| error.to_string().chars().take(SHOWN_CHARS_MAX).collect())
}

/// The first `limit` of `jobs`, and no more than there is room for.
fn listed(mut jobs: Vec<JobView>, limit: usize) -> JobList<JobView> {
    let found = jobs.len();
    jobs.truncate(limit);
    let mut bytes = 0;
    let fit = jobs.iter().take_while(|job| {
        let before = bytes;
        bytes += job.text_bytes();
        before < LISTED_BYTES_MAX
    });
    let fit = fit.count();
    jobs.truncate(fit);
    JobList { more: jobs.len() < found, jobs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_says_what_is_done_and_an_error_is_no_longer_than_a_line() {
        assert!(read(r#" {"action":"kill","status":"pending"}"#).is_ok());
        for text in ["", r#"["kill","pending",{},null]"#, r#""kill""#] {
            assert!(read(text).unwrap_err().starts_with("the body is an object"), "{text}");
        }
        let endless = read(&format!(r#"{{"{}":1}}"#, "x".repeat(10_000))).unwrap_err();
        assert_eq!(endless.chars().count(), SHOWN_CHARS_MAX);
    }
}
