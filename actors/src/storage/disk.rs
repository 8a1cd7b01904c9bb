//! The machine's disk.

use std::any::Any;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::storage::sched::make_patient;
use crate::storage::{Storage, StoredFile};

/// Linux takes no more parts in one call.
const PARTS_AT_ONCE: usize = 1024;

/// Only the server's user reads and writes its files.
const FILE_MODE: u32 = 0o600;
/// How long a lock that somebody holds is tried again.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The machine's file systems, by its own names.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskStorage;

impl Storage for DiskStorage {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.create_dir(parent)?;
        // Payloads and results are nobody else's business.
        match std::fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => self.sync_dir(parent),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE);
        Ok(Box::new(DiskFile(options.open(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(DiskFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let file = File::open(path)?;
        match file.try_lock_shared() {
            // It was taken over: it has had no name for long.
            Err(TryLockError::WouldBlock) => Err(ErrorKind::NotFound.into()),
            // Where there are no locks, nobody takes files over.
            _ => Ok(Box::new(DiskFile(file))),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn real_path(&self, dir: &Path) -> io::Result<PathBuf> {
        dir.canonicalize()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        patiently(|| lock_once(path))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        patiently(|| lock_shared_once(path))
    }

    fn boot_id(&self) -> [u8; 16] {
        static BOOT_ID: LazyLock<[u8; 16]> = LazyLock::new(|| {
            let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let known = u128::from_str_radix(&text.trim().replace('-', ""), 16);
            // Where it is not told, each start of the server might be one of the kernel.
            known.unwrap_or_else(|_| fastrand::u128(..)).to_be_bytes()
        });
        *BOOT_ID
    }

    fn in_background(&self, work: Box<dyn FnOnce() + Send>) {
        std::thread::spawn(|| {
            if let Err(error) = make_patient() {
                tracing::debug!(%error, "work in the background is done as eagerly as any other");
            }
            work();
        });
    }
}

/// A process that was killed holds its locks until the kernel has taken it down.
fn patiently<T>(lock: impl Fn() -> io::Result<Option<T>>) -> io::Result<Option<T>> {
    let give_up_at = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock()? {
            None if Instant::now() < give_up_at => std::thread::sleep(LOCK_PAUSE),
            locked => return Ok(locked),
        }
    }
}

fn lock_once(path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    // The directory too: somebody may remove the file under a living server, and the next one make another.
    let dir = File::open(path.parent().unwrap_or(Path::new(".")))?;
    for held in [&file, &dir] {
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some network file systems lock only what is open for writing, which no directory is.
            Err(TryLockError::Error(_)) if std::ptr::eq(held, &dir) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(Some(Box::new((file, dir))))
}

fn lock_shared_once(path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
    let dir = File::open(path.parent().unwrap_or(Path::new(".")))?;
    let file = match File::open(path) {
        // A copy of a directory may lack it; the directory itself is locked by an owner, too.
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        file => Some(file?),
    };
    for held in [Some(&dir), file.as_ref()].into_iter().flatten() {
        match held.try_lock_shared() {
            // Where nothing can be locked, nobody can be kept out: what is read is checked in any case.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
        }
    }
    Ok(Some(Box::new((file, dir))))
}

struct DiskFile(File);

impl StoredFile for DiskFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn write_parts_at(&mut self, mut offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        // Parts without a byte would be taken for a write that does nothing.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let at_once = left.len().min(PARTS_AT_ONCE);
            match rustix::io::pwritev(&self.0, &left[..at_once], offset) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < bytes.len() {
            match self.0.read_at(&mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn used_len(&self) -> io::Result<u64> {
        let len = self.len()?;
        let mut used = 0;
        while used < len {
            let hole =
                seek(&self.0, SeekFrom::Data(used)).and_then(|data| seek(&self.0, SeekFrom::Hole(data)));
            used = match hole {
                Ok(hole) => hole,
                Err(Errno::NXIO) => break,
                // Not every file system can tell.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => len,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(used.min(len))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, len) {
            // Not every file system can; then the space is taken as it is written.
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(len),
            result => Ok(result?),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn take_over(&mut self) -> io::Result<bool> {
        match self.0.try_lock() {
            // A second name is somebody's copy.
            Ok(()) => Ok(self.0.metadata()?.nlink() <= 1),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{is_zero, read_all, write_whole};

    #[test]
    fn a_lock_is_held_by_one_at_a_time_and_free_after_its_guard_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let guard = DiskStorage.lock(&path).unwrap().expect("free");
        assert!(DiskStorage.lock(&path).unwrap().is_none());
        // Not even when the file has gone.
        std::fs::remove_file(&path).unwrap();
        assert!(DiskStorage.lock(&path).unwrap().is_none());
        drop(guard);
        assert!(DiskStorage.lock(&path).unwrap().is_some());
    }

    #[test]
    fn readers_share_a_lock_that_keeps_owners_out_and_make_no_file_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let readers = [0; 2].map(|_| DiskStorage.lock_shared(&path).unwrap().expect("free"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(DiskStorage.lock(&path).unwrap().is_none());
        drop(readers);
        let owner = DiskStorage.lock(&path).unwrap().expect("free");
        assert!(DiskStorage.lock_shared(&path).unwrap().is_none());
        drop(owner);
        assert!(DiskStorage.lock_shared(&path).unwrap().is_some());
        let nowhere = DiskStorage.lock_shared(&dir.path().join("none/lock"));
        assert_eq!(nowhere.err().unwrap().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn behind_what_was_used_of_a_file_there_are_only_zeros() {
        const LEN: usize = 4 << 20;
        let dir = tempfile::tempdir().unwrap();
        let mut file = DiskStorage.create(&dir.path().join("ahead")).unwrap();
        file.allocate(LEN as u64).unwrap();
        let mut expected = vec![0; LEN];
        for at in [0, 5_000, 3 << 20, 1 << 20, LEN - 1] {
            file.write_at(at as u64, &[7]).unwrap();
            expected[at] = 7;
            let used = file.used_len().unwrap() as usize;
            assert!(is_zero(&expected[used..]), "{used} after a byte at {at}");
        }
        assert_eq!(file.used_len().unwrap(), LEN as u64);
        assert!(read_all(&*file, LEN as u64).unwrap() == expected);
    }

    #[test]
    fn parts_are_written_one_behind_the_other_however_many_and_however_small() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = DiskStorage.create(&dir.path().join("parts")).unwrap();
        let whole: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
        // Some are empty, also the first and the last.
        let parts: Vec<&[u8]> =
            (0..6_000_usize).map(|nth| &whole[nth / 2 * 26..nth.div_ceil(2) * 26]).collect();
        assert!(parts.len() > 2 * PARTS_AT_ONCE && parts[0].is_empty());
        file.write_at(0, &[7; 100]).unwrap();
        file.write_parts_at(50, &parts).unwrap();
        let expected = [[7; 50].as_slice(), &parts.concat()].concat();
        assert!(read_all(&*file, 1 << 20).unwrap() == expected);
        file.write_parts_at(1, &[]).unwrap();
        file.write_parts_at(1, &[b"", b""]).unwrap();
        assert!(read_all(&*file, 1 << 20).unwrap() == expected);
    }

    #[test]
    fn directories_are_made_with_their_parents_and_listed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        assert!(DiskStorage.list(&deep).unwrap().is_empty());
        DiskStorage.create_dir(&deep).unwrap();
        for name in ["2", "1", "3"] {
            write_whole(&DiskStorage, &deep.join(name), name.as_bytes()).unwrap();
        }
        assert_eq!(DiskStorage.list(&deep).unwrap(), ["1", "2", "3"]);
        let file = DiskStorage.open_to_read(&deep.join("2")).unwrap();
        assert_eq!(read_all(&*file, 1).unwrap(), b"2");
        let refused = read_all(&*file, 0).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::FileTooLarge);
        assert_eq!(refused.to_string(), "the file has 1 bytes, but none of its sort has more than 0");
    }
}
