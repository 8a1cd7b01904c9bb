//! Names that people and programs give: of queues, kinds and remote workers, and what is wrong with one.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::ids::invalid::{InvalidName, printable};
use crate::ids::job_id::JOB_ID_BYTES_MAX;

/// Longest queue or kind name that is accepted, in bytes.
pub const NAME_BYTES_MAX: usize = 1_024;

/// Name of a queue: 1 to 1,024 characters of `a-z A-Z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct QueueName(Arc<str>);

/// Which handler runs a job: 1 to 1,024 bytes of UTF-8 without control characters.
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

shown_as_held!(QueueName, KindName);

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

/// A worker outside of this process, as it introduced itself; empty for one that did not.
///
/// All that share the name share their leases: a worker process may fetch on one connection and report on another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RemoteName(Arc<str>);

impl RemoteName {
    /// Reads a name that a worker gave itself: 1 to 1,024 bytes of UTF-8 without control characters.
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
