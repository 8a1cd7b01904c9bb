//! Which layers and how much of the log go once a newer state is there.

use std::time::Duration;

use crate::base::bugs::{self, Bug};
use crate::ids::{Seq, Timestamp};
use crate::jobs::model::policy::millis;
use crate::snapshot::SnapshotError;
use crate::snapshot::chain::{LayerName, positions};
use crate::snapshot::policy::{Fallback, Layering};
use crate::snapshot::state::State;
use crate::snapshot::store::SnapshotStore;
use crate::storage::reclaim::{free_retired, retire};

impl SnapshotStore {
    /// Deletes the snapshots that the [policy](Layering) does not keep beside the newest state, where `kept` are wanted
    /// that are not older than `age_max`: of those that hold everything, and with each what was built upon it.
    ///
    /// Returns the position that the log may be deleted up to: that of the older of the two newest states, so that the
    /// older one can still be brought up to date. None while there are not two.
    ///
    /// # Errors
    /// The storage reported an error; the rest goes another time.
    pub fn retain(
        &self,
        newest: &State,
        kept: usize,
        age_max: Duration,
        now: Timestamp,
    ) -> Result<Option<Seq>, SnapshotError> {
        let names = self.list()?;
        let fulls: Vec<_> = names.iter().filter(|name| name.is_full()).copied().collect();
        let is_old = |name: LayerName| match self.open(name) {
            Ok(layer) => layer.header().taken_at.plus_ms(millis(age_max)) < now,
            // It may be readable the next time.
            Err(SnapshotError::Io { .. }) => false,
            // One that is damaged is of no use as a fall-back.
            Err(_) => true,
        };
        let fallback = match fulls.len() {
            0 | 1 => Fallback::Keep,
            _ => self.layering().fallback(kept, &newest.figures(), self.bytes_of(&names)?),
        };
        let stays =
            |(newer, full): &(usize, &LayerName)| Layering::keeps(*newer, fallback, kept, || is_old(**full));
        let oldest_kept = fulls.iter().enumerate().take_while(stays).last();
        let oldest_kept = oldest_kept.map_or(Seq::ZERO, |(_, full)| full.last);
        // The oldest first: what is left of a chain that was cut off here leads nowhere, and nothing newer needs it.
        let mut removed = false;
        for name in names.iter().rev() {
            let is_kept = match name.is_full() {
                true => name.last >= oldest_kept,
                false => name.parent >= oldest_kept && !names.iter().any(|other| contains(*other, *name)),
            };
            if !is_kept {
                self.retire(*name)?;
                removed = true;
            }
        }
        if removed {
            self.storage.sync_dir(&self.dir).map_err(SnapshotError::io(&self.dir, "sync"))?;
        }
        let freed = free_retired(&*self.storage, &self.dir);
        freed.map_err(SnapshotError::io(&self.dir, "free the space of old layers in"))?;
        let left: Vec<_> = names.into_iter().filter(|name| name.last >= oldest_kept).collect();
        Ok(positions(&left).get(usize::from(!bugs::has(Bug::LogDeletedTooEarly))).copied())
    }

    /// What these files take together, damaged or not.
    fn bytes_of(&self, names: &[LayerName]) -> Result<u64, SnapshotError> {
        let bytes = names.iter().map(|name| {
            let (file, path) = self.open_file(*name)?;
            file.len().map_err(SnapshotError::io(&path, "measure"))
        });
        bytes.sum()
    }

    /// Takes a layer's name away. A process that has it open can still read it.
    fn retire(&self, name: LayerName) -> Result<(), SnapshotError> {
        let path = self.path_of(name);
        retire(&*self.storage, &path).map_err(SnapshotError::io(&path, "remove"))
    }
}

/// Whether one layer was put together from others that include this one.
fn contains(layer: LayerName, part: LayerName) -> bool {
    let is_around = layer.parent <= part.parent && layer.last >= part.last;
    is_around && layer != part && !layer.is_full()
}
