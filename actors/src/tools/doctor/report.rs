//! What the doctor found, as values for programs and in plain words for people.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::ids::{Seq, Timestamp};
use crate::wal::format::StoreId;

/// Everything that is known about a data directory.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// As the operator named it.
    pub data_dir: PathBuf,
    /// Whose it is; none if nothing in it says so.
    pub store: Option<String>,
    /// The log's segments, by name.
    pub segments: Vec<SegmentReport>,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotReport>,
    /// What is odd about the whole: gaps, a log that is gone, a name that does not fit.
    pub findings: Vec<String>,
    /// Files that were never finished; a start removes them.
    pub unfinished: Vec<PathBuf>,
    /// Files that are not beaver's; nobody touches them.
    pub foreign: Vec<PathBuf>,
    /// What earlier starts and repairs have moved to quarantine.
    pub quarantine: Vec<PathBuf>,
    /// What it comes to.
    pub verdict: Diagnosis,
}

/// A file with the name of a segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentReport {
    /// Where the file is, with its directory.
    pub path: PathBuf,
    /// Length of the file, which includes what is allocated ahead.
    pub bytes: u64,
    /// Position of its first event, if its header can be read.
    pub from: Option<Seq>,
    /// Position of the last event that can be read from its beginning on; less than `from` if there is none.
    pub to: Option<Seq>,
    /// Whether it is whole, and what is wrong if not.
    pub state: SegmentState,
}

/// How a segment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum SegmentState {
    /// It has no successor, and every batch that was written to it is valid.
    Whole,
    /// It ended, and a successor was begun.
    Sealed,
    /// An unfinished last write: expected after a crash, and never synced.
    Torn {
        /// Offset of its first byte.
        at: u64,
        /// Bytes from there to the last one that is not zero.
        bytes: u64,
        /// Why it is not a batch.
        problem: String,
    },
    /// Something that was durable cannot be read.
    Damaged {
        /// Offset of the first byte that cannot be read.
        at: u64,
        /// What was expected and what was found.
        problem: String,
        /// The first event that cannot be read; none if that is not known.
        from: Option<Seq>,
        /// The last one before something that can be read again.
        to: Option<Seq>,
    },
    /// It has another segment's name.
    Renamed {
        /// The number that it says.
        says: u64,
    },
    /// It belongs to another data directory.
    Foreign {
        /// That directory's id: 32 hexadecimal digits.
        store: String,
    },
    /// Another version of beaver wrote it.
    Newer {
        /// The format version, or the type of event, that this version does not know.
        problem: String,
    },
}

/// A file with the name of a snapshot or of a layer upon one.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotReport {
    /// Where the file is, with its directory.
    pub path: PathBuf,
    /// The position that its name says: it holds everything up to there.
    pub through: Seq,
    /// Its size, if its header can be read.
    pub bytes: Option<u64>,
    /// Jobs in it that can be read.
    pub jobs: u64,
    /// When it was taken, if its header can be read.
    pub taken_at: Option<Timestamp>,
    /// Whether it is whole, and what is wrong if not.
    pub state: SnapshotState,
}

/// How a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum SnapshotState {
    /// As it was written.
    Whole,
    /// Not as it was written.
    Corrupted {
        /// Where, what was expected and what was found.
        problem: String,
    },
    /// Another version of beaver wrote it.
    OtherVersion {
        /// The schema version that it says; 0 for a format from before the first release.
        found: u32,
        /// What this version reads.
        expected: u32,
    },
    /// It belongs to another data directory.
    Foreign {
        /// That directory's id: 32 hexadecimal digits.
        store: String,
    },
}

/// What it comes to.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Diagnosis {
    /// A start accepts it as it is.
    Healthy,
    /// A start moves an unfinished last write to quarantine, which was never synced.
    HealthyAfterCrash {
        /// Bytes of that write.
        torn_bytes: u64,
    },
    /// Something is damaged that nothing depends on: beaver starts, and nothing is lost.
    Spared {
        /// Those that are damaged.
        files: Vec<PathBuf>,
        /// Bytes of an unfinished last write, which a start moves to quarantine; 0 if there is none.
        torn_bytes: u64,
    },
    /// Beaver refuses, and the directory can be repaired at a loss.
    Damaged {
        /// Why a start refuses.
        refusal: String,
        /// What would be lost.
        loss: Loss,
        /// What a repair would do.
        plan: RepairPlan,
    },
    /// Beaver refuses, and no repair is better than a backup.
    Hopeless {
        /// Why a start refuses.
        refusal: String,
        /// Why it cannot be repaired, and what can be done.
        reason: String,
    },
}

impl Diagnosis {
    /// Whether anything that was durable cannot be read.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(self, Diagnosis::Healthy | Diagnosis::HealthyAfterCrash { .. })
    }
}

/// What there would be without the damaged part, and what not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The last event of the best state that can be had.
    pub kept_through: Seq,
    /// The last event that is known to have existed.
    pub known_through: Seq,
    /// How many positions lie between the two.
    pub events: u64,
    /// How many of those cannot even be read; they may be about more jobs than are counted here.
    pub events_unreadable: u64,
    /// Jobs in the best state.
    pub jobs_kept: u64,
    /// How many of those had not finished.
    pub jobs_kept_unfinished: u64,
    /// Jobs that are known to have existed and would be gone.
    pub jobs_lost: u64,
    /// Jobs among what is lost that whole segments behind the damage brought, and that no later record ends: they can be added
    /// again.
    pub jobs_savable: u64,
    /// Jobs that would be as they were earlier: what is lost about them may be done again.
    pub jobs_set_back: u64,
}

/// A repair, not yet done.
#[derive(Clone, Debug, Serialize)]
pub struct RepairPlan {
    /// What is done, in this order.
    pub steps: Vec<RepairStep>,
}

/// A step of a repair. The original of each file is in quarantine before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum RepairStep {
    /// The file goes; its copy in quarantine remains.
    Move {
        /// Where the file is now.
        path: PathBuf,
    },
    /// A segment gets the name that its header tells.
    Rename {
        /// Where the segment is now.
        from: PathBuf,
        /// Where its header says that it belongs.
        to: PathBuf,
    },
    /// The file is cut.
    Cut {
        /// Where the file is now.
        path: PathBuf,
        /// Its length afterwards, in bytes.
        len: u64,
    },
    /// An empty log is begun behind a snapshot.
    Begin {
        /// Where its first segment is made.
        path: PathBuf,
        /// The first position in it.
        first: Seq,
        /// The store whose snapshot it goes on from.
        #[serde(skip)]
        store: StoreId,
    },
}

impl fmt::Display for RepairStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            RepairStep::Move { .. } => "move",
            RepairStep::Rename { .. } => "rename",
            RepairStep::Cut { .. } => "cut",
            RepairStep::Begin { .. } => "begin",
        };
        write!(f, "{verb} {}", self.what())
    }
}

impl RepairStep {
    /// The file that is there before and is changed.
    pub(super) fn changes(&self) -> Option<&Path> {
        match self {
            RepairStep::Move { path }
            | RepairStep::Rename { from: path, .. }
            | RepairStep::Cut { path, .. } => Some(path),
            RepairStep::Begin { .. } => None,
        }
    }

    /// What is to be told when it is done.
    pub(super) fn done(&self) -> String {
        let verb = match self {
            RepairStep::Move { .. } => "moved",
            RepairStep::Rename { .. } => "renamed",
            RepairStep::Cut { .. } => "cut",
            RepairStep::Begin { .. } => "began",
        };
        format!("{verb} {}", self.what())
    }

    /// The words behind the verb.
    fn what(&self) -> String {
        match self {
            RepairStep::Move { path } => format!("{} to quarantine", path.display()),
            RepairStep::Rename { from, to } => format!("{} to {}", from.display(), to.display()),
            RepairStep::Cut { path, len } => format!("{} at byte {len}", path.display()),
            RepairStep::Begin { path, first, .. } => format!("{} with event {first}", path.display()),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.events {
            0 => f.write_str("no event that is known to have existed")?,
            events => write!(
                f,
                "{}, that is {}: {} would be gone and {} set back to an earlier state",
                count(events, "event"),
                range(self.kept_through.next(), self.known_through),
                count(self.jobs_lost, "job"),
                self.jobs_set_back,
            )?,
        }
        if self.events_unreadable > 0 {
            write!(f, "; {} of these cannot be read and may be about more jobs", self.events_unreadable)?;
        }
        if self.jobs_savable > 0 {
            let jobs = count(self.jobs_savable, "job");
            write!(f, "; {jobs} can be added again: --save-jobs FILE, then `beaver enqueue --file FILE`")?;
        }
        let (kept, unfinished) = (count(self.jobs_kept, "job"), self.jobs_kept_unfinished);
        write!(f, "; what is left is {kept} ({unfinished} unfinished) as of event {}", self.kept_through)
    }
}

impl fmt::Display for SegmentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match (self.from, self.to) {
            (Some(from), Some(to)) if from <= to => write!(f, "{}, ", range(from, to))?,
            (Some(_), Some(_)) => f.write_str("no events, ")?,
            _ => {}
        }
        write!(f, "{}: {}", count(self.bytes, "byte"), self.state)
    }
}

impl fmt::Display for SegmentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SegmentState::Whole => f.write_str("whole"),
            SegmentState::Sealed => f.write_str("whole, sealed"),
            SegmentState::Torn { at, bytes, problem } => {
                write!(f, "torn tail at byte {at}, {}, never synced ({problem})", count(*bytes, "byte"))
            }
            SegmentState::Damaged { at, problem, from, to } => {
                write!(f, "DAMAGED at byte {at}: {problem}")?;
                match (from, to) {
                    (Some(from), Some(to)) if from <= to => {
                        write!(f, "; {} cannot be read", range(*from, *to))
                    }
                    _ => Ok(()),
                }
            }
            SegmentState::Renamed { says } => {
                write!(f, "MISPLACED: it says that it is segment {says}: was it renamed or copied?")
            }
            SegmentState::Foreign { store } => write!(f, "FOREIGN: it belongs to store {store}"),
            SegmentState::Newer { problem } => write!(f, "another version of beaver wrote it: {problem}"),
        }
    }
}

impl fmt::Display for SnapshotReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: everything up to event {}, ", self.path.display(), self.through)?;
        if let Some(bytes) = self.bytes {
            write!(f, "{}, ", count(bytes, "byte"))?;
        }
        match &self.state {
            SnapshotState::Whole => write!(f, "{}: whole", count(self.jobs, "job")),
            SnapshotState::Corrupted { problem } => write!(f, "CORRUPTED: {problem}"),
            SnapshotState::OtherVersion { found, expected } => {
                write!(f, "another version wrote it: schema version {found}, this beaver reads {expected}")
            }
            SnapshotState::Foreign { store } => write!(f, "FOREIGN: it belongs to store {store}"),
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Diagnosis::Healthy => f.write_str("healthy"),
            Diagnosis::HealthyAfterCrash { torn_bytes } => write!(
                f,
                "healthy after a crash: the next start will move {} to quarantine that were never synced: they were \
                 acknowledged to nobody with `durability: always`; with `interval` or `never` they may hold what was \
                 accepted last before a power cut",
                count(*torn_bytes, "byte")
            ),
            Diagnosis::Spared { files, .. } => write!(
                f,
                "damaged, but nothing depends on it: `beaver run` starts and nothing is lost ({})",
                files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
            ),
            Diagnosis::Damaged { refusal, loss, .. } => write!(
                f,
                "damaged: `beaver run` refuses ({refusal})\n\
                 to go on without the damaged part you would lose {loss}"
            ),
            Diagnosis::Hopeless { refusal, reason } => {
                write!(f, "damaged: `beaver run` refuses ({refusal})\nit cannot be repaired: {reason}")
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.data_dir.display())?;
        if let Some(store) = &self.store {
            writeln!(f, "  store {store}")?;
        }
        self.segments.iter().try_for_each(|segment| writeln!(f, "  {segment}"))?;
        self.snapshots.iter().try_for_each(|snapshot| writeln!(f, "  {snapshot}"))?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "  {finding}"))?;
        for path in &self.unfinished {
            writeln!(f, "  {}: never finished; the next start removes it", path.display())?;
        }
        for path in &self.foreign {
            writeln!(f, "  {}: not beaver's; it is left alone", path.display())?;
        }
        for path in &self.quarantine {
            writeln!(f, "  {}: in quarantine; beaver does not read it", path.display())?;
        }
        write!(f, "{}", self.verdict)
    }
}

fn range(from: Seq, to: Seq) -> String {
    match from == to {
        true => format!("event {from}"),
        false => format!("events {from}..{to}"),
    }
}

/// A number with its noun.
pub(super) fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}
