//! The best state that can be had: a whole snapshot, or none, and the longest part of the log that follows it
//! without a gap. And what is known to have existed beyond that.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::api::options::EngineOptions;
use crate::ids::Seq;
use crate::jobs::{EventKind, JobTable};
use crate::snapshot::SnapshotError;
use crate::snapshot::chain::{LayerName, chain_to};
use crate::snapshot::store::SnapshotStore;
use crate::storage::{Storage, is_zero};
use crate::tools::doctor::error::DoctorError;
use crate::tools::doctor::files::{ReadEnd, Survey, read_batches, table_of, visit_readable};
use crate::tools::doctor::report::{Loss, SnapshotReport, SnapshotState};
use crate::wal::format::SegmentEnd;
use crate::wal::reader::SegmentReader;

/// A state that the files give.
pub(super) struct Best {
    /// The snapshot that it begins with.
    pub snapshot: Option<Seq>,
    /// The part of the log that belongs to it; none if the log has nothing for it.
    pub run: Option<SegmentRun>,
    pub table: JobTable,
}

/// A stretch of segments that follow each other.
pub(super) struct SegmentRun {
    /// The number of the first.
    pub first: u64,
    /// Where the last one ends, or is to be cut.
    pub end: SegmentEnd,
    /// Whether there is anything but zeros behind that.
    pub has_rest: bool,
}

impl Best {
    fn through(&self) -> Seq {
        self.table.last()
    }
}

/// Finds it: the newest snapshot wins among those that reach as far.
pub(super) fn best(
    storage: &Arc<dyn Storage>,
    options: &EngineOptions,
    survey: &Survey,
) -> Result<Option<Best>, DoctorError> {
    let whole = survey.snapshots.iter().rev().filter(|snapshot| snapshot.state == SnapshotState::Whole);
    let candidates = whole.map(|snapshot| Some(snapshot.through)).chain([None]);
    let mut best: Option<Best> = None;
    for snapshot in candidates {
        let mut limit = Seq(u64::MAX);
        let reached = loop {
            let mut table = load(storage, options, survey, snapshot)?;
            match follow(&**storage, survey, &mut table, limit)? {
                Followed::To(run) => break Best { snapshot, run, table },
                // A half-applied batch spoils the table; the same again, ending before it.
                Followed::Misfit(first) => limit = first,
            }
        };
        let is_better = best.as_ref().is_none_or(|best| reached.through() > best.through());
        if is_better && reached.through() > Seq::ZERO && reached.table.check().is_empty() {
            best = Some(reached);
        }
    }
    Ok(best)
}

fn load(
    storage: &Arc<dyn Storage>,
    options: &EngineOptions,
    survey: &Survey,
    snapshot: Option<Seq>,
) -> Result<JobTable, DoctorError> {
    let policy = &options.policy;
    let Some(last) = snapshot else { return Ok(JobTable::new(policy.clone(), &[])) };
    let snapshots = SnapshotStore::new(storage.clone(), &options.snapshot_dir, &options.data_dir);
    let is_whole = |name: &LayerName| {
        let path = snapshots.path_of(*name);
        let is_it = |report: &SnapshotReport| report.path == path && report.state == SnapshotState::Whole;
        survey.snapshots.iter().any(is_it)
    };
    let whole: Vec<_> = snapshots.list()?.into_iter().filter(is_whole).collect();
    let chain = chain_to(&whole, last);
    let not_found = || SnapshotError::NotFound { dir: options.snapshot_dir.clone() };
    let state = snapshots.open_chain(&chain.ok_or_else(not_found)?)?;
    let table = table_of(state, policy, &mut |_| {})?;
    table.map_err(|misfit| SnapshotError::Log(misfit.to_string()).into())
}

enum Followed {
    To(Option<SegmentRun>),
    /// The batch that begins here does not fit the state.
    Misfit(Seq),
}

/// Applies what follows the table's state, segment by segment, until a batch cannot be read; only batches that
/// begin before `limit`.
fn follow(
    storage: &dyn Storage,
    survey: &Survey,
    table: &mut JobTable,
    limit: Seq,
) -> Result<Followed, DoctorError> {
    let covered = table.last();
    let log: Vec<_> = survey.segments.iter().filter_map(|segment| Some((segment, segment.header?))).collect();
    let Some(start) = log.iter().rposition(|(_, header)| header.first <= covered.next()) else {
        return Ok(Followed::To(None));
    };
    let follows = |index: usize| {
        let ((_, before), (_, header)) = (log.get(index - 1)?, log.get(index)?);
        let is_next = header.number == before.number + 1 && header.predecessor.number == before.number;
        is_next.then_some(header.predecessor)
    };
    let mut at = start;
    let (end, has_rest) = loop {
        let ends = follows(at + 1);
        let mut reader = SegmentReader::open(storage, log[at].0.path())?;
        let mut misfit = None;
        let read = read_batches(&mut reader, ends, &mut |first, events| {
            if first >= limit {
                return Err("it is behind what fits".to_owned());
            }
            for (seq, event) in events.into_iter().filter(|(seq, _)| *seq > covered) {
                table.apply(seq, event).map_err(|problem| {
                    misfit = Some(first);
                    problem.to_string()
                })?;
            }
            Ok(())
        })?;
        if let Some(first) = misfit {
            return Ok(Followed::Misfit(first));
        }
        match ends.is_some_and(|end| matches!(read.stop, ReadEnd::Through) && end == read.good) {
            true => at += 1,
            false => break (read.good, has_rest(storage, log[at].0.path(), read.good.len)?),
        }
    };
    if end.last < covered {
        // The log ends before the snapshot, which needs none of it.
        return Ok(Followed::To(None));
    }
    let mut first = start;
    while first > 0 && follows(first).is_some() {
        first -= 1;
    }
    Ok(Followed::To(Some(SegmentRun { first: log[first].1.number, end, has_rest })))
}

fn has_rest(storage: &dyn Storage, path: &Path, from: u64) -> Result<bool, DoctorError> {
    let file = storage.open_to_read(path).map_err(DoctorError::io(path, "open"))?;
    let mut at = from;
    let mut bytes = vec![0; 1 << 20];
    loop {
        let read = file.read_at(at, &mut bytes).map_err(DoctorError::io(path, "read"))?;
        if read == 0 {
            return Ok(false);
        }
        if !is_zero(&bytes[..read]) {
            return Ok(true);
        }
        at += read as u64;
    }
}

/// What is known to have existed beyond a state.
pub(super) fn loss(storage: &dyn Storage, survey: &Survey, best: &Best) -> Result<Loss, DoctorError> {
    let kept_through = best.through();
    let known_through = kept_through.max(survey.proven).max(survey.written);
    let (mut readable, mut lost, mut set_back) = (HashSet::new(), HashSet::new(), HashSet::new());
    visit_readable(storage, survey, kept_through, &mut |seq, event| {
        if seq > known_through {
            return;
        }
        readable.insert(seq);
        let Some(job) = event.kind.job() else { return };
        let is_new = matches!(event.kind, EventKind::Enqueue(_)) || best.table.view(job).is_none();
        match is_new {
            true => lost.insert(job.clone()),
            false => set_back.insert(job.clone()),
        };
    })?;
    let events = known_through.0 - kept_through.0;
    Ok(Loss {
        kept_through,
        known_through,
        events,
        events_unreadable: events - readable.len() as u64,
        jobs_kept: best.table.counts().total(),
        jobs_kept_unfinished: best.table.counts().unfinished(),
        jobs_lost: lost.len() as u64,
        jobs_savable: 0,
        jobs_set_back: set_back.difference(&lost).count() as u64,
    })
}
