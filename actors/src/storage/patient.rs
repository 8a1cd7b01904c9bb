//! A disk whose files are opened patiently: a process, or a machine, that has no descriptors or memory left has some again
//! when somebody else lets go of them. So what opens a file waits and tries again, and new jobs are refused meanwhile.
//!
//! It blocks, so it is for threads on which nobody else waits. Who reads a job's texts on the manager's thread takes
//! the disk itself: such a read is tried again later anyway.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::storage::{FileIdentity, Storage, StoredFile};

/// How long it is tried again, from the first failure on, until an open works.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
/// A failure is not believed for longer, if nobody tries again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);

/// Whether files can be opened now.
#[derive(Debug, Default)]
pub struct Shortage(Mutex<Option<Failures>>);

/// Failures in a row.
#[derive(Clone, Copy, Debug)]
struct Failures {
    first: Instant,
    last: Instant,
}

impl Shortage {
    /// Whether a file of the log or of a snapshot could not be opened just now.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.failures().is_some_and(|failures| failures.last.elapsed() < FORGOTTEN_AFTER)
    }

    /// One more failure; how long they have been going on.
    fn failed(&self) -> Duration {
        let (mut failures, now) = (self.failures(), Instant::now());
        let first =
            failures.filter(|failures| now - failures.last < FORGOTTEN_AFTER).map_or(now, |old| old.first);
        *failures = Some(Failures { first, last: now });
        now - first
    }

    fn is_over(&self) -> bool {
        self.failures().take().is_some()
    }

    fn failures(&self) -> MutexGuard<'_, Option<Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Around another disk.
pub(crate) struct PatientStorage {
    disk: Arc<dyn Storage>,
    shortage: Arc<Shortage>,
    patience: Duration,
}

impl PatientStorage {
    /// Tells `shortage` what it meets.
    pub fn around(disk: Arc<dyn Storage>, shortage: Arc<Shortage>) -> PatientStorage {
        PatientStorage { disk, shortage, patience: PATIENCE }
    }

    fn patiently<T>(&self, path: &Path, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        self.patiently_if(path, |error| lacks_descriptors(error) || is_errno(error, Errno::NOMEM), open)
    }

    fn patiently_if<T>(
        &self,
        path: &Path,
        may_pass: impl Fn(&io::Error) -> bool,
        open: impl Fn() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut is_told = false;
        loop {
            match open() {
                Err(error) if may_pass(&error) => {
                    if self.shortage.failed() >= self.patience {
                        return Err(error);
                    }
                    if !is_told {
                        tracing::error!(path = %path.display(), %error, "cannot be opened: trying again, new jobs are refused until it can");
                        is_told = true;
                    }
                    std::thread::sleep(PAUSE);
                }
                opened => {
                    if self.shortage.is_over() {
                        tracing::info!("files can be opened again");
                    }
                    return opened;
                }
            }
        }
    }
}

/// Whether the process has no descriptors left, or the machine.
fn lacks_descriptors(error: &io::Error) -> bool {
    is_errno(error, Errno::MFILE) || is_errno(error, Errno::NFILE)
}

fn is_errno(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

impl Storage for PatientStorage {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.patiently(dir, || self.disk.create_dir(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.patiently(dir, || self.disk.list(dir))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.patiently(path, || self.disk.create(path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.patiently(path, || self.disk.open(path))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.patiently(path, || self.disk.open_to_read(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        self.disk.identity(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Once begun, a sync is never tried again, and it may fail for want of memory. Where descriptors are missing, none has begun.
        self.patiently_if(dir, lacks_descriptors, || self.disk.sync_dir(dir))
    }

    fn real_path(&self, dir: &Path) -> io::Result<PathBuf> {
        self.disk.real_path(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        self.patiently(path, || self.disk.lock(path))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        self.patiently(path, || self.disk.lock_shared(path))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }

    fn boot_id(&self) -> [u8; 16] {
        self.disk.boot_id()
    }

    fn without_patience(&self) -> Option<Arc<dyn Storage>> {
        Some(self.disk.clone())
    }

    fn in_background(&self, work: Box<dyn FnOnce() + Send>) {
        self.disk.in_background(work);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::testing::SimStorage;

    const FILE: &str = "/data/wal/7";

    fn patient(patience: Duration) -> PatientStorage {
        let disk = Arc::new(SimStorage::new());
        PatientStorage { patience, ..PatientStorage::around(disk, Arc::default()) }
    }

    /// Opens a file that cannot be opened this many times, and then can; how often it was tried.
    fn open(storage: &PatientStorage, errno: Errno, failures: u32) -> (io::Result<()>, u32) {
        let tries = AtomicU32::new(0);
        let opened = storage.patiently(Path::new(FILE), || match tries.fetch_add(1, Ordering::Relaxed) {
            number if number < failures => Err(errno.into()),
            _ => Ok(()),
        });
        (opened, tries.into_inner())
    }

    /// Row 62.
    #[test]
    fn what_cannot_be_opened_for_want_of_descriptors_or_memory_is_tried_again_and_new_jobs_are_refused_meanwhile()
     {
        let storage = patient(PATIENCE);
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            let tries = AtomicU32::new(0);
            storage
                .patiently(Path::new(FILE), || match tries.fetch_add(1, Ordering::Relaxed) {
                    0 => {
                        assert!(!storage.shortage.is_on(), "nothing has failed yet");
                        Err(errno.into())
                    }
                    _ => {
                        assert!(storage.shortage.is_on(), "{errno}");
                        Ok(())
                    }
                })
                .unwrap();
            assert!(!storage.shortage.is_on(), "{errno}: it is over");
        }
        for errno in [Errno::NOENT, Errno::IO, Errno::NOSPC] {
            let (failed, tries) = open(&storage, errno, 9);
            assert_eq!((failed.unwrap_err().raw_os_error(), tries), (Some(errno.raw_os_error()), 1));
            assert!(!storage.shortage.is_on(), "{errno} is no shortage");
        }
    }

    /// Row 62: what waits for it ends, too.
    #[test]
    fn after_a_time_without_any_success_it_is_given_up_and_no_second_one_waits_as_long_again() {
        let storage = patient(PAUSE / 2);
        let (given_up, tries) = open(&storage, Errno::MFILE, 9);
        assert_eq!((given_up.unwrap_err().raw_os_error(), tries), (Some(24), 2));
        assert_eq!(open(&storage, Errno::MFILE, 9).1, 1, "it has been going on for long enough");
        assert!(storage.shortage.is_on());
        assert!(open(&storage, Errno::MFILE, 0).0.is_ok());
        assert_eq!(open(&storage, Errno::MFILE, 1).1, 2, "another one begins anew");
    }

    /// A sync that has failed is not tried again, even if it lacked only memory.
    #[test]
    fn the_sync_of_a_directory_is_tried_again_only_where_it_has_not_begun() {
        let storage = patient(PATIENCE);
        for (errno, tried) in [(Errno::MFILE, 2), (Errno::NFILE, 2), (Errno::NOMEM, 1)] {
            let tries = AtomicU32::new(0);
            let sync = || match tries.fetch_add(1, Ordering::Relaxed) {
                0 => Err(io::Error::from(errno)),
                _ => Ok(()),
            };
            assert_eq!(
                storage.patiently_if(Path::new(FILE), lacks_descriptors, sync).is_ok(),
                tried == 2,
                "{errno}"
            );
            assert_eq!(tries.into_inner(), tried, "{errno}");
        }
    }
}
