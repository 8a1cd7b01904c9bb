//! Connections that are handed to another thread, TLS and all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::accept::Listener;

/// A connection that can be moved to another thread's runtime while others hold on to it.
pub(super) struct Movable<L: Listener>(
    /// None only after a move that failed.
    Option<L::Stream>,
);

/// What can be moved.
pub(super) trait Move {
    /// Has it looked after by the runtime of the calling thread: see [`Listener::move_here`].
    ///
    /// # Errors
    /// The system does not let it; then the connection is closed.
    fn move_here(&mut self) -> io::Result<()>;
}

impl<L: Listener> Movable<L> {
    pub(super) fn new(stream: L::Stream) -> Movable<L> {
        Movable(Some(stream))
    }

    fn stream(&mut self) -> io::Result<Pin<&mut L::Stream>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<L: Listener> Move for Movable<L> {
    fn move_here(&mut self) -> io::Result<()> {
        let stream = self.0.take().ok_or(io::ErrorKind::NotConnected)?;
        self.0 = Some(L::move_here(stream)?);
        Ok(())
    }
}

impl<L: Listener> Move for TlsStream<Movable<L>> {
    fn move_here(&mut self) -> io::Result<()> {
        self.get_mut().0.move_here()
    }
}

impl<L: Listener> AsyncRead for Movable<L> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buffer)
    }
}

impl<L: Listener> AsyncWrite for Movable<L> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
