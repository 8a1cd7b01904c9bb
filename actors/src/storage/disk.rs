//! The machine's disk.

use std::any::Any;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, fstat, fstatvfs, mkdirat, openat, renameat, seek,
    statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

use crate::base::failpoint;
use crate::base::threads::beside_or_here;
use crate::storage::held_dirs::HeldDirs;
use crate::storage::sched::make_patient;
use crate::storage::{FileIdentity, Storage, StoredFile};

/// Linux takes no more parts in one call.
const PARTS_AT_ONCE: usize = 1024;

/// Only the server's user reads and writes its files.
const FILE_MODE: u32 = 0o600;
/// The same for directories.
const DIR_MODE: u32 = 0o700;
/// How long a lock that somebody holds is tried again.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The machine's file systems, by its own names.
#[derive(Clone, Debug, Default)]
pub struct DiskStorage {
    held: HeldDirs,
}

impl DiskStorage {
    fn open_as(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let open = |dir: BorrowedFd<'_>, path: &Path| {
            retry_on_intr(|| openat(dir, path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(FILE_MODE)))
        };
        failpoint::pass("disk.open")?;
        Ok(File::from(self.held.at(path, open)?))
    }

    /// A directory, to be synced or asked about: one that is locked is open already, so that this cannot fail for want of a
    /// descriptor.
    fn dir(&self, dir: &Path) -> io::Result<Arc<File>> {
        match self.held.dir(dir) {
            Some(held) => Ok(held),
            None => Ok(Arc::new(self.open_as(dir, OFlags::RDONLY | OFlags::DIRECTORY)?)),
        }
    }

    fn lock_once(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        let file = self.open_as(path, OFlags::WRONLY | OFlags::CREATE)?;
        // The directory too: somebody may remove the file under a living server, and the next one make another.
        let parent = path.parent().unwrap_or(Path::new("."));
        let dir = self.open_as(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
        for held in [&file, &dir] {
            match held.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                // Some network file systems lock only what is open for writing, which no directory is.
                Err(TryLockError::Error(_)) if std::ptr::eq(held, &dir) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(Some(Box::new((self.held.hold(parent, dir), file))))
    }

    fn lock_shared_once(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        let parent = path.parent().unwrap_or(Path::new("."));
        let dir = self.open_as(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let file = match self.open_as(path, OFlags::RDONLY) {
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
        Ok(Some(Box::new((self.held.hold(parent, dir), file))))
    }
}

impl Storage for DiskStorage {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let is_dir = |at: BorrowedFd<'_>, dir: &Path| {
            let found = statat(at, dir, AtFlags::empty());
            found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_dir())
        };
        if self.held.at(dir, is_dir) {
            return Ok(());
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.create_dir(parent)?;
        // Before there is anything to be synced: who tries again finds the directory and takes it for durable.
        let parent = self.dir(parent)?;
        // Payloads and results are nobody else's business.
        match self.held.at(dir, |at, dir| mkdirat(at, dir, Mode::from_raw_mode(DIR_MODE))) {
            Err(error) if error != Errno::EXIST => Err(error.into()),
            _ => parent.sync_all(),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let opened = match self.open_as(dir, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(opened)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        Ok(Box::new(DiskFile(self.open_as(path, flags)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(DiskFile(self.open_as(path, OFlags::RDWR)?)))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let file = self.open_as(path, OFlags::RDONLY)?;
        match file.try_lock_shared() {
            // It was taken over: it has had no name for long.
            Err(TryLockError::WouldBlock) => Err(ErrorKind::NotFound.into()),
            // Where there are no locks, nobody takes files over.
            _ => Ok(Box::new(DiskFile(file))),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let renamed = self
            .held
            .at(from, |from_dir, from| self.held.at(to, |to_dir, to| renameat(from_dir, from, to_dir, to)));
        Ok(renamed?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(self.held.at(path, |dir, path| unlinkat(dir, path, AtFlags::empty()))?)
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        Ok(identity_of(&self.held.at(path, |dir, path| statat(dir, path, AtFlags::empty()))?))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.dir(dir)?.sync_all()
    }

    fn real_path(&self, dir: &Path) -> io::Result<PathBuf> {
        dir.canonicalize()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        patiently(|| self.lock_once(path))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        patiently(|| self.lock_shared_once(path))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let found = fstatvfs(self.dir(dir)?)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
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
        beside_or_here(Box::new(|| {
            if let Err(error) = make_patient() {
                tracing::debug!(%error, "work in the background is done as eagerly as any other");
            }
            work();
        }));
    }
}

/// A process that was killed holds its locks until the kernel has taken it down.
fn patiently<T>(lock: impl Fn() -> io::Result<Option<T>>) -> io::Result<Option<T>> {
    let give_up_at = Instant::now() + LOCK_PATIENCE;
    let mut is_told = false;
    loop {
        match lock()? {
            None if Instant::now() < give_up_at => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::info!("the directory is in use: it is tried again for {LOCK_PATIENCE:?}");
                }
                std::thread::sleep(LOCK_PAUSE);
            }
            locked => return Ok(locked),
        }
    }
}

struct DiskFile(File);

fn identity_of(found: &Stat) -> FileIdentity {
    FileIdentity { device: found.st_dev, number: found.st_ino }
}

impl StoredFile for DiskFile {
    fn identity(&self) -> io::Result<FileIdentity> {
        Ok(identity_of(&fstat(&self.0)?))
    }

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
        let guard = DiskStorage::default().lock(&path).unwrap().expect("free");
        assert!(DiskStorage::default().lock(&path).unwrap().is_none());
        // Not even when the file has gone.
        std::fs::remove_file(&path).unwrap();
        assert!(DiskStorage::default().lock(&path).unwrap().is_none());
        drop(guard);
        assert!(DiskStorage::default().lock(&path).unwrap().is_some());
    }

    #[test]
    fn readers_share_a_lock_that_keeps_owners_out_and_make_no_file_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let readers = [0; 2].map(|_| DiskStorage::default().lock_shared(&path).unwrap().expect("free"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(DiskStorage::default().lock(&path).unwrap().is_none());
        drop(readers);
        let owner = DiskStorage::default().lock(&path).unwrap().expect("free");
        assert!(DiskStorage::default().lock_shared(&path).unwrap().is_none());
        drop(owner);
        assert!(DiskStorage::default().lock_shared(&path).unwrap().is_some());
        let nowhere = DiskStorage::default().lock_shared(&dir.path().join("none/lock"));
        assert_eq!(nowhere.err().unwrap().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn behind_what_was_used_of_a_file_there_are_only_zeros() {
        const LEN: usize = 4 << 20;
        let dir = tempfile::tempdir().unwrap();
        let mut file = DiskStorage::default().create(&dir.path().join("ahead")).unwrap();
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
        let mut file = DiskStorage::default().create(&dir.path().join("parts")).unwrap();
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
        assert!(DiskStorage::default().list(&deep).unwrap().is_empty());
        DiskStorage::default().create_dir(&deep).unwrap();
        for name in ["2", "1", "3"] {
            write_whole(&DiskStorage::default(), &deep.join(name), name.as_bytes()).unwrap();
        }
        assert_eq!(DiskStorage::default().list(&deep).unwrap(), ["1", "2", "3"]);
        let file = DiskStorage::default().open_to_read(&deep.join("2")).unwrap();
        assert_eq!(read_all(&*file, 1).unwrap(), b"2");
        let refused = read_all(&*file, 0).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::FileTooLarge);
        assert_eq!(refused.to_string(), "the file has 1 bytes, but none of its sort has more than 0");
    }
}
