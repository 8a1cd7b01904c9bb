//! A failed attempt, as it is kept with its job.

use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, Timestamp};
use crate::jobs::model::payload::Payload;
use crate::jobs::model::text::{EventText, Storable};

/// How many of a job's last failed attempts are kept with it.
pub const FAILURES_KEPT: usize = 5;
/// Longest failure message that is kept, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// Longest name of an error that is kept, in bytes.
pub const ERRTYPE_BYTES_MAX: usize = 400;
/// How many lines of a backtrace are kept.
pub const BACKTRACE_LINES_MAX: usize = 50;
/// Longest line of a backtrace that is kept, in bytes.
pub const BACKTRACE_LINE_BYTES_MAX: usize = 1024;

/// Why an attempt did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The handler said so.
    Error,
    /// The handler panicked; the message is the panic's.
    Panic,
    /// It ran longer than its timeout, or its lease expired.
    Timeout,
    /// The worker or the server ended while it ran.
    Lost,
    /// The server lacked what it takes to run it: it never began.
    Undelivered,
    /// The payload is damaged on disk: it never began, and cannot.
    PayloadLost,
}

impl FailureKind {
    /// As it is written on disk.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            FailureKind::Error => 0,
            FailureKind::Panic => 1,
            FailureKind::Timeout => 2,
            FailureKind::Lost => 3,
            FailureKind::Undelivered => 4,
            FailureKind::PayloadLost => 5,
        }
    }

    /// The reverse of [`FailureKind::number`].
    #[must_use]
    pub fn from_number(number: u8) -> Option<FailureKind> {
        const ALL: [FailureKind; 6] = [
            FailureKind::Error,
            FailureKind::Panic,
            FailureKind::Timeout,
            FailureKind::Lost,
            FailureKind::Undelivered,
            FailureKind::PayloadLost,
        ];
        ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// One attempt that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whether the handler failed, panicked, ran out of time, and so on.
    pub kind: FailureKind,
    /// In the handler's words, at most [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// The name of the error in the worker's language, at most [`ERRTYPE_BYTES_MAX`] bytes; empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub errtype: String,
    /// Where it happened, innermost first, at most [`BACKTRACE_LINES_MAX`] lines of [`BACKTRACE_LINE_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

impl Failure {
    /// A failure with its message cut to what is kept.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        let message = cut(message.into(), MESSAGE_BYTES_MAX);
        Failure { kind, message, errtype: String::new(), backtrace: Vec::new() }
    }

    /// From the text by which it was kept on disk; what is no such text is told instead.
    #[must_use]
    pub fn of_json(text: &Payload) -> Failure {
        text.read().unwrap_or_else(|error| Failure::unreadable(&error))
    }

    /// Stands for one that cannot be read back: it is only for people, and must not be in the way of its job.
    #[must_use]
    pub fn unreadable(problem: &dyn std::fmt::Display) -> Failure {
        Failure::new(FailureKind::Error, format!("what went wrong cannot be read back: {problem}"))
    }

    /// The same with the name of the error, cut to what is kept.
    #[must_use]
    pub fn of_type(self, errtype: impl Into<String>) -> Failure {
        Failure { errtype: cut(errtype.into(), ERRTYPE_BYTES_MAX), ..self }
    }

    /// The same with a backtrace, cut to what is kept.
    #[must_use]
    pub fn with_backtrace(self, lines: impl IntoIterator<Item = String>) -> Failure {
        let kept = lines.into_iter().take(BACKTRACE_LINES_MAX);
        let backtrace = kept.map(|line| cut(line, BACKTRACE_LINE_BYTES_MAX)).collect();
        Failure { backtrace, ..self }
    }

    /// How long its texts are.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let Failure { kind: _, message, errtype, backtrace } = self;
        message.len() + errtype.len() + backtrace.iter().map(String::len).sum::<usize>()
    }

    /// As the text by which it is kept on disk.
    #[must_use]
    pub fn to_json(&self) -> Payload {
        Payload::trusted(&serde_json::to_string(self).expect("writing plain data to memory cannot fail"))
    }
}

impl Storable for Box<Failure> {
    fn text_len(&self) -> usize {
        self.text_bytes()
    }

    fn put_json(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, self).expect("writing plain data to memory cannot fail");
    }
}

/// The beginning of a text, at most `bytes_max` bytes of it.
fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.shrink_to_fit();
    }
    text
}

/// A failed attempt, with what went wrong in memory or on disk.
pub type KeptFailure = FailedAttempt<EventText<Box<Failure>>>;

/// A failed attempt as it is kept with its job; inside of the engine with a failure that may be on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt<F = Failure> {
    /// Number of the attempt, from 1.
    pub attempt: Attempt,
    /// When the attempt ended.
    pub at: Timestamp,
    /// When the next one was due, if it had to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// Whether it counts against `max_retry`.
    pub counted: bool,
    /// Kind, message and backtrace of what went wrong.
    pub failure: F,
}

impl<F> FailedAttempt<F> {
    /// For how long the job had to pause, in milliseconds, if the attempt never began for lack of something in the server.
    #[must_use]
    pub fn postponed_for_ms(&self) -> Option<u64> {
        self.next_at.filter(|_| !self.counted).map(|next_at| next_at.since_ms(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::model::text::{AnyText, KEPT_BYTES, TextRef};

    #[test]
    fn only_long_texts_are_left_on_disk_and_say_how_long_they_are() {
        for (bytes, is_long) in [(KEPT_BYTES, false), (KEPT_BYTES + 1, true)] {
            let text = "1".repeat(bytes);
            let mut payload = TextRef::Here(Payload::parse(&text).unwrap());
            let mut failure = TextRef::Here(Box::new(Failure::new(FailureKind::Error, &*text)));
            for text in [&mut payload as &mut dyn AnyText, &mut failure] {
                assert_eq!((text.is_long(), text.is_stored()), (is_long, false));
                text.leave();
                assert_eq!((text.is_long(), text.is_stored()), (false, is_long));
            }
            assert_eq!((payload.text_len(), failure.text_len()), (bytes, bytes));
        }
    }

    #[test]
    fn a_failure_reads_back_from_its_text() {
        let failure =
            Failure::new(FailureKind::Panic, "no \u{1}\"").of_type("E").with_backtrace(["a".into()]);
        assert_eq!(Failure::of_json(&failure.to_json()), failure);
    }
}
