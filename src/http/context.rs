//! What the routes share: the engine, the limits, and how an answer is given.

use std::sync::Arc;

use axum::response::Response;
use beaver_actors::engine::{Engine, Phase};

use super::body::BodyReader;
use super::deadline::Deadline;
use super::error::ApiError;
use super::metrics::MetricsPage;
use crate::config::HttpLimits;
use crate::remote::registry::Registry;
use crate::wire::job::JobDefaults;

/// What the routes need.
#[derive(Clone)]
pub struct HttpState {
    /// Answers everything about jobs.
    pub engine: Engine,
    /// For jobs that leave something out.
    pub defaults: JobDefaults,
    /// For bodies and for patience.
    pub limits: HttpLimits,
    /// Remote workers; an empty registry where there is no server for them.
    pub remote: Registry,
}

/// What every route may use.
pub(super) struct Api {
    pub(super) engine: Engine,
    pub(super) defaults: JobDefaults,
    limits: HttpLimits,
    pub(super) bodies: BodyReader,
    pub(super) metrics: MetricsPage,
    pub(super) remote: Registry,
}

/// What a route gives.
pub(super) type RouteAnswer = Result<Response, ApiError>;

impl Api {
    pub(super) fn new(state: HttpState) -> Api {
        let HttpState { engine, defaults, limits, remote } = state;
        Api {
            bodies: BodyReader::new(&limits),
            metrics: MetricsPage::new(Arc::clone(engine.metrics()), remote.clone()),
            engine,
            defaults,
            limits,
            remote,
        }
    }

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

/// How a phase of the engine is called.
pub(super) fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Recovering(_) => "recovering",
        Phase::Serving => "serving",
        Phase::Draining => "draining",
        Phase::Stopped(_) => "stopped",
    }
}
