//! One segment, batch by batch.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::WalError;
use super::codec::{CodecError, Decoder, ENVELOPE_BYTES};
use super::format::{
    BATCH_HEADER_BYTES, BATCH_MAGIC, BadHeader, BatchHeader, SEAL_COUNT, SEGMENT_BYTES_MAX,
    SEGMENT_HEADER_BYTES, SegmentEnd, SegmentHeader, checksum,
};
use crate::ids::Lsn;
use crate::jobs::Event;
use crate::storage::{Storage, is_zero, read_used};

/// A segment in memory and how far it has been read.
pub struct SegmentReader {
    path: PathBuf,
    /// Up to the last piece that is not all zeros; the rest of what was allocated needs no memory.
    bytes: Vec<u8>,
    /// Length of the file.
    len: usize,
    /// What the segment says about itself.
    pub header: SegmentHeader,
    at: usize,
    next: Lsn,
    chain: u32,
    durable: Lsn,
}

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

/// What is where no further batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The end of the file, or zeros up to it.
    End,
    /// The note that the segment was sealed: a successor was published after it.
    Sealed,
    /// Something that is not a valid batch.
    Invalid(String),
}

impl SegmentReader {
    /// Reads the whole of a segment into memory and its header.
    ///
    /// # Errors
    /// The file cannot be read, is not a segment of this version, or is longer than any segment.
    pub fn open(storage: &dyn Storage, path: &Path) -> Result<SegmentReader, WalError> {
        let file = storage.open_to_read(path).map_err(WalError::io(path, "open"))?;
        let (bytes, len) = read_used(&*file, SEGMENT_BYTES_MAX).map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => {
                let (path, problem) = (path.to_owned(), error.to_string());
                WalError::Damaged { path, offset: SEGMENT_BYTES_MAX, problem }
            }
            _ => WalError::io(path, "read")(error),
        })?;
        let header = decode_header(path, &bytes)?;
        Ok(SegmentReader {
            path: path.to_owned(),
            bytes,
            len,
            header,
            at: SEGMENT_HEADER_BYTES,
            next: header.first,
            chain: header.chain(),
            durable: Lsn::ZERO,
        })
    }

    /// The next batch, or what is there instead. After a `Stop`, reading again gives the same.
    pub fn next_batch(&mut self) -> Result<Batch<'_>, Stop> {
        let (header, chain, end) = match self.check_batch() {
            // It ends with zeros that were left out, as far as its header says.
            Err(Stop::Invalid(_)) if self.fill_up() => self.check_batch()?,
            checked => checked?,
        };
        let offset = self.at;
        self.at = end;
        self.chain = chain;
        self.next = header.first.plus(u64::from(header.count));
        self.durable = self.durable.max(header.durable);
        Ok(Batch { header, offset: offset as u64, payload: &self.bytes[offset + BATCH_HEADER_BYTES..end] })
    }

    /// Puts the zeros back that were left out. False if there were none.
    fn fill_up(&mut self) -> bool {
        let is_short = self.bytes.len() < self.len;
        self.bytes.resize(self.len, 0);
        is_short
    }

    /// A part of the segment that was read as a batch.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    fn check_batch(&self) -> Result<(BatchHeader, u32, usize), Stop> {
        let rest = &self.bytes[self.at..];
        if is_zero(&rest[..rest.len().min(BATCH_HEADER_BYTES)]) && is_zero(rest) {
            return Err(Stop::End);
        }
        let invalid = |problem: String| Err(Stop::Invalid(problem));
        let (header, chain) = match BatchHeader::decode(rest, self.header.salt) {
            Ok(decoded) => decoded,
            Err(problem) => return invalid(problem),
        };
        if header.chain != self.chain {
            return invalid(format!(
                "batch is chained to {:08x}, expected {:08x}: it is not the one that was written here",
                header.chain, self.chain
            ));
        }
        if header.first != self.next {
            return invalid(format!("batch begins with event {}, expected {}", header.first, self.next));
        }
        if header.count == SEAL_COUNT {
            return Err(Stop::Sealed);
        }
        if header.count as usize > header.payload_len as usize / ENVELOPE_BYTES {
            // Positions count on from here, even where the events themselves are not looked at.
            let problem = format!("{} events cannot be in {} bytes", header.count, header.payload_len);
            return invalid(problem);
        }
        let end = self.at + BATCH_HEADER_BYTES + header.payload_len as usize;
        let Some(payload) = self.bytes.get(self.at + BATCH_HEADER_BYTES..end) else {
            let left = rest.len() - BATCH_HEADER_BYTES;
            return invalid(format!(
                "batch says {} bytes of payload, but {left} are left",
                header.payload_len
            ));
        };
        let (expected, found) = (checksum(self.header.salt, payload), header.payload_crc);
        if expected != found {
            return invalid(format!("payload checksum is {found:08x}, its bytes give {expected:08x}"));
        }
        Ok((header, chain, end))
    }

    /// The largest durable position in any batch that still parses behind the place where reading stopped.
    ///
    /// After a crash, later parts of the log can be on disk while earlier ones are not; those batches were written
    /// when the missing one was not durable. If one of them says that it was, the missing one is damaged.
    #[must_use]
    pub fn durable_beyond(&self) -> Lsn {
        let rest = &self.bytes[self.at..];
        let starts = memchr_all(rest, BATCH_MAGIC);
        starts
            .filter_map(|start| BatchHeader::decode(&rest[start..], self.header.salt).ok())
            .map(|(header, _)| header.durable)
            .max()
            .unwrap_or(Lsn::ZERO)
    }

    /// The whole batches behind the place where reading stopped. They prove what was written; but what is between
    /// is not known, so they cannot be applied.
    pub fn batches_beyond(&self) -> impl Iterator<Item = Batch<'_>> {
        let rest = &self.bytes[self.at..];
        memchr_all(self.rest(), BATCH_MAGIC).filter_map(move |start| {
            let (header, _) = BatchHeader::decode(&rest[start..], self.header.salt).ok()?;
            let payload = rest[start + BATCH_HEADER_BYTES..].get(..header.payload_len as usize)?;
            let is_whole = checksum(self.header.salt, payload) == header.payload_crc;
            let offset = (self.at + start) as u64;
            (is_whole && header.count != SEAL_COUNT).then_some(Batch { header, offset, payload })
        })
    }

    /// Bytes from here up to the last one that is not zero.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &rest[..len]
    }

    /// Where the segment ends if it ends here.
    #[must_use]
    pub fn end(&self) -> SegmentEnd {
        SegmentEnd {
            number: self.header.number,
            len: self.at as u64,
            last: Lsn(self.next.0 - 1),
            chain: self.chain,
        }
    }

    /// The largest durable position that a batch read so far carries.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Length of the file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether the file is empty; never, as it has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error about the place where reading stopped.
    #[must_use]
    pub fn damaged(&self, problem: impl Into<String>) -> WalError {
        WalError::Damaged { path: self.path.clone(), offset: self.at as u64, problem: problem.into() }
    }
}

/// The header alone, for what only needs to know how segments follow each other.
///
/// # Errors
/// The file cannot be read, or is not a segment of this version.
pub fn read_header(storage: &dyn Storage, path: &Path) -> Result<SegmentHeader, WalError> {
    let file = storage.open_to_read(path).map_err(WalError::io(path, "open"))?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = file.read_at(0, &mut bytes).map_err(WalError::io(path, "read"))?;
    decode_header(path, &bytes[..read])
}

fn decode_header(path: &Path, bytes: &[u8]) -> Result<SegmentHeader, WalError> {
    SegmentHeader::decode(bytes).map_err(|bad| match bad {
        BadHeader::Invalid(problem) => WalError::Damaged { path: path.to_owned(), offset: 0, problem },
        BadHeader::Newer(version) => {
            WalError::Newer { path: path.to_owned(), problem: format!("format version {version}") }
        }
    })
}

/// The events of a batch with their positions.
///
/// # Errors
/// An event that this version cannot read; its checksum was right, so a newer version wrote it.
pub fn events<'a>(
    path: &'a Path,
    batch: Batch<'a>,
    mut decoder: Decoder,
) -> impl Iterator<Item = Result<(Lsn, Event), WalError>> + use<'a> {
    let mut rest = batch.payload;
    let mut at = batch.header.first;
    let mut left = batch.header.count;
    std::iter::from_fn(move || {
        if left == 0 {
            return (!std::mem::take(&mut rest).is_empty()).then(|| {
                let problem = format!("a batch of {} events has more in it", batch.header.count);
                Err(WalError::Damaged { path: path.to_owned(), offset: batch.offset, problem })
            });
        }
        let lsn = at;
        at = at.next();
        left -= 1;
        Some(decoder.decode(&mut rest).map(|event| (lsn, event)).map_err(|error| {
            left = 0;
            rest = &[];
            let problem = format!("event {lsn}: {error}");
            match error {
                CodecError::Unknown { .. } => WalError::Newer { path: path.to_owned(), problem },
                CodecError::Invalid(_) => {
                    WalError::Damaged { path: path.to_owned(), offset: batch.offset, problem }
                }
            }
        }))
    })
}

fn memchr_all(bytes: &[u8], magic: [u8; 4]) -> impl Iterator<Item = usize> {
    bytes.windows(4).enumerate().filter(move |(_, window)| *window == magic).map(|(at, _)| at)
}
