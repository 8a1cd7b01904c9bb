//! The pure part: what a job is and how it changes. No actix, no tokio, no files, no clock, no dice of its own.
//!
//! Reading order: [`model`] (a job, its states, the numbers), [`command`] (what can be asked), [`event`] (what can
//! happen), [`rejection`] (how a command is refused), `decide` (what a command leads to), `apply` (what events do to a job),
//! [`table`] (all jobs), [`sections`] (what is not a job), [`filter`] (sets of jobs), [`record`] (a job by itself), [`page`]
//! (jobs as they come from an image), [`counts`], `intern` (names as numbers), `stored` (small values as bytes).
//!
//! ```text
//! Command --decide(&table, now, dice)--> Event --(logged)--> apply(&mut table) --> new state
//! ```

pub(crate) mod apply;
pub mod command;
pub(crate) mod counts;
pub(crate) mod decide;
pub(crate) mod event;
pub(crate) mod filter;
pub(crate) mod intern;
pub(crate) mod model;
pub(crate) mod page;
pub(crate) mod record;
pub(crate) mod rejection;
pub(crate) mod sections;
pub(crate) mod stored;
pub(crate) mod table;

pub use self::model::{failure, job, payload, policy, text};
pub use self::sections::queues;
pub use self::table::digest;
pub use command::{Command, JobSpec, Start};
pub use counts::Counts;
pub use event::{Event, EventKind};
pub use filter::{Filter, JobTest, LISTED_BYTES_MAX};
pub use model::failure::{Failure, FailureKind};
pub use model::job::{Exhausted, JobState, JobView, Status};
pub use model::payload::{Payload, PayloadError, PayloadRef, PayloadStore, UnreadablePayload};
pub use model::policy::{Backoff, NO_TIMEOUT, Policy, Retention, RunLimits};
pub use model::text::{TextAt, TextPart, TextRef};
pub use rejection::Rejection;
pub use table::JobTable;
