//! The product around the engine: command line, configuration, HTTP, built-in handlers.
//!
//! It knows no byte of the log; everything durable is asked of `beaver_actors`.

pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod fwp;
pub mod handlers;
pub mod http;
pub mod query;
pub mod remote;
pub mod server;
mod suggest;
pub mod telemetry;
pub mod wire;
