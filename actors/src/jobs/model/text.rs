//! Texts that belong to a job and need not be in memory: its payload, what travels with it, what its attempts left behind
//! and what went wrong.
//!
//! Each came with an event, and is found again by the job's number, the position of that event, and which of its texts it
//! is: in the log, or on the pages of the snapshot that holds that stretch of the log.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::ids::Seq;

/// Texts up to this length stay in memory: what one on disk costs to find again is not worth it.
pub const KEPT_BYTES: usize = 64;

/// A text, or how long it is if it is on disk only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextRef<T> {
    /// In memory, whole.
    Here(T),
    /// On disk only, where [`PayloadStore`](super::payload::PayloadStore) finds it.
    Stored {
        /// Its length in bytes.
        bytes: u32,
    },
}

/// A text that came with an event about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventText<T> {
    /// Position of the event.
    pub seq: Seq,
    /// In memory, or left on disk once the event was durable.
    pub text: TextRef<T>,
}

/// Which of the texts of an event. On disk by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextPart {
    /// What the handler gets.
    Payload = 0,
    /// What travels with the job unread.
    Custom = 1,
    /// What an attempt left behind.
    Result = 2,
    /// What went wrong, as JSON.
    Failure = 3,
}

/// Where a text is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextAt {
    /// The job, by the position of its `ENQUEUE`.
    pub job: Seq,
    /// Position of the event that brought it.
    pub seq: Seq,
    /// Which text of that event.
    pub part: TextPart,
}

/// What can be kept on disk: it has a length, and is written as JSON text.
pub trait Storable {
    /// How many bytes its texts take in memory; as JSON, what consists of several is longer.
    fn text_len(&self) -> usize;

    /// Appends it as it is written.
    fn put_json(&self, out: &mut Vec<u8>);
}

/// A text of a job, of any sort.
pub(crate) trait AnyText {
    /// Whether it is on disk only.
    fn is_stored(&self) -> bool;

    /// Whether it is in memory, and long enough to be left on disk.
    fn is_long(&self) -> bool;

    /// Appends it as it is written, if it is in memory.
    fn put_json(&self, out: &mut Vec<u8>);

    /// Forgets the text, if it is long enough to be left on disk.
    fn leave(&mut self);
}

impl TextPart {
    /// All of them, by their numbers.
    pub const ALL: [TextPart; 4] = [TextPart::Payload, TextPart::Custom, TextPart::Result, TextPart::Failure];
}

impl TextAt {
    /// Where a job's payload is.
    #[must_use]
    pub fn payload(job: Seq) -> TextAt {
        TextAt { job, seq: job, part: TextPart::Payload }
    }

    /// Where what travels with a job is.
    #[must_use]
    pub fn custom(job: Seq) -> TextAt {
        TextAt { job, seq: job, part: TextPart::Custom }
    }
}

impl fmt::Display for TextAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            TextPart::Payload => "payload",
            TextPart::Custom => "custom data",
            TextPart::Result => "result",
            TextPart::Failure => "failure",
        };
        write!(f, "the {part} of job number {}", self.job)?;
        if self.seq != self.job {
            write!(f, " from event {}", self.seq)?;
        }
        Ok(())
    }
}

impl<T> EventText<T> {
    /// Where it is found again, as this part of an event about that job.
    #[must_use]
    pub fn place(&self, job: Seq, part: TextPart) -> TextAt {
        TextAt { job, seq: self.seq, part }
    }
}

impl<T> TextRef<T> {
    /// The text, if it is in memory.
    #[must_use]
    #[inline]
    pub fn here(&self) -> Option<&T> {
        match self {
            TextRef::Here(text) => Some(text),
            TextRef::Stored { .. } => None,
        }
    }
}

impl<T: Storable> TextRef<T> {
    /// Its length in bytes.
    #[must_use]
    #[inline]
    pub fn text_len(&self) -> usize {
        match self {
            TextRef::Here(text) => text.text_len(),
            TextRef::Stored { bytes } => *bytes as usize,
        }
    }

    /// Bytes that it takes in memory and need not.
    #[inline]
    pub(crate) fn resident_bytes(&self) -> u64 {
        match self {
            TextRef::Here(text) if text.text_len() > KEPT_BYTES => text.text_len() as u64,
            TextRef::Here(_) | TextRef::Stored { .. } => 0,
        }
    }

    /// Forgets the text, if it is long enough to be left on disk; says how many bytes that frees.
    #[inline]
    pub(crate) fn leave_bytes(&mut self) -> u64 {
        let bytes = self.resident_bytes();
        if bytes > 0 {
            *self =
                TextRef::Stored { bytes: u32::try_from(bytes).expect("texts are bounded far below 4 GiB") };
        }
        bytes
    }
}

impl<T: Storable> AnyText for TextRef<T> {
    fn is_stored(&self) -> bool {
        self.here().is_none()
    }

    fn is_long(&self) -> bool {
        self.resident_bytes() > 0
    }

    fn put_json(&self, out: &mut Vec<u8>) {
        if let Some(text) = self.here() {
            text.put_json(out);
        }
    }

    fn leave(&mut self) {
        self.leave_bytes();
    }
}

impl<T: Serialize> Serialize for TextRef<T> {
    /// As the text; as its length if it is on disk.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            TextRef::Here(text) => text.serialize(serializer),
            TextRef::Stored { bytes } => serializer.collect_str(&format_args!("{bytes} bytes on disk")),
        }
    }
}

impl<T: Serialize> Serialize for EventText<T> {
    /// As the text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}
