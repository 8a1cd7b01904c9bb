//! The work protocol that Faktory's clients speak (FWP, version 2), so that existing workers need no change.
//!
//! | file | story |
//! |---|---|
//! | `line`, `command`, `job`, `mutate`, `glob` | what a client says, read |
//! | `handshake`, `tls` | who may say it |
//! | `session` | what is done about it: the engine is asked, and its answers become replies |
//! | `reply`, `info` | what is said back |
//! | `connection`, `server` | bytes, limits, the accept loop |
//! | `turn` | who may send a long line now |
//! | `workers` | who is connected |
//!
//! A FETCH is a dispatch under a lease; an ACK or a FAIL counts only under that lease. What was answered `+OK` is on
//! disk. A line that is too long is answered with an error and ends its connection; every other mistake is answered
//! and leaves it open.

pub mod command;
mod connection;
pub mod glob;
pub mod handshake;
mod info;
pub mod job;
pub mod line;
pub mod mutate;
mod reply;
mod server;
mod session;
pub mod tls;
mod turn;
pub mod workers;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use beaver_actors::clock::Clock;
use beaver_actors::engine::Engine;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

pub use server::{FwpHandle, FwpServer};

use crate::config::{FwpLimits, Secret};
use workers::Registry;

/// What the server needs.
#[derive(Clone)]
pub struct FwpState {
    /// Answers everything about jobs.
    pub engine: Engine,
    /// Who is connected.
    pub registry: Registry,
    /// What INFO says the time is.
    pub clock: Arc<dyn Clock>,
    /// What clients have to know, if anything.
    pub password: Option<Secret>,
    /// What clients have to speak, if anything.
    pub tls: Option<TlsAcceptor>,
    /// Largest arguments of one job, in bytes of compact JSON.
    pub payload_bytes_max: usize,
    /// What clients may take.
    pub limits: FwpLimits,
}

/// The same, with what the server counts.
struct Shared {
    state: FwpState,
    since: Instant,
    commands: AtomicU64,
    long_lines: line::Budget,
    turns: turn::Turns,
}

impl Shared {
    fn new(state: FwpState) -> Shared {
        // Room for a few of the longest lines, and for thousands of ordinary ones.
        let long_lines = line::Budget::new(state.limits.line_bytes_max.saturating_mul(16));
        let turns = turn::Turns::new();
        Shared { state, since: Instant::now(), commands: AtomicU64::new(0), long_lines, turns }
    }
}
