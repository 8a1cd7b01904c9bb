//! What operators do is in the log: what, to which, and who asked for it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use beaver_actors::base::line_limit::LineLimit;
use tracing::info;

/// How much of what it was done to is told, in characters.
const SHOWN_CHARS_MAX: usize = 200;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
static LIMIT: Mutex<Option<LineLimit>> = Mutex::new(None);

/// Who asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client at this address.
    Peer(SocketAddr),
    /// A command that works on the data itself.
    InProcess,
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asker::Peer(peer) => peer.fmt(f),
            Asker::InProcess => f.write_str("in-process"),
        }
    }
}

/// Tells that something was done: one line, or a count of many.
pub(crate) fn tell(act: &'static str, what: &str, by: Asker) {
    let now_ms = u64::try_from(STARTED.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut limit = LIMIT.lock().expect("nobody panics while holding it");
    let Some(left_out) = limit.get_or_insert_default().admit(act, now_ms) else { return };
    drop(limit);
    let what: String = what.chars().take(SHOWN_CHARS_MAX).collect();
    match left_out {
        0 => info!(%by, "{act}: {what}"),
        _ => info!(%by, left_out, "{act}: {what}"),
    }
}
