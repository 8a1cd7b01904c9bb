//! The JSON form of a job: one home for what HTTP, files and the command line accept.
//!
//! A text holds one object, an array of objects, or one object a line; which of them is found out from the
//! text itself. All of it is good, or nothing comes out. Payloads are passed through as text: nothing here
//! builds a tree of values, recurses into nested brackets, or copies what will be refused.
//!
//! | field | is | when absent or `null` |
//! |---|---|---|
//! | `id` | 1 to 1,024 bytes of text | generated |
//! | `kind` | a name | from [`JobDefaults`]; refused if that has none |
//! | `queue` | a name | from [`JobDefaults`] |
//! | `payload` | any JSON value (here `null` is a value) | `{}` |
//! | `priority` | 0 to 9, 9 first | 5 |
//! | `run_at` | RFC 3339 text; not together with `delay` | now |
//! | `delay` | `"5m"`, or a number of milliseconds; text without a unit is seconds | now |
//! | `timeout` | `"30s"`, milliseconds, or `"none"` | the server's `task_timeout`, of kind `exec` its `exec_timeout` |
//! | `max_retry` | an integer; 0 is never again | the server's `max_retry`, of kind `exec` its `exec_max_retry` |
//! | `backoff` | the pauses between attempts: see there | `"server"` |
//! | `exhausted` | what becomes of it when all attempts failed: `"dead"`, or `"drop"` (cancelled) | `"dead"` |
//! | `custom` | an object that travels with the job unread | none |
//!
//! `read` reads jobs out of text, `bad_job` says what is wrong where; `backoff` and `values` are how single
//! fields are written; `write` is a job on its way to a server.

mod backoff;
mod bad_job;
mod read;
mod values;
mod write;

use beaver_actors::jobs::JobSpec;

pub(crate) use bad_job::{BadJob, BadJobKind};
pub use read::JobDefaults;
pub use write::write_line;

use read::Reader;

/// Jobs that were read, in the order of the text.
#[derive(Debug)]
pub struct ParsedJobs {
    /// At least one.
    pub specs: Vec<JobSpec>,
    /// How the text was written, and so how an answer should be.
    pub shape: Shape,
}

/// How a text was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A single object.
    One,
    /// An array, or several objects, one a line.
    Many,
}

/// Reads all jobs of `text`: one object, an array of objects, or one object a line (blank lines are skipped).
///
/// # Errors
/// The first thing that is wrong. There is no partial result.
pub fn parse_jobs(text: &str, defaults: &JobDefaults) -> Result<ParsedJobs, BadJob> {
    // Some editors put a byte order mark in front; it means nothing in UTF-8.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::new(text, defaults);
    match text.trim_ascii_start().as_bytes().first() {
        None => Err(no_jobs()),
        Some(b'[') => {
            let specs = reader.array()?;
            if specs.is_empty() { Err(no_jobs()) } else { Ok(ParsedJobs { specs, shape: Shape::Many }) }
        }
        Some(_) => one_or_lines(text, &mut reader),
    }
}

/// One object may itself span lines, so the number of lines alone does not tell.
fn one_or_lines(text: &str, reader: &mut Reader<'_>) -> Result<ParsedJobs, BadJob> {
    match reader.first() {
        Ok((spec, rest)) if rest.trim_ascii().is_empty() => {
            Ok(ParsedJobs { specs: vec![spec], shape: Shape::One })
        }
        // An unfinished line shows only in the line after it. When that begins like a job of its own, the text is
        // one object a line, and the unfinished line is the one to name.
        Err(bad_job) if !second_line_begins_an_object(text) => Err(bad_job),
        _ => Ok(ParsedJobs { specs: reader.lines()?, shape: Shape::Many }),
    }
}

fn second_line_begins_an_object(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_ascii_start).filter(|line| !line.is_empty());
    lines.nth(1).is_some_and(|line| line.starts_with('{'))
}

fn no_jobs() -> BadJob {
    BadJob {
        kind: BadJobKind::NotAJob,
        line: None,
        column: None,
        index: None,
        message: "no jobs in the input".into(),
    }
}

#[cfg(test)]
mod tests;
