//! Answers: what they take in memory until they are read.
//!
//! An answer that may be long gets its room before anything of it is in memory; of the others, the long ones get theirs when
//! they are there.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use super::error::ApiError;
use crate::auth::memory::{AnswerShare, UNCOUNTED_BYTES};

/// Why there is no room.
pub(super) const TOO_MANY_ANSWERS: &str =
    "busy: too many long answers wait to be read (answer_bytes_max); try again later";

/// Says that an answer has its room.
#[derive(Clone)]
struct HasRoom;

/// How much room a long answer still needs; none if it is short or has it.
pub(super) fn room_needed(answer: &Response) -> Option<usize> {
    let bytes = hyper::body::Body::size_hint(answer.body()).lower();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    (bytes > UNCOUNTED_BYTES && answer.extensions().get::<HasRoom>().is_none()).then_some(bytes)
}

/// The answer, which holds as much of the room as it needs until it is read.
pub(super) async fn held(mut room: AnswerShare, answer: impl IntoResponse) -> Response {
    let (mut parts, body) = answer.into_response().into_parts();
    parts.extensions.insert(HasRoom);
    let Ok(whole) = body.collect().await else { return ApiError::panicked().into_response() };
    let bytes = whole.to_bytes();
    // An answer that is longer than was thought is in memory by now.
    let _ = room.resize(bytes.len());
    Response::from_parts(parts, Body::from(room.hold(bytes)))
}
