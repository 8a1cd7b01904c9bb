//! The forms in which things travel as JSON, each with its reader and its writer.
//!
//! `job` is a job in our own API, `faktory_job` one in the work protocol; `answers` is what the API says. Writers use
//! `append`, readers `text` and `last_names`; `null` is how they take what was left
//! out, `for_people` how they take what only people read.

pub(crate) mod answers;
mod append;
pub(crate) mod faktory_job;
pub(crate) mod for_people;
pub(crate) mod job;
mod last_names;
pub(crate) mod null;
mod text;
