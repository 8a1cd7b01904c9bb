//! What a SnapshotActor is made of, and how it takes the next snapshot and lets go of old ones.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;

use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::engine::messages::{Damaged, Prune, RescueStep, Seal, SetAside, SnapshotTaken};
use crate::ids::Seq;
use crate::recovery::payload_store::StoredPayloads;
use crate::snapshot::SnapshotError;
use crate::snapshot::store::{SnapshotInfo, SnapshotStore};
use crate::snapshot::taking::{Visit, take_next};
use crate::snapshot::texts::TextPages;

/// Hands every event of the sealed log behind the first position, up to the second, to the visitor.
pub type SealedLog = Arc<dyn Fn(Seq, Seq, &mut Visit<'_>) -> Result<(), SnapshotError> + Send + Sync>;

/// What a SnapshotActor is made of; cloned for each of its lives.
#[derive(Clone)]
pub struct SnapshotSettings {
    /// Where snapshots are.
    pub store: SnapshotStore,
    /// Whose they are.
    pub store_id: [u8; 16],
    /// How often one is taken.
    pub interval: Duration,
    /// How many are kept.
    pub kept: usize,
    /// How old they may get.
    pub age_max: Duration,
    /// Reads the log.
    pub log: SealedLog,
    /// For when a snapshot was taken, its age, and how long it took.
    pub clock: Arc<dyn Clock>,
    /// Counts snapshots; tells how much the log has grown.
    pub metrics: Arc<Metrics>,
    /// Ends the current segment.
    pub seal: Recipient<Seal>,
    /// Deletes old ones.
    pub prune: Recipient<Prune>,
    /// Hears of every snapshot.
    pub taken: Recipient<SnapshotTaken>,
    /// Shows the state when it must be written out anew.
    pub(crate) rescue: Recipient<RescueStep>,
    /// Moves damaged segments away.
    pub set_aside: Recipient<SetAside>,
    /// Where to.
    pub quarantine: PathBuf,
    /// Hears of damage, and when it is mended.
    pub damage: Recipient<Damaged>,
    /// Texts of jobs that are on disk only.
    pub texts: Arc<StoredPayloads>,
    /// Gets the payloads that are in images, whenever those are others. What they replace is deleted later.
    pub images: Arc<dyn Fn(TextPages) + Send + Sync>,
}

impl SnapshotSettings {
    pub(super) fn take_next(&self, sealed: Seq) -> Result<Option<SnapshotInfo>, SnapshotError> {
        let taken = take_next(&self.store, &*self.log, sealed, self.store_id, self.clock.now())?;
        let Some(taken) = taken else { return Ok(None) };
        for (_, error) in &taken.quarantined {
            tracing::error!(actor = "supervisor/snapshot", %error, "a snapshot is damaged and was moved to quarantine");
        }
        self.show_and_retain()?;
        Ok(Some(taken.info))
    }

    /// Hands out the payloads of the newest layers, and lets go of what nobody needs any more.
    pub(super) fn show_and_retain(&self) -> Result<(), SnapshotError> {
        let Some(newest) = self.store.newest_without(&[])? else { return Ok(()) };
        (self.images)(TextPages::new(newest.layers().to_vec()));
        if let Some(through) = self.store.retain(&newest, self.kept, self.age_max, self.clock.now())? {
            self.prune.do_send(Prune { through });
        }
        Ok(())
    }
}
