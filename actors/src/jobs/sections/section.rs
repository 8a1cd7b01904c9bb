//! What every section can do.

use crate::base::bytes::Take;
use crate::ids::{Seq, Timestamp};
use crate::jobs::event::EventKind;

/// A part of the state that is not jobs.
pub(crate) trait Section: Default {
    /// Its number in a snapshot; never given to another one.
    const ID: u64;
    /// Version of what [`Section::encode`] writes.
    const VERSION: u64;

    /// Changes it by an event, of this position and moment. Most events are none of its business.
    fn apply(&mut self, when: (Seq, Timestamp), kind: &EventKind);

    /// What it sums up to; kept as it changes, never by a walk. Zero while it is empty.
    fn digest(&self) -> u64;

    /// Appends it as bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// The reverse of [`Section::encode`]; says in words why it cannot be.
    fn decode(take: &mut Take<'_>) -> Result<Self, String>;
}
