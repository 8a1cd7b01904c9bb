//! The accept loop for remote workers: who gets a connection, for how long, and how all of them end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, error};

use super::accept::{Acceptor, Listener, report_panic};
use crate::fwp::welcome::{ConnectionPlace, welcome};
use crate::fwp::{FwpShared, FwpState};

/// How often silent workers are looked for.
const REAP_EVERY: Duration = Duration::from_secs(5);
/// How many surplus connections are told so at the same time; those beyond are closed without a word.
const GOODBYES_MAX: usize = 64;

/// A bound socket that nobody is answered on yet.
#[derive(Debug)]
pub struct FwpServer<L = std::net::TcpListener> {
    listener: L,
    local_addr: SocketAddr,
}

/// A serving server. Dropping it ends every connection at once; [`FwpHandle::shut_down`] is the polite way.
#[must_use = "dropping it ends the server"]
#[derive(Debug)]
pub struct FwpHandle {
    stop: oneshot::Sender<Duration>,
    ended: oneshot::Receiver<()>,
}

impl FwpServer {
    /// Takes the address. Clients may connect from now on, but wait until [`FwpServer::spawn_beside`].
    ///
    /// # Errors
    /// As the system gives it; [`io::ErrorKind::AddrInUse`] when another process listens there.
    pub fn bind(addr: SocketAddr) -> io::Result<FwpServer> {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let local_addr = listener.local_addr()?;
        Ok(FwpServer { listener, local_addr })
    }

    /// Serves on the engine's own thread as soon as the engine has recovered; clients wait that long. Measured against a
    /// thread of its own, this takes two hops between threads out of every request, and what comes in together shares
    /// one fsync more often.
    pub fn spawn_beside(self, state: FwpState) -> FwpHandle {
        let (handle, stopped, end) = FwpHandle::new();
        tokio::spawn(async move {
            let engine = state.engine.clone();
            let serve = async move {
                match TcpListener::from_std(self.listener) {
                    Ok(listener) => accept_loop(listener, FwpShared::new(state), stopped).await,
                    Err(error) => error!(%error, "cannot listen for workers"),
                }
                drop(end);
            };
            // Whoever started the engine hears why it did not recover.
            if engine.ready().await.is_ok() {
                let _ = engine.run_beside(serve);
            }
        });
        handle
    }
}

impl<L> FwpServer<L> {
    /// The address with its real port, also when port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl<L: Listener> FwpServer<L> {
    /// Serves on a listener that is bound already.
    #[must_use]
    pub fn on(listener: L, local_addr: SocketAddr) -> FwpServer<L> {
        FwpServer { listener, local_addr }
    }

    /// Serves on the tokio runtime of the caller.
    pub fn spawn(self, state: FwpState) -> FwpHandle {
        let (handle, stopped, end) = FwpHandle::new();
        tokio::spawn(async move {
            accept_loop(self.listener, FwpShared::new(state), stopped).await;
            drop(end);
        });
        handle
    }
}

impl FwpHandle {
    /// The last part is dropped when all is over.
    fn new() -> (FwpHandle, oneshot::Receiver<Duration>, oneshot::Sender<()>) {
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        (FwpHandle { stop, ended }, stopped, end)
    }

    /// Stops accepting, answers what was asked for at most `within`, then closes what is left.
    pub async fn shut_down(self, within: Duration) {
        // An error means that the loop has ended by itself, which a panic alone can cause.
        let _ = self.stop.send(within);
        // Nothing is ever sent: the other half is dropped.
        let _ = self.ended.await;
    }
}

async fn accept_loop<L: Listener>(listener: L, shared: FwpShared, mut stopped: oneshot::Receiver<Duration>) {
    let connections_max = shared.state.limits.connections_max.min(Semaphore::MAX_PERMITS);
    let mut door = Door {
        shared: Arc::new(shared),
        tasks: JoinSet::new(),
        free: Arc::new(Semaphore::new(connections_max)),
        goodbyes: Arc::new(Semaphore::new(GOODBYES_MAX)),
    };
    let mut reap = interval(REAP_EVERY);
    reap.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut acceptor = Acceptor::new(listener, "workers");
    let within = loop {
        tokio::select! {
            // In order, so that a simulation runs the same way twice.
            biased;
            within = &mut stopped => break within.unwrap_or(Duration::ZERO),
            _ = reap.tick() => door.shared.state.registry.reap(),
            Some(ended) = door.tasks.join_next() => report_panic(ended),
            (stream, peer) = acceptor.next() => door.open(stream, peer),
        }
    };
    // Closed first: whoever connects from now on is refused by the system instead of being kept waiting.
    drop(acceptor);
    door.shared.state.registry.close_all();
    let drained = timeout(within, async { while door.tasks.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        debug!(?within, "connections of workers are still open: closing them");
    }
    door.tasks.shutdown().await;
}

/// The open connections and what each new one gets.
struct Door {
    shared: Arc<FwpShared>,
    tasks: JoinSet<()>,
    free: Arc<Semaphore>,
    goodbyes: Arc<Semaphore>,
}

impl Door {
    fn open<S>(&mut self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let place = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => ConnectionPlace::Free(permit),
            Err(_) => {
                debug!(%peer, "turned away: too many connections");
                self.shared.state.engine.metrics().requests_busy.add(1);
                let Ok(permit) = Arc::clone(&self.goodbyes).try_acquire_owned() else { return };
                ConnectionPlace::Surplus(permit)
            }
        };
        self.tasks.spawn(serve(Arc::clone(&self.shared), stream, peer, place));
    }
}

async fn serve<S>(shared: Arc<FwpShared>, stream: S, peer: SocketAddr, place: ConnectionPlace)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (member, mut closed) = shared.state.registry.join();
    let limit = shared.state.limits.handshake_timeout;
    let Some(tls) = shared.state.tls.clone() else {
        return welcome(shared, stream, peer, place, member, closed, limit).await;
    };
    let started = tokio::time::Instant::now();
    let secured = tokio::select! {
        biased;
        _ = &mut closed => return,
        secured = timeout(limit, tls.accept(stream)) => secured,
    };
    match secured {
        Ok(Ok(stream)) => {
            let left = limit.saturating_sub(started.elapsed());
            welcome(shared, stream, peer, place, member, closed, left).await;
        }
        Ok(Err(error)) => debug!(%peer, %error, "no TLS"),
        Err(_) => debug!(%peer, "no TLS within {limit:?}"),
    }
}
