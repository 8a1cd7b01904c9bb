//! What is done about segments that have a successor, beside the one that is written: their end is noted and their
//! unused space given back, and in the end they are deleted.
//!
//! A file system takes its time for both, so nobody waits for it: it is done in the background, one after the other, and
//! [little by little](crate::storage::reclaim), since appends would wait for the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use crate::ids::{Seq, Timestamp};
use crate::storage::reclaim::{cut, free_retired, retire};
use crate::storage::{Storage, StoredFile, set_aside};
use crate::wal::WalError;
use crate::wal::format::{
    BATCH_HEADER_BYTES, BatchHeader, BatchKind, SEGMENT_HEADER_BYTES, SegmentEnd, SegmentHeader,
    segment_number,
};
use crate::wal::index::LogIndex;
use crate::wal::reader::SegmentReader;
use crate::wal::recovery::{ends_at, newest_damaged, segments};

/// Things that are done in the background, in order. Dropping it waits for them, so that nothing writes any more.
pub(super) struct Maintenance {
    storage: Arc<dyn Storage>,
    /// Closed when the last of them is done.
    last: Option<Receiver<()>>,
}

impl Maintenance {
    pub fn new(storage: Arc<dyn Storage>) -> Maintenance {
        Maintenance { storage, last: None }
    }

    /// Does one more when those before are done.
    pub fn add(&mut self, work: impl FnOnce(&dyn Storage) + Send + 'static) {
        let (done, is_done) = channel::<()>();
        let before = self.last.replace(is_done);
        let storage = self.storage.clone();
        self.storage.in_background(Box::new(move || {
            // Nothing is ever sent: the other end is dropped when the work before is done.
            if let Some(before) = before {
                let _ = before.recv();
            }
            work(&*storage);
            drop(done);
        }));
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            // As above: the end of the work is an error here.
            let _ = last.recv();
        }
    }
}

/// Notes in a segment whose successor is published that it has one, and gives back its unused space.
/// The log is complete without it, so trouble here is only reported.
pub(super) fn seal(
    storage: &dyn Storage,
    path: &Path,
    file: Option<Box<dyn StoredFile>>,
    end: SegmentEnd,
    now: Timestamp,
) {
    let result = (|| {
        let mut file = match file {
            Some(file) => file,
            None => storage.open(path)?,
        };
        let mut header = [0; SEGMENT_HEADER_BYTES];
        file.read_at(0, &mut header)?;
        let header = SegmentHeader::decode(&header).map_err(io::Error::other)?;
        let seal = BatchHeader {
            kind: BatchKind::Seal,
            term: header.epoch.term,
            payload_len: 0,
            first: end.last.next(),
            durable: end.last,
            written_at: now,
            count: 0,
            chain: end.chain,
            payload_crc: 0,
        };
        let (bytes, _) = seal.encode(header.salt);
        file.write_at(end.len, &bytes)?;
        file.sync()?;
        cut(&mut *file, end.len + bytes.len() as u64)
    })();
    if let Err(error) = result {
        tracing::warn!(segment = %path.display(), %error, "the segment was not sealed");
    }
}

/// Seals the segments in `dir` whose seal was cut off by a crash: a server that is killed soon after each of its starts would
/// keep the space of a whole segment for each. One that does not end where its successor says is left as it is.
pub(super) fn seal_what_was_left(storage: &dyn Storage, dir: &Path, now: Timestamp) -> Result<(), WalError> {
    for pair in segments(storage, dir)?.windows(2) {
        let (path, end) = (&pair[0].path, pair[1].header.predecessor);
        let mut reader = SegmentReader::open(storage, path)?;
        if reader.file_len() > end.len + BATCH_HEADER_BYTES as u64 && ends_at(&mut reader, end).is_ok() {
            seal(storage, path, None, end, now);
        }
    }
    Ok(())
}

/// Moves the sealed segments in `dir`, the last of which ends at `end`, that are not as they were written to `quarantine`, and
/// those before them, so that no gap is left. Returns where they are.
///
/// # Errors
/// The storage reported an error; the rest goes another time.
pub(super) fn set_aside_damaged(
    storage: &dyn Storage,
    dir: &Path,
    index: &LogIndex,
    end: SegmentEnd,
    quarantine: &Path,
) -> Result<Vec<PathBuf>, WalError> {
    let Some(through) = newest_damaged(storage, dir, end)? else { return Ok(Vec::new()) };
    let names = storage.list(dir).map_err(WalError::io(dir, "list"))?;
    let mut moved = Vec::new();
    // Oldest first, so that a crash in between leaves no gap.
    for name in names.iter().filter(|name| segment_number(name).is_some_and(|number| number <= through)) {
        let path = dir.join(name);
        let to = set_aside(storage, &path, quarantine).map_err(WalError::io(&path, "move to quarantine"))?;
        moved.push(to);
    }
    index.forget_through(through);
    Ok(moved)
}

/// Deletes the sealed segments in `dir` whose events all lie at or before `through`; returns how many.
///
/// # Errors
/// The storage reported an error; the rest goes another time.
pub(super) fn prune(
    storage: &dyn Storage,
    dir: &Path,
    index: &LogIndex,
    through: Seq,
) -> Result<usize, WalError> {
    let segments = segments(storage, dir)?;
    let mut deleted = 0;
    // Oldest first, so that a crash in between leaves no gap.
    for pair in segments.windows(2) {
        if pair[1].header.predecessor.last > through {
            break;
        }
        retire(storage, &pair[0].path).map_err(WalError::io(&pair[0].path, "remove"))?;
        storage.sync_dir(dir).map_err(WalError::io(dir, "sync"))?;
        index.forget_through(pair[0].header.number);
        deleted += 1;
    }
    free_retired(storage, dir).map_err(WalError::io(dir, "free the space of old segments in"))?;
    Ok(deleted)
}
