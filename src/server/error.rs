//! Why a server does not start, for people.

use std::io;
use std::net::SocketAddr;

/// Why a server did not start: a lowercase fragment without a dot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// Nobody can be served at an address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As it is configured; the port may be 0.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
        /// The key that sets its port, and what else that may be set to.
        port: (&'static str, &'static str),
    },
    /// Anything else that it needs.
    #[error("{message}")]
    Setup {
        /// What is wrong.
        message: String,
        /// The way out.
        hint: Option<&'static str>,
    },
}

impl ServerError {
    /// Something is wrong that no further word helps with.
    pub(super) fn new(message: String) -> ServerError {
        ServerError::Setup { message, hint: None }
    }

    /// The way out, if there is one.
    #[must_use]
    pub(crate) fn hint(&self) -> Option<String> {
        let (source, (key, choice)) = match self {
            ServerError::Listen { source, port, .. } => (source, port),
            ServerError::Setup { hint, .. } => return hint.map(str::to_owned),
        };
        let port = format!("--{} (key {key})", key.replace('_', "-"));
        Some(match source.kind() {
            io::ErrorKind::AddrInUse => format!("choose another port with {port}; {choice}"),
            io::ErrorKind::AddrNotAvailable => {
                "--bind (key bind) must be an address of this machine".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 are for root; choose another with {port}")
            }
            _ => format!("see --bind (key bind) and {port}"),
        })
    }
}
