//! What the benches share: engines and servers to measure, jobs for them, clients, and figures beside their targets.
//!
//! | modules | what they give |
//! |---|---|
//! | [`allocator`], [`engine`], [`noop`], [`server`] | what is measured: an engine in this process, or the program as a process of its own |
//! | [`jobs`], [`payloads`], [`pushes`] | jobs, the same ones in every run: small, large, and as lines of the work protocol |
//! | [`enqueue`](mod@enqueue), [`completed`](mod@completed), [`remote`], [`open_loop`] | load through the engine |
//! | [`client`], [`pace`] | load over TCP |
//! | [`cpu_by_thread`], [`memory`], [`files`] | what it costs |
//! | [`asked`] | what is asked for |
//! | [`quantiles`], [`figures`], [`target`], [`machine`], [`machine_header`] | what is printed |

pub mod allocator;
pub mod engine;
pub mod noop;
pub mod server;

pub mod jobs;
pub mod payloads;
pub mod pushes;

pub mod completed;
pub mod enqueue;
pub mod open_loop;
pub mod remote;

pub mod client;
pub mod pace;

pub mod cpu_by_thread;
pub mod files;
pub mod memory;

pub mod asked;

pub mod figures;
pub mod machine;
pub mod machine_header;
pub mod quantiles;
pub mod target;
