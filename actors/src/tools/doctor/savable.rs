//! Jobs that a repair would lose, and that can be added again: those that whole segments behind the damage brought, and that
//! no later record there ends.
//!
//! Only what lies behind the last damage counts. In front of it nobody knows what became of a job: the record that ended it
//! may be the one that cannot be read.

use std::collections::HashMap;
use std::time::Duration;

use crate::ids::JobId;
use crate::jobs::event::NewJob;
use crate::jobs::{EventKind, JobSpec, Start};
use crate::storage::Storage;
use crate::tools::doctor::best::Best;
use crate::tools::doctor::error::DoctorError;
use crate::tools::doctor::files::{Survey, SurveyedSegment, read_batches};
use crate::tools::doctor::report::SegmentState;
use crate::wal::reader::SegmentReader;

/// In the order in which they were accepted.
pub(super) fn savable(
    storage: &dyn Storage,
    survey: &Survey,
    best: &Best,
) -> Result<Vec<JobSpec>, DoctorError> {
    // By when they came; by id, the one that has not ended.
    let (mut jobs, mut open): (Vec<Option<JobSpec>>, HashMap<JobId, usize>) = Default::default();
    for segment in behind_the_damage(survey, best) {
        let mut reader = SegmentReader::open(storage, segment.path())?;
        read_batches(&mut reader, None, &mut |_, events| {
            for (_, event) in events {
                match event.kind {
                    EventKind::Enqueue(new) => {
                        open.insert(new.id.clone(), jobs.len());
                        jobs.push(spec_of(*new));
                    }
                    EventKind::Ack { job, .. }
                    | EventKind::Exhaust { job, .. }
                    | EventKind::Cancel { job }
                    | EventKind::Kill { job, .. }
                    | EventKind::Discard { job } => {
                        if let Some(at) = open.remove(&job) {
                            jobs[at] = None;
                        }
                    }
                    _ => {}
                }
            }
            Ok(())
        })?;
    }
    Ok(jobs.into_iter().flatten().collect())
}

/// The whole segments at the log's end that follow each other and of which the best state has nothing; also those that a
/// repair which was cut off has moved away already.
fn behind_the_damage<'a>(survey: &'a Survey, best: &Best) -> Vec<&'a SurveyedSegment> {
    let kept = best.table.last();
    let mut all: Vec<&SurveyedSegment> = survey.segments.iter().chain(&survey.in_quarantine).collect();
    all.sort_by_key(|segment| segment.number);
    let mut behind: Vec<&SurveyedSegment> = Vec::new();
    for segment in all.into_iter().rev() {
        let is_whole = matches!(
            segment.report.state,
            SegmentState::Whole | SegmentState::Sealed | SegmentState::Torn { .. }
        );
        let follows = behind.last().is_none_or(|next| next.number == segment.number + 1);
        let Some(header) = segment.header.filter(|_| is_whole && follows) else { break };
        if header.first <= kept {
            break;
        }
        behind.push(segment);
    }
    behind.reverse();
    behind
}

fn spec_of(new: NewJob) -> Option<JobSpec> {
    let NewJob { id, profile, content, run_at } = new;
    let payload = content.payload.here()?.clone();
    let mut spec = JobSpec::new(profile.queue, profile.kind, payload);
    spec.id = Some(id);
    spec.priority = profile.priority;
    spec.start = run_at.map_or(Start::Now, Start::At);
    spec.timeout = Some(Duration::from_millis(profile.timeout_ms));
    spec.max_retry = Some(profile.max_retry);
    spec.backoff = profile.backoff;
    spec.exhausted = profile.exhausted;
    spec.custom = content.custom;
    spec.backtrace_lines = profile.backtrace_lines;
    Some(spec)
}
