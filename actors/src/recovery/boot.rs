//! The recovery protocol: from a data directory to a table and a log that goes on.
//!
//! lock -> newest whole snapshot -> replay of the log behind it -> invariants -> a new segment with the events
//! that were not proven durable -> leases of dead workers ended. A crash may interrupt any step; the next boot does it
//! again, and running it twice gives the same state.

use std::any::Any;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::api::options::EngineOptions;
use crate::api::outcome::{FailCause, Progress};
use crate::api::status::RecoveryStatus;
use crate::base::bugs::{self, Bug};
use crate::base::clock::Clock;
use crate::ids::{Holder, JobId, KindName, Seq, Timestamp, Token};
use crate::jobs::{Command, Failure, FailureKind, JobTable};
use crate::recovery::payload_store::StoredPayloads;
use crate::recovery::replay::replay;
use crate::recovery::store_note::{STORE_FILE, StoreNote};
use crate::recovery::{clock_news, journal};
use crate::snapshot::SnapshotError;
use crate::snapshot::chain::LayerName;
use crate::snapshot::store::{Loaded, PassedOver, SnapshotInfo, SnapshotStore};
use crate::snapshot::texts::TextPages;
use crate::storage::Storage;
use crate::wal::format::{SegmentEnd, StoreId};
use crate::wal::index::LogIndex;
use crate::wal::recovery::{LogScan, ReplayFrom, TornTail, settle};
use crate::wal::witness::{self, Testimony, WITNESS_FILE};
use crate::wal::writer::{LogPlace, LogWriter};
use crate::wal::{Group, WalError};

/// The lock that keeps a second process out, in each of the directories.
pub(crate) const LOCK_FILE: &str = "lock";
/// A state of up to this many jobs is checked whole at boot; of larger ones only the sums are checked
/// (`docs/decisions/0020-small-measurements.md`).
const CHECKED_WHOLE_MAX: u64 = 100_000;
/// Directory for files that cannot be used; they are moved there, not deleted.
pub(crate) const QUARANTINE: &str = "quarantine";

/// What boot hands to the actors.
pub struct Recovered {
    /// Snapshot and log as one state, of which every event is durable; leases are settled.
    pub table: JobTable,
    /// Payloads that are not in memory.
    pub payload_store: Arc<StoredPayloads>,
    /// The log, at its new segment.
    pub writer: LogWriter,
    /// Whose data it is.
    pub store: StoreId,
    /// The snapshot that was loaded.
    pub snapshot: Option<SnapshotInfo>,
    /// What was found.
    pub status: RecoveryStatus,
    /// What this start has written to the log: its term, and leases that it ended.
    #[cfg_attr(
        not(feature = "testing"),
        expect(dead_code, reason = "the engine of the tests tells its history by it")
    )]
    pub begun: Group,
    /// Held as long as the engine lives.
    pub lock: Box<dyn Any + Send>,
}

/// What is handed over to be looked at.
pub(crate) struct ReadOnly {
    /// The state, as the disk has it: nothing is settled.
    pub table: JobTable,
    /// Payloads that are not in memory.
    pub payload_store: Arc<StoredPayloads>,
    /// The snapshot that was loaded.
    pub snapshot: Option<SnapshotInfo>,
    /// What was found.
    pub status: RecoveryStatus,
    /// Keeps owners out for as long as somebody looks.
    pub locks: Locks,
}

/// The locks of the data directory, of the log's and of the snapshots'; each once, however many names it has.
#[derive(Default)]
pub(crate) struct Locks {
    /// By the directories' real paths.
    held: Vec<(PathBuf, Box<dyn Any + Send>)>,
}

/// With whom a lock is held.
#[derive(Clone, Copy)]
enum Share {
    Nobody,
    Readers,
}

impl Locks {
    fn holds(&self, real: &Path) -> bool {
        self.held.iter().any(|(held, _)| held == real)
    }
}

/// What is on disk, before anything there is changed.
pub(crate) struct DiskState {
    /// Snapshot and log as one state, with the leases that the disk has.
    pub table: JobTable,
    /// The snapshot that was loaded.
    pub snapshot: Option<SnapshotInfo>,
    /// Newer snapshots that are corrupted: a start moves them to quarantine.
    pub to_quarantine: Vec<LayerName>,
    /// Where its payloads are.
    pub payload_store: Arc<StoredPayloads>,
    /// The log; none at the first boot.
    pub found: Option<LogScan>,
    /// Events that were replayed.
    pub events: u64,
    /// Whose data this is, as the directory says.
    note: StoreNote,
}

/// Why there is nothing to hand over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BootError {
    /// The sort of problem, for programs.
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
    /// The directories and limits to start with.
    pub options: EngineOptions,
    /// The machine's disk, or a simulated one.
    pub storage: Arc<dyn Storage>,
    /// The machine's clock, or one that is moved by hand.
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
            .with(self.options.layering)
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
        let mut locks = self.lock()?;
        let DiskState { mut table, payload_store, snapshot, to_quarantine, found, events, note } =
            self.look(progress)?;

        self.lock_what_was_missing(&mut locks)?;
        // From here on the disk is changed; everything that could refuse has agreed.
        for name in to_quarantine {
            self.snapshots().quarantine(name)?;
        }
        self.snapshots().clean()?;
        let now = table.time_by(self.clock.now());
        let torn = found.as_ref().and_then(|found| found.torn.clone());
        let wal_dir = self.options.wal_dir.clone();
        settle(&*self.storage, &wal_dir, &self.quarantine(), torn.as_ref())?;
        if let Some(torn) = &torn {
            tracing::warn!(
                segment = %torn.path.display(),
                offset = torn.offset,
                bytes = torn.bytes.len(),
                problem = torn.problem,
                "an unfinished last write was moved to quarantine: {}",
                self.options.durability.of_unsynced()
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
            witness: self.options.data_dir.join(WITNESS_FILE),
            epoch: table.epoch(),
            dice: self.dice.fork(),
            index: payload_store.log().clone(),
        };
        let mut writer = LogWriter::begin(place, end, &unproven, now)?;
        if note != StoreNote::Names(store) {
            self.note_store(store)?;
        }
        // What was written again may have taken its time.
        let (begun, interrupted) = self.begin_term(&mut table, &mut writer, self.clock.now())?;
        let status = self.status(started, snapshot, events, interrupted, torn.as_ref());
        Ok(Recovered { table, payload_store, writer, store, snapshot, status, begun, lock: Box::new(locks) })
    }

    /// Opens the data only to look at it: nothing is made, written or settled, and others may look at the same time.
    ///
    /// # Errors
    /// There is none, a server holds it, it is damaged, or the storage reported an error.
    pub(crate) fn open_read_only(&self, progress: &mut dyn FnMut(Progress)) -> Result<ReadOnly, BootError> {
        let started = self.clock.ticks();
        let mut locks = Locks::default();
        let (dir, told) = (&self.options.data_dir, "is using this data directory");
        let is_there = self.lock_dir(&mut locks, dir, told, Share::Readers)?;
        for (dir, told) in self.dirs_apart() {
            self.lock_dir(&mut locks, dir, told, Share::Readers)?;
        }
        let nothing = || BootError {
            cause: FailCause::Absent,
            message: format!("there is no data in {}", dir.display()),
        };
        if !is_there {
            return Err(nothing());
        }
        let DiskState { table, payload_store, snapshot, found, events, .. } = self.look(progress)?;
        if found.is_none() && snapshot.is_none() {
            return Err(nothing());
        }
        let torn = found.and_then(|found| found.torn);
        let interrupted = interrupted(&table).len() as u64;
        let status = self.status(started, snapshot, events, interrupted, torn.as_ref());
        Ok(ReadOnly { table, payload_store, snapshot, status, locks })
    }

    fn status(
        &self,
        started: Duration,
        snapshot: Option<SnapshotInfo>,
        events: u64,
        interrupted: u64,
        torn: Option<&TornTail>,
    ) -> RecoveryStatus {
        RecoveryStatus {
            duration_ms: round_ms(self.clock.ticks().saturating_sub(started)),
            snapshot_jobs: snapshot.map_or(0, |info| info.jobs),
            events,
            interrupted,
            torn_bytes: torn.map_or(0, |torn| torn.bytes.len() as u64),
        }
    }

    /// What the log's second witness says that must be there. It is evidence, not data: one that cannot be read is as none.
    fn witness(&self) -> Option<Testimony> {
        let said = witness::read(&*self.storage, &self.options.data_dir.join(WITNESS_FILE));
        let said = said.unwrap_or_else(|error| {
            tracing::warn!(%error, "the log's second witness is not asked");
            None
        });
        said.map(|said| said.under(self.storage.boot_id()))
    }

    /// The part of the protocol that only reads: the state that the disk holds, or why it is refused.
    ///
    /// # Errors
    /// Durable data is damaged, or the storage reported an error.
    pub(crate) fn look(&self, progress: &mut dyn FnMut(Progress)) -> Result<DiskState, BootError> {
        let (mut table, snapshot, payloads, passed_over) = self.load_snapshot()?;
        let mut so_far =
            Progress { snapshot_jobs: snapshot.map_or(0, |info| info.jobs), ..Progress::default() };
        progress(so_far);

        let known = ReplayFrom {
            covered: table.last(),
            store: snapshot.map(|info| StoreId(info.header.store)),
            witness: self.witness(),
        };
        // Texts are read back on the manager's thread too, and what cannot be read now is read later.
        let for_texts = self.storage.without_patience().unwrap_or_else(|| self.storage.clone());
        let index = Arc::new(LogIndex::new(for_texts, self.options.wal_dir.clone()));
        let mut read = |bytes, total| {
            (so_far.log_bytes, so_far.log_bytes_total) = (bytes, total);
            progress(so_far);
        };
        let (found, events) =
            replay(&*self.storage, &self.options.wal_dir, known, &index, &mut table, &mut read)
                .map_err(|error| told_of(error.into(), &passed_over))?;
        if found.is_some() && known.witness.is_none() {
            tracing::warn!(
                dir = %self.options.data_dir.display(),
                "the file {WITNESS_FILE} is missing or cannot be read: that the log's end is there is told by the log alone"
            );
        }
        let to_quarantine: Vec<_> = passed_over.into_iter().map(|(name, _)| name).collect();
        so_far.events = events;
        progress(so_far);
        let note = self.store_note()?;
        self.expect_log(found.is_some(), note, known, &to_quarantine)?;
        self.expect_store(note, found.as_ref().map(|found| found.store).or(known.store))?;
        let broken = table.check_at_boot(CHECKED_WHOLE_MAX);
        if let Some(first) = broken.first() {
            let message = format!("the recovered state is not sound ({} findings): {first}", broken.len());
            return Err(BootError { cause: FailCause::Damaged, message });
        }
        let payload_store = Arc::new(StoredPayloads::new(index));
        payload_store.set_images(Arc::new(payloads));
        Ok(DiskState { table, payload_store, snapshot, to_quarantine, found, events, note })
    }

    /// Locks the data directory and what is there of the others: each may have been set apart, and then be shared
    /// by mistake. None of the others is made: who puts a lost log back should find its place free.
    pub(crate) fn lock(&self) -> Result<Locks, BootError> {
        let dir = &self.options.data_dir;
        self.storage.create_dir(dir).map_err(storage_error(dir, "create"))?;
        let mut locks = Locks::default();
        let told = "is using this data directory";
        self.lock_dir(&mut locks, dir, told, Share::Nobody)?;
        for (dir, told) in self.dirs_apart() {
            self.lock_dir(&mut locks, dir, told, Share::Nobody)?;
        }
        Ok(locks)
    }

    /// Makes and locks the directories that were not there when the others were locked.
    fn lock_what_was_missing(&self, locks: &mut Locks) -> Result<(), BootError> {
        for (dir, told) in self.dirs_apart() {
            self.storage.create_dir(dir).map_err(storage_error(dir, "create"))?;
            let is_new = self.lock_dir(locks, dir, told, Share::Nobody)?;
            let names = if is_new { self.storage.list(dir) } else { Ok(Vec::new()) };
            let names = names.map_err(storage_error(dir, "list"))?;
            // Somebody else made it, used it and left again since it was looked at.
            if names.iter().any(|name| name.ends_with(".wal") || name.ends_with(".snap")) {
                let message = format!("{}: another beaver has just used it: start again", dir.display());
                return Err(BootError { cause: FailCause::Locked, message });
            }
        }
        Ok(())
    }

    /// The directories beside the data directory, and what to say of each if another beaver holds it.
    fn dirs_apart(&self) -> [(&Path, &'static str); 2] {
        let log = "keeps its log here: stop it, or give each data directory a wal_path of its own";
        let snapshots =
            "keeps its snapshots here: stop it, or give each data directory a snapshot_path of its own";
        [(&self.options.wal_dir, log), (&self.options.snapshot_dir, snapshots)]
    }

    /// Whether it is there and was not locked before.
    fn lock_dir(&self, locks: &mut Locks, dir: &Path, told: &str, share: Share) -> Result<bool, BootError> {
        let real = match self.storage.real_path(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            real => real.map_err(storage_error(dir, "find"))?,
        };
        if locks.holds(&real) {
            return Ok(false);
        }
        let path = dir.join(LOCK_FILE);
        let lock = match share {
            Share::Nobody => self.storage.lock(&path),
            Share::Readers => self.storage.lock_shared(&path),
        };
        let Some(lock) = lock.map_err(storage_error(&path, "lock"))? else {
            let message = format!("{}: another beaver {told}", dir.display());
            return Err(BootError { cause: FailCause::Locked, message });
        };
        locks.held.push((real, lock));
        Ok(true)
    }

    /// The table from the newest whole snapshot (empty without one), the payloads that it does not hold, and the
    /// corrupted snapshots that were passed over.
    fn load_snapshot(&self) -> Result<(JobTable, Option<SnapshotInfo>, TextPages, PassedOver), BootError> {
        let policy = self.options.policy.clone();
        let loaded = self.snapshots().load_pages(|header, sections, pages| {
            let through = (header.last, header.last_at);
            JobTable::restore_pages(policy.clone(), &self.kinds, through, sections.clone(), pages)
                .map_err(|misfit| misfit.to_string())
        });
        let (table, info, layers, corrupted) = match loaded {
            Ok(Loaded { info, value: table, layers, corrupted }) => (table, Some(info), layers, corrupted),
            Err((SnapshotError::NotFound { .. }, corrupted)) => {
                (JobTable::new(policy, &self.kinds), None, Vec::new(), corrupted)
            }
            Err((error, _)) => return Err(error.into()),
        };
        for (_, error) in &corrupted {
            tracing::error!(%error, "a snapshot is damaged: using what was before it");
        }
        Ok((table, info, TextPages::new(layers), corrupted))
    }

    /// Refuses to start from nothing where there was something.
    fn expect_log(
        &self,
        found: bool,
        note: StoreNote,
        known: ReplayFrom,
        corrupted: &[LayerName],
    ) -> Result<(), BootError> {
        if found {
            return Ok(());
        }
        let dir = &self.options.data_dir;
        let had_log = note != StoreNote::Missing;
        if !had_log && known.covered == Seq::ZERO && corrupted.is_empty() {
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

    fn store_note(&self) -> Result<StoreNote, BootError> {
        let dir = &self.options.data_dir;
        StoreNote::read(&*self.storage, dir).map_err(storage_error(&dir.join(STORE_FILE), "read"))
    }

    /// The files are those of the store that the data directory is of.
    fn expect_store(&self, note: StoreNote, found: Option<StoreId>) -> Result<(), BootError> {
        let (StoreNote::Names(noted), Some(found)) = (note, found) else { return Ok(()) };
        if noted == found {
            return Ok(());
        }
        let note = self.options.data_dir.join(STORE_FILE);
        let message = format!(
            "{}: the log and the snapshots are of store {found}, but {} says that this is store {noted}; nothing was \
             changed: put the files of store {noted} back, or, if those of {found} are meant, remove {} and {}",
            self.options.wal_dir.display(),
            note.display(),
            note.display(),
            self.options.data_dir.join(WITNESS_FILE).display(),
        );
        Err(BootError { cause: FailCause::Damaged, message })
    }

    fn note_store(&self, store: StoreId) -> Result<(), BootError> {
        let dir = &self.options.data_dir;
        StoreNote::write(&*self.storage, dir, store).map_err(storage_error(&dir.join(STORE_FILE), "write"))
    }

    /// Begins the term of this start and ends the leases of the one before. Always synced, with every setting of
    /// durability, before any lease is given: no token is ever given twice, even if the log loses its last writes.
    fn begin_term(
        &mut self,
        table: &mut JobTable,
        writer: &mut LogWriter,
        wall: Timestamp,
    ) -> Result<(Group, u64), BootError> {
        let mut group = Group { first: table.last().next(), ..Group::default() };
        let (now, expected) = (table.time_by(wall), table.last_at());
        let away_ms = now.since_ms(expected);
        let is_synchronised = self.clock.is_synchronised();
        self.execute(Command::SetClock { expected, is_synchronised }, table, &mut group, now);
        self.execute(Command::BeginTerm, table, &mut group, now);
        let interrupted = self.settle_leases(table, &mut group, now);
        if !bugs::has(Bug::NoGraceAtBoot) {
            self.execute(Command::SpareLeases { away_ms }, table, &mut group, now);
        }
        writer.begin_term(table.epoch());
        writer.append(std::slice::from_ref(&group), now).1?;
        writer.sync()?;
        Ok((group, interrupted))
    }

    /// Jobs that were in flight here go back to pending: their workers died with the process before. The attempt
    /// counts, so that a job which brings the server down cannot do so for ever. Remote workers may well be alive:
    /// their leases run on, at least as long as it takes to hear what they had to say while nobody listened.
    fn settle_leases(&mut self, table: &mut JobTable, group: &mut Group, now: Timestamp) -> u64 {
        let interrupted = interrupted(table);
        let count = interrupted.len() as u64;
        for (job, token) in interrupted {
            let failure = Failure::new(FailureKind::Lost, "the server ended while the job ran");
            self.execute(
                Command::Requeue { job, token, failure, counts: true, fences: true },
                table,
                group,
                now,
            );
        }
        count
    }

    fn execute(&mut self, command: Command, table: &mut JobTable, group: &mut Group, now: Timestamp) {
        let event = table.decide(command, now, &mut self.dice);
        let event = event.expect("a term can always begin, and a lease that is held be ended");
        if let Some(event) = event {
            clock_news::tell(table, &event);
            journal::record(table, group, event);
        }
    }
}

/// Jobs whose workers died with the process that wrote this.
fn interrupted(table: &JobTable) -> Vec<(JobId, Token)> {
    table.in_flight(|holder| matches!(holder, Holder::Local(_)))
}

/// What was in the way of an older snapshot may be why the log does not reach.
fn told_of(error: BootError, passed_over: &PassedOver) -> BootError {
    let message =
        passed_over.iter().fold(error.message, |message, (_, damage)| format!("{message}; {damage}"));
    BootError { message, ..error }
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
