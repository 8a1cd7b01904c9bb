//! What the routes share: the engine, the limits, and how an answer is given.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::response::Response;
use beaver_actors::engine::{Engine, Phase};

use super::answer::TOO_MANY_ANSWERS;
use super::body::{BodyReader, HeldBody};
use super::deadline::Deadline;
use super::error::ApiError;
use super::metrics::MetricsPage;
use crate::auth::memory::{AnswerShare, Memory};
use crate::auth::places::ConnectionLimits;
use crate::config::{HttpLimits, Settings};
use crate::remote::registry::Registry;
use crate::telemetry::acts::Asker;
use crate::wire::answers::OFFLINE;
use crate::wire::job::JobDefaults;

/// As good as no limit, and still one that can be added to any moment.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

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
    /// What requests and answers may take.
    pub memory: Memory,
    /// How many connections there may be, where that is known.
    pub connections: Option<ConnectionLimits>,
}

/// What every route may use.
pub(super) struct Api {
    pub(super) engine: Engine,
    pub(super) defaults: JobDefaults,
    limits: HttpLimits,
    bodies: BodyReader,
    pub(super) memory: Memory,
    pub(super) metrics: MetricsPage,
    /// None where no server is: then nobody can be connected.
    pub(super) remote: Option<Registry>,
    pub(super) connections: Option<ConnectionLimits>,
}

/// The name of a job, a queue or a worker in a path.
pub(super) type NameInPath = Result<Path<String>, PathRejection>;

/// Who sends a request.
pub(super) struct AskedBy(pub(super) Asker);

impl<S: Sync> FromRequestParts<S> for AskedBy {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<AskedBy, Infallible> {
        // Connections have an address; requests of this process have none.
        Ok(AskedBy(parts.extensions.get::<SocketAddr>().copied().map_or(Asker::InProcess, Asker::Peer)))
    }
}

/// What a route gives.
pub(super) type RouteAnswer = Result<Response, ApiError>;

impl Api {
    pub(super) fn new(state: HttpState) -> Api {
        let HttpState { engine, defaults, limits, remote, memory, connections } = state;
        Api {
            bodies: BodyReader::new(limits.body_bytes_max, memory.bodies()),
            metrics: MetricsPage::new(Arc::clone(engine.metrics()), Some(remote.clone()), memory.clone()),
            memory,
            engine,
            defaults,
            limits,
            remote: Some(remote),
            connections,
        }
    }

    /// For requests of this very process, which need no protection from themselves.
    pub(super) fn in_process(engine: Engine, settings: &Settings) -> Api {
        let limits = HttpLimits {
            hosts: Vec::new(),
            body_bytes_max: usize::MAX,
            bodies_bytes_max: usize::MAX,
            answer_bytes_max: usize::MAX,
            connections_max: usize::MAX,
            header_timeout: FOR_EVER,
            request_timeout: FOR_EVER,
        };
        let memory = Memory::unlimited();
        Api {
            bodies: BodyReader::new(limits.body_bytes_max, memory.bodies()),
            metrics: MetricsPage::new(Arc::clone(engine.metrics()), None, memory.clone()),
            memory,
            engine,
            defaults: JobDefaults::of(settings),
            limits,
            remote: None,
            connections: None,
        }
    }

    /// The registry of remote workers.
    ///
    /// # Errors
    /// There is no server.
    pub(super) fn remote(&self) -> Result<&Registry, ApiError> {
        self.remote.as_ref().ok_or_else(ApiError::offline)
    }

    /// How far the engine is in its life, in a word.
    pub(super) fn phase(&self) -> &'static str {
        match self.remote {
            Some(_) => phase_name(&self.engine.phase()),
            None => OFFLINE,
        }
    }

    /// By when a request that comes now is answered.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.limits.request_timeout)
    }

    /// Room for an answer that may be as large as this, before anything of it is in memory.
    ///
    /// # Errors
    /// There is none in time, which is counted.
    pub(super) async fn room_for_answer(
        &self,
        bytes: usize,
        deadline: Deadline,
    ) -> Result<AnswerShare, ApiError> {
        match self.memory.reserve(bytes, deadline.at).await {
            Some(room) => Ok(room),
            None => {
                self.engine.metrics().requests_busy.add(1);
                Err(ApiError::busy(TOO_MANY_ANSWERS))
            }
        }
    }

    /// The whole body of a request.
    ///
    /// # Errors
    /// It is too large or too slow, or the server is busy, which is counted.
    pub(super) async fn body(&self, request: Request, deadline: Deadline) -> Result<HeldBody, ApiError> {
        let body = self.bodies.read(request, deadline).await;
        if body.as_ref().is_err_and(ApiError::is_busy) {
            self.engine.metrics().requests_busy.add(1);
        }
        body
    }
}

/// The name that is in a path.
///
/// # Errors
/// It is no text.
pub(super) fn name_in(path: NameInPath) -> Result<String, ApiError> {
    path.map(|Path(name)| name).map_err(|rejection| ApiError::bad_request(rejection.body_text()))
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
