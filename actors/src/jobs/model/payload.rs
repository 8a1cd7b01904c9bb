//! A payload: JSON text that was checked once, at the door, and is then passed through unparsed.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::base::surrogates::{ESCAPE_BYTES, lone_surrogate};
use crate::ids::Seq;
use crate::jobs::model::text::{Storable, TextAt, TextRef};

/// Deepest nesting of arrays and objects that is accepted.
pub const DEPTH_MAX: usize = 64;

/// A JSON value as compact text (no white space between tokens). Cloning it shares the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<str>);

/// A payload, in memory or on disk.
pub type PayloadRef = TextRef<Payload>;

/// What a job brings along, and nobody here reads. Travels whole, as a [`Profile`](super::profile::Profile) does; what
/// travels unread is in memory while the job is new, and may be on disk later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content<C = Payload> {
    /// What the handler gets.
    pub payload: PayloadRef,
    /// Travels with the job unread.
    pub custom: Option<C>,
}

/// Finds payloads and other texts of jobs that are not in memory: in the log or in the newest images.
pub trait PayloadStore: Send + Sync {
    /// The text that is there.
    ///
    /// # Errors
    /// It is not there, or not as it was written.
    fn read(&self, at: TextAt) -> Result<Payload, UnreadablePayload>;
}

/// Reads texts back from snapshots.
pub trait ImageTexts: Send + Sync {
    /// Position up to which they hold everything.
    fn last(&self) -> Seq;

    /// The text that is there; none if they do not have it.
    ///
    /// # Errors
    /// It is not there as it was written.
    fn read(&self, at: TextAt) -> Result<Option<Payload>, UnreadablePayload>;
}

/// A text of a job cannot be read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at} cannot be read: {problem}")]
pub struct UnreadablePayload {
    /// Which text of which job.
    pub at: TextAt,
    /// File, place, and what is wrong there.
    pub problem: String,
    /// Whether it is gone for good: what is there is not what was written. Else it may be readable later.
    pub is_lost: bool,
}

/// Text was not acceptable as a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Not JSON; the text says where.
    #[error("payload is not JSON: {0}")]
    NotJson(String),
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("payload is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// An escape in a string is half of a surrogate pair, which readers of JSON refuse.
    #[error("payload has half of a surrogate pair at byte {at}: {escape} alone stands for no character")]
    HalfCharacter {
        /// Where it stands, in the text as it was given.
        at: usize,
        /// The escape.
        escape: String,
    },
}

impl Payload {
    /// The empty object, `{}`.
    #[must_use]
    pub fn empty() -> Payload {
        Payload("{}".into())
    }

    /// The value `null`.
    #[must_use]
    pub fn null() -> Payload {
        Payload("null".into())
    }

    /// Checks that `text` is one JSON value, not nested too deep, and keeps it without white space, and otherwise as it
    /// is: numbers of any size and spelling, names that are given twice, escapes.
    ///
    /// # Errors
    /// See [`PayloadError`].
    pub fn parse(text: &str) -> Result<Payload, PayloadError> {
        // The depth first: a reader that recurses must never see ten thousand brackets.
        let compact = compact(text)?;
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| PayloadError::NotJson(error.to_string()))?;
        only_whole_characters(text)?;
        Ok(Payload(compact.into()))
    }

    /// As [`Payload::parse`], for text that a JSON reader has already found valid.
    ///
    /// # Errors
    /// It is deeper than [`DEPTH_MAX`], or has half of a character.
    pub fn from_raw(raw: &RawValue) -> Result<Payload, PayloadError> {
        let compact = compact(raw.get())?;
        only_whole_characters(raw.get())?;
        Ok(Payload(compact.into()))
    }

    /// Turns any serialisable value into a payload.
    ///
    /// # Errors
    /// It cannot be written as JSON, or is deeper than [`DEPTH_MAX`].
    pub fn from_value<T: Serialize>(value: &T) -> Result<Payload, PayloadError> {
        let text = serde_json::to_string(value).map_err(|error| PayloadError::NotJson(error.to_string()))?;
        Ok(Payload(compact(&text)?.into()))
    }

    /// Text that was a payload when it was written to disk.
    pub(crate) fn trusted(text: &str) -> Payload {
        Payload(text.into())
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the payload as a typed value.
    ///
    /// # Errors
    /// It does not have that shape; the text says where.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl Storable for Payload {
    fn text_len(&self) -> usize {
        self.0.len()
    }

    fn put_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Payload {
    /// As JSON inside JSON; as a string in every binary format.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_str(&self.0);
        }
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// The grammar of JSON allows half of a surrogate pair, which no reader can make text of.
fn only_whole_characters(json: &str) -> Result<(), PayloadError> {
    match lone_surrogate(json, 0) {
        None => Ok(()),
        Some(at) => Err(PayloadError::HalfCharacter { at, escape: json[at..at + ESCAPE_BYTES].to_owned() }),
    }
}

/// Shorter strings are gone through byte by byte.
const SHORT_STRING_BYTES: usize = 16;

/// Copies JSON text without the white space between tokens and refuses what is nested too deep.
/// Text that is not JSON comes out as some other text that is not JSON.
fn compact(text: &str) -> Result<String, PayloadError> {
    let mut out = String::with_capacity(text.len());
    let bytes = text.as_bytes();
    let (mut at, mut copied, mut depth) = (0, 0, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {
                out.push_str(&text[copied..at]);
                copied = at + 1;
            }
            b'"' => {
                at = string_end(text, at + 1);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(PayloadError::TooDeep);
        }
        at += 1;
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

/// Where a string ends whose text begins at `start`: behind its closing quote.
///
/// Long strings are most of what is copied, so they are searched for quotes instead of being looked at byte by byte
/// (`docs/decisions/0020-small-measurements.md`).
fn string_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = start;
    // In short strings a search would cost more than it saves.
    while let Some(&byte) = bytes.get(at)
        && at < start + SHORT_STRING_BYTES
    {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 1,
            _ => {}
        }
        at += 1;
    }
    // The rest of a character is neither a quote nor an escape.
    at = text.ceil_char_boundary(at);
    while let Some(found) = text[at..].find('"') {
        let quote = at + found;
        let escapes = bytes[start..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        at = quote + 1;
        if escapes % 2 == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_only_between_tokens() {
        let payload = Payload::parse(" { \"a b\" : [ 1 , \"c \\\" d\\\\\" ] }\n").unwrap();
        assert_eq!(payload.as_str(), r#"{"a b":[1,"c \" d\\"]}"#);
    }

    /// [`compact`], a byte after the other.
    fn compact_by_definition(text: &str) -> String {
        let (mut in_string, mut escaped) = (false, false);
        let is_kept = |byte: &u8| {
            let was_in_string = in_string;
            in_string = if in_string { escaped || *byte != b'"' } else { *byte == b'"' };
            escaped = was_in_string && !escaped && *byte == b'\\';
            was_in_string || !b" \n\r\t".contains(byte)
        };
        String::from_utf8(text.bytes().filter(is_kept).collect()).unwrap()
    }

    #[test]
    fn strings_end_where_a_quote_is_not_escaped_in_every_short_text() {
        const LETTERS: [&str; 5] = ["\"", "\\", " ", "[", "é"];
        const LENGTH: u32 = 6;
        for number in 0..LETTERS.len().pow(LENGTH) {
            let letter = |place| LETTERS[number / LETTERS.len().pow(place) % LETTERS.len()];
            let text: String = (0..LENGTH).map(letter).collect();
            // Once at the start, and once where a string has just become long.
            for start in ["", "\"0123456789abcd"] {
                let text = format!("{start}{text}");
                assert_eq!(compact(&text).unwrap(), compact_by_definition(&text), "{text}");
            }
        }
    }

    #[test]
    fn ten_thousand_brackets_are_refused_without_recursion() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert_eq!(Payload::parse(&deep), Err(PayloadError::TooDeep));
        let fits = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
        assert!(Payload::parse(&fits).is_ok());
    }

    /// Row 84.
    #[test]
    fn half_of_a_character_is_refused_with_its_place_and_every_number_is_kept_as_it_is_written() {
        let half = |at, escape: &str| Err(PayloadError::HalfCharacter { at, escape: escape.to_owned() });
        assert_eq!(Payload::parse(r#"[ "a\ud83d" ]"#), half(4, "\\ud83d"));
        let raw = RawValue::from_string(r#"{"\uDFFF":1}"#.to_owned()).unwrap();
        assert_eq!(Payload::from_raw(&raw), half(2, "\\uDFFF"));
        for text in ["1e400", "[-2e999,1.10,-0,123456789012345678901]", r#"{"a":1,"a":2,"\u0000":"\/"}"#] {
            assert_eq!(Payload::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn text_that_is_not_json_is_refused() {
        for text in ["", "{", "nul", "1 2", "{\"a\":}", "[1,]"] {
            assert!(matches!(Payload::parse(text), Err(PayloadError::NotJson(_))), "{text}");
        }
    }
}
