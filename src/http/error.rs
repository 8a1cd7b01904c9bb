//! Every way to say no over HTTP: one JSON shape, a stable code, and the status that fits it.

use std::time::Duration;

use axum::Json;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use beaver_actors::engine::EngineError;
use beaver_actors::ids::InvalidName;
use beaver_actors::jobs::Rejection;

use crate::wire::answers::{ErrorAnswer, ErrorBody, OFFLINE, UNKNOWN};
use crate::wire::job::{BadJob, BadJobKind};

/// How much of a request an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 100;

/// An answer that is not what was hoped for: `{"error":{"code":..,"message":..}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        let (code, message) = (code.into(), message.into());
        ApiError { status, body: ErrorBody { code, message, line: None, index: None } }
    }

    pub(crate) fn not_utf8(valid_bytes: usize) -> ApiError {
        let message = format!("the body is not UTF-8 text: byte {valid_bytes} fits no character");
        ApiError::new(StatusCode::BAD_REQUEST, BadJobKind::NotJson.code(), message)
    }

    pub(crate) fn body_too_large(bytes_max: usize) -> ApiError {
        let message =
            format!("the body has more than {bytes_max} bytes (body_bytes_max): send it in several requests");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    pub(crate) fn body_broke_off(cause: &str) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "body_broke_off", format!("the body broke off: {cause}"))
    }

    pub(crate) fn body_too_slow(timeout: Duration) -> ApiError {
        let message =
            format!("the body was not complete within {timeout:?} (request_timeout); nothing was done");
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    pub(crate) fn no_answer_in_time(timeout: Duration) -> ApiError {
        let message = format!("no answer within {timeout:?} (request_timeout): the outcome is unknown");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, UNKNOWN, message)
    }

    pub(crate) fn busy(message: &str) -> ApiError {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
    }

    pub(crate) fn from_a_web_page() -> ApiError {
        let message = "requests that change something are not taken from web pages of other servers (which the headers \
                       Origin and Sec-Fetch-Site tell)";
        ApiError::new(StatusCode::FORBIDDEN, "from_a_web_page", message)
    }

    pub(crate) fn unknown_host(host: &str) -> ApiError {
        let message = format!(
            "{:?} is none of the names of this server: ask for localhost or its address, or have the name added to its \
             configuration (http_hosts)",
            beginning(host)
        );
        ApiError::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message)
    }

    pub(crate) fn no_such_path(uri: &Uri) -> ApiError {
        let message = format!("there is nothing at {}", beginning(uri.path()));
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn wrong_method(method: &Method, uri: &Uri) -> ApiError {
        let message = format!("{} does not know the method {method}", beginning(uri.path()));
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    pub(crate) fn bad_id(problem: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_id", problem)
    }

    /// It was understood and makes no sense.
    pub(crate) fn bad_request(problem: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_request", problem)
    }

    pub(crate) fn no_such_queue(message: &str) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// There is no server, and this is about what only a server has.
    pub(crate) fn offline() -> ApiError {
        let message = "only a running server has remote workers, and none answers";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, OFFLINE, message)
    }

    pub(crate) fn no_such_worker(wid: &str) -> ApiError {
        let message = format!("no remote worker {:?} is connected", beginning(wid));
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn panicked() -> ApiError {
        let message = "the request could not be processed because of a bug; the outcome is unknown";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, UNKNOWN, message)
    }

    /// Whether the server would have taken the request at a quieter time.
    pub(crate) fn is_busy(&self) -> bool {
        self.body.code == "busy"
    }

    /// Whether the client may still be sending a body that nobody wants any more.
    pub(crate) fn leaves_a_body(&self) -> bool {
        self.is_busy() || self.status == StatusCode::PAYLOAD_TOO_LARGE
    }

    /// The answer to a request with a single job, which needs no number.
    pub(crate) fn about_the_only_job(mut self) -> ApiError {
        self.body.index = None;
        self
    }
}

/// What is repeated of a path or a name.
fn beginning(text: &str) -> &str {
    text.char_indices().nth(SHOWN_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

impl From<InvalidName> for ApiError {
    fn from(error: InvalidName) -> ApiError {
        ApiError::bad_id(error.to_string())
    }
}

impl From<BadJob> for ApiError {
    fn from(bad_job: BadJob) -> ApiError {
        let status = match bad_job.kind {
            BadJobKind::NotJson | BadJobKind::NotAJob => StatusCode::BAD_REQUEST,
            BadJobKind::PayloadTooLarge | BadJobKind::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        };
        let mut error = ApiError::new(status, bad_job.kind.code(), bad_job.to_string());
        (error.body.line, error.body.index) = (bad_job.line, bad_job.index);
        error
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> ApiError {
        let status = match rejection {
            Rejection::NotFound { .. } => StatusCode::NOT_FOUND,
            Rejection::StaleToken { .. }
            | Rejection::NotHeld { .. }
            | Rejection::Ending { .. }
            | Rejection::WrongState { .. }
            | Rejection::Finished { .. } => StatusCode::CONFLICT,
            Rejection::PayloadTooLarge { .. } | Rejection::RequestTooLarge { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Rejection::TooManyJobs { .. }
            | Rejection::TooManyQueues { .. }
            | Rejection::TooManyKinds { .. } => StatusCode::TOO_MANY_REQUESTS,
            Rejection::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
            Rejection::Shortage | Rejection::Damaged | Rejection::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        ApiError::new(status, rejection.code(), rejection.to_string())
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> ApiError {
        let message = error.to_string();
        match error {
            EngineError::Rejected(rejection) => rejection.into(),
            EngineError::RejectedAt { index, rejection } => {
                let mut error = ApiError::from(rejection);
                error.body.index = Some(index + 1);
                error
            }
            EngineError::Busy => ApiError::busy(&message),
            EngineError::Recovering => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "recovering", message),
            EngineError::ReadOnly => ApiError::new(StatusCode::CONFLICT, "read_only", message),
            EngineError::Unknown => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, UNKNOWN, message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let comes_back = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let mut response = (status, Json(ErrorAnswer { error: self.body })).into_response();
        if comes_back {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use beaver_actors::ids::{JobId, Token};

    use super::*;
    use crate::http::testing::read;

    async fn rendered(error: ApiError) -> (u16, bool, String) {
        let response = error.into_response();
        let retry = response.headers().contains_key(RETRY_AFTER);
        let (status, body) = read(response).await;
        (status, retry, body)
    }

    #[tokio::test]
    async fn every_answer_of_the_engine_has_its_status_and_code() {
        let job = JobId::parse("a").unwrap();
        let token: Token = "9f3c01aa-00000003-0000000000001267".parse().unwrap();
        let full = Rejection::PayloadTooLarge { bytes: 2, bytes_max: 1 };
        for (error, status, code, retry) in [
            (EngineError::Rejected(Rejection::NotFound { job: job.clone() }), 404, "not_found", false),
            (
                EngineError::Rejected(Rejection::StaleToken { job: job.clone(), token }),
                409,
                "stale_token",
                false,
            ),
            (EngineError::Rejected(Rejection::Finished { job, status: "dead" }), 409, "finished", false),
            (EngineError::Rejected(full.clone()), 413, "payload_too_large", false),
            (EngineError::Rejected(Rejection::TooManyJobs { jobs_max: 1 }), 429, "too_many_jobs", true),
            (EngineError::Rejected(Rejection::DiskFull), 507, "disk_full", false),
            (EngineError::Rejected(Rejection::Shortage), 503, "shortage", true),
            (EngineError::Rejected(Rejection::Stopping), 503, "stopping", true),
            (EngineError::RejectedAt { index: 4, rejection: full }, 413, "payload_too_large", false),
            (EngineError::Busy, 429, "busy", true),
            (EngineError::ReadOnly, 409, "read_only", false),
            (EngineError::Recovering, 503, "recovering", true),
            (EngineError::Unknown, 500, "unknown", false),
        ] {
            let (got_status, got_retry, body) = rendered(error.into()).await;
            assert_eq!((got_status, got_retry), (status, retry), "{code}");
            assert!(body.starts_with(&format!(r#"{{"error":{{"code":"{code}","message":""#)), "{body}");
        }
    }

    #[tokio::test]
    async fn a_rejected_job_of_many_is_numbered_from_one_and_the_only_one_is_not() {
        let rejected = ApiError::from(EngineError::RejectedAt { index: 4, rejection: Rejection::DiskFull });
        assert!(rendered(rejected.clone()).await.2.ends_with(r#","index":5}}"#));
        assert!(!rendered(rejected.about_the_only_job()).await.2.contains("index"));
    }

    #[tokio::test]
    async fn a_bad_line_is_told_with_its_number() {
        let bad_job = BadJob {
            kind: BadJobKind::NotAJob,
            line: Some(3),
            column: None,
            index: None,
            message: "field \"id\": 1 is not a string".into(),
        };
        let (status, _, body) = rendered(bad_job.into()).await;
        assert_eq!(status, 400);
        assert_eq!(
            body,
            r#"{"error":{"code":"bad_job","message":"line 3: field \"id\": 1 is not a string","line":3}}"#
        );
    }
}
