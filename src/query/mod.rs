//! Which jobs are meant: one language for HTTP, the command line and the work protocol.
//!
//! `words` reads and writes filters and what is done to a set, `queue_words` which queues are meant, `glob` is a pattern, `fits` holds it against a job,
//! `spelling` makes one of the many ways to write a text.

pub(crate) mod fits;
pub(crate) mod glob;
pub(crate) mod queue_words;
mod spelling;
pub(crate) mod words;
