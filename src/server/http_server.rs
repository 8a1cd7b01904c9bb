//! The accept loop for HTTP: who gets a connection, for how long, and how all of them end.
//!
//! `axum::serve` would be shorter, but it has no time limit for a request's head and no cap on connections: a
//! handful of clients that send one byte a minute would shut everybody else out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tower::ServiceExt;
use tracing::{debug, error, warn};

use super::accept::{Acceptor, Listener, bind_patiently, report_panic};
use super::stall::StallGuard;
use crate::auth::known_hosts::KnownHosts;
use crate::auth::places::{ConnectionPlace, Places};
use crate::config::HttpLimits;
use crate::http::{HttpState, for_known_hosts, router};

const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of a surplus connection's request is taken before it is closed.
const GOODBYE_READ_BYTES_MAX: u64 = 64 << 10;
/// A bound socket that nobody is answered on yet.
#[derive(Debug)]
pub struct HttpServer<L = TcpListener> {
    listener: L,
    local_addr: SocketAddr,
}

/// A serving server. Dropping it ends every connection at once; [`HttpHandle::shut_down`] is the polite way.
#[must_use = "dropping it ends the server"]
#[derive(Debug)]
pub struct HttpHandle {
    stop: oneshot::Sender<Duration>,
    accept_loop: JoinHandle<()>,
}

impl HttpServer {
    /// Takes the address. Clients may connect from now on, but wait until [`HttpServer::spawn`].
    ///
    /// # Errors
    /// As the system gives it; [`io::ErrorKind::AddrInUse`] when another process listens there.
    pub(crate) async fn bind(addr: SocketAddr) -> io::Result<HttpServer> {
        let listener = bind_patiently(|| {
            let listener = std::net::TcpListener::bind(addr)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = TcpListener::from_std(listener.await?)?;
        let local_addr = listener.local_addr()?;
        Ok(HttpServer { listener, local_addr })
    }
}

impl<L: Listener> HttpServer<L> {
    /// Serves on a listener that is bound already.
    #[must_use]
    pub fn on(listener: L, local_addr: SocketAddr) -> HttpServer<L> {
        HttpServer { listener, local_addr }
    }

    /// The address with its real port, also when port 0 was asked for.
    #[must_use]
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers requests from now on, on the tokio runtime of the caller.
    pub fn spawn(self, state: HttpState) -> HttpHandle {
        let limits = state.limits.clone();
        let metrics = Arc::clone(state.engine.metrics());
        let hosts = KnownHosts::of(self.local_addr, &limits.hosts);
        self.serve(for_known_hosts(router(state), hosts), &limits, move || metrics.requests_busy.add(1))
    }

    /// Answers with a router of its own, on the tokio runtime of the caller.
    pub(crate) fn spawn_router(self, router: Router, limits: &HttpLimits) -> HttpHandle {
        let hosts = KnownHosts::of(self.local_addr, &limits.hosts);
        self.serve(for_known_hosts(router, hosts), limits, || {})
    }

    fn serve(
        self,
        router: Router,
        limits: &HttpLimits,
        on_surplus: impl Fn() + Send + 'static,
    ) -> HttpHandle {
        let (stop, stopped) = oneshot::channel();
        let connections = Connections::new(router, limits, Box::new(on_surplus));
        let accept_loop = tokio::spawn(accept_loop(self.listener, connections, stopped));
        HttpHandle { stop, accept_loop }
    }
}

impl HttpHandle {
    /// Stops accepting, lets running requests end for at most `within`, then closes what is left.
    pub async fn shut_down(self, within: Duration) {
        // An error means that the loop has ended by itself, which a panic alone can cause.
        let _ = self.stop.send(within);
        if let Err(error) = self.accept_loop.await {
            error!(%error, "the accept loop broke");
        }
    }
}

async fn accept_loop<L: Listener>(
    listener: L,
    mut connections: Connections,
    mut stopped: oneshot::Receiver<Duration>,
) {
    let mut acceptor = Acceptor::new(listener, "connections");
    let within = loop {
        tokio::select! {
            // In order, so that a simulation runs the same way twice.
            biased;
            within = &mut stopped => break within.unwrap_or(Duration::ZERO),
            Some(ended) = connections.tasks.join_next() => report_panic(ended),
            (stream, peer) = acceptor.next() => connections.open::<L>(stream, peer),
        }
    };
    // Closed first: connections from now on are refused by the system instead of being kept waiting.
    drop(acceptor);
    connections.close(within).await;
}

/// The open connections and what each new one gets.
struct Connections {
    tasks: JoinSet<()>,
    graceful: GracefulShutdown,
    http: http1::Builder,
    router: Router,
    patience: Duration,
    places: Places,
    on_surplus: Box<dyn Fn() + Send>,
    /// What surplus connections are answered.
    goodbye: Arc<str>,
}

impl Connections {
    fn new(router: Router, limits: &HttpLimits, on_surplus: Box<dyn Fn() + Send>) -> Connections {
        let mut http = http1::Builder::new();
        // The time limit for a head is also the one for an idle connection between two requests.
        http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
        Connections {
            tasks: JoinSet::new(),
            graceful: GracefulShutdown::new(),
            http,
            router,
            patience: limits.request_timeout,
            places: Places::new(limits.connections_max),
            on_surplus,
            goodbye: goodbye(limits.connections_max).into(),
        }
    }

    fn open<L: Listener>(&mut self, stream: L::Stream, peer: SocketAddr) {
        let place = match self.places.take() {
            ConnectionPlace::Served(place) => place,
            ConnectionPlace::Surplus(goodbye) => {
                debug!(%peer, "turned away: too many connections");
                (self.on_surplus)();
                match goodbye {
                    Some(place) => {
                        self.tasks.spawn(say_goodbye(stream, Arc::clone(&self.goodbye), place));
                    }
                    None => L::say_and_close(stream, self.goodbye.as_bytes()),
                }
                return;
            }
        };
        let stream = StallGuard::new(stream, self.patience);
        let routes = self.router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        });
        let connection = self.http.serve_connection(stream, TowerToHyperService::new(routes));
        let connection = self.graceful.watch(connection);
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%peer, %error, "connection ended early");
            }
            drop(place);
        });
    }

    async fn close(mut self, within: Duration) {
        let drained = timeout(within, self.graceful.shutdown()).await;
        if drained.is_err() && !self.tasks.is_empty() {
            warn!(?within, "requests are still running: closing their connections");
        }
        self.tasks.shutdown().await;
    }
}

/// The whole answer to a surplus connection.
fn goodbye(connections_max: usize) -> String {
    let body = format!(
        r#"{{"error":{{"code":"busy","message":"busy: {connections_max} connections are open, and no more are served (connections_max, as far as the server's file descriptors go)"}}}}"#
    );
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Tells a surplus connection why it is closed.
async fn say_goodbye(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    said: Arc<str>,
    _place: OwnedSemaphorePermit,
) {
    let goodbye = async {
        stream.write_all(said.as_bytes()).await?;
        stream.shutdown().await?;
        // Closing while the request is unread would reset the connection, which may destroy the answer.
        tokio::io::copy(&mut stream.take(GOODBYE_READ_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whether it was heard is no longer our concern.
    let _ = timeout(GOODBYE_TIMEOUT, goodbye).await;
}

#[cfg(test)]
mod tests;
