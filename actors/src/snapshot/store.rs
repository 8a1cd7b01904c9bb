//! The directory of snapshots: publish, load, fall back to the one before, retain.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::SnapshotError;
use super::fold::Delta;
use super::format::{ImageHeader, ImageReader, ImageWriter};
use crate::bugs::{self, Bug};
use crate::ids::{Lsn, Timestamp};
use crate::jobs::policy::millis;
use crate::jobs::queues::Overview;
use crate::jobs::record::JobRecord;
use crate::storage::{Storage, partial_of, publish, unused};

/// Snapshots `00000000000000000017.snap`, named by their position.
#[derive(Clone)]
pub struct SnapshotStore {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    quarantine: PathBuf,
}

/// A snapshot on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// What it is of.
    pub header: ImageHeader,
    /// Its size.
    pub bytes: u64,
    /// Jobs in it.
    pub jobs: u64,
}

/// A snapshot that was loaded.
#[derive(Debug)]
pub struct Loaded<T> {
    /// Which.
    pub info: SnapshotInfo,
    /// What was made of its jobs.
    pub value: T,
    /// What it says beside them; images of the first schema say nothing.
    pub overview: Option<Overview>,
    /// Those newer ones that were passed over, and why.
    pub corrupted: PassedOver,
}

/// Snapshots that are corrupted, and how.
pub type PassedOver = Vec<(Lsn, SnapshotError)>;

impl SnapshotStore {
    /// The snapshots in `dir`; corrupted ones are set aside in `quarantine`.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, dir: &Path, quarantine: &Path) -> SnapshotStore {
        SnapshotStore { storage, dir: dir.to_owned(), quarantine: quarantine.to_owned() }
    }

    /// Positions of the snapshots that are there, newest first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Lsn>, SnapshotError> {
        let names = self.storage.list(&self.dir).map_err(SnapshotError::io(&self.dir, "list"))?;
        Ok(names.iter().rev().filter_map(|name| position(name)).collect())
    }

    /// Whether there is any snapshot.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn exists(&self) -> Result<bool, SnapshotError> {
        Ok(!self.list()?.is_empty())
    }

    /// Opens the snapshot at a position.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn open(&self, last: Lsn) -> Result<ImageReader, SnapshotError> {
        let path = self.path_of(last);
        let file = self.storage.open_to_read(&path).map_err(SnapshotError::io(&path, "open"))?;
        let reader = ImageReader::begin(file, &path)?;
        match reader.header.last == last {
            true => Ok(reader),
            false => {
                let problem =
                    format!("it holds everything up to event {}: was it renamed?", reader.header.last);
                Err(SnapshotError::corrupted(&path, 0, problem))
            }
        }
    }

    /// Loads the newest snapshot that is whole, and hands its jobs to `make`.
    ///
    /// A corrupted one is passed over for the one before it and returned in the list of errors; the caller decides
    /// when to set it aside with [`SnapshotStore::set_aside`].
    ///
    /// # Errors
    /// [`SnapshotError::NotFound`] if there is no snapshot that could be loaded;
    /// [`SnapshotError::IncompatibleVersion`] or [`SnapshotError::Io`] at once, since an older snapshot is no
    /// answer to those.
    pub fn load<T>(
        &self,
        mut make: impl FnMut(&ImageHeader, &mut dyn Iterator<Item = JobRecord>) -> Result<T, String>,
    ) -> Result<Loaded<T>, (SnapshotError, PassedOver)> {
        let mut corrupted = Vec::new();
        for last in self.list().map_err(|error| (error, Vec::new()))? {
            match self.load_one(last, &mut make) {
                Ok((info, value, overview)) => return Ok(Loaded { info, value, overview, corrupted }),
                Err(error @ SnapshotError::Corrupted { .. }) => corrupted.push((last, error)),
                Err(error) => return Err((error, corrupted)),
            }
        }
        Err((SnapshotError::NotFound { dir: self.dir.clone() }, corrupted))
    }

    fn load_one<T>(
        &self,
        last: Lsn,
        make: &mut impl FnMut(&ImageHeader, &mut dyn Iterator<Item = JobRecord>) -> Result<T, String>,
    ) -> Result<(SnapshotInfo, T, Option<Overview>), SnapshotError> {
        let mut reader = self.open(last)?;
        let header = reader.header;
        let mut chunk = Vec::new().into_iter();
        let mut end = Ok(());
        let mut jobs = std::iter::from_fn(|| {
            loop {
                if let Some(job) = chunk.next() {
                    return Some(job);
                }
                match reader.next_chunk() {
                    Ok(Some(records)) => chunk = records.into_iter(),
                    Ok(None) => return None,
                    Err(error) => {
                        end = Err(error);
                        return None;
                    }
                }
            }
        });
        let made = make(&header, &mut jobs);
        // A damaged file explains whatever else went wrong.
        end?;
        let value = made.map_err(|problem| SnapshotError::corrupted(&self.path_of(last), 0, problem))?;
        let info = SnapshotInfo { header, bytes: reader.bytes(), jobs: reader.jobs() };
        Ok((info, value, reader.overview().cloned()))
    }

    /// Writes the snapshot that follows `previous` and keeps that one as a backup to fall back to.
    ///
    /// Temp file, fsync, read back and verified, rename, directory fsync: it is there as a whole or not at all.
    ///
    /// # Errors
    /// The previous one is corrupted or does not fit, or the storage reported an error. Nothing was published.
    pub fn write(
        &self,
        previous: Option<Lsn>,
        delta: Delta,
        store: [u8; 16],
        now: Timestamp,
    ) -> Result<SnapshotInfo, SnapshotError> {
        self.storage.create_dir(&self.dir).map_err(SnapshotError::io(&self.dir, "create"))?;
        let previous = previous.map(|last| self.open(last)).transpose()?;
        let header = ImageHeader { store, last: delta.last(), last_at: delta.last_at(), taken_at: now };
        let path = self.path_of(header.last);
        let partial = partial_of(&path);
        let file = self.storage.create(&partial).map_err(SnapshotError::io(&partial, "create"))?;
        let result = (|| {
            let mut image = ImageWriter::begin(file, &partial, &header)?;
            let overview = delta.write(previous, &mut image)?;
            let (bytes, jobs) = image.finish(&overview)?;
            self.verify(&partial)?;
            publish(&*self.storage, &partial, &path).map_err(SnapshotError::io(&path, "publish"))?;
            Ok(SnapshotInfo { header, bytes, jobs })
        })();
        if result.is_err() {
            // What could not be finished must not hold space; boot would remove it as well.
            let _ = self.storage.remove(&partial);
        }
        result
    }

    fn verify(&self, path: &Path) -> Result<(), SnapshotError> {
        let file = self.storage.open_to_read(path).map_err(SnapshotError::io(path, "open"))?;
        let mut reader = ImageReader::begin(file, path)?;
        while reader.next_chunk()?.is_some() {}
        Ok(())
    }

    /// Moves a corrupted snapshot out of the way, into `quarantine/`.
    ///
    /// # Errors
    /// The storage reported an error.
    pub fn set_aside(&self, last: Lsn) -> Result<PathBuf, SnapshotError> {
        let from = self.path_of(last);
        self.storage.create_dir(&self.quarantine).map_err(SnapshotError::io(&self.quarantine, "create"))?;
        let name = from.file_name().unwrap_or_default().to_string_lossy();
        let to = unused(&*self.storage, &self.quarantine, &name)
            .map_err(SnapshotError::io(&self.quarantine, "list"))?;
        publish(&*self.storage, &from, &to).map_err(SnapshotError::io(&from, "set aside"))?;
        self.storage.sync_dir(&self.dir).map_err(SnapshotError::io(&self.dir, "sync"))?;
        Ok(to)
    }

    /// Removes what a crash left unfinished.
    ///
    /// # Errors
    /// The storage reported an error.
    pub fn clean(&self) -> Result<(), SnapshotError> {
        for name in self.storage.list(&self.dir).map_err(SnapshotError::io(&self.dir, "list"))? {
            if name.ends_with(".partial") {
                let path = self.dir.join(name);
                self.storage.remove(&path).map_err(SnapshotError::io(&path, "remove"))?;
            }
        }
        Ok(())
    }

    /// Deletes snapshots beyond `kept` and older than `age_max`, but never the two newest.
    ///
    /// Returns the position that the log may be deleted up to: that of the older of the two newest, so that the
    /// older one can still be brought up to date. None while there are not two.
    ///
    /// # Errors
    /// The storage reported an error; the rest goes another time.
    pub fn retain(
        &self,
        kept: usize,
        age_max: Duration,
        now: Timestamp,
    ) -> Result<Option<Lsn>, SnapshotError> {
        let all = self.list()?;
        for (nth, last) in all.iter().enumerate().skip(2).rev() {
            let path = self.path_of(*last);
            let is_old = || match self.open(*last) {
                Ok(reader) => reader.header.taken_at.plus_ms(millis(age_max)) < now,
                // One that cannot be read is of no use as a fall-back.
                Err(_) => true,
            };
            if nth >= kept.max(2) || is_old() {
                self.storage.remove(&path).map_err(SnapshotError::io(&path, "remove"))?;
                self.storage.sync_dir(&self.dir).map_err(SnapshotError::io(&self.dir, "sync"))?;
            }
        }
        Ok(all.get(usize::from(!bugs::has(Bug::LogDeletedTooEarly))).copied())
    }

    /// Where the snapshot at a position is, or would be.
    #[must_use]
    pub fn path_of(&self, last: Lsn) -> PathBuf {
        self.dir.join(format!("{:020}.snap", last.0))
    }
}

fn position(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(".snap")?;
    // A number is read with a sign in front as well; that would be a second name for the same position.
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().map(Lsn)
}
