//! Doing what a plan says.
//!
//! Everything that is changed, moved or renamed is first copied to `quarantine/doctor-<time>/`, durably. It may be cut
//! off anywhere: the directory is then still refused, or the repair is done; and the doctor, asked again, goes on from
//! there.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::ids::{Epoch, Seq, Timestamp};
use crate::recovery::boot::QUARANTINE;
use crate::storage::{Storage, is_zero, partial_of, publish, write_whole};
use crate::tools::doctor::Doctor;
use crate::tools::doctor::error::DoctorError;
use crate::tools::doctor::files::list;
use crate::tools::doctor::interrupted_repair::{DIR_STEM, note, take_back_notes};
use crate::tools::doctor::report::{RepairPlan, RepairStep, count};
use crate::wal::format::{SegmentEnd, SegmentHeader, StoreId};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// A repair that was done.
#[derive(Clone, Debug, Serialize)]
pub struct Repaired {
    /// Where the originals are.
    pub quarantine: PathBuf,
    /// The steps of the plan, all done.
    pub steps: Vec<RepairStep>,
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "repaired in {}:", count(self.steps.len() as u64, "step"))?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {}", step.done()))?;
        write!(f, "the originals are in {}", self.quarantine.display())
    }
}

impl Doctor {
    /// Carries out a plan: copies first, changes then. It may be cut off anywhere; examine again and apply
    /// what the new report says.
    ///
    /// # Errors
    /// The storage reported an error, or the directory would still be refused afterwards.
    pub fn apply(&self, plan: &RepairPlan, now: Timestamp) -> Result<Repaired, DoctorError> {
        let storage = &*self.storage;
        let quarantine = self.free_quarantine(now)?;
        let io = DoctorError::io;
        storage.create_dir(&quarantine).map_err(io(&quarantine, "create"))?;
        note(storage, &quarantine)?;
        for path in originals(&plan.steps) {
            let to = quarantine.join(path.file_name().unwrap_or_default());
            copy(storage, path, &to)?;
        }
        for step in &plan.steps {
            match step {
                RepairStep::Move { path } => {
                    storage.remove(path).map_err(io(path, "remove"))?;
                    let dir = path.parent().unwrap_or(Path::new("."));
                    storage.sync_dir(dir).map_err(io(dir, "sync"))?;
                }
                RepairStep::Rename { from, to } => {
                    publish(storage, from, to).map_err(io(from, "rename"))?;
                }
                RepairStep::Cut { path, len } => {
                    let mut file = storage.open(path).map_err(io(path, "open"))?;
                    file.set_len(*len).map_err(io(path, "cut"))?;
                    file.sync().map_err(io(path, "sync"))?;
                }
                RepairStep::Begin { path, first, store } => self.begin(path, *first, *store, now)?,
            }
        }
        self.look()?.map_err(|refusal| DoctorError::Failed {
            quarantine: quarantine.clone(),
            refusal: refusal.message,
        })?;
        take_back_notes(storage, &self.options.data_dir.join(QUARANTINE))?;
        Ok(Repaired { quarantine, steps: plan.steps.clone() })
    }

    fn begin(&self, path: &Path, first: Seq, store: StoreId, now: Timestamp) -> Result<(), DoctorError> {
        let dir = path.parent().unwrap_or(Path::new("."));
        self.storage.create_dir(dir).map_err(DoctorError::io(dir, "create"))?;
        let predecessor = SegmentEnd { last: Seq(first.0 - 1), ..SegmentEnd::default() };
        let salt = self.dice.borrow_mut().u32(..);
        // Nothing is known of the term here; the next start goes on from what the snapshot says.
        let epoch = Epoch::default();
        let header = SegmentHeader { salt, store, number: 1, first, predecessor, created_at: now, epoch };
        write_whole(&*self.storage, path, &header.encode()).map_err(DoctorError::io(path, "write"))
    }

    /// A directory that no earlier repair has used: its originals must not be written over.
    fn free_quarantine(&self, now: Timestamp) -> Result<PathBuf, DoctorError> {
        let stem = now.to_string().replace([':', '.'], "-");
        let parent = self.options.data_dir.join(QUARANTINE);
        let mut name = format!("{DIR_STEM}{stem}");
        for nth in 2.. {
            let dir = parent.join(&name);
            if list(&*self.storage, &dir)?.is_empty() {
                return Ok(dir);
            }
            name = format!("{DIR_STEM}{stem}-{nth}");
        }
        unreachable!("there are more numbers than directories")
    }
}

/// The files that these steps change, by the names that they have before the first one.
fn originals(steps: &[RepairStep]) -> BTreeSet<&Path> {
    let mut originals = BTreeSet::new();
    let mut made = BTreeSet::new();
    for step in steps {
        originals.extend(step.changes().filter(|path| !made.contains(path)));
        if let RepairStep::Rename { to, .. } = step {
            made.insert(to.as_path());
        }
    }
    originals
}

/// Copies a file; holes, and what else reads as zeros, become holes.
fn copy(storage: &dyn Storage, from: &Path, to: &Path) -> Result<(), DoctorError> {
    let partial = partial_of(to);
    let source = storage.open_to_read(from).map_err(DoctorError::io(from, "open"))?;
    let mut target = storage.create(&partial).map_err(DoctorError::io(&partial, "create"))?;
    let mut bytes = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = source.read_at(at, &mut bytes).map_err(DoctorError::io(from, "read"))?;
        if read == 0 {
            break;
        }
        if !is_zero(&bytes[..read]) {
            target.write_at(at, &bytes[..read]).map_err(DoctorError::io(&partial, "write"))?;
        }
        at += read as u64;
    }
    target.set_len(at).map_err(DoctorError::io(&partial, "lengthen"))?;
    target.sync().map_err(DoctorError::io(&partial, "sync"))?;
    drop(target);
    publish(storage, &partial, to).map_err(DoctorError::io(to, "publish"))
}
