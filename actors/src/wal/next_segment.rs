//! The next segment's file, prepared in the background so that rotation does not wait for the disk.
//!
//! Its first part is filled with zeros that are really written: fdatasync of a file whose blocks were written before is
//! faster, as no metadata changes. Even large batches gain, though everything is then written twice
//! (`docs/decisions/0004-zero-filled-segments.md`).
//!
//! The number of zeros follows the load: a quiet server must not write a whole segment of zeros at every snapshot.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use crate::storage::{Storage, StoredFile};

/// Bytes of zeros per write while the next segment is prepared. Small, as nothing else may run on that processor while
/// the kernel copies them (`docs/decisions/0005-scheduler-slices.md`).
pub(super) const ZEROS_AT_ONCE: usize = 256 << 10;
/// Least number of bytes of the next segment that are filled with zeros.
pub(super) const ZEROED_MIN: u64 = 1 << 20;
/// The number for the first segment after a start, when the load is not known yet.
pub(super) const ZEROED_AT_FIRST: u64 = 16 << 20;

/// Set when nobody waits for more zeros.
type Enough = Arc<AtomicBool>;

/// A file that is allocated, and the number of zeros that it begins with.
pub(super) type ZeroedFile = (Box<dyn StoredFile>, u64);

/// The file, or what became of it.
pub(super) enum NextSegment {
    /// Being filled with zeros.
    Coming(Receiver<io::Result<ZeroedFile>>, Enough),
    /// Waits under its `.partial` name. It stays open, so that a change of segments needs no descriptor.
    Ready(ZeroedFile),
    /// None was asked for yet, the last one was taken, or there was no space for it.
    Missing,
}

impl NextSegment {
    /// Allocates it, and fills about `zeroed` bytes of it with zeros.
    pub fn prepare(storage: &Arc<dyn Storage>, path: PathBuf, len: u64, zeroed: u64) -> NextSegment {
        let zeroed = zeroed.next_multiple_of(ZEROS_AT_ONCE as u64).max(ZEROED_MIN).min(len);
        let (sender, receiver) = channel();
        let (disk, enough) = (storage.clone(), Enough::default());
        let is_enough = enough.clone();
        storage.in_background(Box::new(move || {
            let result = fill(&*disk, &path, len, zeroed, &is_enough);
            if result.is_err() {
                remove(&*disk, &path);
            }
            // Nobody listens any more when the log was closed meanwhile.
            let _ = sender.send(result);
        }));
        NextSegment::Coming(receiver, enough)
    }

    /// Whether it has come in the meantime.
    pub fn look(&mut self) {
        let NextSegment::Coming(result, _) = self else { return };
        let problem = match result.try_recv() {
            Ok(Ok(file)) => {
                *self = NextSegment::Ready(file);
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(TryRecvError::Disconnected) => "it was given up".to_owned(),
            Err(TryRecvError::Empty) => return,
        };
        *self = NextSegment::Missing;
        tracing::warn!(
            error = problem,
            "there is no next segment for the log, mostly for want of space: new jobs are refused until there is"
        );
    }

    /// The file as soon as it is there, which is soon; none if it will not be. Nobody else gets it.
    pub fn take(&mut self) -> Option<ZeroedFile> {
        match std::mem::replace(self, NextSegment::Missing) {
            NextSegment::Ready(file) => Some(file),
            NextSegment::Coming(result, enough) => {
                enough.store(true, Ordering::Relaxed);
                result.recv().ok()?.ok()
            }
            NextSegment::Missing => None,
        }
    }
}

/// Removes an unfinished segment, so that it does not hold what little space there is. A start removes it, too.
pub(super) fn remove(storage: &dyn Storage, partial: &Path) {
    if let Err(error) = storage.remove(partial) {
        tracing::debug!(path = %partial.display(), %error, "an unfinished segment stays until the next start");
    }
}

/// A piece at a time, each synced by itself: an append that comes meanwhile waits for one of them at most, not for all.
fn fill(
    storage: &dyn Storage,
    path: &Path,
    len: u64,
    zeroed: u64,
    is_enough: &AtomicBool,
) -> io::Result<ZeroedFile> {
    let mut file = storage.create(path)?;
    file.allocate(len)?;
    let zeros = vec![0; ZEROS_AT_ONCE];
    for offset in (0..zeroed).step_by(ZEROS_AT_ONCE) {
        if is_enough.load(Ordering::Relaxed) {
            return Ok((file, offset));
        }
        let count = zeros.len().min(usize::try_from(zeroed - offset).unwrap_or(usize::MAX));
        file.write_at(offset, &zeros[..count])?;
        file.sync()?;
    }
    Ok((file, zeroed))
}
