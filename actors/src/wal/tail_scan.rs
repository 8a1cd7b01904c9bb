//! What a segment holds behind the place where reading stopped: whether it proves that something is missing.

use crate::ids::Seq;
use crate::wal::batch::Batch;
use crate::wal::format::{BATCH_HEADER_BYTES, BATCH_MAGIC, BatchHeader, SEAL_COUNT, checksum};

/// The bytes from there on, without pieces of zeros at the end.
#[derive(Debug)]
pub struct TailScan {
    bytes: Vec<u8>,
    offset: u64,
    salt: u32,
}

impl TailScan {
    /// From `offset` of a segment with this salt.
    pub(super) fn new(bytes: Vec<u8>, offset: u64, salt: u32) -> TailScan {
        TailScan { bytes, offset, salt }
    }

    /// Up to the last byte that is not zero.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let len = self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &self.bytes[..len]
    }

    /// The largest durable position in any batch that still parses.
    ///
    /// After a crash, later parts of the log can be on disk while earlier ones are not; those batches were written
    /// when the missing one was not durable. If one of them says that it was, the missing one is damaged.
    #[must_use]
    pub fn durable(&self) -> Seq {
        self.headers().map(|(_, header)| header.durable).max().unwrap_or(Seq::ZERO)
    }

    /// The whole batches. They prove what was written; but what is between is not known, so they cannot be applied.
    pub fn batches(&self) -> impl Iterator<Item = Batch<'_>> {
        self.headers().filter_map(|(start, header)| {
            let payload = self.bytes[start + BATCH_HEADER_BYTES..].get(..header.payload_len as usize)?;
            let is_whole = checksum(self.salt, payload) == header.payload_crc;
            let offset = self.offset + start as u64;
            (is_whole && header.count != SEAL_COUNT).then_some(Batch { header, offset, payload })
        })
    }

    fn headers(&self) -> impl Iterator<Item = (usize, BatchHeader)> {
        let starts = self.bytes.windows(BATCH_MAGIC.len()).enumerate();
        starts.filter(|(_, window)| *window == BATCH_MAGIC).filter_map(|(start, _)| {
            let (header, _) = BatchHeader::decode(&self.bytes[start..], self.salt).ok()?;
            Some((start, header))
        })
    }
}
