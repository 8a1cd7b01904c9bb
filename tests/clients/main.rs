//! Real work-protocol clients, written by others, against the real program: the Rust crate `faktory`, the npm package
//! `faktory-worker` and the PyPI package `pyfaktory`.
//!
//! The Rust client is always tried. The other two are tried when `BEAVER_CLIENTS` names a directory that `.ci/clients`
//! has made; without it their tests say so and pass. The examples of README and docs/ are run as they are.
//!
//! | asked for | Rust client | npm and PyPI client |
//! |---|---|---|
//! | push, bulk, scheduled, fetch, ack | [`rust`] | scenario `jobs` |
//! | fail, retry with its failure's data, dead, mutate | [`rust`] | scenario `failures` |
//! | pause, resume, remove | [`rust`] | scenario `queues` |
//! | password, TLS | [`rust`] | scenarios `password`, `tls` |
//! | quiet and terminate | [`rust`] | scenario `worker` |
//! | killed in mid-load, with the oracle's verdict | [`load`] | [`load`] with scenario `load` |

#[expect(dead_code, reason = "shared with the black-box tests, which use all of it")]
#[path = "../black_box/fwp_client.rs"]
mod fwp_client;
#[expect(dead_code, reason = "shared with the black-box tests, which use all of it")]
#[path = "../black_box/harness.rs"]
mod harness;
#[expect(dead_code, reason = "shared with the black-box tests, which use all of it")]
#[path = "../black_box/http_client.rs"]
mod http_client;

mod fwp;
mod script;
mod tls;

mod examples;
mod load;
mod rust;
mod scenarios;
