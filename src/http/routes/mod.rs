//! Each route reads its request, asks the engine once, and turns the answer into JSON.
//!
//! `jobs`, `sets` and `queues` are about work, `workers` about those who do it, `status`, `clock` and `probes` about the server.

pub(super) mod jobs;
pub(super) mod sets;

pub(super) mod queues;

pub(super) mod workers;

pub(super) mod clock;
pub(super) mod probes;
pub(super) mod status;
