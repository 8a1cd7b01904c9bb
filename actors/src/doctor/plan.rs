//! What a repair would do, and doing it.
//!
//! Everything that is changed, moved or renamed is first copied to `quarantine/doctor-<time>/`, durably. Then
//! segments go newest first, the others get their names back, and the cut comes last, so that after a crash in
//! between the directory is still refused (also for any segment that is misnamed), or is done; and the doctor, asked
//! again, goes on from there.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::aside::{DIR_STEM, note, take_back_notes};
use super::best::Best;
use super::report::{SnapshotState, count};
use super::survey::{Segment, Survey};
use super::{Doctor, DoctorError};
use crate::boot::QUARANTINE;
use crate::ids::{Lsn, Timestamp};
use crate::storage::{Storage, partial_of, publish, write_whole};
use crate::wal::format::{SegmentEnd, SegmentHeader, StoreId, segment_name, segment_number};

/// Files are copied so many bytes at a time.
const COPY_BYTES: usize = 1 << 20;

/// A repair, not yet done.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// A step of a repair. The original of each file is in quarantine before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Step {
    /// The file goes; its copy in quarantine remains.
    Move {
        /// Which.
        path: PathBuf,
    },
    /// A segment gets the name that its header tells.
    Rename {
        /// Its name now.
        from: PathBuf,
        /// Its name then.
        to: PathBuf,
    },
    /// The file is cut.
    Cut {
        /// Which.
        path: PathBuf,
        /// Its length then.
        len: u64,
    },
    /// An empty log is begun behind a snapshot.
    Begin {
        /// Its first segment.
        path: PathBuf,
        /// The first position in it.
        first: Lsn,
        /// Whose it is.
        #[serde(skip)]
        store: StoreId,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Move { path } => write!(f, "move {} to quarantine", path.display()),
            Step::Rename { from, to } => write!(f, "rename {} to {}", from.display(), to.display()),
            Step::Cut { path, len } => write!(f, "cut {} at byte {len}", path.display()),
            Step::Begin { path, first, .. } => write!(f, "begin {} with event {first}", path.display()),
        }
    }
}

impl Step {
    /// The file that is there before and is changed.
    fn changes(&self) -> Option<&Path> {
        match self {
            Step::Move { path } | Step::Rename { from: path, .. } | Step::Cut { path, .. } => Some(path),
            Step::Begin { .. } => None,
        }
    }

    /// What is to be told when it is done.
    fn done(&self) -> String {
        let now = self.to_string();
        let verbs = [("move ", "moved "), ("rename ", "renamed "), ("begin ", "began ")];
        let verb = verbs.into_iter().find_map(|(verb, past)| Some((past, now.strip_prefix(verb)?)));
        verb.map_or(now.clone(), |(past, rest)| format!("{past}{rest}"))
    }
}

/// A repair that was done.
#[derive(Clone, Debug, Serialize)]
pub struct Repaired {
    /// Where the originals are.
    pub quarantine: PathBuf,
    /// What was done.
    pub steps: Vec<Step>,
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "repaired in {}:", count(self.steps.len() as u64, "step"))?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {}", step.done()))?;
        write!(f, "the originals are in {}", self.quarantine.display())
    }
}

/// What makes a directory of `best` that boots.
pub(super) fn plan(wal_dir: &Path, survey: &Survey, best: &Best, store: StoreId) -> Plan {
    let is_unfit = |snapshot: &&super::report::SnapshotReport| {
        snapshot.state != SnapshotState::Whole || Some(snapshot.through) > best.snapshot
    };
    let mut steps: Vec<_> = survey
        .snapshots
        .iter()
        .filter(is_unfit)
        .map(|snapshot| Step::Move { path: snapshot.path.clone() })
        .collect();
    let run = best.run.as_ref().map(|run| run.first..=run.end.number);
    let is_kept = |segment: &Segment| {
        segment.header.is_some() && run.as_ref().is_some_and(|run| run.contains(&segment.number))
    };
    let gone = survey.segments.iter().rev().filter(|segment| !is_kept(segment));
    steps.extend(gone.map(|segment| Step::Move { path: segment.path().to_owned() }));
    let kept = survey.segments.iter().filter(|segment| is_kept(segment));
    steps.extend(renames(wal_dir, survey, kept));
    match &best.run {
        Some(run) if run.has_rest => {
            let path = wal_dir.join(segment_name(run.end.number));
            steps.push(Step::Cut { path, len: run.end.len });
        }
        Some(_) => {}
        None => {
            let path = wal_dir.join(segment_name(1));
            steps.push(Step::Begin { path, first: best.table.last().next(), store });
        }
    }
    Plan { steps }
}

/// Gives segments their names back, none in place of one that still waits for its own. Where that goes round in a
/// circle, one of them steps aside under a number that nobody has: it is a misnamed segment there as well.
fn renames<'a>(
    wal_dir: &Path,
    survey: &Survey,
    kept: impl Iterator<Item = &'a Segment>,
) -> impl Iterator<Item = Step> {
    let path_of = |number| wal_dir.join(segment_name(number));
    let mut waiting: Vec<(PathBuf, PathBuf)> = kept
        .filter(|segment| segment.is_misnamed())
        .map(|segment| (segment.path().to_owned(), path_of(segment.number)))
        .collect();
    let named = |segment: &Segment| segment_number(&segment.path().file_name()?.to_string_lossy());
    let numbers = survey.segments.iter().flat_map(|segment| [Some(segment.number), named(segment)]);
    let numbers: BTreeSet<u64> = numbers.flatten().collect();
    let free = (1..).find(|number| !numbers.contains(number)).unwrap_or_default();
    let mut steps = Vec::new();
    while !waiting.is_empty() {
        let is_free = |to: &PathBuf| !waiting.iter().any(|(from, _)| from == to);
        match waiting.iter().position(|(_, to)| is_free(to)) {
            Some(at) => steps.push(waiting.remove(at)),
            None => {
                let from = std::mem::replace(&mut waiting[0].0, path_of(free));
                steps.push((from, path_of(free)));
            }
        }
    }
    steps.into_iter().map(|(from, to)| Step::Rename { from, to })
}

impl Doctor {
    /// Carries out a plan: copies first, changes then. It may be cut off anywhere; examine again and apply
    /// what the new report says.
    ///
    /// # Errors
    /// The storage reported an error, or the directory would still be refused afterwards.
    pub fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Repaired, DoctorError> {
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
                Step::Move { path } => {
                    storage.remove(path).map_err(io(path, "remove"))?;
                    let dir = path.parent().unwrap_or(Path::new("."));
                    storage.sync_dir(dir).map_err(io(dir, "sync"))?;
                }
                Step::Rename { from, to } => {
                    publish(storage, from, to).map_err(io(from, "rename"))?;
                }
                Step::Cut { path, len } => {
                    let mut file = storage.open(path).map_err(io(path, "open"))?;
                    file.set_len(*len).map_err(io(path, "cut"))?;
                    file.sync().map_err(io(path, "sync"))?;
                }
                Step::Begin { path, first, store } => self.begin(path, *first, *store, now)?,
            }
        }
        self.look()?.map_err(|refusal| DoctorError::Failed {
            quarantine: quarantine.clone(),
            refusal: refusal.message,
        })?;
        take_back_notes(storage, &self.options.data_dir.join(QUARANTINE))?;
        Ok(Repaired { quarantine, steps: plan.steps.clone() })
    }

    fn begin(&self, path: &Path, first: Lsn, store: StoreId, now: Timestamp) -> Result<(), DoctorError> {
        let dir = path.parent().unwrap_or(Path::new("."));
        self.storage.create_dir(dir).map_err(DoctorError::io(dir, "create"))?;
        let predecessor = SegmentEnd { last: Lsn(first.0 - 1), ..SegmentEnd::default() };
        let salt = self.dice.borrow_mut().u32(..);
        let header = SegmentHeader { salt, store, number: 1, first, predecessor, created_at: now };
        write_whole(&*self.storage, path, &header.encode()).map_err(DoctorError::io(path, "write"))
    }

    /// A directory that no earlier repair has used: its originals must not be written over.
    fn free_quarantine(&self, now: Timestamp) -> Result<PathBuf, DoctorError> {
        let stem = now.to_string().replace([':', '.'], "-");
        let parent = self.options.data_dir.join(QUARANTINE);
        let mut name = format!("{DIR_STEM}{stem}");
        for nth in 2.. {
            let dir = parent.join(&name);
            if self.storage.list(&dir).map_err(DoctorError::io(&dir, "list"))?.is_empty() {
                return Ok(dir);
            }
            name = format!("{DIR_STEM}{stem}-{nth}");
        }
        unreachable!("there are more numbers than directories")
    }
}

/// The files that these steps change, by the names that they have before the first one.
fn originals(steps: &[Step]) -> BTreeSet<&Path> {
    let mut originals = BTreeSet::new();
    let mut made = BTreeSet::new();
    for step in steps {
        originals.extend(step.changes().filter(|path| !made.contains(path)));
        if let Step::Rename { to, .. } = step {
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
    let zeros = vec![0; COPY_BYTES];
    let mut bytes = zeros.clone();
    let mut at = 0;
    loop {
        let read = source.read_at(at, &mut bytes).map_err(DoctorError::io(from, "read"))?;
        if read == 0 {
            break;
        }
        if bytes[..read] != zeros[..read] {
            target.write_at(at, &bytes[..read]).map_err(DoctorError::io(&partial, "write"))?;
        }
        at += read as u64;
    }
    target.set_len(at).map_err(DoctorError::io(&partial, "lengthen"))?;
    target.sync().map_err(DoctorError::io(&partial, "sync"))?;
    drop(target);
    publish(storage, &partial, to).map_err(DoctorError::io(to, "publish"))
}
