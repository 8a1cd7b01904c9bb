//! Where connections come from: a port of this machine, or a simulated network.

use std::future::Future;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};

/// Wait after the first failed accept of a row; doubles with each further one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// What is read of a surplus connection at a time.
const UNREAD_BYTES_MAX: usize = 4 << 10;
/// How long an address that somebody holds is tried again.
const BIND_PATIENCE: Duration = Duration::from_secs(2);
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// Where connections come from.
pub trait Listener: Send + 'static {
    /// Both directions of a connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Says something to a connection that is closed then, if it can be said without waiting.
    fn say_and_close(stream: Self::Stream, _said: &[u8]) {
        drop(stream);
    }

    /// Has a connection looked after by the runtime of the calling thread from now on: what wakes its owner does so without
    /// another thread.
    ///
    /// # Errors
    /// The system does not let it.
    fn move_here(stream: Self::Stream) -> io::Result<Self::Stream> {
        Ok(stream)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Answers are small and complete: waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "no TCP_NODELAY");
        }
        Ok((stream, peer))
    }

    fn say_and_close(stream: TcpStream, said: &[u8]) {
        let say = || {
            let mut stream = stream.into_std()?;
            // Closing over what is unread would reset the connection, which may destroy the answer.
            let mut unread = [0; UNREAD_BYTES_MAX];
            while stream.read(&mut unread).is_ok_and(|read| read == unread.len()) {}
            stream.write_all(said)?;
            stream.shutdown(Shutdown::Write)
        };
        if let Err(error) = say() {
            debug!(%error, "closed without a word");
        }
    }

    fn move_here(stream: TcpStream) -> io::Result<TcpStream> {
        TcpStream::from_std(stream.into_std()?)
    }
}

/// A listener that is left alone for a while when it has failed.
pub(crate) struct Acceptor<L> {
    listener: L,
    /// Who connects, for the log.
    whom: &'static str,
    /// In a row.
    failures: u32,
    paused_until: Option<Instant>,
}

impl<L: Listener> Acceptor<L> {
    /// Around a listener to which `whom` connects.
    pub(crate) fn new(listener: L, whom: &'static str) -> Acceptor<L> {
        Acceptor { listener, whom, failures: 0, paused_until: None }
    }

    /// Waits for the next connection, through failures. Nothing is lost when the wait is given up and begun again.
    pub(crate) async fn next(&mut self) -> (L::Stream, SocketAddr) {
        loop {
            if let Some(until) = self.paused_until {
                sleep_until(until).await;
                self.paused_until = None;
            }
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.failures = 0;
                    return accepted;
                }
                Err(error) => {
                    if let Some(pause) = pause_after(&error, self.failures) {
                        warn!(%error, ?pause, "cannot accept {}: waiting before the next try", self.whom);
                        self.paused_until = Some(Instant::now() + pause);
                    }
                    self.failures += 1;
                }
            }
        }
    }
}

/// Takes an address, which is tried again for a while: a server that was killed holds it until the kernel has taken it down.
///
/// # Errors
/// As the system gives it in the end.
pub(super) async fn bind_patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let give_up_at = Instant::now() + BIND_PATIENCE;
    let mut is_told = false;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up_at => {
                if !std::mem::replace(&mut is_told, true) {
                    info!("the address is in use: it is tried again for {BIND_PATIENCE:?}");
                }
                sleep(BIND_PAUSE).await;
            }
            bound => return bound,
        }
    }
}

/// How long to leave the listener alone after `error`, the one after `failures` others in a row.
///
/// A client that went away before it was accepted says nothing about the next one. Everything else (no file
/// descriptors, no memory) would come back at once, in a loop that eats a whole processor.
fn pause_after(error: &io::Error, failures: u32) -> Option<Duration> {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return None;
    }
    Some(ACCEPT_PAUSE.saturating_mul(1 << failures.min(16)).min(ACCEPT_PAUSE_MAX))
}

/// Tells of a connection whose task did not end as it should.
pub(crate) fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const EMFILE: i32 = 24;

    /// Fails this many times.
    struct Fails(u32);

    impl Listener for Fails {
        type Stream = DuplexStream;

        async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
            if self.0 > 0 {
                self.0 -= 1;
                return Err(io::Error::from_raw_os_error(EMFILE));
            }
            Ok((duplex(1).0, SocketAddr::from(([127, 0, 0, 1], 1))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_goes_on_when_the_wait_for_its_end_is_given_up_and_begun_again() {
        let (start, mut acceptor) = (Instant::now(), Acceptor::new(Fails(2), "anybody"));
        assert!(timeout(ACCEPT_PAUSE * 3 / 2, acceptor.next()).await.is_err());
        acceptor.next().await;
        assert_eq!(start.elapsed(), ACCEPT_PAUSE * 3);
    }

    /// Row 95.
    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_held_for_a_moment_is_taken_after_it_and_one_that_stays_held_is_told() {
        let (start, in_use) = (Instant::now(), || io::Error::from(io::ErrorKind::AddrInUse));
        let held_for = |time: Duration| move || if start.elapsed() < time { Err(in_use()) } else { Ok(()) };
        bind_patiently(held_for(Duration::from_millis(1_500))).await.unwrap();
        let told = bind_patiently(held_for(Duration::from_secs(600))).await.unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::AddrInUse);
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        let denied = bind_patiently(|| Err::<(), _>(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(denied.await.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_failing_listener_is_left_alone_for_longer_and_longer() {
        let no_descriptors = io::Error::from_raw_os_error(EMFILE);
        let pauses =
            [0, 1, 2, 6, 7, u32::MAX].map(|failures| pause_after(&no_descriptors, failures).unwrap());
        assert_eq!(pauses.map(|pause| pause.as_millis()), [10, 20, 40, 640, 1_000, 1_000]);
        let gone = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(pause_after(&gone, 3), None);
    }
}
