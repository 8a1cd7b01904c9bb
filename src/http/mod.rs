//! HTTP on one port: the API, the metrics and the probes.
//!
//! | request | answer |
//! |---|---|
//! | `POST /api/v1/jobs` | adds jobs, all or none, and answers when they are durable |
//! | `GET /api/v1/jobs/{id}` | one job |
//! | `DELETE /api/v1/jobs/{id}` | withdraws it |
//! | `GET /api/v1/jobs?status=` | jobs in a status; if wanted with `kind`, `queue`, `match`, `id` (repeatable), `limit` |
//! | `POST /api/v1/jobs/actions` | does the same to all jobs of a set: `{"action","status","filter","to"}` |
//! | `GET /api/v1/queues` | every queue: paused or not, how long its first job waits, its jobs by status |
//! | `POST /api/v1/queues/{name}/pause`, `/resume` | whether anybody gets jobs of it; durable |
//! | `DELETE /api/v1/queues/{name}` | discards its pending jobs and forgets it; answers how many |
//! | `GET /api/v1/workers` | remote workers and connections |
//! | `POST /api/v1/workers/{wid}/quiet`, `/terminate` | asks a remote worker to take no more jobs, or to end |
//! | `GET /api/v1/status` | the queue at a glance |
//! | `GET /metrics` | OpenMetrics text, which Prometheus reads |
//! | `GET /livez` | 200 while the process serves |
//! | `GET /readyz` | 200 while jobs are taken, else 503 with the phase and how far recovery is |
//!
//! `router` says which path leads where; `routes` has what is done there, `context` what all share. `body` reads requests
//! within the limits, `answer` has what answers take until they are read, `deadline` bounds the wait for an answer, `error` is every way to say no, `metrics` the page.
//!
//! Every refusal is `{"error":{"code":..,"message":..}}` with a stable code. A client that sends too
//! much, too slowly, or never reads holds one of a limited number of connections for a limited time.

mod router;
mod routes;

mod answer;
pub(crate) mod body;
mod context;
pub(crate) mod deadline;
mod error;
mod metrics;

#[cfg(test)]
mod testing;

pub use context::HttpState;
pub(crate) use router::{for_known_hosts, in_process, router};
