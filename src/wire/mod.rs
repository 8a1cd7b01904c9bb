//! The forms in which things travel as JSON, each with its reader and its writer.
//!
//! `job` is a job in our own API, `faktory_job` one in the work protocol; `null` is how both take what was left out.

pub mod faktory_job;
pub mod job;
pub(crate) mod null;
