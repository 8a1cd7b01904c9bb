//! What a power cut may leave of a simulated disk.
//!
//! Modelled, as on a journalling file system over a disk whose sectors are written whole:
//!
//! - Each sector that was changed since its file's last sync has its old or its new content, each on its own: writes
//!   are reordered, a hole may be followed by valid data, a write of several sectors is torn between any two.
//! - A file's new length survives or not, independently of its sectors.
//! - Creations, renames and removals survive in the order in which they were made, up to any of them. A sync of a
//!   directory makes its own durable, and those of others only where one depends on them.
//! - With garbage: what did not survive of a sector holds random bytes instead of the old ones, from the first byte
//!   that was changed to the last. Bytes beside a write are not touched by it ("powersafe overwrite",
//!   <https://www.sqlite.org/psow.html>), which the log relies on, as its batches are not padded to sectors.
//!
//! Not modelled: directories themselves that are lost, and names that survive out of order within one journal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something that a power cut may take or leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// A sector of a file.
    Sector {
        /// Its number among the disk's files.
        file: usize,
        /// Its number within the file.
        sector: usize,
    },
    /// A file's length.
    Length {
        /// Its number among the disk's files.
        file: usize,
    },
}

/// What is left to chance by a power cut, and how chance decides.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// For each of [`crate::testing::SimStorage::unsynced`], whether it survives; those beyond the end do not.
    pub items: Vec<bool>,
    /// Number of the un-synced creations, renames and removals that survive.
    pub names: usize,
    /// What does not survive of a sector is garbage of this seed instead of the old content.
    pub garbage: Option<u64>,
}

/// A file's bytes: as the running system sees them, and as the disk has them.
#[derive(Clone, Default)]
pub(super) struct FileContent {
    pub(super) live: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    /// Sectors that a failed sync gave up on: clean to the system, old on the disk.
    given_up: BTreeSet<usize>,
}

impl FileContent {
    pub(super) fn durably(bytes: Vec<u8>) -> FileContent {
        let bytes = Arc::new(bytes);
        FileContent { live: bytes.clone(), durable: bytes, given_up: BTreeSet::new() }
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8], sector: usize) {
        let end = offset + bytes.len();
        Arc::make_mut(&mut self.live)[offset..end].copy_from_slice(bytes);
        if !self.given_up.is_empty() && !bytes.is_empty() {
            self.given_up.retain(|given_up| !(offset / sector..=(end - 1) / sector).contains(given_up));
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        Arc::make_mut(&mut self.live).resize(len, 0);
    }

    /// What fdatasync does when it works.
    pub(super) fn sync(&mut self, sector: usize) {
        if self.given_up.is_empty() {
            self.durable = self.live.clone();
            return;
        }
        let mut synced = self.live.to_vec();
        for &nth in &self.given_up {
            let range = range(nth, sector, synced.len());
            for at in range {
                synced[at] = self.durable.get(at).copied().unwrap_or(0);
            }
        }
        self.durable = Arc::new(synced);
    }

    /// What a failed fdatasync does: it forgets which sectors were to be written.
    pub(super) fn give_up(&mut self, sector: usize) {
        self.given_up.extend(self.dirty(sector));
    }

    /// The sectors whose content the disk does not have.
    fn dirty(&self, sector: usize) -> Vec<usize> {
        if Arc::ptr_eq(&self.live, &self.durable) {
            return Vec::new();
        }
        let sectors = self.live.len().max(self.durable.len()).div_ceil(sector);
        let differs = |nth: &usize| !same(part(&self.live, *nth, sector), part(&self.durable, *nth, sector));
        (0..sectors).filter(differs).collect()
    }

    pub(super) fn unsynced(&self, file: usize, sector: usize) -> Vec<Unsynced> {
        let dirty = self.dirty(sector).into_iter().filter(|nth| !self.given_up.contains(nth));
        let mut items: Vec<_> = dirty.map(|sector| Unsynced::Sector { file, sector }).collect();
        if self.live.len() != self.durable.len() {
            items.push(Unsynced::Length { file });
        }
        items
    }

    /// What is on the disk if of [`FileContent::unsynced`] those survive that `keeps` says yes to.
    pub(super) fn cut(
        &mut self,
        file: usize,
        sector: usize,
        mut keeps: impl FnMut() -> bool,
        garbage: Option<u64>,
    ) {
        let items = self.unsynced(file, sector);
        if items.is_empty() {
            self.live = self.durable.clone();
            self.given_up.clear();
            return;
        }
        let kept: Vec<bool> = items.iter().map(|_| keeps()).collect();
        let keeps_len =
            items.iter().zip(&kept).any(|(item, kept)| *kept && matches!(item, Unsynced::Length { .. }));
        let len = if keeps_len { self.live.len() } else { self.durable.len() };
        let mut left = self.durable.to_vec();
        left.resize(len, 0);
        let mut dice = garbage.map(|seed| fastrand::Rng::with_seed(seed ^ file as u64));
        for (item, kept) in items.iter().zip(kept) {
            let Unsynced::Sector { sector: nth, .. } = *item else { continue };
            let range = range(nth, sector, len);
            let new = |at: usize| self.live.get(at).copied().unwrap_or(0);
            if kept {
                range.for_each(|at| left[at] = new(at));
            } else if let Some(dice) = &mut dice {
                let changed: Vec<usize> = range.filter(|at| new(*at) != left[*at]).collect();
                if let (Some(first), Some(last)) = (changed.first(), changed.last()) {
                    dice.fill(&mut left[*first..=*last]);
                }
            }
        }
        *self = FileContent::durably(left);
    }
}

fn range(nth: usize, sector: usize, len: usize) -> std::ops::Range<usize> {
    (nth * sector).min(len)..((nth + 1) * sector).min(len)
}

fn part(bytes: &[u8], nth: usize, sector: usize) -> &[u8] {
    &bytes[range(nth, sector, bytes.len())]
}

/// Equal, with zeros behind the end of the shorter one.
fn same(one: &[u8], other: &[u8]) -> bool {
    let both = one.len().min(other.len());
    one[..both] == other[..both] && one[both..].iter().chain(&other[both..]).all(|byte| *byte == 0)
}

/// A change of names that was not synced yet.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    pub(super) removed: Option<PathBuf>,
    pub(super) added: Option<(PathBuf, usize)>,
}

impl NameChange {
    pub(super) fn names(&self, path: &Path) -> bool {
        let added = self.added.as_ref().map(|(path, _)| path);
        [self.removed.as_ref(), added].into_iter().flatten().any(|named| named == path)
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &Path> {
        let added = self.added.as_ref().map(|(path, _)| path);
        [self.removed.as_ref(), added].into_iter().flatten().filter_map(|path| path.parent())
    }
}

/// Takes out of `pending` what a sync of `dir` makes durable: its changes, and those that they depend on.
pub(super) fn take_synced(pending: &mut Vec<NameChange>, dir: &Path) -> Vec<NameChange> {
    let mut dirs = BTreeSet::from([dir.to_owned()]);
    let mut taken = Vec::new();
    for at in (0..pending.len()).rev() {
        if pending[at].dirs().any(|dir| dirs.contains(dir)) {
            let change = pending.remove(at);
            dirs.extend(change.dirs().map(Path::to_owned));
            taken.push(change);
        }
    }
    taken.reverse();
    taken
}
