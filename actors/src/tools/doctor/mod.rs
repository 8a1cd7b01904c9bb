//! What is fine, torn or damaged in a stopped data directory, in plain words; and getting it to start again
//! without the damaged part, when somebody who knows what is lost says so.
//!
//! Reading order: `listing` (which files there are), `files` (what can be read of each), `survey` (every file by itself),
//! `interrupted_repair` (what a repair that was cut off has moved), `best` (the best state that can be had), `savable` (jobs that can be added again), [`report`] (in
//! words and numbers), `plan` (what a repair would do), [`repair`] (doing it), `error`.
//!
//! # Promises
//! - Examining changes nothing. Whether beaver would start is asked of [`crate::recovery::boot`] itself.
//! - Nothing is ever deleted: the original of every file that a repair changes or moves is in
//!   `quarantine/doctor-<time>/`, durably, before anything else is touched.
//! - A repair may be cut off anywhere and done again; what would be lost is counted as if it had not begun.
//! - The engine never repairs damage by itself; this is the only place that cuts what was durable.

mod best;
mod error;
mod files;
mod interrupted_repair;
mod listing;
mod plan;
pub mod repair;
pub mod report;
mod savable;
mod survey;

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use crate::api::options::EngineOptions;
use crate::api::outcome::FailCause;
use crate::base::clock::SystemClock;
use crate::engine::handle::Environment;
use crate::jobs::JobSpec;
use crate::recovery::boot::{Boot, BootError, DiskState, Locks};
use crate::recovery::store_note::STORE_FILE;
use crate::storage::Storage;
use crate::tools::doctor::best::{best, loss};
pub use crate::tools::doctor::error::DoctorError;
use crate::tools::doctor::files::{Survey, list};
use crate::tools::doctor::plan::plan;
use crate::tools::doctor::report::{Diagnosis, Loss, Report, SegmentState, SnapshotState};
use crate::tools::doctor::savable::savable;
use crate::tools::doctor::survey::survey;

/// Holds the lock of a stopped data directory.
pub struct Doctor {
    storage: Arc<dyn Storage>,
    options: EngineOptions,
    /// Where the salt of a log that is begun anew comes from.
    dice: RefCell<fastrand::Rng>,
    /// Names of files in the data directory that the program around the engine keeps there.
    product_files: Vec<&'static str>,
    _locks: Locks,
}

impl Doctor {
    /// Takes the lock of the directory that these options name, on the machine's disk.
    ///
    /// # Errors
    /// Nothing is there, or a server is running on it.
    pub fn on_disk(options: EngineOptions) -> Result<Doctor, DoctorError> {
        let Environment { storage, dice, .. } = Environment::default();
        Doctor::on(storage, options, dice)
    }

    /// As [`Doctor::on_disk`], on any storage, with dice of the caller's choice.
    ///
    /// # Errors
    /// Nothing is there, or a server is running on it.
    pub fn on(
        storage: Arc<dyn Storage>,
        options: EngineOptions,
        dice: fastrand::Rng,
    ) -> Result<Doctor, DoctorError> {
        let dir = &options.data_dir;
        let has_data = list(&*storage, dir)?.iter().any(|name| name == STORE_FILE)
            || list(&*storage, &options.wal_dir)?.iter().any(|name| name.ends_with(".wal"))
            || list(&*storage, &options.snapshot_dir)?.iter().any(|name| name.ends_with(".snap"));
        if !has_data {
            return Err(DoctorError::NotFound { dir: dir.clone() });
        }
        let locks = boot(&storage, &options).lock().map_err(|error| match error.cause {
            FailCause::Locked => DoctorError::Locked(error.message),
            _ => DoctorError::Storage(error.message),
        })?;
        Ok(Doctor { storage, options, dice: RefCell::new(dice), product_files: Vec::new(), _locks: locks })
    }

    /// Files of these names in the data directory are those of the program around the engine: they are not foreign, also
    /// where the log or the snapshots share the directory.
    #[must_use]
    pub fn with_product_files(mut self, names: impl IntoIterator<Item = &'static str>) -> Doctor {
        self.product_files.extend(names);
        self
    }

    /// Looks at everything. Changes nothing.
    ///
    /// # Errors
    /// The storage reported an error. Damage is none: it is in the report.
    pub fn examine(&self) -> Result<Report, DoctorError> {
        let looked = self.look()?;
        let survey = survey(&self.storage, &self.options, &self.product_files, looked.is_err())?;
        let verdict = match looked {
            Ok(seen) => accepted(&survey, &seen),
            Err(refusal) => self.refused(&survey, refusal.message)?,
        };
        let Survey { store, segments, snapshots, findings, unfinished, foreign, quarantine, .. } = survey;
        let mut segments: Vec<_> = segments.into_iter().map(|segment| segment.report).collect();
        segments.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Report {
            data_dir: self.options.data_dir.clone(),
            store: store.map(|store| store.to_string()),
            segments,
            snapshots,
            findings,
            unfinished,
            foreign,
            quarantine,
            verdict,
        })
    }

    /// The jobs that a repair would lose and that can be added again, in the order in which they were accepted. Changes nothing.
    ///
    /// # Errors
    /// The storage reported an error.
    pub fn savable(&self) -> Result<Vec<JobSpec>, DoctorError> {
        let is_refused = self.look()?.is_err();
        let survey = survey(&self.storage, &self.options, &self.product_files, is_refused)?;
        match best(&self.storage, &self.options, &survey)? {
            Some(best) if is_refused => savable(&*self.storage, &survey, &best),
            _ => Ok(Vec::new()),
        }
    }

    /// What a start would say.
    fn look(&self) -> Result<Result<DiskState, BootError>, DoctorError> {
        match boot(&self.storage, &self.options).look(&mut |_| {}) {
            Err(BootError { cause: FailCause::Storage, message }) => Err(DoctorError::Storage(message)),
            seen => Ok(seen),
        }
    }

    fn refused(&self, survey: &Survey, refusal: String) -> Result<Diagnosis, DoctorError> {
        if let Some(path) = newer(survey) {
            let reason = format!("another version of beaver wrote {}: run that one", path.display());
            return Ok(Diagnosis::Hopeless { refusal, reason });
        }
        let best = best(&self.storage, &self.options, survey)?;
        let (Some(best), Some(store)) = (best, survey.store) else {
            let dir = self.options.data_dir.display();
            let reason = format!(
                "no event and no snapshot can be used; restore a backup, or move {dir} away to start empty"
            );
            return Ok(Diagnosis::Hopeless { refusal, reason });
        };
        let jobs_savable = savable(&*self.storage, survey, &best)?.len() as u64;
        let loss = Loss { jobs_savable, ..loss(&*self.storage, survey, &best)? };
        let plan = plan(&self.options.wal_dir, survey, &best, store);
        Ok(Diagnosis::Damaged { refusal, loss, plan })
    }
}

fn boot(storage: &Arc<dyn Storage>, options: &EngineOptions) -> Boot {
    Boot {
        options: options.clone(),
        storage: storage.clone(),
        clock: Arc::new(SystemClock::default()),
        kinds: Vec::new(),
        // Looking throws no dice.
        dice: fastrand::Rng::with_seed(0),
    }
}

fn accepted(survey: &Survey, seen: &DiskState) -> Diagnosis {
    let torn = seen.found.as_ref().and_then(|found| found.torn.as_ref());
    let torn_bytes = torn.map_or(0, |torn| torn.bytes.len() as u64);
    let fine = [SegmentState::Whole, SegmentState::Sealed];
    let is_bad = |state: &SegmentState| !fine.contains(state) && !matches!(state, SegmentState::Torn { .. });
    let segments = survey.segments.iter().map(|segment| &segment.report);
    let segments = segments.filter(|report| is_bad(&report.state)).map(|report| report.path.clone());
    let snapshots = survey.snapshots.iter().filter(|report| report.state != SnapshotState::Whole);
    let files: Vec<_> = segments.chain(snapshots.map(|report| report.path.clone())).collect();
    match (files.is_empty(), torn_bytes) {
        (false, _) => Diagnosis::Spared { files, torn_bytes },
        (true, 0) => Diagnosis::Healthy,
        (true, _) => Diagnosis::HealthyAfterCrash { torn_bytes },
    }
}

/// A file of another version: what it holds is not damaged, and must not be cut.
fn newer(survey: &Survey) -> Option<&Path> {
    let segments = survey.segments.iter().map(|segment| &segment.report);
    let segment = segments
        .filter(|report| matches!(report.state, SegmentState::Newer { .. }))
        .map(|report| report.path.as_path());
    let snapshots = survey.snapshots.iter();
    let snapshot = snapshots
        .filter(|report| matches!(report.state, SnapshotState::OtherVersion { .. }))
        .map(|report| report.path.as_path());
    segment.chain(snapshot).next()
}
