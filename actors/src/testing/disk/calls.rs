//! A simulated disk as [`Storage`]: each call is counted, and may go wrong as planned.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use crate::storage::{FileIdentity, Storage, StoredFile};
use crate::testing::disk::SimStorage;
use crate::testing::disk::state::{Disk, EXCLUSIVE};
use crate::testing::faults::{Call, Fault};
use crate::testing::power::{FileContent, NameChange, take_synced};

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
        if disk.closed.is_some() && disk.closed.as_deref() == path.parent() {
            return Err(Fault::Eio.error());
        }
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

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        // A look changes nothing, and is no step at which something else could happen.
        Ok(identity_of(self.disk().number(path)?))
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

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let disk = self.disk();
        Ok(disk.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used())))
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

fn identity_of(number: usize) -> FileIdentity {
    FileIdentity { device: 0, number: number as u64 }
}

impl StoredFile for SimFile {
    fn identity(&self) -> io::Result<FileIdentity> {
        Ok(identity_of(self.number))
    }

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
