//! The recovery protocol: from a data directory to a table and a log that goes on.
//!
//! lock -> newest whole snapshot -> replay of the log behind it -> invariants -> a new segment with whatever was
//! not proven durable -> leases of dead workers settled. Every step may be cut off by a crash and is done again by
//! the next boot; running it twice gives the same state.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::engine::{FailCause, Progress, RecoveryStatus};
use crate::ids::{KindName, Lsn, Timestamp};
use crate::jobs::{Command, Failure, FailureKind, JobTable};
use crate::journal;
use crate::options::EngineOptions;
use crate::snapshot::SnapshotError;
use crate::snapshot::store::{SnapshotInfo, SnapshotStore};
use crate::storage::{Storage, write_whole};
use crate::wal::format::{BatchHeader, SegmentEnd, StoreId};
use crate::wal::recovery::{Found, Known, recover, settle};
use crate::wal::writer::{LogPlace, LogWriter};
use crate::wal::{Group, WalError};

/// The lock that keeps a second process out.
const LOCK_FILE: &str = "lock";
/// Says that there is, or was, a log here; so that one which is gone is missed.
pub(crate) const STORE_FILE: &str = "store-id";
/// Where what cannot be used is set aside.
pub(crate) const QUARANTINE: &str = "quarantine";

/// What boot hands to the actors.
pub struct Recovered {
    /// The state.
    pub table: JobTable,
    /// The log, at its new segment.
    pub writer: LogWriter,
    /// Whose data it is.
    pub store: StoreId,
    /// The snapshot that was loaded.
    pub snapshot: Option<SnapshotInfo>,
    /// What was found.
    pub status: RecoveryStatus,
    /// Held as long as the engine lives.
    pub lock: Box<dyn Any + Send>,
}

/// What is on disk, before anything there is changed.
pub(crate) struct Seen {
    /// The state.
    pub table: JobTable,
    /// The snapshot that was loaded.
    pub snapshot: Option<SnapshotInfo>,
    /// Newer snapshots that are corrupted.
    pub set_aside: Vec<Lsn>,
    /// The log; none at the first boot.
    pub found: Option<Found>,
    /// Events that were replayed.
    pub events: u64,
}

/// Why there is nothing to hand over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BootError {
    /// Which sort.
    pub cause: FailCause,
    /// What happened and what can be done.
    pub message: String,
}

impl From<WalError> for BootError {
    fn from(error: WalError) -> BootError {
        let (cause, way_out) = match error.is_damage() {
            true => (FailCause::Damaged, "; nothing was changed: restore the file from a backup"),
            false => (FailCause::Storage, ""),
        };
        BootError { cause, message: format!("{error}{way_out}") }
    }
}

impl From<SnapshotError> for BootError {
    fn from(error: SnapshotError) -> BootError {
        let cause = match error {
            SnapshotError::Io { .. } => FailCause::Storage,
            _ => FailCause::Damaged,
        };
        BootError { cause, message: error.to_string() }
    }
}

/// Where the engine's parts are, and what they are made of.
#[derive(Clone)]
pub struct Boot {
    /// Paths and numbers.
    pub options: EngineOptions,
    /// The disk.
    pub storage: Arc<dyn Storage>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Kinds that local workers handle.
    pub kinds: Vec<KindName>,
    /// Where all dice come from.
    pub dice: fastrand::Rng,
}

impl Boot {
    /// The directory of snapshots.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore {
        SnapshotStore::new(self.storage.clone(), &self.options.snapshot_dir, &self.quarantine())
    }

    fn quarantine(&self) -> PathBuf {
        self.options.data_dir.join(QUARANTINE)
    }

    /// Runs the whole protocol. `progress` hears how far it is.
    ///
    /// # Errors
    /// Somebody holds the directory, durable data is damaged, or the storage reported an error.
    pub fn run(mut self, progress: &mut dyn FnMut(Progress)) -> Result<Recovered, BootError> {
        let started = self.clock.ticks();
        let lock = self.lock()?;
        let Seen { mut table, snapshot, set_aside, found, events } = self.look(progress)?;

        // From here on the disk is changed; everything that could refuse has agreed.
        for last in set_aside {
            self.snapshots().set_aside(last)?;
        }
        self.snapshots().clean()?;
        let now = self.clock.now().max(table.last_at());
        let torn = found.as_ref().and_then(|found| found.torn.clone());
        let wal_dir = self.options.wal_dir.clone();
        settle(&*self.storage, &wal_dir, &self.quarantine(), torn.as_ref())?;
        if let Some(torn) = &torn {
            tracing::warn!(
                segment = %torn.path.display(),
                offset = torn.offset,
                bytes = torn.bytes.len(),
                problem = torn.problem,
                "an unfinished last write was set aside: nothing in it was acknowledged"
            );
        }
        let (store, end, unproven) = match found {
            Some(found) => (found.store, found.end, found.unproven),
            None => (StoreId(self.dice.u128(..).to_le_bytes()), SegmentEnd::default(), Vec::new()),
        };
        let place = LogPlace {
            storage: self.storage.clone(),
            dir: wal_dir,
            segment_bytes: self.options.segment_bytes,
            store,
            dice: self.dice.fork(),
        };
        let mut writer = LogWriter::begin(place, end, &unproven, now)?;
        self.note_store(store)?;
        let interrupted = self.settle_leases(&mut table, &mut writer, now)?;
        let duration = self.clock.ticks().saturating_sub(started);
        let status = RecoveryStatus {
            duration_ms: round_ms(duration),
            snapshot_jobs: snapshot.map_or(0, |info| info.jobs),
            events,
            interrupted,
            torn_bytes: torn.map_or(0, |torn| torn.bytes.len() as u64),
        };
        Ok(Recovered { table, writer, store, snapshot, status, lock })
    }

    /// The part of the protocol that only reads: the state that the disk holds, or why it is refused.
    ///
    /// # Errors
    /// Durable data is damaged, or the storage reported an error.
    pub(crate) fn look(&self, progress: &mut dyn FnMut(Progress)) -> Result<Seen, BootError> {
        let (mut table, snapshot, set_aside) = self.load_snapshot()?;
        let mut so_far =
            Progress { snapshot_jobs: snapshot.map_or(0, |info| info.jobs), ..Progress::default() };
        progress(so_far);

        let known = Known { covered: table.last(), store: snapshot.map(|info| StoreId(info.header.store)) };
        let mut events = 0;
        let mut apply = |lsn, event, _: &BatchHeader| {
            events += 1;
            table.apply(lsn, event).map_err(|misfit| misfit.to_string())
        };
        let mut read = |bytes, total| {
            (so_far.log_bytes, so_far.log_bytes_total) = (bytes, total);
            progress(so_far);
        };
        let found = recover(&*self.storage, &self.options.wal_dir, known, &mut apply, &mut read)?;
        so_far.events = events;
        progress(so_far);
        self.expect_log(found.is_some(), known, &set_aside)?;
        let broken = table.check();
        if let Some(first) = broken.first() {
            let message = format!("the recovered state is not sound ({} findings): {first}", broken.len());
            return Err(BootError { cause: FailCause::Damaged, message });
        }
        Ok(Seen { table, snapshot, set_aside, found, events })
    }

    pub(crate) fn lock(&self) -> Result<Box<dyn Any + Send>, BootError> {
        let dir = &self.options.data_dir;
        self.storage.create_dir(dir).map_err(storage_error(dir, "create"))?;
        let path = dir.join(LOCK_FILE);
        match self.storage.lock(&path).map_err(storage_error(&path, "lock"))? {
            Some(lock) => Ok(lock),
            None => Err(BootError {
                cause: FailCause::Locked,
                message: format!("{}: another beaver is using this data directory", dir.display()),
            }),
        }
    }

    /// The table from the newest whole snapshot (empty without one), and the corrupted ones that were passed over.
    fn load_snapshot(&self) -> Result<(JobTable, Option<SnapshotInfo>, Vec<Lsn>), BootError> {
        let policy = self.options.policy.clone();
        let loaded = self.snapshots().load(|header, jobs| {
            JobTable::restore(policy.clone(), &self.kinds, header.last, header.last_at, jobs)
                .map_err(|misfit| misfit.to_string())
        });
        let (table, info, corrupted) = match loaded {
            Ok((info, table, corrupted)) => (table, Some(info), corrupted),
            Err((SnapshotError::NotFound { .. }, corrupted)) => {
                (JobTable::new(policy, &self.kinds), None, corrupted)
            }
            Err((error, _)) => return Err(error.into()),
        };
        for (_, error) in &corrupted {
            tracing::error!(%error, "a snapshot is damaged: using what was before it");
        }
        Ok((table, info, corrupted.into_iter().map(|(last, _)| last).collect()))
    }

    /// Refuses to start from nothing where there was something.
    fn expect_log(&self, found: bool, known: Known, corrupted: &[Lsn]) -> Result<(), BootError> {
        if found {
            return Ok(());
        }
        let dir = &self.options.data_dir;
        let names = self.storage.list(dir).map_err(storage_error(dir, "list"))?;
        let had_log = names.iter().any(|name| name == STORE_FILE);
        if !had_log && known.covered == Lsn::ZERO && corrupted.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{}: the log is gone, but {} says that there was one: put its segments back, or move {} away to start empty",
            self.options.wal_dir.display(),
            if had_log { STORE_FILE } else { "a snapshot" },
            dir.display(),
        );
        Err(BootError { cause: FailCause::Damaged, message })
    }

    fn note_store(&self, store: StoreId) -> Result<(), BootError> {
        let path = self.options.data_dir.join(STORE_FILE);
        let names = self.storage.list(&self.options.data_dir).unwrap_or_default();
        if names.iter().any(|name| name == STORE_FILE) {
            return Ok(());
        }
        let text = format!("{store}\n");
        write_whole(&*self.storage, &path, text.as_bytes()).map_err(storage_error(&path, "write"))
    }

    /// Jobs that were in flight go back to pending: their workers died with the process before. The attempt
    /// counts, so that a job which brings the server down cannot do so for ever.
    fn settle_leases(
        &mut self,
        table: &mut JobTable,
        writer: &mut LogWriter,
        now: Timestamp,
    ) -> Result<u64, BootError> {
        let interrupted = table.in_flight(None);
        let mut group = Group { first: table.last().next(), ..Group::default() };
        for (job, token) in &interrupted {
            let failure = Failure::new(FailureKind::Lost, "the server ended while the job ran");
            let command = Command::Requeue { job: job.clone(), token: *token, failure, counts: true };
            let Ok(Some(event)) = table.decide(command, now, &mut self.dice) else { continue };
            journal::record(table, &mut group, event);
        }
        if group.count > 0 {
            writer.append(&[group], now).1?;
            writer.sync()?;
        }
        Ok(interrupted.len() as u64)
    }
}

fn storage_error(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> BootError {
    let path = path.to_owned();
    move |source| BootError {
        cause: FailCause::Storage,
        message: format!("{}: cannot {action}: {source}", path.display()),
    }
}

fn round_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
