//! The real program on a real directory: started, asked over HTTP and on the command line, killed, started again.
//!
//! One binary, one module a story. Nothing here knows the inside of beaver; only [`files`] knows the layouts of
//! files that `wal/mod.rs` and `snapshot/format.rs` publish, to damage them with care.

mod harness;
mod http_client;

mod files;

mod crash;
mod exec;
mod lifecycle;

mod cli;
mod cli_offline;
mod inspect;

mod bad_input;
mod damage;
mod full_disk;
mod http;
