//! Log and snapshots as objects of JSON, one a row, for `jq` and for people. Reads only; a server may be running.
//!
//! An event is `{"seq", "type", "job_id", "timestamp", "checksum", "data"}`. `checksum` is the one on disk that covers
//! the event: its batch's payload crc32. The last row is `{"summary": {...}}`.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::ids::{Epoch, Seq, Token};
use crate::jobs::event::{ClockStep, Event, EventKind, NewJob};
use crate::jobs::model::failure::Failure;
use crate::jobs::model::job::JobState;
use crate::jobs::model::payload::{Content, Payload};
use crate::jobs::model::profile::Profile;
use crate::jobs::record::{JobRecord, Life};
use crate::snapshot::SnapshotError;
use crate::snapshot::store::SnapshotStore;
use crate::snapshot::texts::TextPages;
use crate::storage::{DiskStorage, Storage};
use crate::wal::WalError;
use crate::wal::format::BatchHeader;
use crate::wal::recovery::{EachEvent, ReplayFrom, recover, segments};

/// Takes the rows; an error of its own (such as a closed pipe) ends the reading.
pub type Row<'a> = &'a mut dyn FnMut(&RawValue) -> io::Result<()>;

/// An object of JSON whose fields stay in their order, and texts of jobs in it as they are: a tree of values could not
/// hold `1e400` or a name that is given twice.
#[derive(Default)]
struct RowObject(Vec<(&'static str, Box<RawValue>)>);

impl RowObject {
    fn with(mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> RowObject {
        self.set(name, value);
        self
    }

    fn set(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        let value = to_raw_value(value).expect("text, numbers and valid JSON are always written");
        self.0.push((name, value));
    }
}

impl Serialize for RowObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// An object with these fields.
macro_rules! object {
    ({ $($name:literal: $value:expr),* $(,)? }) => {
        RowObject::default()$(.with($name, &$value))*
    };
}

/// What can be said of a log or a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// Everything is as it was written.
    Whole,
    /// The last write was not finished, which a crash explains (or a server that is writing right now).
    TornTail {
        /// Where, and what is there.
        problem: String,
    },
    /// Something that was durable cannot be read, or files do not belong together.
    Damaged {
        /// Where, and what is wrong.
        problem: String,
    },
}

impl fmt::Display for LogState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogState::Whole => f.write_str("whole"),
            LogState::TornTail { problem } => write!(f, "torn tail: {problem}"),
            LogState::Damaged { problem } => write!(f, "damaged: {problem}"),
        }
    }
}

/// There was nothing to read, or the reading was cut short.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Nothing is there.
    #[error("{what} not found in {dir}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// The directory that was looked through.
        dir: String,
    },
    /// A row could not be written.
    #[error("cannot write: {0}")]
    Write(io::Error),
    /// The storage reported an error.
    #[error("{0}")]
    Storage(String),
}

/// Every event of the log in `dir`, then a summary.
///
/// # Errors
/// See [`InspectError`]. Damage is no error but a [`LogState`].
pub fn log(dir: &Path, row: Row<'_>) -> Result<LogState, InspectError> {
    let storage = DiskStorage::default();
    let begins = match segments(&storage, dir) {
        Ok(segments) => segments.first().map(|segment| (segment.header.first, segment.header.epoch)),
        Err(error) => return summarize_damage(error, Seq::ZERO, 0, row),
    };
    let Some((first, mut epoch)) = begins else {
        return Err(InspectError::NotFound { what: "a log", dir: dir.display().to_string() });
    };
    let known = ReplayFrom { covered: Seq(first.0.saturating_sub(1)), ..ReplayFrom::default() };
    let mut written = Ok(());
    let (mut last, mut events) = (known.covered, 0_u64);
    let mut visit = |seq: Seq, event: Event, batch: &BatchHeader| {
        (last, events) = (seq, events + 1);
        if let EventKind::Term { epoch: begins, .. } = event.kind {
            epoch = begins;
        }
        written = give(row, &event_row(seq, &event, batch, epoch));
        match &written {
            Ok(()) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    };
    let result = recover(&storage, dir, known, &mut EachEvent(&mut visit), &mut |_, _| {});
    written.map_err(InspectError::Write)?;
    let found = match result {
        Ok(found) => found,
        Err(error) => return summarize_damage(error, last, events, row),
    };
    let verdict = match found.and_then(|found| found.torn) {
        None => LogState::Whole,
        Some(torn) => LogState::TornTail {
            problem: format!("{} at byte {}: {}", torn.path.display(), torn.offset, torn.problem),
        },
    };
    summarize(verdict, object!({ "events": events, "last_seq": last }), row)
}

/// Every job of the newest snapshot in `dir`, then a summary.
///
/// # Errors
/// See [`InspectError`]. Damage is no error but a [`LogState`].
pub fn snapshot(dir: &Path, row: Row<'_>) -> Result<LogState, InspectError> {
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::default());
    let store = SnapshotStore::new(storage, dir, dir);
    let newest = store.list().map_err(|error| InspectError::Storage(error.to_string()))?.first().copied();
    let Some(newest) = newest else {
        return Err(InspectError::NotFound { what: "a snapshot", dir: dir.display().to_string() });
    };
    let path = store.path_of(newest);
    let mut jobs = 0_u64;
    let mut rows = || -> Result<RowObject, SnapshotOrWrite> {
        let state = store.open_state(newest.last).map_err(|error| match error {
            SnapshotError::NotFound { .. } => leads_nowhere(&path, newest.parent),
            error => error,
        })?;
        let header = *state.header();
        let payloads = TextPages::new(state.layers().to_vec());
        let bytes = state.bytes();
        let mut pages = state.into_pages();
        while let Some(records) = pages.next_records()? {
            for mut record in records {
                jobs += 1;
                record.fill(|text| payloads.find(text))?;
                give(row, &job_row(record)).map_err(SnapshotOrWrite::Write)?;
            }
        }
        Ok(object!({ "last_seq": header.last, "taken_at": header.taken_at, "bytes": bytes }))
    };
    match rows() {
        Ok(mut facts) => {
            facts.set("jobs", &jobs);
            summarize(LogState::Whole, facts, row)
        }
        Err(SnapshotOrWrite::Write(error)) => Err(InspectError::Write(error)),
        Err(SnapshotOrWrite::Snapshot(error @ SnapshotError::Io { .. })) => {
            Err(InspectError::Storage(error.to_string()))
        }
        Err(SnapshotOrWrite::Snapshot(error)) => {
            summarize(LogState::Damaged { problem: error.to_string() }, object!({ "jobs": jobs }), row)
        }
    }
}

fn leads_nowhere(path: &Path, parent: Seq) -> SnapshotError {
    let problem = format!("the layers before it, up to event {parent}, are not there");
    SnapshotError::Corrupted { path: path.to_owned(), offset: 0, problem }
}

enum SnapshotOrWrite {
    Snapshot(SnapshotError),
    Write(io::Error),
}

impl From<SnapshotError> for SnapshotOrWrite {
    fn from(error: SnapshotError) -> SnapshotOrWrite {
        SnapshotOrWrite::Snapshot(error)
    }
}

fn summarize_damage(error: WalError, last: Seq, events: u64, row: Row<'_>) -> Result<LogState, InspectError> {
    if !error.is_damage() {
        return Err(InspectError::Storage(error.to_string()));
    }
    let verdict = LogState::Damaged { problem: error.to_string() };
    summarize(verdict, object!({ "events": events, "last_seq": last }), row)
}

fn summarize(verdict: LogState, mut facts: RowObject, row: Row<'_>) -> Result<LogState, InspectError> {
    let word = match &verdict {
        LogState::Whole => "whole",
        LogState::TornTail { .. } => "torn_tail",
        LogState::Damaged { .. } => "damaged",
    };
    facts.set("verdict", word);
    if let LogState::TornTail { problem } | LogState::Damaged { problem } = &verdict {
        facts.set("problem", problem);
    }
    give(row, &object!({ "summary": facts })).map_err(InspectError::Write)?;
    Ok(verdict)
}

fn give(row: Row<'_>, object: &RowObject) -> io::Result<()> {
    row(&to_raw_value(object)?)
}

fn event_row(seq: Seq, event: &Event, batch: &BatchHeader, epoch: Epoch) -> RowObject {
    object!({
        "seq": seq,
        "type": event.kind.name(),
        "job_id": event.kind.job(),
        "timestamp": event.at,
        "checksum": format!("{:08x}", batch.payload_crc),
        "data": data(seq, &event.kind, epoch),
    })
}

/// What an event says. `epoch` is what the state was in when it was applied.
fn data(seq: Seq, kind: &EventKind, epoch: Epoch) -> RowObject {
    match kind {
        EventKind::Enqueue(new) | EventKind::Follow { job: _, next: new } => added(new),
        EventKind::Dispatch { job: _, holder, attempt, deadline } => {
            let token = Token { epoch, seq };
            object!({ "worker": holder, "token": token, "attempt": attempt, "deadline": deadline })
        }
        EventKind::Ack { job: _, token, result } => object!({ "token": token.of(epoch), "result": result }),
        EventKind::Retry { job: _, token, failure, retry_at, result } => {
            let mut data = failed(token.of(epoch), failure, result);
            data.set("retry_at", retry_at);
            data
        }
        EventKind::Requeue { job: _, token, failure, counted, fenced, not_before } => {
            let mut data = failed(token.of(epoch), failure, &None);
            data.set("counted", counted);
            data.set("fenced", fenced);
            data.set("not_before", not_before);
            data
        }
        EventKind::Exhaust { job: _, token, failure, result, end } => {
            let mut data = failed(token.of(epoch), failure, result);
            data.set("end", end);
            data
        }
        EventKind::Extend { job: _, token, deadline } => {
            object!({ "token": token.of(epoch), "deadline": deadline })
        }
        EventKind::Output { job: _, token, result } => {
            object!({ "token": token.of(epoch), "result": result })
        }
        EventKind::Cancel { job: _ } | EventKind::RunNow { job: _ } | EventKind::Discard { job: _ } => {
            object!({})
        }
        EventKind::Kill { job: _, failure: Some(failure) } => {
            object!({ "reason": failure.kind, "message": failure.message })
        }
        EventKind::Kill { job: _, failure: None } => object!({}),
        EventKind::Move { job: _, queue } | EventKind::RemoveQueue { queue } => object!({ "queue": queue }),
        EventKind::SetPaused { queue, paused } => object!({ "queue": queue, "paused": paused }),
        EventKind::Promote { due, through } => object!({ "due": due, "through": through }),
        EventKind::Digest { digest } => object!({ "digest": format!("{digest:016x}") }),
        EventKind::Forget { completed, dead, cancelled } => {
            object!({ "completed_through": completed, "dead_through": dead, "cancelled_through": cancelled })
        }
        EventKind::Term { epoch, parent, branched_at } => object!({
            "timeline": epoch.timeline.to_string(), "term": epoch.term.0, "parent": parent.to_string(),
            "branched_at": branched_at,
        }),
        EventKind::Lead { grace_ms, margin_ms } => {
            object!({ "grace_ms": grace_ms, "margin_ms": margin_ms })
        }
        EventKind::SetClock { step, doubted_since, margin_ms, backoff_max_ms } => {
            let (step, from) = match step {
                ClockStep::None => ("none", None),
                ClockStep::Back { from } => ("back", Some(from)),
                ClockStep::Again => ("again", None),
            };
            object!({
                "step": step, "from": from, "doubted_since": doubted_since, "margin_ms": margin_ms,
                "backoff_max_ms": backoff_max_ms,
            })
        }
    }
}

fn added(new: &NewJob) -> RowObject {
    let NewJob { id: _, profile, content, run_at } = new;
    let Profile { queue, kind, priority, backoff, exhausted, timeout_ms, max_retry, backtrace_lines } =
        profile;
    let Content { payload, custom } = content;
    object!({
        "queue": queue, "kind": kind, "payload": payload, "priority": priority, "run_at": run_at,
        "timeout_ms": timeout_ms, "max_retry": max_retry, "backoff": backoff, "exhausted": exhausted,
        "custom": custom, "backtrace_lines": backtrace_lines,
    })
}

fn failed(token: Token, failure: &Failure, result: &Option<Payload>) -> RowObject {
    object!({
        "token": token, "reason": failure.kind, "message": failure.message, "errtype": failure.errtype,
        "backtrace": failure.backtrace, "result": result,
    })
}

fn job_row(job: JobRecord) -> RowObject {
    let JobRecord { id, enqueued_seq, created_at, profile, content, life } = job;
    let Profile { queue, kind, priority, backoff, exhausted, timeout_ms, max_retry, backtrace_lines } =
        profile;
    let Content { payload, custom } = content;
    let Life { state, attempt, line_seq, failures, failed, result, last_lease, successor } = life;
    let lease = match &state {
        JobState::InFlight(lease) => Some(object!({
            "worker": lease.holder, "token": lease.token, "since": lease.since, "deadline": lease.deadline,
        })),
        _ => None,
    };
    object!({
        "job_id": id, "seq": enqueued_seq, "status": state.status(), "queue": queue, "kind": kind,
        "priority": priority, "attempt": attempt, "failed": failed, "max_retry": max_retry,
        "backoff": backoff, "exhausted": exhausted, "timeout_ms": timeout_ms, "backtrace_lines": backtrace_lines,
        "created_at": created_at, "line_seq": line_seq, "run_at": state.due(), "lease": lease,
        "last_lease": last_lease, "finished_at": state.finish().map(|finish| finish.at), "errors": failures,
        "result": result, "custom": custom, "payload": payload, "successor": successor.as_deref().map(added),
    })
}
