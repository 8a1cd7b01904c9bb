//! The accept loop for remote workers: who gets a connection, for how long, and how all of them end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::engine::{ManagerThread, Tenant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, error};

use super::accept::{Acceptor, Listener, report_panic};
use super::movable::{Movable, Move};
use super::tls;
use crate::auth::places::{ConnectionPlace, Places};
use crate::fwp::welcome::{Welcomed, welcome};
use crate::fwp::{FwpShared, FwpState};

/// How often silent workers are looked for.
const REAP_EVERY: Duration = Duration::from_secs(5);

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

    /// Serves as soon as the engine has recovered; clients wait that long. They are accepted and shake hands on the runtime
    /// of the caller; those who are let in are served on the engine's own thread ([`Tenant::WorkerConversations`]).
    pub fn spawn_beside(self, state: FwpState) -> FwpHandle {
        let (handle, stopped, end) = FwpHandle::new();
        tokio::spawn(async move {
            // Why it did not recover is told where the engine was started.
            if state.engine.ready().await.is_ok()
                && let Ok(thread) = state.engine.manager_thread(Tenant::WorkerConversations)
            {
                match TcpListener::from_std(self.listener) {
                    Ok(listener) => {
                        accept_loop(listener, state, ConversationHome::Manager(thread), stopped).await
                    }
                    Err(error) => error!(%error, "cannot listen for workers"),
                }
            }
            drop(end);
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
            accept_loop(self.listener, state, ConversationHome::Here, stopped).await;
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

async fn accept_loop<L: Listener>(
    listener: L,
    state: FwpState,
    home: ConversationHome,
    mut stopped: oneshot::Receiver<Duration>,
) {
    let mut door = Door {
        places: Places::new(state.limits.connections_max),
        shared: Arc::new(FwpShared::new(state)),
        home,
        tasks: JoinSet::new(),
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
            Some(ended) = door.tasks.join_next() => door.ended(ended),
            (stream, peer) = acceptor.next() => door.open::<L>(stream, peer),
        }
    };
    // Closed first: connections from now on are refused by the system instead of being kept waiting.
    drop(acceptor);
    door.shared.state.registry.close_all();
    let drained = timeout(within, async {
        while let Some(ended) = door.tasks.join_next().await {
            door.ended(ended);
        }
    });
    let drained = drained.await;
    if drained.is_err() {
        debug!(?within, "connections of workers are still open: closing them");
    }
    door.tasks.shutdown().await;
}

/// The open connections and what each new one gets.
struct Door {
    shared: Arc<FwpShared>,
    home: ConversationHome,
    /// Handshakes, and waits for the end of conversations.
    tasks: JoinSet<Option<Elsewhere>>,
    places: Places,
}

impl Door {
    /// A handshake has ended, or a conversation. What is held elsewhere takes no more room here than the wait for its end.
    fn ended(&mut self, ended: Result<Option<Elsewhere>, JoinError>) {
        match ended {
            Ok(Some(elsewhere)) => {
                self.tasks.spawn(async move {
                    elsewhere.end().await;
                    None
                });
            }
            Ok(None) => {}
            Err(error) => report_panic(Err(error)),
        }
    }

    fn open<L: Listener>(&mut self, stream: L::Stream, peer: SocketAddr) {
        let place = self.places.take();
        if let ConnectionPlace::Surplus(goodbye) = &place {
            debug!(%peer, "turned away: too many connections");
            let state = &self.shared.state;
            state.engine.metrics().requests_busy.add(1);
            if goodbye.is_none() {
                let told = format!("-ERR too many connections: {}\r\n", state.limits.connections_max);
                // Who speaks TLS would not understand it.
                return L::say_and_close(stream, if state.tls.is_some() { b"" } else { told.as_bytes() });
            }
        }
        let (shared, home) = (Arc::clone(&self.shared), self.home.clone());
        self.tasks.spawn(attend(shared, home, Movable::<L>::new(stream), peer, place));
    }
}

/// A connection from its first byte to its last, or until its conversation is held elsewhere.
async fn attend<L: Listener>(
    shared: Arc<FwpShared>,
    home: ConversationHome,
    stream: Movable<L>,
    peer: SocketAddr,
    place: ConnectionPlace,
) -> Option<Elsewhere> {
    let (member, mut closed) = shared.state.registry.join();
    let limit = shared.state.limits.handshake_timeout;
    let Some(tls) = shared.state.tls.clone() else {
        return home.host(welcome(shared, stream, peer, place, member, closed, limit).await?).await;
    };
    let started = tokio::time::Instant::now();
    let secured = tokio::select! {
        biased;
        _ = &mut closed => return None,
        secured = timeout(limit, tls::accept(&tls, stream, &shared.handshake_gate)) => secured,
    };
    match secured {
        Ok(Ok(stream)) => {
            let left = limit.saturating_sub(started.elapsed());
            return home.host(welcome(shared, stream, peer, place, member, closed, left).await?).await;
        }
        Ok(Err(error)) => debug!(%peer, %error, "no TLS"),
        Err(_) => debug!(%peer, "no TLS within {limit:?}"),
    }
    None
}

/// Where conversations are held.
#[derive(Clone)]
enum ConversationHome {
    /// Where the handshake was.
    Here,
    /// On the engine's own thread.
    Manager(ManagerThread),
}

/// A conversation that is held on another thread. Dropping it ends the conversation.
struct Elsewhere {
    end: oneshot::Receiver<()>,
    _waits: oneshot::Sender<()>,
}

impl Elsewhere {
    async fn end(mut self) {
        // Nothing is ever sent: the other half is dropped with the conversation.
        let _ = (&mut self.end).await;
    }
}

impl ConversationHome {
    /// Holds the conversation with a client that was let in, or has it held.
    async fn host<S>(self, mut welcomed: Welcomed<S>) -> Option<Elsewhere>
    where
        S: Move + AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let thread = match self {
            ConversationHome::Here => {
                welcomed.converse().await;
                return None;
            }
            ConversationHome::Manager(thread) => thread,
        };
        let (ended, end) = oneshot::channel::<()>();
        let (waits, mut given_up) = oneshot::channel::<()>();
        thread.spawn(async move {
            if let Err(error) = welcomed.stream.move_here() {
                return debug!(%error, "a connection could not be handed over");
            }
            tokio::select! {
                biased;
                _ = &mut given_up => {}
                () = welcomed.converse() => {}
            }
            drop(ended);
        });
        Some(Elsewhere { end, _waits: waits })
    }
}
