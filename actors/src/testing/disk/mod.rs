//! A disk in memory that knows what would survive a power cut: bytes that were synced, names whose directory was, and
//! of the rest what chance leaves (see [`crate::testing::power`]). Every call is counted and can be made to fail.
//!
//! What it holds is in `state`, and how it is called by the engine in `calls`; here is what tests do with it.

mod calls;
mod state;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::testing::disk::state::Disk;
use crate::testing::faults::{Call, Fault};
use crate::testing::power::{FileContent, Kept, Unsynced};

/// What a disk writes as a whole.
pub(super) const SECTOR_BYTES: usize = 512;

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimStorage(Arc<Mutex<Disk>>);

impl Default for SimStorage {
    fn default() -> SimStorage {
        SimStorage::with_sectors(SECTOR_BYTES)
    }
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
        SimStorage(Arc::new(Mutex::new(Disk::with_sectors(sector))))
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
        let frames = disk.tape.take().unwrap_or_default().into_iter();
        let frame = |(calls, disk)| Frame { calls, disk: SimStorage(Arc::new(Mutex::new(disk))) };
        frames.map(frame).collect()
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

    /// Lets no file be made in this directory; `None`: in every one again.
    pub fn refuse_names(&self, dir: Option<PathBuf>) {
        self.disk().closed = dir;
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
