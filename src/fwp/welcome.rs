//! How a conversation begins: the client says who it is, and shows that it knows the password.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::base::byte_budget::ByteBudget;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, error};

use super::connection::{Connection, part};
use super::handshake::{BadHello, Hello, greeting};
use super::line::Inbox;
use super::reply;
use super::session::Session;
use super::state::FwpShared;
use crate::auth::password::Challenge;
use crate::auth::places::ConnectionPlace;
use crate::remote::registry::{CloseReason, Member};

/// Longest first line: a client that has not shown its password gets little memory.
const HELLO_BYTES_MAX: usize = 64 << 10;

/// A client that was let in. The conversation with it may be held on another thread than the handshake.
pub(crate) struct Welcomed<S> {
    /// The server may have to move it to another thread before the conversation begins.
    pub(crate) stream: S,
    shared: Arc<FwpShared>,
    member: Member,
    peer: SocketAddr,
    /// What it has sent already.
    inbox: Inbox,
    closed: oneshot::Receiver<CloseReason>,
    _place: ConnectionPlace,
}

/// Says hello, hears who it is, and lets it in or not: within `limit`.
pub(crate) async fn welcome<S>(
    shared: Arc<FwpShared>,
    mut stream: S,
    peer: SocketAddr,
    place: ConnectionPlace,
    mut member: Member,
    mut closed: oneshot::Receiver<CloseReason>,
    limit: Duration,
) -> Option<Welcomed<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let limits = &shared.state.limits;
    // Its own budget: the memory for long lines is for those who were let in.
    let mut inbox = Inbox::new(HELLO_BYTES_MAX, &ByteBudget::new(2 * HELLO_BYTES_MAX));
    let greeted = tokio::select! {
        biased;
        _ = &mut closed => return None,
        greeted = timeout(limit, greet(&shared, &mut stream, &mut inbox)) => greeted.unwrap_or_else(|_| {
            let limit = limits.handshake_timeout;
            Err(BadHello::Refused(format!("no HELLO within {limit:?} (faktory_handshake_timeout)")))
        }),
    };
    let known = match greeted {
        Ok(greeted) => tokio::select! {
            biased;
            _ = &mut closed => return None,
            known = identify(&shared, greeted, peer) => known,
        },
        Err(bad) => Err(bad),
    };
    let mut said = Vec::new();
    let introduced = known.and_then(|hello| {
        if matches!(place, ConnectionPlace::Surplus(_)) {
            reply::ok(&mut said);
            return Err(BadHello::Refused(format!("too many connections: {}", limits.connections_max)));
        }
        member.introduce(hello.into()).map_err(BadHello::Refused)
    });
    match introduced {
        Ok(()) => reply::ok(&mut said),
        Err(BadHello::Stranger) => {
            debug!(%peer, "no HELLO");
            return None;
        }
        Err(BadHello::Refused(why)) => {
            debug!(%peer, why, "turned away");
            drop(member);
            reply::error(&mut said, &why);
            if let Ok(Ok(())) = timeout(limits.handshake_timeout, say(&mut stream, &said)).await {
                part(stream).await;
            }
            return None;
        }
    }
    if !matches!(timeout(limits.handshake_timeout, say(&mut stream, &said)).await, Ok(Ok(()))) {
        debug!(%peer, "gone after its HELLO");
        return None;
    }
    let inbox = inbox.with_limits(limits.line_bytes_max, shared.state.memory.lines());
    Some(Welcomed { stream, shared, member, peer, inbox, closed, _place: place })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Welcomed<S> {
    /// Holds the conversation to its end. Its timers belong to the runtime on which this is called.
    pub(crate) async fn converse(self) {
        let Welcomed { stream, shared, member, peer, inbox, closed, _place } = self;
        let limits = &shared.state.limits;
        let (line_bytes_max, idle_timeout) = (limits.line_bytes_max, limits.idle_timeout);
        let unread = shared.state.memory.replies().share();
        let session = Session::new(shared, member, peer);
        Connection::new(stream, session, inbox, closed, (line_bytes_max, idle_timeout), unread).serve().await;
    }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), text: &[u8]) -> io::Result<()> {
    stream.write_all(text).await?;
    stream.flush().await
}

/// What a client says that it is, and what it was asked to show it.
struct Greeted {
    hello: Hello,
    challenge: Option<Challenge>,
}

/// Says hello and hears who it is.
async fn greet<S>(shared: &FwpShared, stream: &mut S, inbox: &mut Inbox) -> Result<Greeted, BadHello>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let challenge =
        shared.state.password.as_ref().map(|_| Challenge::new()).transpose().map_err(|error| {
            error!(%error, "cannot ask for the password");
            BadHello::Refused(error.to_string())
        })?;
    let greeting = greeting(challenge.as_ref());
    let gone = |_: io::Error| BadHello::Stranger;
    say(stream, greeting.as_bytes()).await.map_err(gone)?;
    let line = loop {
        if let Some(line) = inbox.take_line() {
            break line;
        }
        let spare = inbox.spare().map_err(|_| BadHello::Stranger)?;
        match stream.read(spare).await.map_err(gone)? {
            0 => return Err(BadHello::Stranger),
            bytes => inbox.filled(bytes),
        }
    };
    Ok(Greeted { hello: Hello::parse(inbox.text(line))?, challenge })
}

/// Whether it knows the password, if there is one. That is looked at when it is the turn of its address.
async fn identify(shared: &FwpShared, greeted: Greeted, peer: SocketAddr) -> Result<Hello, BadHello> {
    let Greeted { hello, challenge } = greeted;
    let (Some(password), Some(challenge)) = (shared.state.password.clone(), challenge) else {
        return Ok(hello);
    };
    let turn = shared.guesses.turn(peer.ip()).await;
    turn.map_err(|too_many| BadHello::Refused(too_many.to_string()))?;
    let check = move || hello.knows(&password, &challenge).then_some(hello);
    let known = timeout(shared.state.limits.handshake_timeout, shared.handshake_gate.compute(check)).await;
    let known =
        known.map_err(|_| BadHello::Refused("busy: too many handshakes; try again later".to_owned()))?;
    shared.guesses.was(peer.ip(), known.is_some());
    known.ok_or_else(|| BadHello::Refused("Invalid password".to_owned()))
}
