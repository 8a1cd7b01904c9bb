//! The pure part: what a job is and how it changes. No actix, no tokio, no files, no clock, no dice of its own.
//!
//! Reading order: [`job`] (a job and its states), [`failure`], [`command`] (what can be asked), [`event`] (what can
//! happen), [`table`] (decide and apply; `view` is what it tells), [`queues`] (what is known of each), [`filter`] (sets of
//! jobs), `kept` and `classes` (a job in memory), `slots` (all of them), `ready`, `heads`,
//! `leases`, `list`, `id_index` and `recent` (the indexes),
//! [`policy`] (the numbers).
//!
//! ```text
//! Command --decide(&table, now, dice)--> Event --(logged)--> apply(&mut table) --> new state
//! ```

pub mod command;
pub mod digest;
pub mod event;
pub mod failure;
pub mod job;
pub mod payload;
pub mod policy;

mod check;
mod classes;
pub(crate) mod convert;
pub mod counts;
mod decide;
pub mod filter;
mod heads;
mod id_index;
mod kept;
mod lane;
mod leases;
mod list;
mod names;
pub mod page;
pub mod queues;
mod ready;
mod recent;
pub mod record;
mod restore;
mod slots;
pub mod table;
mod view;

pub use command::{Command, JobSpec, Rejection, Start};
pub use counts::Counts;
pub use event::{Change, Event};
pub use failure::{Failure, FailureKind};
pub use filter::Filter;
pub use job::{Exhausted, JobState, JobView, Status};
pub use payload::{Bodies, Body, BodyError, Payload};
pub use policy::{Backoff, Policy, Retention};
pub use table::JobTable;
