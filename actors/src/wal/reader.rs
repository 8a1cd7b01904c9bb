//! One segment, batch by batch. Only the part that is being read is in memory.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::ids::Seq;
use crate::jobs::Event;
use crate::storage::{Storage, StoredFile, is_zero, read_used, too_long};
use crate::wal::WalError;
use crate::wal::batch::Batch;
use crate::wal::codec::{Decoder, ENVELOPE_BYTES};
use crate::wal::format::{
    BATCH_HEADER_BYTES, BadHeader, BatchHeader, BatchKind, SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES,
    SegmentEnd, SegmentHeader, checksum,
};
use crate::wal::tail_scan::TailScan;

/// Bytes of a segment that are read at a time: few enough to stay in a core's own cache until they are checked.
const PIECE_BYTES: usize = 256 << 10;

/// A segment and how far it has been read.
pub struct SegmentReader {
    path: PathBuf,
    file: Box<dyn StoredFile>,
    /// Length of the file, and how much of that may be other than zeros: what was allocated ahead and never written is
    /// not read. Found before anything is, as the kernel reads ahead and then takes those zeros for written ones.
    len: usize,
    used: usize,
    /// Where the part of it is that is in memory, how long that is, and where it begins.
    window: Vec<u8>,
    held: usize,
    base: usize,
    /// Bytes that are read next when those in memory are used up.
    piece: usize,
    /// What the segment says about itself.
    pub header: SegmentHeader,
    at: usize,
    next: Seq,
    chain: u32,
    durable: Seq,
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
    /// The storage reported an error.
    Unreadable(String),
}

impl SegmentReader {
    /// Opens a segment and reads its header.
    ///
    /// # Errors
    /// The file cannot be read, is not a segment of this version, or is longer than any segment.
    pub fn open(storage: &dyn Storage, path: &Path) -> Result<SegmentReader, WalError> {
        SegmentReader::open_by(storage, path, PIECE_BYTES)
    }

    fn open_by(storage: &dyn Storage, path: &Path, piece: usize) -> Result<SegmentReader, WalError> {
        let file = storage.open_to_read(path).map_err(WalError::io(path, "open"))?;
        let len = file.len().map_err(WalError::io(path, "measure"))?;
        let Some(len) = usize::try_from(len).ok().filter(|_| len <= SEGMENT_BYTES_MAX) else {
            let problem = too_long(len, SEGMENT_BYTES_MAX);
            return Err(WalError::Damaged { path: path.to_owned(), offset: SEGMENT_BYTES_MAX, problem });
        };
        let used = file.used_len().map_err(WalError::io(path, "measure"))?;
        let used = usize::try_from(used).map_or(len, |used| used.min(len));
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(WalError::io(path, "read"))?;
        let header = decode_header(path, &bytes[..read])?;
        Ok(SegmentReader {
            path: path.to_owned(),
            file,
            len,
            used,
            window: Vec::new(),
            held: 0,
            base: SEGMENT_HEADER_BYTES,
            piece,
            header,
            at: SEGMENT_HEADER_BYTES,
            next: header.first,
            chain: header.chain(),
            durable: Seq::ZERO,
        })
    }

    /// The next batch, or what is there instead. After a `Stop`, reading again gives the same.
    pub fn next_batch(&mut self) -> Result<Batch<'_>, Stop> {
        let (header, chain, end) = self.check_batch()?;
        let offset = self.at;
        self.at = end;
        self.chain = chain;
        self.next = header.first.plus(u64::from(header.count));
        self.durable = self.durable.max(header.durable);
        let payload = &self.window[offset + BATCH_HEADER_BYTES - self.base..end - self.base];
        Ok(Batch { header, offset: offset as u64, payload })
    }

    /// Reads everything from here up to `end`, or to the file's end if that comes first, into memory.
    fn load(&mut self, end: usize) -> Result<(), Stop> {
        if end.min(self.len) <= self.base + self.held {
            return Ok(());
        }
        // What has been read makes room.
        let done = self.at - self.base;
        self.window.copy_within(done..self.held, 0);
        (self.base, self.held) = (self.at, self.held - done);
        let len = end.max((self.at + self.piece).min(self.used)).min(self.len) - self.base;
        if let Some(more) = len.checked_sub(self.window.len()) {
            if self.window.try_reserve_exact(more).is_err() {
                return Err(Stop::Unreadable(format!("there is no memory for {len} bytes of it")));
            }
            self.window.resize(len, 0);
        }
        let read = self.file.read_at((self.base + self.held) as u64, &mut self.window[self.held..len]);
        self.held += read.map_err(|error| Stop::Unreadable(error.to_string()))?;
        if self.held < len {
            // Somebody cuts it while it is read.
            self.len = self.base + self.held;
        }
        Ok(())
    }

    /// What is in memory from here on.
    fn ahead(&self) -> &[u8] {
        &self.window[self.at - self.base..self.held]
    }

    /// A part of the segment that was read as a batch's payload, once more from the disk.
    ///
    /// # Errors
    /// The storage reported an error, or the bytes are others now.
    pub(super) fn read_again(
        &self,
        header: &BatchHeader,
        payload: Range<usize>,
    ) -> Result<Vec<u8>, WalError> {
        let mut bytes = vec![0; payload.len()];
        let offset = payload.start as u64;
        let read = self.file.read_at(offset, &mut bytes).map_err(WalError::io(&self.path, "read"))?;
        match read == bytes.len() && checksum(self.header.salt, &bytes) == header.payload_crc {
            true => Ok(bytes),
            false => Err(WalError::Damaged {
                path: self.path.clone(),
                offset,
                problem: "it was read twice, and the second time it was different".to_owned(),
            }),
        }
    }

    fn check_batch(&mut self) -> Result<(BatchHeader, u32, usize), Stop> {
        self.load(self.at + BATCH_HEADER_BYTES)?;
        let rest = self.ahead();
        if is_zero(&rest[..rest.len().min(BATCH_HEADER_BYTES)]) && self.is_over()? {
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
        if header.kind == BatchKind::Seal {
            return Err(Stop::Sealed);
        }
        if header.kind != BatchKind::Events && header.count > 0 {
            return invalid(format!(
                "a batch of kind {:?} says that it has {} events",
                header.kind, header.count
            ));
        }
        if header.count as usize > header.payload_len as usize / ENVELOPE_BYTES {
            // Positions count on from here, even where the events themselves are not looked at.
            let problem = format!("{} events cannot be in {} bytes", header.count, header.payload_len);
            return invalid(problem);
        }
        let end = self.at + BATCH_HEADER_BYTES + header.payload_len as usize;
        let too_little = |left| {
            Stop::Invalid(format!("batch says {} bytes of payload, but {left} are left", header.payload_len))
        };
        if end > self.len {
            return Err(too_little(self.len - self.at - BATCH_HEADER_BYTES));
        }
        self.load(end)?;
        let payload = &self.ahead()[BATCH_HEADER_BYTES..];
        let left = payload.len();
        let payload = payload.get(..header.payload_len as usize).ok_or_else(|| too_little(left))?;
        let (expected, found) = (checksum(self.header.salt, payload), header.payload_crc);
        if expected != found {
            return invalid(format!("payload checksum is {found:08x}, its bytes give {expected:08x}"));
        }
        Ok((header, chain, end))
    }

    /// Whether there are only zeros from here on.
    fn is_over(&self) -> Result<bool, Stop> {
        if !is_zero(self.ahead()) {
            return Ok(false);
        }
        let mut piece = Vec::new();
        let mut at = self.base + self.held;
        let unreadable = |error: io::Error| Stop::Unreadable(error.to_string());
        while at < self.used {
            piece.resize(self.piece.min(self.used - at), 0);
            match self.file.read_at(at as u64, &mut piece).map_err(unreadable)? {
                0 => break,
                read if is_zero(&piece[..read]) => at += read,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// What is behind the place where reading stopped.
    ///
    /// # Errors
    /// The storage reported an error.
    pub fn rest(&self) -> Result<TailScan, WalError> {
        let bytes = read_used(&*self.file, self.at as u64).map_err(WalError::io(&self.path, "read"))?;
        Ok(TailScan::new(bytes, self.at as u64, self.header.salt))
    }

    /// Where the segment ends if it ends here.
    #[must_use]
    pub fn end(&self) -> SegmentEnd {
        SegmentEnd {
            number: self.header.number,
            len: self.at as u64,
            last: Seq(self.next.0 - 1),
            chain: self.chain,
        }
    }

    /// The largest durable position that a batch read so far carries.
    #[must_use]
    pub fn durable(&self) -> Seq {
        self.durable
    }

    /// Length of the file.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.len as u64
    }

    /// The segment's file, with its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error for a place that the storage could not read.
    #[must_use]
    pub fn unreadable(&self, problem: String) -> WalError {
        WalError::io(&self.path, "read")(io::Error::other(problem))
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
        BadHeader::Outdated => WalError::Outdated { path: path.to_owned() },
        BadHeader::Newer(_) => WalError::Newer { path: path.to_owned(), problem: bad.to_string() },
    })
}

/// The events of a batch with their positions.
///
/// # Errors
/// An event that this version cannot read; its checksum was right, so another version wrote it.
pub fn events<'a>(
    path: &'a Path,
    batch: Batch<'a>,
    decoder: &'a mut Decoder,
) -> impl Iterator<Item = Result<(Seq, Event), WalError>> + use<'a> {
    let mut rest = batch.payload;
    let mut at = batch.header.first;
    let mut left = batch.header.count;
    std::iter::from_fn(move || {
        if left == 0 {
            let rest = std::mem::take(&mut rest);
            return (!rest.is_empty()).then(|| Err(batch.surplus(path, rest)));
        }
        let seq = at;
        at = at.next();
        left -= 1;
        Some(decoder.decode(&mut rest).map(|event| (seq, event)).map_err(|error| {
            left = 0;
            rest = &[];
            batch.unreadable_event(path, seq, &error)
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Term, Timestamp};
    use crate::storage::DiskStorage;
    use crate::wal::format::{StoreId, checksum_of_parts};

    const BATCHES: u64 = 200;
    const FILE_BYTES: usize = 1 << 20;

    /// A segment with batches of very different sizes, in a file that was allocated ahead; and where they end.
    fn segment(dir: &Path) -> (PathBuf, usize) {
        let header = SegmentHeader {
            salt: 7,
            store: StoreId([1; 16]),
            number: 1,
            first: Seq(1),
            predecessor: SegmentEnd::default(),
            created_at: Timestamp(0),
            epoch: Epoch::default(),
        };
        let (mut bytes, mut chain) = (header.encode().to_vec(), header.chain());
        for number in 0..BATCHES {
            // Now and then one that is larger than what is read at a time.
            let payload = vec![number as u8; ENVELOPE_BYTES + (number * number * 7 % 3_001) as usize];
            let batch = BatchHeader {
                kind: BatchKind::Events,
                term: Term(1),
                payload_len: payload.len() as u32,
                first: Seq(number + 1),
                durable: Seq(number),
                written_at: Timestamp(0),
                count: 1,
                chain,
                payload_crc: checksum_of_parts(header.salt, &[payload.as_slice()]),
            };
            let (encoded, next) = batch.encode(header.salt);
            bytes.extend(encoded);
            bytes.extend(payload);
            chain = next;
        }
        let end = bytes.len();
        bytes.resize(FILE_BYTES, 0);
        let path = dir.join("segment");
        std::fs::write(&path, bytes).unwrap();
        (path, end)
    }

    #[derive(Debug, PartialEq)]
    struct Seen {
        batches: Vec<(u64, Vec<u8>)>,
        stop: Stop,
        rest: Vec<u8>,
    }

    fn read(path: &Path, piece: usize) -> Seen {
        let mut reader = SegmentReader::open_by(&DiskStorage::default(), path, piece).unwrap();
        let mut batches = Vec::new();
        let stop = loop {
            match reader.next_batch() {
                Ok(batch) => batches.push((batch.offset, batch.payload.to_vec())),
                Err(stop) => break stop,
            }
        };
        assert!(reader.window.len() <= piece.max(4_000), "only what is being read is in memory");
        assert_eq!(reader.next_batch().unwrap_err(), stop);
        Seen { batches, stop, rest: reader.rest().unwrap().bytes().to_vec() }
    }

    #[test]
    fn a_segment_reads_the_same_in_pieces_of_any_size() {
        let dir = tempfile::tempdir().unwrap();
        let (path, end) = segment(dir.path());
        let whole = read(&path, FILE_BYTES);
        assert_eq!((whole.batches.len() as u64, &whole.stop, whole.rest.len()), (BATCHES, &Stop::End, 0));
        for piece in [13, 51, 52, 1_000, 4_096, end] {
            assert_eq!(read(&path, piece), whole, "in pieces of {piece}");
        }
    }

    #[test]
    fn damage_and_what_is_behind_it_are_the_same_in_pieces_of_any_size() {
        let dir = tempfile::tempdir().unwrap();
        let (path, end) = segment(dir.path());
        let good = std::fs::read(&path).unwrap();
        // In a header, in a payload, and far behind the last batch.
        for at in [end / 2, end / 3, end - 1, FILE_BYTES - 5] {
            let mut bytes = good.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, bytes).unwrap();
            let whole = read(&path, FILE_BYTES);
            assert!(matches!(whole.stop, Stop::Invalid(_)), "byte {at}: {:?}", whole.stop);
            assert!(!whole.rest.is_empty());
            for piece in [13, 1_000, 4_096] {
                assert_eq!(read(&path, piece), whole, "byte {at}, in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_was_allocated_ahead_is_over_unless_something_was_written_far_behind_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, end) = segment(dir.path());
        let whole = read(&path, FILE_BYTES);
        let mut file = DiskStorage::default().open(&path).unwrap();
        file.set_len(end as u64).unwrap();
        file.allocate(1 << 20).unwrap();
        assert_eq!(read(&path, 4_096), whole);
        file.write_at(1_000_000, &[1]).unwrap();
        for piece in [1_000, 4_096] {
            let found = read(&path, piece);
            assert_eq!(found.batches, whole.batches);
            assert!(matches!(found.stop, Stop::Invalid(_)) && !found.rest.is_empty(), "{:?}", found.stop);
        }
    }

    #[test]
    fn a_batch_that_was_read_is_read_again_only_if_it_is_still_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = segment(dir.path());
        let mut reader = SegmentReader::open(&DiskStorage::default(), &path).unwrap();
        let batch = reader.next_batch().unwrap();
        let start = batch.offset as usize + BATCH_HEADER_BYTES;
        let (header, payload) = (batch.header, batch.payload.to_vec());
        let range = start..start + payload.len();
        assert_eq!(reader.read_again(&header, range.clone()).unwrap(), payload);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[start] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(reader.read_again(&header, range).unwrap_err().is_damage());
    }
}
