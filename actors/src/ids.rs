//! The newtypes that everything else counts and names with.
//!
//! Two bare `u64` arguments are a trap; these cannot be swapped by accident. Nothing here does I/O, and
//! the only parsing is that of names that people give (job ids, queues, kinds).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest job id that is accepted, in bytes.
pub const JOB_ID_BYTES_MAX: usize = 255;
/// Longest queue or kind name that is accepted, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Position of an event in the log: 1 for the first one, then without gaps. 0 means "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first event.
    pub const ZERO: Lsn = Lsn(0);

    /// No log gets here: a position beyond it in a file is damage, and is refused before anything counts on from it.
    pub const MAX: Lsn = Lsn(u64::MAX >> 1);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }

    /// The position `count` events further on.
    #[must_use]
    pub fn plus(self, count: u64) -> Lsn {
        Lsn(self.0 + count)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fencing token: names one lease, and a later lease always has a larger one.
///
/// It is the [`Lsn`] of the event that dispatched the job, so it is unique and strictly increasing for free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which run of a job this is: 0 before the first, 1 during the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A local worker: its place in the pool. It keeps the number when it is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker[{}]", self.0)
    }
}

/// A worker outside of this process, as it introduced itself; empty for one that did not.
///
/// All that share the name share their leases: a worker process may fetch on one connection and report on another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RemoteName(Arc<str>);

impl RemoteName {
    /// Reads a name that a worker gave itself: 1 to 255 bytes of UTF-8 without control characters.
    ///
    /// # Errors
    /// The text is empty, too long, or has a control character.
    pub fn parse(text: &str) -> Result<RemoteName, InvalidName> {
        printable("worker", text, JOB_ID_BYTES_MAX)?;
        Ok(RemoteName(text.into()))
    }

    /// A worker without a name.
    #[must_use]
    pub fn anonymous() -> RemoteName {
        RemoteName("".into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            "" => f.write_str("a remote worker without a name"),
            name => write!(f, "remote worker {name:?}"),
        }
    }
}

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Holder {
    /// One of this process's pool; its leases end with the process.
    Local(WorkerId),
    /// Somebody at the other end of a connection; such a lease outlives both the connection and the server.
    Remote(RemoteName),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Local(worker) => worker.fmt(f),
            Holder::Remote(worker) => worker.fmt(f),
        }
    }
}

/// One of the supervisor's children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildId {
    /// The log.
    Wal,
    /// The job table.
    Manager,
    /// Snapshots.
    Snapshot,
    /// One of the pool.
    Worker(WorkerId),
}

impl fmt::Display for ChildId {
    /// As a path in the tree.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChildId::Wal => f.write_str("supervisor/wal"),
            ChildId::Manager => f.write_str("supervisor/manager"),
            ChildId::Snapshot => f.write_str("supervisor/snapshot"),
            ChildId::Worker(worker) => write!(f, "supervisor/{worker}"),
        }
    }
}

/// A moment: milliseconds since 1970-01-01 UTC. People read and write it as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `ms` milliseconds later; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment, 0 if `earlier` is not earlier.
    #[must_use]
    pub fn since_ms(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(moment) => write!(f, "{moment:.3}"),
            None => write!(f, "{} ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Timestamp, InvalidName> {
        let moment = text.parse::<jiff::Timestamp>().map_err(|_| {
            InvalidName::new("time", text, "is not an RFC 3339 moment such as 2026-11-21T09:30:00Z")
        })?;
        u64::try_from(moment.as_millisecond())
            .map(Timestamp)
            .map_err(|_| InvalidName::new("time", text, "is before 1970"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_u64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
        }
        u64::deserialize(deserializer).map(Timestamp)
    }
}

/// A name that a person gave is not acceptable. Says which, what is wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} {problem}")]
pub struct InvalidName {
    what: &'static str,
    given: String,
    problem: String,
}

impl InvalidName {
    fn new(what: &'static str, given: &str, problem: impl Into<String>) -> InvalidName {
        // A 10 KB id must not become a 10 KB message.
        let mut shown: String = given.chars().take(40).collect();
        if shown.len() < given.len() {
            shown.push('…');
        }
        InvalidName { what, given: shown, problem: problem.into() }
    }
}

/// Name of a job, unique among the jobs that beaver still knows.
///
/// Given by the producer (1 to 255 bytes of UTF-8 without control characters) or generated as a
/// [ULID](https://github.com/ulid/spec), which takes 16 bytes without an allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct JobId(Repr);

/// Each text has one form only, so that equal text is always equal here.
#[derive(Clone, PartialEq, Eq)]
enum Repr {
    /// Only for text that is the canonical form.
    Ulid([u8; 16]),
    /// Up to [`SHORT_ID_BYTES`], without an allocation.
    Short(ShortText),
    Text(Box<str>),
}

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
            Repr::Ulid(bytes) => state.write(bytes),
            Repr::Short(text) => state.write(text.as_str().as_bytes()),
            Repr::Text(text) => state.write(text.as_bytes()),
        }
    }
}

impl JobId {
    /// A new id from the time and 80 bits of dice (the upper 48 bits of `random` are ignored).
    #[must_use]
    pub fn generate(now: Timestamp, random: u128) -> JobId {
        JobId(Repr::Ulid(ulid::Ulid::from_parts(now.0, random).to_bytes()))
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
    pub(crate) fn bytes(&self) -> Result<&[u8; 16], &[u8]> {
        match &self.0 {
            Repr::Ulid(bytes) => Ok(bytes),
            Repr::Short(text) => Err(&text.bytes[..usize::from(text.len)]),
            Repr::Text(text) => Err(text.as_bytes()),
        }
    }

    /// The sixteen bytes of a generated id, or the text of a given one.
    pub(crate) fn parts(&self) -> Result<&[u8; 16], &str> {
        match &self.0 {
            Repr::Ulid(bytes) => Ok(bytes),
            Repr::Short(text) => Err(text.as_str()),
            Repr::Text(text) => Err(text),
        }
    }

    /// The reverse of [`JobId::parts`], with the checks of [`JobId::parse`].
    pub(crate) fn from_parts(parts: Result<[u8; 16], &str>) -> Result<JobId, InvalidName> {
        match parts {
            Ok(bytes) => Ok(JobId(Repr::Ulid(bytes))),
            Err(text) => JobId::parse(text),
        }
    }

    fn from_valid(text: &str) -> JobId {
        let canonical = (text.len() == ulid::ULID_LEN).then(|| ulid::Ulid::from_string(text).ok()).flatten();
        match canonical {
            Some(ulid) if ulid.to_string() == text => JobId(Repr::Ulid(ulid.to_bytes())),
            _ => JobId(ShortText::new(text).map_or_else(|| Repr::Text(text.into()), Repr::Short)),
        }
    }
}

/// When a generated id was made, as it says itself, in milliseconds since 1970.
pub(crate) fn made_at(ulid: &[u8; 16]) -> u64 {
    (u128::from_be_bytes(*ulid) >> 80) as u64
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Ulid(bytes) => ulid::Ulid::from_bytes(*bytes).fmt(f),
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
            Repr::Ulid(bytes) if !serializer.is_human_readable() => serializer.serialize_bytes(bytes),
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
                Ok(JobId(Repr::Ulid(bytes)))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

/// Name of a queue: 1 to 128 characters of `a-z A-Z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct QueueName(Arc<str>);

/// Which handler runs a job: 1 to 128 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct KindName(Arc<str>);

impl QueueName {
    /// Reads a queue's name.
    ///
    /// # Errors
    /// It is empty, too long, or has a character outside `a-z A-Z 0-9 . _ -`.
    pub fn parse(text: &str) -> Result<QueueName, InvalidName> {
        printable("queue", text, NAME_BYTES_MAX)?;
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return Err(InvalidName::new("queue", text, "may only use a-z A-Z 0-9 . _ -"));
        }
        Ok(QueueName(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl KindName {
    /// Reads a kind's name.
    ///
    /// # Errors
    /// It is empty, too long, or has a control character.
    pub fn parse(text: &str) -> Result<KindName, InvalidName> {
        printable("kind", text, NAME_BYTES_MAX)?;
        Ok(KindName(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for QueueName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<QueueName, D::Error> {
        QueueName::parse(&std::borrow::Cow::<str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for KindName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KindName, D::Error> {
        KindName::parse(&std::borrow::Cow::<str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// 0 to 9; a job of a higher priority is dispatched before all of a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Priority(u8);

impl Priority {
    /// The most urgent.
    pub const MAX: Priority = Priority(9);

    /// Checks that it is 0 to 9.
    ///
    /// # Errors
    /// It is larger than 9.
    pub fn new(level: u8) -> Result<Priority, InvalidName> {
        match level <= Priority::MAX.0 {
            true => Ok(Priority(level)),
            false => Err(InvalidName::new("priority", &level.to_string(), "is not 0 to 9 (9 is first)")),
        }
    }

    /// The number, 0 to 9.
    #[must_use]
    pub fn level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    /// In the middle, so that there is room on both sides.
    fn default() -> Priority {
        Priority(5)
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Priority, D::Error> {
        Priority::new(u8::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

fn printable(what: &'static str, text: &str, bytes_max: usize) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::new(what, text, "is empty"));
    }
    if text.len() > bytes_max {
        return Err(InvalidName::new(
            what,
            text,
            format!("has {} bytes, and at most {bytes_max} are allowed", text.len()),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidName::new(what, text, "has a control character"));
    }
    Ok(())
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

    #[test]
    fn a_bad_name_is_named_and_shortened_in_its_error() {
        let error = JobId::parse(&"x".repeat(10_000)).unwrap_err().to_string();
        assert!(error.contains("10000 bytes") && error.contains("at most 255"), "{error}");
        assert!(error.len() < 200, "{error}");
        assert!(JobId::parse("").is_err());
        assert!(JobId::parse("a\nb").is_err());
        assert!(QueueName::parse("mail/out").unwrap_err().to_string().contains("a-z A-Z 0-9 . _ -"));
        assert!(Priority::new(10).is_err());
    }

    #[test]
    fn a_timestamp_is_read_and_shown_as_rfc_3339() {
        let moment: Timestamp = "2026-11-21T09:30:00.250Z".parse().unwrap();
        assert_eq!(moment.to_string(), "2026-11-21T09:30:00.250Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
