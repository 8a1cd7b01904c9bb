//! Reading request bodies: never more than allowed, neither of one request nor of all together, nor too slowly.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::EXPECT;
use beaver_actors::base::byte_budget::{ByteBudget, ByteShare};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{timeout, timeout_at};

use super::deadline::Deadline;
use super::error::ApiError;

/// What comes of a body is gathered in pieces of this size: one that grew as a whole would be there twice, or thrice, each time
/// that it is moved.
const PIECE_BYTES: usize = 1 << 20;
/// How long the rest of a refused body is taken, and thrown away, before the connection is closed.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads bodies within the limits.
pub(crate) struct BodyReader {
    bytes_max: usize,
    budget: ByteBudget,
}

/// A complete body. Its share of the budget is free again when it is dropped.
#[derive(Debug)]
pub(crate) struct HeldBody {
    bytes: Vec<u8>,
    _share: ByteShare,
}

impl HeldBody {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn text(&self) -> Result<&str, ApiError> {
        std::str::from_utf8(&self.bytes).map_err(|error| ApiError::not_utf8(error.valid_up_to()))
    }
}

impl BodyReader {
    /// What all bodies hold together is counted in `budget`.
    pub(crate) fn new(bytes_max: usize, budget: &ByteBudget) -> BodyReader {
        BodyReader { bytes_max, budget: budget.clone() }
    }

    /// Reads the whole body. A refusal, too, comes when the client is ready to hear it.
    pub(crate) async fn read(&self, mut request: Request, deadline: Deadline) -> Result<HeldBody, ApiError> {
        match self.collect(&mut request, deadline).await {
            Err(refusal) if refusal.leaves_a_body() => {
                discard(request).await;
                Err(refusal)
            }
            outcome => outcome,
        }
    }

    async fn collect(&self, request: &mut Request, deadline: Deadline) -> Result<HeldBody, ApiError> {
        let announced = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.bytes_max {
            return Err(ApiError::body_too_large(self.bytes_max));
        }
        let mut body = Pieces::new(announced);
        let mut share = self.budget.share();
        loop {
            let frame = timeout_at(deadline.at, request.body_mut().frame())
                .await
                .map_err(|_| ApiError::body_too_slow(deadline.timeout))?;
            let Some(frame) = frame else { return Ok(HeldBody { bytes: body.whole(), _share: share }) };
            let frame = frame.map_err(|error| ApiError::body_broke_off(&error.to_string()))?;
            let Some(data) = frame.data_ref() else { continue };
            let held = body.len() + data.len();
            if held > self.bytes_max {
                return Err(ApiError::body_too_large(self.bytes_max));
            }
            if !share.resize(held) {
                return Err(ApiError::busy("busy: too many large requests are being read"));
            }
            body.add(data);
        }
    }
}

/// A body while it comes.
struct Pieces {
    /// Full ones.
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
}

impl Pieces {
    fn new(announced: usize) -> Pieces {
        Pieces { full: Vec::new(), last: Vec::with_capacity(announced.min(PIECE_BYTES)) }
    }

    fn len(&self) -> usize {
        self.full.len() * PIECE_BYTES + self.last.len()
    }

    fn add(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.last.len() == PIECE_BYTES {
                self.full.push(std::mem::replace(&mut self.last, Vec::with_capacity(PIECE_BYTES)));
            }
            let (now, later) = data.split_at(data.len().min(PIECE_BYTES - self.last.len()));
            self.last.extend_from_slice(now);
            data = later;
        }
    }

    /// Each piece is given back as soon as it is copied.
    fn whole(self) -> Vec<u8> {
        if self.full.is_empty() {
            return self.last;
        }
        let mut whole = Vec::with_capacity(self.len());
        for piece in self.full.into_iter().chain([self.last]) {
            whole.extend_from_slice(&piece);
        }
        whole
    }
}

/// Takes the rest of a body and throws it away.
///
/// A client that is still sending when the connection is closed gets a reset, which may overtake and destroy
/// the answer. One that asks first (`Expect: 100-continue`) is not sending yet and needs no such care.
async fn discard(mut request: Request) {
    if request.headers().contains_key(EXPECT) {
        return;
    }
    let rest = async { while let Some(Ok(_)) = request.body_mut().frame().await {} };
    // A client that goes on for longer has had its chance.
    let _ = timeout(DISCARD_TIMEOUT, rest).await;
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::IntoResponse;
    use hyper::body::Bytes;

    use super::*;

    const PATIENT: Duration = Duration::from_secs(60);

    fn bodies(bytes_max: usize, budget: usize) -> BodyReader {
        BodyReader { bytes_max, budget: ByteBudget::new(budget) }
    }

    async fn read(bodies: &BodyReader, body: impl Into<Body>) -> Result<HeldBody, ApiError> {
        bodies.read(Request::new(body.into()), Deadline::after(PATIENT)).await
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_refused() {
        let bodies = bodies(1_000, 10_000);
        assert_eq!(read(&bodies, vec![b'x'; 1_000]).await.unwrap().text(), Ok("x".repeat(1_000).as_str()));
        assert_eq!(read(&bodies, vec![b'x'; 1_001]).await.unwrap_err(), ApiError::body_too_large(1_000));
    }

    #[test]
    fn a_body_of_many_pieces_is_whole() {
        for len in [0, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 3 * PIECE_BYTES + 7] {
            let sent: Vec<u8> = (0..len).map(|nth| b'a' + (nth % 23) as u8).collect();
            let mut pieces = Pieces::new(len);
            sent.chunks(100_003).for_each(|data| pieces.add(data));
            assert_eq!(pieces.len(), len);
            assert!(pieces.whole() == sent, "{len}");
        }
    }

    #[tokio::test]
    async fn all_bodies_together_stay_within_the_budget_and_give_it_back() {
        let bodies = bodies(1_000, 1_500);
        let held = read(&bodies, vec![b'x'; 1_000]).await.unwrap();
        assert!(read(&bodies, vec![b'x'; 501]).await.unwrap_err().is_busy());
        assert!(read(&bodies, vec![b'x'; 500]).await.is_ok());
        drop(held);
        assert!(read(&bodies, vec![b'x'; 1_000]).await.is_ok());
        assert_eq!(bodies.budget.bytes_free(), 1_500);
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_in_time_is_refused() {
        struct Endless;
        impl hyper::body::Body for Endless {
            type Data = Bytes;
            type Error = std::convert::Infallible;

            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
                std::task::Poll::Pending
            }
        }
        let timeout = Duration::from_millis(1);
        let request = Request::new(Body::new(Endless));
        let error = bodies(10, 10).read(request, Deadline::after(timeout)).await.unwrap_err();
        assert_eq!(error, ApiError::body_too_slow(timeout));
        assert_eq!(error.into_response().status().as_u16(), 408);
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_are_named_by_their_place() {
        let body = read(&bodies(10, 10), &b"{}\xff"[..]).await.unwrap();
        assert_eq!(body.text(), Err(ApiError::not_utf8(2)));
    }
}
