//! What a repair would do.
//!
//! Segments go newest first, the others get their names back, and the cut comes last, so that after a crash in between
//! the directory is still refused (also for any segment that is misnamed), or is done.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::tools::doctor::best::Best;
use crate::tools::doctor::files::{Survey, SurveyedSegment};
use crate::tools::doctor::report::{RepairPlan, RepairStep, SnapshotReport, SnapshotState};
use crate::wal::format::{StoreId, segment_name, segment_number};

/// What makes a directory of `best` that boots.
pub(super) fn plan(wal_dir: &Path, survey: &Survey, best: &Best, store: StoreId) -> RepairPlan {
    let is_unfit = |snapshot: &&SnapshotReport| {
        snapshot.state != SnapshotState::Whole || Some(snapshot.through) > best.snapshot
    };
    let mut steps: Vec<_> = survey
        .snapshots
        .iter()
        .filter(is_unfit)
        .map(|snapshot| RepairStep::Move { path: snapshot.path.clone() })
        .collect();
    let run = best.run.as_ref().map(|run| run.first..=run.end.number);
    let is_kept = |segment: &SurveyedSegment| {
        segment.header.is_some() && run.as_ref().is_some_and(|run| run.contains(&segment.number))
    };
    let gone = survey.segments.iter().rev().filter(|segment| !is_kept(segment));
    steps.extend(gone.map(|segment| RepairStep::Move { path: segment.path().to_owned() }));
    let kept = survey.segments.iter().filter(|segment| is_kept(segment));
    steps.extend(renames(wal_dir, survey, kept));
    match &best.run {
        Some(run) if run.has_rest => {
            let path = wal_dir.join(segment_name(run.end.number));
            steps.push(RepairStep::Cut { path, len: run.end.len });
        }
        Some(_) => {}
        None => {
            let path = wal_dir.join(segment_name(1));
            steps.push(RepairStep::Begin { path, first: best.table.last().next(), store });
        }
    }
    steps.extend(survey.misleading_note.iter().map(|path| RepairStep::Move { path: path.clone() }));
    // The last to go: until then, the directory is refused.
    if let Some((path, required)) = &survey.witness
        && *required > best.table.last()
    {
        steps.push(RepairStep::Move { path: path.clone() });
    }
    RepairPlan { steps }
}

/// Gives segments their names back, none in place of one that still waits for its own. Where that goes round in a
/// circle, one of them first takes a number that nobody has: it is a misnamed segment there as well.
fn renames<'a>(
    wal_dir: &Path,
    survey: &Survey,
    kept: impl Iterator<Item = &'a SurveyedSegment>,
) -> impl Iterator<Item = RepairStep> {
    let path_of = |number| wal_dir.join(segment_name(number));
    let mut waiting: Vec<(PathBuf, PathBuf)> = kept
        .filter(|segment| segment.is_misnamed())
        .map(|segment| (segment.path().to_owned(), path_of(segment.number)))
        .collect();
    let named = |segment: &SurveyedSegment| segment_number(&segment.path().file_name()?.to_string_lossy());
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
    steps.into_iter().map(|(from, to)| RepairStep::Rename { from, to })
}
