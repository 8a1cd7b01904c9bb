//! Why a request did not succeed, and what may have been done all the same.

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The URL cannot be used. The text says why.
    #[error("{0}")]
    BadUrl(String),
    /// Nobody listens there. Nothing was sent.
    #[error("no server at {url}: {cause}")]
    Unreachable {
        /// Where it was tried.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// The connection broke off before the answer was complete. What was asked may be done or not.
    #[error("lost the connection to {url}: {cause}")]
    Lost {
        /// Who it was.
        url: String,
        /// What broke off, or how long nothing moved.
        cause: String,
    },
    /// The server said no. Unless the code is `unknown`, nothing was done.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Stable name for programs.
        code: String,
        /// For people; its words may change.
        message: String,
    },
    /// The answer is not one that a beaver server gives.
    #[error("{0}")]
    Protocol(String),
}
