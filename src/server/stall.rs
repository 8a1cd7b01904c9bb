//! A connection that is given up when the other side no longer takes what it asked for.
//!
//! hyper bounds how long a request's head may take, but waits for ever for a client that never reads its answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

/// A connection whose writes fail when nothing of them was taken for some time.
pub(super) struct StallGuard<S> {
    stream: TokioIo<S>,
    patience: Duration,
    burst: Option<Burst>,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// What is written one after the other, until all of it was taken.
struct Burst {
    since: Instant,
    /// When some of it was taken last.
    moved_at: Instant,
    /// How much of it was taken.
    bytes: u64,
}

/// Bytes a second that a client takes at least, beyond its first patience: one that takes a little now and then would hold its
/// answer's memory for ever.
const LEAST_RATE: u64 = 16 << 10;

impl<S> StallGuard<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> StallGuard<S> {
        StallGuard { stream: TokioIo::new(stream), patience, burst: None, stalled: None }
    }

    fn count(&mut self, write: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = write {
            let burst = self.burst();
            (burst.moved_at, burst.bytes) = (Instant::now(), burst.bytes + *bytes as u64);
        }
    }

    fn burst(&mut self) -> &mut Burst {
        self.burst.get_or_insert_with(|| {
            let now = Instant::now();
            Burst { since: now, moved_at: now, bytes: 0 }
        })
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            return write;
        }
        let patience = self.patience;
        let Burst { since, moved_at, bytes } = self.burst();
        // What the system itself takes is no sign of a client.
        let due = (*moved_at + patience).min(*since + patience + Duration::from_secs(*bytes / LEAST_RATE));
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if stalled.deadline() != due {
            stalled.as_mut().reset(due);
        }
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl<S: AsyncRead + Unpin> Read for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> Write for StallGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(&write);
        self.watch(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.count(&write);
        self.watch(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.stream).poll_flush(cx);
        if flush.is_ready() {
            // Everything was taken: the next answer begins anew.
            (self.burst, self.stalled) = (None, None);
        }
        self.watch(cx, flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;
    use tokio::time::sleep;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// How long it goes on for a client that takes this many bytes every 20 seconds.
    async fn lasts(bytes: usize) -> Duration {
        let (ours, mut theirs) = tokio::io::duplex(bytes);
        let mut guard = StallGuard::new(ours, PATIENCE);
        let reader = tokio::spawn(async move {
            let mut taken = vec![0; bytes];
            while theirs.read_exact(&mut taken).await.is_ok() {
                sleep(Duration::from_secs(20)).await;
            }
        });
        let (begun, answer) = (Instant::now(), vec![0; bytes]);
        let end = loop {
            match poll_fn(|cx| Pin::new(&mut guard).poll_write(cx, &answer)).await {
                Ok(_) if begun.elapsed() > 20 * PATIENCE => break begun.elapsed(),
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    break begun.elapsed();
                }
            }
        };
        reader.abort();
        end
    }

    /// Row 68.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_now_and_then_is_given_up_and_a_slow_one_is_not() {
        assert_eq!(lasts(64).await.as_secs(), PATIENCE.as_secs());
        assert!(lasts(20 * LEAST_RATE as usize).await > 20 * PATIENCE);
    }
}
