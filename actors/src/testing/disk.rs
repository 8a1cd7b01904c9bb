//! A disk in memory that knows what would survive a power cut: bytes that were synced, names whose directory was, and
//! of the rest what chance leaves (see [`crate::testing::power`]). Every call is counted and can be made to fail.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::storage::{Storage, StoredFile};
use crate::testing::faults::{Call, Fault, FaultPlan};
use crate::testing::power::{FileContent, Kept, NameChange, Unsynced, take_synced};

/// What a disk writes as a whole.
pub(super) const SECTOR_BYTES: usize = 512;
/// How many hold a lock that one has for itself.
const EXCLUSIVE: usize = usize::MAX;

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimStorage(Arc<Mutex<Disk>>);

impl Default for SimStorage {
    fn default() -> SimStorage {
        SimStorage::with_sectors(SECTOR_BYTES)
    }
}

struct Disk {
    sector: usize,
    /// How often the machine was started anew.
    starts: u64,
    files: Vec<FileContent>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// How `durable_names` becomes `names`.
    pending: Vec<NameChange>,
    /// How many hold each; [`EXCLUSIVE`] for an owner.
    locks: HashMap<PathBuf, usize>,
    /// How often a file is open to read.
    readers: HashMap<usize, usize>,
    /// Counts power cuts: a file opened before one is of no use after it.
    boots: u64,
    capacity: Option<u64>,
    most_used: u64,
    failing_syncs: u32,
    failing_writes: u32,
    plan: FaultPlan,
    tape: Option<Vec<Frame>>,
}

/// The disk as it was when a call that changes it began.
#[derive(Clone)]
pub struct Frame {
    /// How many calls were done.
    pub calls: u64,
    /// The disk then.
    pub disk: SimStorage,
}

impl SimStorage {
    /// An empty disk without a limit.
    #[must_use]
    pub fn new() -> SimStorage {
        SimStorage::default()
    }

    /// An empty disk with sectors of this many bytes; 512 if not said otherwise.
    #[must_use]
    pub fn with_sectors(sector: usize) -> SimStorage {
        SimStorage(Arc::new(Mutex::new(Disk {
            sector,
            starts: 0,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            locks: HashMap::new(),
            readers: HashMap::new(),
            boots: 0,
            capacity: None,
            most_used: 0,
            failing_syncs: 0,
            failing_writes: 0,
            plan: FaultPlan::default(),
            tape: None,
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// Cuts the power: only synced bytes, and names whose directory was synced, remain.
    pub fn cut_power(&self) {
        self.cut_power_keeping(&Kept::default());
    }

    /// What a power cut may take or leave now, and how many changes of names.
    #[must_use]
    pub fn unsynced(&self) -> (Vec<Unsynced>, usize) {
        let disk = self.disk();
        let files = disk.files.iter().enumerate();
        (files.flat_map(|(number, file)| file.unsynced(number, disk.sector)).collect(), disk.pending.len())
    }

    /// Of each of [`SimStorage::unsynced`], whether it is a part of this file.
    #[must_use]
    pub fn unsynced_of(&self, path: &Path) -> Vec<bool> {
        let of_path = {
            let disk = self.disk();
            [disk.names.get(path), disk.durable_names.get(path)].map(|number| number.copied())
        };
        let (items, _) = self.unsynced();
        let file_of = |item: &Unsynced| match item {
            Unsynced::Sector { file, .. } | Unsynced::Length { file } => *file,
        };
        items.iter().map(|item| of_path.contains(&Some(file_of(item)))).collect()
    }

    /// Cuts the power: synced bytes and names remain, and of the rest what `kept` says.
    pub fn cut_power_keeping(&self, kept: &Kept) {
        let mut disk = self.disk();
        let disk = &mut *disk;
        let names = kept.names.min(disk.pending.len());
        let surviving: Vec<_> = disk.pending.drain(..).take(names).collect();
        disk.make_durable(surviving);
        disk.names = disk.durable_names.clone();
        let mut items = kept.items.iter().copied();
        for (number, file) in disk.files.iter_mut().enumerate() {
            file.cut(number, disk.sector, || items.next().unwrap_or(false), kept.garbage);
        }
        disk.starts += 1;
        disk.restart();
    }

    /// Kills the process: everything that was written remains, as the kernel holds it.
    pub fn kill_process(&self) {
        self.disk().restart();
    }

    /// A copy that shares nothing, to try different accidents on the same state. Nothing is planned to fail on it.
    #[must_use]
    pub fn fork(&self) -> SimStorage {
        SimStorage(Arc::new(Mutex::new(self.disk().fork())))
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.disk().plan.calls()
    }

    /// Calls of a kind so far.
    #[must_use]
    pub fn calls_of(&self, call: Call) -> u64 {
        self.disk().plan.calls_of(call)
    }

    /// Calls that went wrong as [`SimStorage::fail_call`] and [`SimStorage::fail_call_of`] planned it, so far.
    #[must_use]
    pub fn failed_calls(&self) -> u64 {
        self.disk().plan.failed()
    }

    /// Makes the call with this number (the first one ever is 1) go wrong, until the next restart.
    pub fn fail_call(&self, number: u64, fault: Fault) {
        self.disk().plan.fail(None, number, fault);
    }

    /// Makes the call with this number among those of its kind go wrong, until the next restart.
    pub fn fail_call_of(&self, call: Call, number: u64, fault: Fault) {
        self.disk().plan.fail(Some(call), number, fault);
    }

    /// Stops the machine at the call with this number: it and all later ones fail and change nothing, until
    /// [`SimStorage::cut_power`] or [`SimStorage::kill_process`].
    pub fn crash_at(&self, number: u64) {
        self.disk().plan.crash_at(number);
    }

    /// Whether a crash that was armed has come.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.disk().plan.has_stopped()
    }

    /// A number that tells different disks apart: names and bytes, live and durable.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let disk = self.disk();
        let mut hasher = DefaultHasher::new();
        for (path, number) in &disk.names {
            (path, &disk.files[*number].live, &disk.files[*number].durable).hash(&mut hasher);
        }
        // What must be there may depend on it.
        (&disk.durable_names, disk.starts).hash(&mut hasher);
        hasher.finish()
    }

    /// From now on keeps the disk as it is before each call that changes it.
    pub fn start_tape(&self) {
        self.disk().tape = Some(Vec::new());
    }

    /// The tape, with the disk as it is now at its end.
    #[must_use]
    pub fn take_tape(&self) -> Vec<Frame> {
        let mut disk = self.disk();
        let calls = disk.plan.calls();
        disk.film(calls);
        disk.tape.take().unwrap_or_default()
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

    /// The most space that all files together took since this was asked the last time.
    #[must_use]
    pub fn take_most_used(&self) -> u64 {
        std::mem::take(&mut self.disk().most_used)
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
        disk.files[disk.names[path.as_ref()]].live.to_vec()
    }

    /// Changes a file behind everybody's back, durably: rot, an operator, another program.
    pub fn tamper(&self, path: impl AsRef<Path>, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let number = disk.names[path.as_ref()];
        let mut bytes = disk.files[number].live.to_vec();
        change(&mut bytes);
        disk.files[number] = FileContent::durably(bytes);
    }

    /// Writes a file, durably; a file that had that name is replaced.
    pub fn put(&self, path: impl AsRef<Path>, bytes: Vec<u8>) {
        let mut disk = self.disk();
        let number = disk.files.len();
        disk.files.push(FileContent::durably(bytes));
        disk.pending.retain(|change| !change.names(path.as_ref()));
        disk.names.insert(path.as_ref().to_owned(), number);
        disk.durable_names.insert(path.as_ref().to_owned(), number);
    }

    /// Removes a file, durably.
    pub fn delete(&self, path: impl AsRef<Path>) {
        let mut disk = self.disk();
        disk.pending.retain(|change| !change.names(path.as_ref()));
        disk.names.remove(path.as_ref());
        disk.durable_names.remove(path.as_ref());
    }
}

impl Disk {
    fn restart(&mut self) {
        self.boots += 1;
        self.locks.clear();
        self.readers.clear();
        self.failing_syncs = 0;
        self.failing_writes = 0;
        self.plan.restart();
        self.tape = None;
    }

    fn fork(&self) -> Disk {
        let mut fork = Disk {
            sector: self.sector,
            starts: self.starts,
            files: self.files.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            pending: self.pending.clone(),
            locks: HashMap::new(),
            readers: HashMap::new(),
            boots: self.boots,
            capacity: self.capacity,
            most_used: self.most_used,
            failing_syncs: 0,
            failing_writes: 0,
            plan: self.plan.clone(),
            tape: None,
        };
        fork.restart();
        fork
    }

    fn film(&mut self, calls: u64) {
        if self.tape.is_none() {
            return;
        }
        let frame = Frame { calls, disk: SimStorage(Arc::new(Mutex::new(self.fork()))) };
        self.tape.get_or_insert_default().push(frame);
    }

    /// Counts a call and says how it goes wrong. Faults that do nothing but fail are returned as their error.
    fn enter(&mut self, call: Call) -> io::Result<Option<Fault>> {
        let planned = self.plan.enter(call)?;
        if call.changes() {
            self.film(self.plan.calls() - 1);
        }
        let fault = match call {
            Call::Sync if self.failing_syncs > 0 => {
                self.failing_syncs -= 1;
                Some(Fault::Eio)
            }
            Call::Write if self.failing_writes > 0 => {
                self.failing_writes -= 1;
                Some(Fault::Short)
            }
            _ => planned,
        };
        match (fault, call) {
            (None | Some(Fault::FalseFailure), _)
            | (Some(Fault::Short), Call::Write)
            | (Some(_), Call::Sync) => Ok(fault),
            (Some(fault), _) => Err(fault.error()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        if let Some(path) = &change.removed {
            self.names.remove(path);
        }
        if let Some((path, number)) = &change.added {
            self.names.insert(path.clone(), *number);
        }
        self.pending.push(change);
    }

    fn make_durable(&mut self, changes: Vec<NameChange>) {
        for change in changes {
            if let Some(path) = change.removed {
                self.durable_names.remove(&path);
            }
            if let Some((path, number)) = change.added {
                self.durable_names.insert(path, number);
            }
        }
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
        self.files[number].set_len(len as usize);
        self.most_used = self.most_used.max(self.used());
        Ok(())
    }
}

/// What a call that was done answers.
fn done<T>(fault: Option<Fault>, value: T) -> io::Result<T> {
    match fault {
        None => Ok(value),
        Some(fault) => Err(fault.error()),
    }
}

impl SimStorage {
    fn open_as(&self, path: &Path, reads: bool) -> io::Result<Box<dyn StoredFile>> {
        let mut disk = self.disk();
        let fault = disk.enter(Call::Open)?;
        let number = disk.number(path)?;
        done(fault, ())?;
        if reads {
            *disk.readers.entry(number).or_default() += 1;
        }
        Ok(Box::new(SimFile { storage: self.clone(), number, boots: disk.boots, reads }))
    }
}

impl Storage for SimStorage {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        let fault = self.disk().enter(Call::CreateDir)?;
        done(fault, ())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        let fault = disk.enter(Call::List)?;
        // Directories are there as long as something is in them.
        let below = disk.names.keys().filter_map(|path| path.strip_prefix(dir).ok()?.components().next());
        let mut names: Vec<_> = below.map(|name| name.as_os_str().to_string_lossy().into_owned()).collect();
        names.sort();
        names.dedup();
        done(fault, names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let mut disk = self.disk();
        let fault = disk.enter(Call::Create)?;
        let number = match disk.names.get(path).copied() {
            Some(number) => {
                disk.files[number].set_len(0);
                number
            }
            None => {
                disk.files.push(FileContent::default());
                let number = disk.files.len() - 1;
                disk.change_name(NameChange { removed: None, added: Some((path.to_owned(), number)) });
                number
            }
        };
        let boots = disk.boots;
        done(fault, Box::new(SimFile { storage: self.clone(), number, boots, reads: false }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.open_as(path, false)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.open_as(path, true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let fault = disk.enter(Call::Rename)?;
        let number = disk.number(from)?;
        disk.change_name(NameChange { removed: Some(from.to_owned()), added: Some((to.to_owned(), number)) });
        done(fault, ())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let fault = disk.enter(Call::Remove)?;
        disk.number(path)?;
        disk.change_name(NameChange { removed: Some(path.to_owned()), added: None });
        done(fault, ())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let fault = disk.enter(Call::SyncDir)?;
        let synced = take_synced(&mut disk.pending, dir);
        disk.make_durable(synced);
        done(fault, ())
    }

    fn real_path(&self, dir: &Path) -> io::Result<PathBuf> {
        // There are no links here.
        Ok(dir.components().collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        let mut disk = self.disk();
        let fault = disk.enter(Call::Lock)?;
        if fault.is_some() || disk.locks.contains_key(path) {
            return done(fault, None);
        }
        disk.locks.insert(path.to_owned(), EXCLUSIVE);
        Ok(Some(Box::new(SimLock { storage: self.clone(), path: path.to_owned(), boots: disk.boots })))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        let mut disk = self.disk();
        let fault = disk.enter(Call::Lock)?;
        if fault.is_some() || disk.locks.get(path) == Some(&EXCLUSIVE) {
            return done(fault, None);
        }
        *disk.locks.entry(path.to_owned()).or_default() += 1;
        Ok(Some(Box::new(SimLock { storage: self.clone(), path: path.to_owned(), boots: disk.boots })))
    }

    fn boot_id(&self) -> [u8; 16] {
        u128::from(self.disk().starts).to_be_bytes()
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
            match disk.locks.get_mut(&self.path) {
                Some(readers) if *readers != EXCLUSIVE && *readers > 1 => *readers -= 1,
                _ => drop(disk.locks.remove(&self.path)),
            }
        }
    }
}

struct SimFile {
    storage: SimStorage,
    number: usize,
    boots: u64,
    reads: bool,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if !self.reads {
            return;
        }
        let mut disk = self.storage.disk();
        if disk.boots == self.boots
            && let Some(readers) = disk.readers.get_mut(&self.number)
        {
            *readers -= 1;
        }
    }
}

impl SimFile {
    fn enter(&self, call: Call) -> io::Result<(MutexGuard<'_, Disk>, Option<Fault>)> {
        let mut disk = self.storage.disk();
        if disk.boots != self.boots {
            return Err(io::Error::other("this file was opened before the crash"));
        }
        let fault = disk.enter(call)?;
        Ok((disk, fault))
    }
}

impl StoredFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut disk, fault) = self.enter(Call::Write)?;
        let bytes = if fault == Some(Fault::Short) { &bytes[..bytes.len() / 2] } else { bytes };
        disk.grow(self.number, offset + bytes.len() as u64)?;
        let sector = disk.sector;
        disk.files[self.number].write(offset as usize, bytes, sector);
        done(fault, ())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let (disk, fault) = self.enter(Call::Read)?;
        let live = &disk.files[self.number].live;
        let start = live.len().min(offset as usize);
        let count = bytes.len().min(live.len() - start);
        bytes[..count].copy_from_slice(&live[start..start + count]);
        done(fault, count)
    }

    fn len(&self) -> io::Result<u64> {
        let (disk, fault) = self.enter(Call::Len)?;
        done(fault, disk.files[self.number].live.len() as u64)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let (mut disk, fault) = self.enter(Call::SetLen)?;
        disk.grow(self.number, len)?;
        disk.files[self.number].set_len(len as usize);
        done(fault, ())
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        let (mut disk, fault) = self.enter(Call::Allocate)?;
        disk.grow(self.number, len)?;
        done(fault, ())
    }

    fn sync(&mut self) -> io::Result<()> {
        let (mut disk, fault) = self.enter(Call::Sync)?;
        let sector = disk.sector;
        match fault {
            None | Some(Fault::FalseFailure) => disk.files[self.number].sync(sector),
            Some(_) => disk.files[self.number].give_up(sector),
        }
        done(fault, ())
    }

    fn take_over(&mut self) -> io::Result<bool> {
        let (disk, fault) = self.enter(Call::Lock)?;
        done(fault, disk.readers.get(&self.number).is_none_or(|readers| *readers == 0))
    }
}
