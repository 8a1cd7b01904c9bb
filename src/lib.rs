//! The product around the engine: command line, configuration, HTTP, the work protocol, built-in handlers.
//!
//! It knows no byte of the log; everything durable is asked of `beaver_actors`. The rooms, from the top: a room knows
//! only those below it, and `http` and `fwp` do not know each other.
//!
//! | room | has |
//! |---|---|
//! | `cli` | the commands |
//! | `server` | the server as a process: listening, signals, draining |
//! | `http`, `fwp` | what is said on a connection: our own API, the work protocol |
//! | `client` | asking a server |
//! | `auth` | who may do what |
//! | `remote` | which remote workers there are |
//! | `query` | which jobs are meant |
//! | `wire` | JSON forms |
//! | `handlers` | what runs jobs in the server itself |
//! | `config` | what an operator can set |
//! | `telemetry` | the log of the process |
//! | `suggest` | did you mean |
//! | `plain` | text that cannot steer a terminal |

#![warn(unreachable_pub)]

mod cli;
mod server;

mod fwp;
mod http;

mod client;

mod auth;
mod query;
mod remote;
mod wire;

mod config;
mod handlers;
mod plain;
mod suggest;
mod telemetry;

pub use cli::main;

/// What integration tests and benches of this repository reach; nobody else is promised anything.
#[doc(hidden)]
pub mod internals {
    pub use crate::auth::memory::Memory;
    pub use crate::auth::password::hash as password_hash;
    pub use crate::config::{Secret, Settings};
    pub use crate::fwp::FwpState;
    pub use crate::fwp::command::{Beat, FwpCommand, QueueCommand, acked_job, failed_job, fetched_queues};
    pub use crate::fwp::handshake::Hello;
    pub use crate::fwp::line::Inbox;
    pub use crate::fwp::mutate::Mutation;
    pub use crate::http::HttpState;
    pub use crate::query::glob::Glob;
    pub use crate::remote::registry::Registry;
    pub use crate::remote::status::WorkerState;
    pub use crate::server::tls::acceptor as tls_acceptor;
    pub use crate::server::{FwpHandle, FwpServer, HttpServer, Listener};
    pub use crate::wire::faktory_job::{JobReader, write as write_faktory_job};
    pub use crate::wire::job::{JobDefaults, parse_jobs, write_line};
}
