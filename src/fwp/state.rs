//! What the connections of remote workers share.

use std::sync::Arc;

use beaver_actors::base::clock::Clock;
use beaver_actors::engine::Engine;
use tokio_rustls::TlsAcceptor;

use super::long_line_gate::LongLineGate;
use crate::auth::guesses::Guesses;
use crate::auth::handshake_gate::HandshakeGate;
use crate::auth::memory::Memory;
use crate::config::{FwpLimits, Secret};
use crate::remote::registry::Registry;

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
    /// What commands and replies may take.
    pub memory: Memory,
}

/// The same, with what is shared to keep within limits.
pub(crate) struct FwpShared {
    pub(crate) state: FwpState,
    pub(super) long_line_gate: LongLineGate,
    /// Who tried a wrong password.
    pub(super) guesses: Guesses,
    /// Where it is computed who somebody is.
    pub(crate) handshake_gate: HandshakeGate,
}

impl FwpShared {
    pub(crate) fn new(state: FwpState) -> FwpShared {
        FwpShared {
            state,
            long_line_gate: LongLineGate::new(),
            guesses: Guesses::default(),
            handshake_gate: HandshakeGate::new(),
        }
    }
}
