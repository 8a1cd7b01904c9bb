//! A batch that was read: its header, where it is, its events as bytes.

use std::path::Path;

use crate::ids::Seq;
use crate::wal::WalError;
use crate::wal::codec::CodecError;
use crate::wal::format::BatchHeader;

/// A valid batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// What it says about itself.
    pub header: BatchHeader,
    /// Where it begins in the segment.
    pub offset: u64,
    /// Its events.
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

    /// Something follows the events that it says it has.
    pub(crate) fn surplus(&self, path: &Path) -> WalError {
        let problem = format!("a batch of {} events has more in it", self.header.count);
        WalError::Damaged { path: path.to_owned(), offset: self.offset, problem }
    }
}
