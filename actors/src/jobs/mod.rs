//! The pure part: what a job is and how it changes. No actix, no tokio, no files, no clock, no dice of its own.
//!
//! Reading order: [`job`] (a job and its states), [`command`] (what can be asked), [`event`] (what can
//! happen), [`table`] (decide and apply), `ready` and `list` (the indexes), [`policy`] (the numbers).
//!
//! ```text
//! Command --decide(&table, now, dice)--> Event --(logged)--> apply(&mut table) --> new state
//! ```

pub mod command;
pub mod digest;
pub mod event;
pub mod job;
pub mod payload;
pub mod policy;

mod check;
mod decide;
mod id_index;
mod list;
mod names;
mod ready;
pub mod record;
pub mod table;

pub use command::{Command, JobSpec, Rejection, Start};
pub use event::{Change, Event};
pub use job::{Failure, FailureKind, JobState, JobView, Status};
pub use payload::Payload;
pub use policy::{Policy, Retention};
pub use table::{Counts, JobTable};
