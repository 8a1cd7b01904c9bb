//! A batch that was read: its header, where it is, its events as bytes.

use std::path::Path;

use crate::ids::Seq;
use crate::wal::WalError;
use crate::wal::codec::{CONTROL_TYPES_FROM, CodecError};
use crate::wal::format::BatchHeader;

/// A batch whose header and payload are as they were written.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// What it says about itself.
    pub header: BatchHeader,
    /// Where it begins in the segment.
    pub offset: u64,
    /// Its records, one behind the other.
    pub payload: &'a [u8],
}

impl Batch<'_> {
    /// An event in it is none that this version can read; its checksum was right, so another version wrote it.
    pub(crate) fn unreadable_event(&self, path: &Path, seq: Seq, error: &CodecError) -> WalError {
        let (path, offset, problem) = (path.to_owned(), self.offset, format!("event {seq}: {error}"));
        match error {
            CodecError::Unknown { .. } => WalError::Newer { path, problem },
            CodecError::Invalid(_) => WalError::Damaged { path, offset, problem },
        }
    }

    /// `rest` follows the events that it says it has: records without a position, of which this version knows none, or
    /// what nobody wrote.
    pub(crate) fn surplus(&self, path: &Path, rest: &[u8]) -> WalError {
        let path = path.to_owned();
        match rest.first() {
            Some(&kind) if kind >= CONTROL_TYPES_FROM => {
                let problem = format!("a control record of type {kind} at byte {}", self.offset);
                WalError::Newer { path, problem }
            }
            _ => {
                let problem = format!("a batch of {} events has more in it", self.header.count);
                WalError::Damaged { path, offset: self.offset, problem }
            }
        }
    }

    /// Whether all that it holds are records without a position.
    pub(crate) fn is_control_only(&self) -> bool {
        self.header.count == 0 && !self.payload.is_empty()
    }
}
