//! The pure part: what a job is and how it changes. No actix, no tokio, no files, no clock, no dice of its own.
//!
//! Reading order: [`model`] (a job, its states, the numbers), [`command`] (what can be asked), [`event`] (what can
//! happen), `decide` (what a command leads to), [`table`] (all jobs, and `apply`), [`sections`] (what is not a job),
//! [`filter`] (sets of jobs), [`record`] (a job by itself), [`page`] (jobs as they come from an image), `convert` (one
//! form from another), `stored` (small values as bytes).
//!
//! ```text
//! Command --decide(&table, now, dice)--> Event --(logged)--> apply(&mut table) --> new state
//! ```

pub mod command;
pub(crate) mod convert;
pub mod counts;
mod decide;
pub mod event;
pub mod filter;
pub(crate) mod intern;
pub mod model;
pub mod page;
pub mod record;
pub mod sections;
pub(crate) mod stored;
pub mod table;

pub use self::model::{failure, job, payload, policy};
pub use self::sections::queues;
pub use self::table::digest;
pub use command::{Command, JobSpec, Rejection, Start};
pub use counts::Counts;
pub use event::{Event, EventKind};
pub use filter::Filter;
pub use model::failure::{Failure, FailureKind};
pub use model::job::{Exhausted, JobState, JobView, Status};
pub use model::payload::{Payload, PayloadRef, PayloadStore, UnreadablePayload};
pub use model::policy::{Backoff, Policy, Retention};
pub use table::JobTable;
