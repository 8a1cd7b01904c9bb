//! The body of a request, handed over in pieces.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Bodies are handed over in pieces of this size, so that progress can be shown.
const PIECE_BYTES: usize = 64 << 10;

/// A request's body that tells how much of it has been taken.
pub(super) struct Upload {
    rest: Bytes,
    /// Bytes taken so far.
    pub(super) sent: Arc<AtomicU64>,
    on_sent: Box<dyn Fn(u64) + Send + Sync>,
}

impl Upload {
    pub(super) fn new(body: Vec<u8>, on_sent: impl Fn(u64) + Send + Sync + 'static) -> Upload {
        Upload { rest: body.into(), sent: Arc::default(), on_sent: Box::new(on_sent) }
    }

    pub(super) fn empty() -> Upload {
        Upload::new(Vec::new(), |_| {})
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let upload = self.get_mut();
        if upload.rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = upload.rest.split_to(PIECE_BYTES.min(upload.rest.len()));
        let piece_bytes = piece.len() as u64;
        let sent = upload.sent.fetch_add(piece_bytes, Relaxed) + piece_bytes;
        (upload.on_sent)(sent);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
