//! The whole server at a glance, as people and programs see it.

use std::cmp::{Ordering, Reverse};

use serde::Serialize;

use crate::api::requests::QueuePage;
use crate::ids::{KindName, QueueName, Seq, Timestamp};
use crate::jobs::queues::QueueView;
use crate::jobs::sections::clock::ClockRecord;
use crate::jobs::sections::totals::Totals;
use crate::jobs::{Counts, JobTable, Status};

/// Queues that a status shows unless it is asked for more or fewer.
pub const QUEUES_SHOWN: usize = 100;
/// Kinds that nobody handles which a status names.
const KINDS_SHOWN_MAX: usize = 100;

/// The whole queue at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EngineStatus {
    /// Jobs in each status.
    pub jobs: Counts,
    /// The queues of which there is most to say, in the order of their names: paused ones first, then those with the most
    /// unfinished jobs. [`LeftOut`] counts the others.
    pub queues: Vec<QueueStatus>,
    /// Attempts that ended, since ever.
    pub totals: Totals,
    /// Pending jobs that no worker here handles, but for those in paused queues. At most 100 kinds, those with the most
    /// such jobs; [`LeftOut`] counts the others.
    pub waiting_for_worker: Vec<WaitingKind>,
    /// What is not shown one by one.
    pub left_out: LeftOut,
    /// The pool of local workers.
    pub workers: WorkersStatus,
    /// How far the log is, and whether it takes new jobs.
    pub log: LogStatus,
    /// The newest snapshot, if there is one.
    pub snapshot: Option<SnapshotStatus>,
    /// What is held of the clock.
    pub clock: ClockStatus,
    /// What boot found and how long it took.
    pub recovery: RecoveryStatus,
}

/// What is held of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClockStatus {
    /// While it is doubted, and no finished job is forgotten for its age: the last moment that was believed.
    pub doubted_since: Option<Timestamp>,
    /// When it was last set back by more than a day: to when.
    pub set_back_to: Option<Timestamp>,
}

impl From<&ClockRecord> for ClockStatus {
    fn from(record: &ClockRecord) -> ClockStatus {
        let ClockRecord { set_back, doubted_since, .. } = *record;
        ClockStatus { doubted_since, set_back_to: set_back.map(|set_back| set_back.at) }
    }
}

/// How much of the server is not shown one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Queues.
    pub queues: u64,
    /// Pending jobs in those of them that are paused.
    pub paused_pending: u64,
    /// Kinds that no worker here handles.
    pub kinds: u64,
    /// Pending jobs of these kinds, but for those in paused queues.
    pub kinds_pending: u64,
}

/// The parts of a status that grow with the names that there are.
pub(crate) struct NamesShown {
    pub queues: Vec<QueueStatus>,
    pub waiting_for_worker: Vec<WaitingKind>,
    pub left_out: LeftOut,
}

impl NamesShown {
    /// Of at most this many queues.
    pub fn of(table: &JobTable, now: Timestamp, queues_max: usize) -> NamesShown {
        let mut left_out = LeftOut::default();
        for queue in table.queues() {
            left_out.queues += 1;
            left_out.paused_pending += if queue.paused { queue.jobs.of(Status::Pending) } else { 0 };
        }
        let rank = |queue: &QueueStatus| (!queue.paused, Reverse(queue.jobs.unfinished()));
        let queues = table.queues().map(|queue| QueueStatus::of(queue, now));
        let mut queues = first(queues, queues_max, |one, other| {
            rank(one).cmp(&rank(other)).then_with(|| one.queue.cmp(&other.queue))
        });
        queues.sort_unstable_by(|one, other| one.queue.cmp(&other.queue));
        left_out.queues -= queues.len() as u64;
        let paused = queues.iter().filter(|queue| queue.paused);
        left_out.paused_pending -= paused.map(|queue| queue.jobs.of(Status::Pending)).sum::<u64>();
        for (_, pending) in table.pending_without_worker() {
            left_out.kinds += 1;
            left_out.kinds_pending += pending;
        }
        let waiting = table.pending_without_worker().map(|(kind, pending)| (Reverse(pending), kind));
        let waiting = first(waiting, KINDS_SHOWN_MAX, Ord::cmp);
        left_out.kinds -= waiting.len() as u64;
        left_out.kinds_pending -= waiting.iter().map(|(Reverse(pending), _)| pending).sum::<u64>();
        let waiting = waiting.into_iter();
        let waiting_for_worker =
            waiting.map(|(Reverse(pending), kind)| WaitingKind { kind: kind.clone(), pending }).collect();
        NamesShown { queues, waiting_for_worker, left_out }
    }
}

/// The first `max` of all, in order. Memory: twice as many.
fn first<T>(all: impl Iterator<Item = T>, max: usize, compare: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let mut first = Vec::new();
    for one in all {
        if first.len() >= max.saturating_mul(2) {
            if max > 0 {
                first.select_nth_unstable_by(max - 1, &compare);
            }
            first.truncate(max);
        }
        first.push(one);
    }
    first.sort_unstable_by(compare);
    first.truncate(max);
    first
}

/// One named line of jobs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueStatus {
    /// The name that producers and workers call it by.
    pub queue: QueueName,
    /// Whether nobody gets jobs of it.
    pub paused: bool,
    /// How long the oldest of its pending jobs has been waiting, in milliseconds.
    pub latency_ms: u64,
    /// Jobs in each status.
    pub jobs: Counts,
}

impl QueueStatus {
    /// The queues of a page, by name.
    pub(crate) fn page(table: &JobTable, page: &QueuePage, now: Timestamp) -> Vec<QueueStatus> {
        let queues = table.queues().filter(|queue| page.has(&queue.queue));
        let queues = first(queues, page.limit, |one, other| one.queue.cmp(&other.queue));
        queues.into_iter().map(|queue| QueueStatus::of(queue, now)).collect()
    }

    fn of(queue: QueueView, now: Timestamp) -> QueueStatus {
        let QueueView { queue, paused, oldest_at, jobs } = queue;
        let latency_ms = oldest_at.map_or(0, |oldest| now.since_ms(oldest));
        QueueStatus { queue, paused, latency_ms, jobs }
    }
}

/// A kind that no worker here handles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WaitingKind {
    /// The name that handlers are registered under.
    pub kind: KindName,
    /// How many jobs wait.
    pub pending: u64,
}

/// The pool of workers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkersStatus {
    /// How many there should be.
    pub count: usize,
    /// How many are up and run a job.
    pub busy: usize,
    /// How many are up and wait for one.
    pub idle: usize,
    /// How often one was restarted since the server started.
    pub restarts: u64,
    /// Which kinds they handle.
    pub kinds: Vec<KindName>,
}

/// How far the log is, and whether it takes new jobs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogStatus {
    /// Position of the last event.
    pub seq: Seq,
    /// Everything up to here is on disk.
    pub durable_seq: Seq,
    /// False while new jobs are refused.
    pub accepts_jobs: bool,
    /// Why they are: the code of the [rejection](crate::jobs::Rejection).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'static str>,
}

/// The newest snapshot that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SnapshotStatus {
    /// Position up to which it holds everything.
    pub seq: Seq,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Size of all of its layers.
    pub bytes: u64,
    /// Jobs in all statuses that it holds.
    pub jobs: u64,
}

/// What boot found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RecoveryStatus {
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// Jobs that came from the snapshot.
    pub snapshot_jobs: u64,
    /// Events that were replayed from the log.
    pub events: u64,
    /// Jobs that were in flight when the process before ended.
    pub interrupted: u64,
    /// Bytes of an unfinished last write that were moved to quarantine.
    pub torn_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ones_are_found_whatever_their_order_is() {
        let numbers = |max| first((0..1_000_u64).map(|number| number * 7 % 1_000), max, Ord::cmp);
        assert_eq!(numbers(5), [0, 1, 2, 3, 4]);
        assert_eq!(
            (numbers(0).len(), numbers(1_000).len(), numbers(usize::MAX / 2).len()),
            (0, 1_000, 1_000)
        );
    }
}
