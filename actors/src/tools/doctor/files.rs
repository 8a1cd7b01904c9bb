//! The files of a data directory as the doctor reads them: segments, snapshots, and what can be read of each.

use std::path::{Path, PathBuf};

use crate::ids::Seq;
use crate::jobs::job::Misfit;
use crate::jobs::{Event, JobTable, Policy};
use crate::snapshot::SnapshotError;
use crate::snapshot::chain::LayerName;
use crate::snapshot::format::SCHEMA_VERSION;
use crate::snapshot::state::State;
use crate::snapshot::store::SnapshotStore;
use crate::storage::Storage;
use crate::tools::doctor::error::DoctorError;
use crate::tools::doctor::report::{SegmentReport, SegmentState, SnapshotReport, SnapshotState};
use crate::wal::WalError;
use crate::wal::batch::Batch;
use crate::wal::codec::Decoder;
use crate::wal::format::{SegmentEnd, SegmentHeader, StoreId, segment_name};
use crate::wal::reader::{SegmentReader, Stop, events, read_header};

/// What the files of a data directory are.
pub(super) struct Survey {
    pub store: Option<StoreId>,
    pub segments: Vec<SurveyedSegment>,
    /// Segments that a repair which was cut off has moved there. They count, but they cannot be used.
    pub in_quarantine: Vec<SurveyedSegment>,
    /// Copies, by the same repair, of segments that are in place.
    pub copies: Vec<PathBuf>,
    pub snapshots: Vec<SnapshotReport>,
    pub findings: Vec<String>,
    pub unfinished: Vec<PathBuf>,
    pub foreign: Vec<PathBuf>,
    pub quarantine: Vec<PathBuf>,
    /// The largest position that anything of this store says to have been durable.
    pub proven: Seq,
    /// The last event in any batch that can be read, in any file.
    pub written: Seq,
    /// The log's second witness, and up to where it says that the log must reach.
    pub witness: Option<(PathBuf, Seq)>,
    /// The note that names a store of which there is no file.
    pub misleading_note: Option<PathBuf>,
}

/// A file with a segment's name.
pub(super) struct SurveyedSegment {
    /// Its place in the log: what its header says, if it can be believed, and else what the file is called.
    pub number: u64,
    /// Set if it is of this store and the only one of its number: then it can be part of the log.
    pub header: Option<SegmentHeader>,
    /// Positions of the events in batches that can be read although something before them cannot.
    pub beyond: Vec<(Seq, u64)>,
    /// Where its readable part ends.
    pub good: u64,
    pub report: SegmentReport,
}

impl SurveyedSegment {
    pub(super) fn path(&self) -> &Path {
        &self.report.path
    }

    /// Whether it has another name than its place in the log asks for.
    pub(super) fn is_misnamed(&self) -> bool {
        self.header.is_some() && !self.path().ends_with(segment_name(self.number))
    }
}

pub(super) enum Header {
    Read(SegmentHeader),
    Bad(SegmentState),
}

/// A file with a segment's name, and its header.
pub(super) struct Found {
    /// The number in its name.
    pub named: u64,
    pub header: Header,
    pub path: PathBuf,
    /// Moved there by a repair that was cut off.
    pub is_in_quarantine: bool,
}

impl Found {
    pub(super) fn header(&self) -> Option<SegmentHeader> {
        match &self.header {
            Header::Read(header) => Some(*header),
            Header::Bad(_) => None,
        }
    }

    /// Its header, if it is of this store.
    pub(super) fn header_in(&self, store: Option<StoreId>) -> Option<SegmentHeader> {
        self.header().filter(|header| Some(header.store) == store)
    }
}

pub(super) fn header_of(storage: &dyn Storage, path: &Path) -> Result<Header, DoctorError> {
    Ok(match read_header(storage, path) {
        Ok(header) => Header::Read(header),
        Err(WalError::Damaged { offset, problem, .. }) => {
            Header::Bad(SegmentState::Damaged { at: offset, problem, from: None, to: None })
        }
        Err(WalError::Newer { problem, .. }) => Header::Bad(SegmentState::Newer { problem }),
        Err(WalError::Outdated { .. }) => {
            let problem = "it is in a format from before the first release".to_owned();
            Header::Bad(SegmentState::Newer { problem })
        }
        Err(error) => return Err(error.into()),
    })
}

/// Whose a layer of a snapshot is, if its header can be read.
pub(super) fn store_of(snapshots: &SnapshotStore, name: LayerName) -> Result<Option<StoreId>, DoctorError> {
    match snapshots.header_of(name) {
        Ok((header, _)) => Ok(Some(StoreId(header.store))),
        Err(
            SnapshotError::Corrupted { .. }
            | SnapshotError::IncompatibleVersion { .. }
            | SnapshotError::Outdated { .. },
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The table that a state gives, or why its jobs give none. `jobs` is told how many have been read so far.
pub(super) fn table_of(
    state: State,
    policy: &Policy,
    jobs: &mut dyn FnMut(u64),
) -> Result<Result<JobTable, Misfit>, SnapshotError> {
    let (header, sections) = (*state.header(), state.sections().clone());
    let mut pages = state.into_pages();
    let mut records = Vec::new();
    while let Some(page) = pages.next_records()? {
        records.extend(page);
        jobs(pages.jobs());
    }
    Ok(JobTable::restore(policy.clone(), &[], (header.last, header.last_at), sections, records))
}

/// A layer of a snapshot, and whose it is if its header can be read.
pub(super) fn snapshot_of(
    snapshots: &SnapshotStore,
    name: LayerName,
    policy: &Policy,
) -> Result<(SnapshotReport, Option<StoreId>), DoctorError> {
    let mut report = SnapshotReport {
        path: snapshots.path_of(name),
        through: name.last,
        bytes: None,
        jobs: 0,
        taken_at: None,
        state: SnapshotState::Whole,
    };
    let mut store = None;
    let loaded = (|| {
        let (header, bytes) = snapshots.header_of(name)?;
        (store, report.bytes, report.taken_at) =
            (Some(StoreId(header.store)), Some(bytes), Some(header.taken_at));
        let layer = snapshots.open(name)?;
        report.jobs = layer.jobs_total();
        layer.check()?;
        if !name.is_full() {
            return Ok(None);
        }
        let restored = table_of(State::of(vec![layer]), policy, &mut |jobs| report.jobs = jobs)?;
        Ok(restored.err().map(|misfit| misfit.to_string()))
    })();
    report.state = match loaded {
        Ok(None) => SnapshotState::Whole,
        Ok(Some(problem)) => SnapshotState::Corrupted { problem },
        Err(SnapshotError::IncompatibleVersion { found, expected, .. }) => {
            SnapshotState::OtherVersion { found, expected }
        }
        Err(SnapshotError::Outdated { .. }) => {
            SnapshotState::OtherVersion { found: 0, expected: SCHEMA_VERSION }
        }
        Err(SnapshotError::Corrupted { offset, problem, .. }) => {
            SnapshotState::Corrupted { problem: format!("{problem} at byte {offset}") }
        }
        Err(error) => return Err(error.into()),
    };
    Ok((report, store))
}

/// A segment whose header was read before; none if it is longer than any.
pub(super) fn open_segment(storage: &dyn Storage, path: &Path) -> Result<Option<SegmentReader>, DoctorError> {
    match SegmentReader::open(storage, path) {
        Err(WalError::Damaged { .. }) => Ok(None),
        reader => Ok(Some(reader?)),
    }
}

/// The names in a directory; none if it is not there.
pub(super) fn list(storage: &dyn Storage, dir: &Path) -> Result<Vec<String>, DoctorError> {
    storage.list(dir).map_err(DoctorError::io(dir, "list"))
}

/// How far a segment could be read.
pub(super) struct Read {
    /// Behind the last batch that is good.
    pub good: SegmentEnd,
    pub stop: ReadEnd,
}

/// Why no further batch was read.
pub(super) enum ReadEnd {
    /// The segment's own end, or a batch that is none.
    Stop(Stop),
    /// The place where its successor says that it ended.
    Through,
    /// A batch holds what no version can read, or its events were turned down.
    Invalid(String),
    /// A batch holds what another version wrote.
    Newer(String),
}

/// Reads batches up to where the segment ends, or up to `ends`; hands each with its events to `take`, which
/// may turn it down.
pub(super) fn read_batches(
    reader: &mut SegmentReader,
    ends: Option<SegmentEnd>,
    take: &mut dyn FnMut(Seq, Vec<(Seq, Event)>) -> Result<(), String>,
) -> Result<Read, DoctorError> {
    let path = reader.path().to_owned();
    let mut good = reader.end();
    let stop = loop {
        if ends.is_some_and(|end| good.len >= end.len) {
            break ReadEnd::Through;
        }
        let decoded = match reader.next_batch() {
            Ok(batch) => decode(&path, batch).map(|events| take(batch.header.first, events)),
            Err(Stop::Unreadable(problem)) => return Err(reader.unreadable(problem).into()),
            Err(stop) => break ReadEnd::Stop(stop),
        };
        match decoded {
            Ok(Ok(())) => good = reader.end(),
            Ok(Err(problem)) | Err(WalError::Damaged { problem, .. }) => break ReadEnd::Invalid(problem),
            Err(WalError::Newer { problem, .. }) => break ReadEnd::Newer(problem),
            Err(error) => return Err(error.into()),
        }
    };
    Ok(Read { good, stop })
}

fn decode(path: &Path, batch: Batch<'_>) -> Result<Vec<(Seq, Event)>, WalError> {
    events(path, batch, &mut Decoder::default()).collect()
}

/// Every event behind `after` that can be read at all, in no order, perhaps twice.
pub(super) fn visit_readable(
    storage: &dyn Storage,
    survey: &Survey,
    after: Seq,
    visit: &mut dyn FnMut(Seq, Event),
) -> Result<(), DoctorError> {
    let all = survey.segments.iter().chain(&survey.in_quarantine);
    let ours = all.filter(|segment| segment.report.to.is_some()).map(SurveyedSegment::path);
    for path in ours.chain(survey.copies.iter().map(PathBuf::as_path)) {
        let Some(mut reader) = open_segment(storage, path)? else { continue };
        let mut visit_later = |events: Vec<(Seq, Event)>| {
            events.into_iter().filter(|(seq, _)| *seq > after).for_each(|(seq, event)| visit(seq, event));
        };
        read_batches(&mut reader, None, &mut |_, events| {
            visit_later(events);
            Ok(())
        })?;
        for batch in reader.rest()?.batches() {
            // What cannot be decoded is counted as unreadable.
            if let Ok(events) = decode(path, batch) {
                visit_later(events);
            }
        }
    }
    Ok(())
}
