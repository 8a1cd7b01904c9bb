//! A disk in memory that knows what would survive a power cut: bytes that were synced, names whose directory was.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::storage::{Storage, StoredFile};

/// A simulated disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimStorage(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    locks: HashSet<PathBuf>,
    /// Counts power cuts: a file opened before one is of no use after it.
    boots: u64,
    capacity: Option<u64>,
    failing_syncs: u32,
    failing_writes: u32,
}

#[derive(Clone, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
}

impl SimStorage {
    /// An empty disk without a limit.
    #[must_use]
    pub fn new() -> SimStorage {
        SimStorage::default()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// Cuts the power: only synced bytes, and names whose directory was synced, remain.
    pub fn cut_power(&self) {
        let mut disk = self.disk();
        disk.names = disk.durable_names.clone();
        disk.files.iter_mut().for_each(|file| file.live = file.durable.clone());
        disk.restart();
    }

    /// Kills the process: everything that was written remains, as the kernel holds it.
    pub fn kill_process(&self) {
        self.disk().restart();
    }

    /// A copy that shares nothing, to try different accidents on the same state.
    #[must_use]
    pub fn fork(&self) -> SimStorage {
        let disk = self.disk();
        SimStorage(Arc::new(Mutex::new(Disk {
            files: disk.files.clone(),
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            locks: HashSet::new(),
            boots: disk.boots + 1,
            capacity: disk.capacity,
            failing_syncs: 0,
            failing_writes: 0,
        })))
    }

    /// Limits the space that all files together may take; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Space that all files take.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.disk().used()
    }

    /// Makes the next syncs of files fail with EIO.
    pub fn fail_syncs(&self, count: u32) {
        self.disk().failing_syncs = count;
    }

    /// Makes the next writes fail with EIO, each after half of its bytes.
    pub fn fail_writes(&self, count: u32) {
        self.disk().failing_writes = count;
    }

    /// Paths of all files below `dir`, sorted.
    #[must_use]
    pub fn paths(&self, dir: impl AsRef<Path>) -> Vec<PathBuf> {
        self.disk().names.keys().filter(|path| path.starts_with(dir.as_ref())).cloned().collect()
    }

    /// A file's bytes as the running system sees them.
    #[must_use]
    pub fn bytes(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let disk = self.disk();
        disk.files[disk.names[path.as_ref()]].live.clone()
    }

    /// Changes a file behind everybody's back, durably: rot, an operator, another program.
    pub fn tamper(&self, path: impl AsRef<Path>, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let number = disk.names[path.as_ref()];
        change(&mut disk.files[number].live);
        disk.files[number].durable = disk.files[number].live.clone();
    }

    /// Puts a file there, durably, in place of whatever had the name.
    pub fn put(&self, path: impl AsRef<Path>, bytes: Vec<u8>) {
        let mut disk = self.disk();
        let number = disk.files.len();
        disk.files.push(Content { live: bytes.clone(), durable: bytes });
        disk.names.insert(path.as_ref().to_owned(), number);
        disk.durable_names.insert(path.as_ref().to_owned(), number);
    }

    /// Removes a file, durably.
    pub fn delete(&self, path: impl AsRef<Path>) {
        let mut disk = self.disk();
        disk.names.remove(path.as_ref());
        disk.durable_names.remove(path.as_ref());
    }
}

impl Disk {
    fn restart(&mut self) {
        self.boots += 1;
        self.locks.clear();
        self.failing_syncs = 0;
        self.failing_writes = 0;
    }

    fn used(&self) -> u64 {
        self.names.values().map(|number| self.files[*number].live.len() as u64).sum()
    }

    fn number(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn grow(&mut self, number: usize, len: u64) -> io::Result<()> {
        let now = self.files[number].live.len() as u64;
        if len <= now {
            return Ok(());
        }
        if self.capacity.is_some_and(|capacity| self.used() + (len - now) > capacity) {
            return Err(ErrorKind::StorageFull.into());
        }
        self.files[number].live.resize(len as usize, 0);
        Ok(())
    }
}

impl Storage for SimStorage {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        let names = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let mut disk = self.disk();
        let number = disk.files.len();
        disk.files.push(Content::default());
        disk.names.insert(path.to_owned(), number);
        Ok(Box::new(SimFile { storage: self.clone(), number, boots: disk.boots }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let disk = self.disk();
        let number = disk.number(path)?;
        Ok(Box::new(SimFile { storage: self.clone(), number, boots: disk.boots }))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let number = disk.number(from)?;
        disk.names.remove(from);
        disk.names.insert(to.to_owned(), number);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.number(path)?;
        disk.names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let disk = &mut *disk;
        disk.durable_names.retain(|path, _| path.parent() != Some(dir));
        let live = disk.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        disk.durable_names.extend(live.map(|(path, number)| (path.clone(), *number)));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        let mut disk = self.disk();
        if !disk.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock { storage: self.clone(), path: path.to_owned(), boots: disk.boots })))
    }

    fn in_background(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

struct SimLock {
    storage: SimStorage,
    path: PathBuf,
    boots: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.storage.disk();
        // After a restart the lock is gone already, and may be somebody else's.
        if disk.boots == self.boots {
            disk.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    storage: SimStorage,
    number: usize,
    boots: u64,
}

impl SimFile {
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.storage.disk();
        match disk.boots == self.boots {
            true => Ok(disk),
            false => Err(io::Error::other("this file was opened before the crash")),
        }
    }
}

impl StoredFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let number = self.number;
        let mut disk = self.disk()?;
        let fails = disk.failing_writes > 0;
        let bytes = if fails { &bytes[..bytes.len() / 2] } else { bytes };
        let end = offset + bytes.len() as u64;
        disk.grow(number, end)?;
        disk.files[number].live[offset as usize..end as usize].copy_from_slice(bytes);
        if fails {
            disk.failing_writes -= 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let disk = self.disk()?;
        let live = &disk.files[self.number].live;
        let start = live.len().min(offset as usize);
        let count = bytes.len().min(live.len() - start);
        bytes[..count].copy_from_slice(&live[start..start + count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk()?.files[self.number].live.len() as u64)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let number = self.number;
        let mut disk = self.disk()?;
        disk.grow(number, len)?;
        disk.files[number].live.truncate(len as usize);
        Ok(())
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        let number = self.number;
        self.disk()?.grow(number, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        let number = self.number;
        let mut disk = self.disk()?;
        if disk.failing_syncs > 0 {
            disk.failing_syncs -= 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        disk.files[number].durable = disk.files[number].live.clone();
        Ok(())
    }
}
