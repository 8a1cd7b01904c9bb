//! The two addresses of the protocol's web port that monitoring asks: `/stats`, which is INFO, and `/health`, which is the part
//! of it that costs nothing. There are no pages for people.
//!
//! Where workers need a password, `/stats` asks for it as well (HTTP Basic, any user name); `/health` never does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beaver_actors::base::clock::Clock;
use beaver_actors::engine::Engine;
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;

use super::info::{self, Facts};
use crate::auth::guesses::{Guesses, TooManyGuesses};
use crate::config::Secret;
use crate::remote::registry::Registry;

/// What the web port tells about.
#[derive(Clone)]
pub(crate) struct WebState {
    /// Answers about jobs.
    pub(crate) engine: Engine,
    /// Who is connected.
    pub(crate) registry: Registry,
    /// What the answers say the time is.
    pub(crate) clock: Arc<dyn Clock>,
    /// What clients have to know for `/stats`, if anything.
    pub(crate) password: Option<Secret>,
    /// Who tried a wrong one here.
    pub(crate) guesses: Arc<Guesses>,
    /// For an answer.
    pub(crate) request_timeout: Duration,
}

/// The routes of the web port.
pub(crate) fn web_router(state: WebState) -> Router {
    Router::new().route("/stats", get(stats)).route("/health", get(health)).with_state(state)
}

async fn stats(
    State(state): State<WebState>,
    Extension(peer): Extension<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    match state.lets_in(&headers, peer).await {
        Ok(true) => {}
        Ok(false) => {
            let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"beaver\"")];
            return (
                StatusCode::UNAUTHORIZED,
                challenge,
                "the password of the workers, with any user name\n",
            )
                .into_response();
        }
        Err(too_many) => return (StatusCode::TOO_MANY_REQUESTS, format!("{too_many}\n")).into_response(),
    }
    match timeout(state.request_timeout, state.engine.status_with(info::QUEUES_SHOWN)).await {
        Ok(Ok(status)) => json(StatusCode::OK, info::info(&status, &state.facts())),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "no answer in time (request_timeout)\n").into_response(),
    }
}

async fn health(State(state): State<WebState>) -> Response {
    let status =
        if state.engine.accepts_jobs().is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, info::health(&state.facts()))
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

impl WebState {
    fn facts(&self) -> Facts {
        Facts::of(&self.registry, &*self.clock)
    }

    /// Whether it knows the password, if there is one. That is looked at when it is the turn of its address.
    async fn lets_in(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<bool, TooManyGuesses> {
        let Some(password) = &self.password else { return Ok(true) };
        // Who gives none has not guessed: a browser asks like that first.
        let given = headers.get(AUTHORIZATION).and_then(|value| password_in(value.to_str().ok()?));
        let Some(given) = given else { return Ok(false) };
        self.guesses.turn(peer.ip()).await?;
        let is_known = given.ct_eq(password.reveal().as_bytes()).into();
        self.guesses.was(peer.ip(), is_known);
        Ok(is_known)
    }
}

/// The password of an `Authorization: Basic` header.
fn password_in(header: &str) -> Option<Vec<u8>> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let mut pair = STANDARD.decode(encoded.trim()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair.split_off(colon + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_stands_behind_the_first_colon() {
        let header = |pair: &str| format!("basic {}", STANDARD.encode(pair));
        assert_eq!(password_in(&header("any:open:sesame")), Some(b"open:sesame".to_vec()));
        assert_eq!(password_in(&header(":")), Some(Vec::new()));
        for header in ["Basic", "Basic x y", "Bearer YTpi", &header("none")] {
            assert_eq!(password_in(header), None, "{header}");
        }
    }
}
