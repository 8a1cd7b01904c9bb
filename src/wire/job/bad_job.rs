//! What is wrong with a text of jobs, and where.

use std::fmt;

/// A text was refused: where and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadJob {
    /// What sort of trouble.
    pub kind: BadJobKind,
    /// The line of the text, from 1.
    pub line: Option<usize>,
    /// The byte in that line, from 1; only where the text is not JSON.
    pub column: Option<usize>,
    /// Which job of an array, from 1.
    pub index: Option<usize>,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What sort of trouble a text has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadJobKind {
    /// It is not JSON.
    NotJson,
    /// It is JSON, but not a job.
    NotAJob,
    /// A payload exceeds [`payload_bytes_max`](super::JobDefaults::payload_bytes_max).
    PayloadTooLarge,
    /// All jobs together exceed [`jobs_bytes_max`](super::JobDefaults::jobs_bytes_max).
    RequestTooLarge,
}

impl BadJobKind {
    /// Stable name for programs.
    #[must_use]
    pub(crate) fn code(self) -> &'static str {
        match self {
            BadJobKind::NotJson => "bad_json",
            BadJobKind::NotAJob => "bad_job",
            BadJobKind::PayloadTooLarge => "payload_too_large",
            BadJobKind::RequestTooLarge => "request_too_large",
        }
    }
}

impl fmt::Display for BadJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.index, self.line, self.column) {
            (Some(index), Some(line), Some(column)) => {
                write!(f, "job {index}: {} (line {line}, column {column})", self.message)
            }
            (Some(index), Some(line), None) => write!(f, "job {index}: {} (line {line})", self.message),
            (Some(index), None, _) => write!(f, "job {index}: {}", self.message),
            (None, Some(line), Some(column)) => write!(f, "line {line}: {} (column {column})", self.message),
            (None, Some(line), None) => write!(f, "line {line}: {}", self.message),
            (None, None, _) => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for BadJob {}
