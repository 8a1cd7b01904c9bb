//! The two headers of the log as bytes. The layout is drawn in [`crate::wal`].

use crate::base::bytes::{u32_at, u64_at};
use crate::ids::{Epoch, Seq, Term, Timeline, Timestamp};
use crate::storage::OUTDATED;

/// First bytes of every segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"BVRLOG\r\n";
/// First bytes of segments from before the first release, which nobody reads any more.
const OUTDATED_MAGIC: [u8; 8] = *b"BVRWAL\r\n";
/// Version of the layout. A segment names the least version that can read it.
pub const FORMAT_VERSION: u32 = 1;
/// Length of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 128;
/// First bytes of every batch.
pub const BATCH_MAGIC: [u8; 4] = *b"BVL1";
/// Length of a batch's header.
pub const BATCH_HEADER_BYTES: usize = 56;
/// No batch has a longer payload: a length beyond it is damage, and is never allocated.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;
/// What an operator may set at most as the size of a segment.
pub const SEGMENT_BYTES_SET_MAX: u64 = 1 << 30;
/// No segment's file is longer: it is as long as was set, or has grown for one batch. A file beyond it is damage (or
/// full of holes), and is never read into memory.
pub const SEGMENT_BYTES_MAX: u64 = 2 << 30;
/// No log gets to a segment with a larger number, or a longer one.
const COUNT_MAX: u64 = u64::MAX >> 1;

/// Identity of a data directory; every file in it carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId(pub [u8; 16]);

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How a segment ended: what its successor says about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentEnd {
    /// Its number, 0 for "there is no predecessor".
    pub number: u64,
    /// Bytes of it that count.
    pub len: u64,
    /// Position of the last event up to there.
    pub last: Seq,
    /// The chain value there.
    pub chain: u32,
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Seeds its checksums: random, so that the bytes of one segment never pass for another's.
    pub salt: u32,
    /// The data directory that it belongs to.
    pub store: StoreId,
    /// 1, 2, 3, ...: the number in the file's name.
    pub number: u64,
    /// Position of its first event.
    pub first: Seq,
    /// How the segment before it ended.
    pub predecessor: SegmentEnd,
    /// When it was created.
    pub created_at: Timestamp,
    /// The term that the state was in then; a copy, for who reads the log from here on.
    pub epoch: Epoch,
}

/// Why bytes are not a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// Not the start of what it should be.
    #[error("{0}")]
    Invalid(String),
    /// A later version of the layout.
    #[error("format version {0}, but this beaver reads those up to {FORMAT_VERSION}")]
    Newer(u32),
    /// A layout from before the first release.
    #[error("{OUTDATED}")]
    Outdated,
}

impl SegmentHeader {
    /// The header as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store.0);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.predecessor.number.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.predecessor.len.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.predecessor.last.0.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.predecessor.chain.to_le_bytes());
        bytes[76..84].copy_from_slice(&self.created_at.0.to_le_bytes());
        bytes[84..88].copy_from_slice(&self.epoch.timeline.0.to_le_bytes());
        bytes[88..92].copy_from_slice(&self.epoch.term.0.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..124]);
        bytes[124..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header from the start of a segment.
    ///
    /// # Errors
    /// It is too short, has another magic or version, its checksum does not match, or it does not count on from
    /// its predecessor.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, BadHeader> {
        let Some(bytes) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>() else {
            return Err(BadHeader::Invalid(format!(
                "the file has {} bytes, less than a segment's header",
                bytes.len()
            )));
        };
        if bytes[..8] == OUTDATED_MAGIC {
            return Err(BadHeader::Outdated);
        }
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(BadHeader::Invalid("it does not begin like a segment of beaver's log".to_owned()));
        }
        let (expected, found) = (crc32fast::hash(&bytes[..124]), u32_at(bytes, 124));
        if expected != found {
            return Err(BadHeader::Invalid(format!(
                "segment header checksum is {found:08x}, its bytes give {expected:08x}"
            )));
        }
        let version = u32_at(bytes, 8);
        if !(1..=FORMAT_VERSION).contains(&version) {
            return Err(BadHeader::Newer(version));
        }
        let header = SegmentHeader {
            salt: u32_at(bytes, 12),
            store: StoreId(bytes[16..32].try_into().expect("16 bytes")),
            number: u64_at(bytes, 32),
            first: Seq(u64_at(bytes, 40)),
            predecessor: SegmentEnd {
                number: u64_at(bytes, 48),
                len: u64_at(bytes, 56),
                last: Seq(u64_at(bytes, 64)),
                chain: u32_at(bytes, 72),
            },
            created_at: Timestamp(u64_at(bytes, 76)),
            epoch: Epoch { timeline: Timeline(u32_at(bytes, 84)), term: Term(u32_at(bytes, 88)) },
        };
        let SegmentEnd { number, len, last, .. } = header.predecessor;
        // Every writer counts on from the predecessor; what does not is no writer's, and would not be safe to add to.
        let follows = number.checked_add(1) == Some(header.number)
            && last < Seq::MAX
            && last.next() == header.first
            && header.number <= COUNT_MAX
            && len <= COUNT_MAX;
        match follows {
            true => Ok(header),
            false => Err(BadHeader::Invalid(format!(
                "segment {} that begins with event {} cannot follow segment {number} of {len} bytes and up to event {last}",
                header.number, header.first
            ))),
        }
    }

    /// What the first batch of the segment is chained to.
    #[must_use]
    pub fn chain(&self) -> u32 {
        u32_at(&self.encode(), 124)
    }
}

/// What a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BatchKind {
    /// Events, each with a position.
    Events = 1,
    /// Only carries what is durable.
    Mark = 2,
    /// Says that a successor was published, so that a successor which is gone is missed.
    Seal = 3,
    /// Records without a position, for a log that several machines share. This version writes none.
    Control = 4,
}

impl BatchKind {
    fn of(number: u8) -> Option<BatchKind> {
        [BatchKind::Events, BatchKind::Mark, BatchKind::Seal, BatchKind::Control]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// What a batch says about its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// What its payload is, if it has one.
    pub kind: BatchKind,
    /// The term in which it was written.
    pub term: Term,
    /// Bytes of payload that follow.
    pub payload_len: u32,
    /// Position of the first event; of the next one, if it has none.
    pub first: Seq,
    /// Everything up to here was durable when this was written.
    pub durable: Seq,
    /// When it was written.
    pub written_at: Timestamp,
    /// Number of events in the payload; control records do not count.
    pub count: u32,
    /// The chain value before it.
    pub chain: u32,
    /// Checksum of the payload.
    pub payload_crc: u32,
}

impl BatchHeader {
    /// Position of the last event; of the one before the batch, if it has none.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count) - 1)
    }

    /// The header as bytes, and the chain value after this batch.
    #[must_use]
    pub fn encode(&self, salt: u32) -> ([u8; BATCH_HEADER_BYTES], u32) {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        bytes[..4].copy_from_slice(&BATCH_MAGIC);
        bytes[4..8].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.durable.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.written_at.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.count.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.chain.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[48] = self.kind as u8;
        let crc = checksum(salt, &bytes[..52]);
        bytes[52..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a header and the chain value after its batch; says in words why it is none.
    ///
    /// # Errors
    /// Too few bytes, another magic, or a checksum that does not match.
    pub fn decode(bytes: &[u8], salt: u32) -> Result<(BatchHeader, u32), String> {
        let Some(bytes) = bytes.first_chunk::<BATCH_HEADER_BYTES>() else {
            return Err(format!("{} bytes are left, less than a batch header", bytes.len()));
        };
        if bytes[..4] != BATCH_MAGIC {
            return Err(format!("expected a batch, found {:02x?}", &bytes[..4]));
        }
        let (expected, found) = (checksum(salt, &bytes[..52]), u32_at(bytes, 52));
        if expected != found {
            return Err(format!("batch header checksum is {found:08x}, its bytes give {expected:08x}"));
        }
        let Some(kind) = BatchKind::of(bytes[48]) else {
            return Err(format!("a batch of kind {} is unknown", bytes[48]));
        };
        let header = BatchHeader {
            kind,
            term: Term(u32_at(bytes, 44)),
            payload_len: u32_at(bytes, 4),
            first: Seq(u64_at(bytes, 8)),
            durable: Seq(u64_at(bytes, 16)),
            written_at: Timestamp(u64_at(bytes, 24)),
            count: u32_at(bytes, 32),
            chain: u32_at(bytes, 36),
            payload_crc: u32_at(bytes, 40),
        };
        Ok((header, found))
    }
}

/// crc32 seeded with a segment's salt.
#[must_use]
pub fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    checksum_of_parts(salt, &[bytes])
}

/// The same of bytes that lie in several places, as if they followed each other.
#[must_use]
pub fn checksum_of_parts(salt: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// The name of segment `number`.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("{number:010}.wal")
}

/// The number in a segment's name; none if it is not one.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".wal")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_as_written_and_no_flipped_bit_passes() {
        let segment = SegmentHeader {
            salt: 7,
            store: StoreId([3; 16]),
            number: 9,
            first: Seq(100),
            predecessor: SegmentEnd { number: 8, len: 4_000, last: Seq(99), chain: 5 },
            created_at: Timestamp(1),
            epoch: Epoch { timeline: Timeline(5), term: Term(6) },
        };
        let bytes = segment.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(segment));
        let batch = BatchHeader {
            kind: BatchKind::Events,
            term: Term(6),
            payload_len: 10,
            first: Seq(100),
            durable: Seq(99),
            written_at: Timestamp(2),
            count: 3,
            chain: segment.chain(),
            payload_crc: 77,
        };
        let (batch_bytes, chain) = batch.encode(7);
        assert_eq!(BatchHeader::decode(&batch_bytes, 7), Ok((batch, chain)));
        assert!(BatchHeader::decode(&batch_bytes, 8).is_err(), "the salt of another segment");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
        for bit in 0..batch_bytes.len() * 8 {
            let mut flipped = batch_bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(BatchHeader::decode(&flipped, 7).is_err(), "bit {bit}");
        }
    }

    /// Row 21.
    #[test]
    fn a_header_that_does_not_count_on_from_its_predecessor_is_refused() {
        let predecessor = SegmentEnd { number: 8, len: 4_000, last: Seq(99), chain: 5 };
        let good = SegmentHeader {
            salt: 7,
            store: StoreId([3; 16]),
            number: 9,
            first: Seq(100),
            predecessor,
            created_at: Timestamp(1),
            epoch: Epoch { timeline: Timeline(5), term: Term(6) },
        };
        assert!(SegmentHeader::decode(&good.encode()).is_ok());
        let end = |number, last| SegmentEnd { number, last, ..predecessor };
        for bad in [
            SegmentHeader { number: 0, ..good },
            SegmentHeader { predecessor: SegmentEnd { len: u64::MAX, ..predecessor }, ..good },
            SegmentHeader { first: Seq(0), ..good },
            SegmentHeader { first: Seq(101), ..good },
            SegmentHeader { number: 0, predecessor: end(u64::MAX, Seq(99)), ..good },
            SegmentHeader { number: u64::MAX, predecessor: end(u64::MAX - 1, Seq(99)), ..good },
            SegmentHeader { first: Seq(0), predecessor: end(8, Seq(u64::MAX)), ..good },
            SegmentHeader { first: Seq(u64::MAX), predecessor: end(8, Seq(u64::MAX - 1)), ..good },
        ] {
            assert!(matches!(SegmentHeader::decode(&bad.encode()), Err(BadHeader::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn only_names_of_segments_have_a_number() {
        assert_eq!(segment_number(&segment_name(17)), Some(17));
        for name in ["17.wal", "0000000017.wal.partial", "x.wal", "0000000017", "+000000017.wal"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
