//! Requests to the router of this very process: there is no connection that could be lost.

use axum::Router;
use axum::body::{Body, to_bytes};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use tower::ServiceExt;

use super::error::ClientError;
use super::upload::Upload;

/// The router that answers, and what it works on.
#[derive(Clone, Debug)]
pub(super) struct InProcess {
    router: Router,
    /// The data directory, for errors.
    pub(super) place: String,
}

impl InProcess {
    pub(super) fn new(router: Router, place: String) -> InProcess {
        InProcess { router, place }
    }

    /// Has one request answered. Without a limit of time: this process is there for nothing else.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        upload: Upload,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let unusable = |error: &dyn std::fmt::Display| {
            ClientError::Protocol(format!("{} gives no answer: {error}", self.place))
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::new(upload))
            .map_err(|error| unusable(&error))?;
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.map_err(|error| unusable(&error))?;
        Ok((status, body))
    }
}
