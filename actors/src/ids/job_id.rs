//! Names of jobs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::invalid::{InvalidName, printable};
use crate::ids::timestamp::Timestamp;

/// Longest job id that is accepted, in bytes.
pub const JOB_ID_BYTES_MAX: usize = 1_024;

/// Name of a job, unique among the jobs that beaver still knows.
///
/// Given by the producer (1 to 1,024 bytes of UTF-8 without control characters) or generated as a
/// [ULID](https://github.com/ulid/spec), which takes 16 bytes without an allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct JobId(Repr);

/// Each text has one form only, so that equal text is always equal here.
#[derive(Clone, PartialEq, Eq)]
enum Repr {
    /// Only for text that is the canonical form.
    Ulid(UlidBytes),
    /// Up to [`SHORT_ID_BYTES`], without an allocation.
    Short(ShortText),
    Text(Box<str>),
}

/// Sixteen bytes that are moved as two words: from an odd place they would be moved in pieces, and a piece that was
/// written in other pieces a moment ago is not at hand before all of them have left the processor.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(align(8))]
struct UlidBytes([u8; 16]);

/// What fits beside its length where an id is kept anyway; most ids that clients make do.
const SHORT_ID_BYTES: usize = 22;

/// A short text; what is behind its end is zero.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ShortText {
    len: u8,
    bytes: [u8; SHORT_ID_BYTES],
}

impl ShortText {
    /// None if it is too long.
    fn new(text: &str) -> Option<ShortText> {
        let mut bytes = [0; SHORT_ID_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(ShortText { len: text.len() as u8, bytes })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("it was made of a text")
    }
}

impl Hash for JobId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // One call each, which costs about half of what the parts of an enum do.
        match &self.0 {
            Repr::Ulid(ulid) => state.write(&ulid.0),
            Repr::Short(text) => state.write(text.as_str().as_bytes()),
            Repr::Text(text) => state.write(text.as_bytes()),
        }
    }
}

impl JobId {
    /// No job has this one.
    pub(crate) const NOBODY: JobId = JobId(Repr::Short(ShortText { len: 0, bytes: [0; SHORT_ID_BYTES] }));

    /// A new id from the time and 80 bits of dice (the upper 48 bits of `random` are ignored).
    #[must_use]
    pub fn generate(now: Timestamp, random: u128) -> JobId {
        JobId::of_ulid(ulid::Ulid::from_parts(now.0, random).to_bytes())
    }

    /// Reads an id that a producer gave.
    ///
    /// # Errors
    /// The text is empty, longer than [`JOB_ID_BYTES_MAX`] or has a control character.
    pub fn parse(text: &str) -> Result<JobId, InvalidName> {
        printable("id", text, JOB_ID_BYTES_MAX)?;
        Ok(JobId::from_valid(text))
    }

    /// Length of the id as text, in bytes.
    #[must_use]
    pub fn text_len(&self) -> usize {
        match &self.0 {
            Repr::Ulid(_) => ulid::ULID_LEN,
            Repr::Short(text) => usize::from(text.len),
            Repr::Text(text) => text.len(),
        }
    }

    /// Eight bytes in which ids that were made one after the other differ: the last ones, mostly.
    #[inline]
    pub(crate) fn last_bytes(&self) -> u64 {
        let bytes = match self.bytes() {
            Ok(bytes) => &bytes[..],
            Err(text) => text,
        };
        match bytes.last_chunk() {
            Some(last) => u64::from_le_bytes(*last),
            None => bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        }
    }

    /// As [`JobId::parts`], for who does not care that it is text.
    #[inline]
    pub(crate) fn bytes(&self) -> Result<&[u8; 16], &[u8]> {
        match &self.0 {
            Repr::Ulid(ulid) => Ok(&ulid.0),
            Repr::Short(text) => Err(&text.bytes[..usize::from(text.len)]),
            Repr::Text(text) => Err(text.as_bytes()),
        }
    }

    /// The sixteen bytes of a generated id, or the text of a given one.
    #[inline]
    pub(crate) fn parts(&self) -> Result<&[u8; 16], &str> {
        match &self.0 {
            Repr::Ulid(ulid) => Ok(&ulid.0),
            Repr::Short(text) => Err(text.as_str()),
            Repr::Text(text) => Err(text),
        }
    }

    /// The generated one of these bytes.
    #[inline]
    pub(crate) fn of_ulid(bytes: [u8; 16]) -> JobId {
        JobId(Repr::Ulid(UlidBytes(bytes)))
    }

    fn from_valid(text: &str) -> JobId {
        let canonical = (text.len() == ulid::ULID_LEN).then(|| ulid::Ulid::from_string(text).ok()).flatten();
        match canonical {
            Some(ulid) if ulid.to_string() == text => JobId::of_ulid(ulid.to_bytes()),
            _ => JobId(ShortText::new(text).map_or_else(|| Repr::Text(text.into()), Repr::Short)),
        }
    }
}

/// When a generated id was made, as it says itself, in milliseconds since 1970.
#[inline]
pub(crate) fn made_at(ulid: &[u8; 16]) -> u64 {
    (u128::from_be_bytes(*ulid) >> 80) as u64
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Ulid(ulid) => ulid::Ulid::from_bytes(ulid.0).fmt(f),
            Repr::Short(text) => text.as_str().fmt(f),
            Repr::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

impl FromStr for JobId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<JobId, InvalidName> {
        JobId::parse(text)
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Repr::Ulid(ulid) if !serializer.is_human_readable() => serializer.serialize_bytes(&ulid.0),
            Repr::Ulid(_) => serializer.collect_str(self),
            Repr::Short(text) => serializer.serialize_str(text.as_str()),
            Repr::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JobId, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = JobId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a job id")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<JobId, E> {
                JobId::parse(text).map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<JobId, E> {
                let bytes = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(JobId::of_ulid(bytes))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_reads_back_as_itself_and_text_is_compared_as_text() {
        let id = JobId::generate(Timestamp(1_700_000_000_000), 42);
        assert_eq!(JobId::parse(&id.to_string()).unwrap(), id);
        let lower = id.to_string().to_lowercase();
        assert_ne!(JobId::parse(&lower).unwrap(), id);
        assert_eq!(JobId::parse(&lower).unwrap().to_string(), lower);
    }

    #[test]
    fn ids_survive_both_encodings() {
        for text in ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "order-17", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "é"] {
            let id = JobId::parse(text).unwrap();
            assert_eq!(id.to_string(), text);
            let packed = rmp_serde::to_vec(&id).unwrap();
            assert_eq!(rmp_serde::from_slice::<JobId>(&packed).unwrap(), id);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<JobId>(&json).unwrap(), id);
        }
    }
}
