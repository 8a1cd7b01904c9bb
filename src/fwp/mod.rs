//! The work protocol that Faktory's clients speak (FWP, version 2), so that existing workers need no change.
//!
//! | file | story |
//! |---|---|
//! | `line`, `command`, `mutate` | what a client says, read |
//! | `handshake`, `welcome` | who may say it |
//! | `session` | what is done about it: the engine is asked, and its answers become replies |
//! | `reply`, `info` | what is said back |
//! | `connection` | bytes and limits |
//! | `long_line_gate` | who may send a long line now |
//! | `state` | what all connections share |
//! | `web` | what monitoring asks over HTTP |
//!
//! A FETCH is a dispatch under a lease; an ACK or a FAIL counts only under that lease. What was answered `+OK` is on
//! disk. A line that is too long is answered with an error and ends its connection; every other mistake is answered
//! and leaves it open.

pub(crate) mod command;
mod connection;
pub(crate) mod handshake;
mod info;
pub(crate) mod line;
mod long_line_gate;
pub(crate) mod mutate;
mod reply;
mod session;
mod state;
pub(crate) mod web;
pub(crate) mod welcome;

pub(crate) use state::FwpShared;
pub use state::FwpState;
