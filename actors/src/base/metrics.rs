//! Counters of the engine: atomics that the hot path adds to and anybody may read.
//!
//! Every counter starts at 0 with the process; what the log holds is in the status, not here.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, fence};
use std::time::Duration;

use tokio::sync::watch;

use crate::base::byte_budget::ByteBudget;

/// Counts events; only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How much of something is used, and how much there may be.
#[derive(Debug, Default)]
pub struct Usage {
    /// In use now.
    pub used: Gauge,
    /// The limit.
    pub limit: Gauge,
}

/// How many observations fell into each of a few fixed ranges. Lock-free: two atomic additions each.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than `bounds`: the last is for what exceeds them all.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Ranges that end at `bounds` (inclusive, ascending).
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// Adds one observation.
    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Adds one observation of a duration, in microseconds.
    pub fn observe_micros(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// The upper ends of the ranges, without the last, open one.
    #[must_use]
    pub fn bounds(&self) -> &'static [u64] {
        self.bounds
    }

    /// Observations in each range (not cumulative), and the sum of all values.
    #[must_use]
    pub fn read(&self) -> (Vec<u64>, u64) {
        (self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(), self.sum.load(Relaxed))
    }
}

/// 50 µs to 10 s, for disks.
const DISK_MICROS: &[u64] =
    &[50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 100_000, 1_000_000, 10_000_000];
/// 1 ms to 1 h, for jobs.
const JOB_MICROS: &[u64] = &[
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
];
/// Events in a batch.
const BATCH_EVENTS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000];

/// Everything that the engine counts.
#[derive(Debug)]
pub struct Metrics {
    /// Jobs accepted (durable).
    pub jobs_enqueued: Counter,
    /// Leases given to workers.
    pub jobs_dispatched: Counter,
    /// Jobs that succeeded.
    pub jobs_completed: Counter,
    /// Attempts that failed, with or without a retry.
    pub jobs_failed: Counter,
    /// 1 while new jobs are accepted, else 0.
    pub accepts_jobs: Gauge,
    /// Texts of jobs that are kept in memory: bytes, and how many may be.
    pub texts: Usage,
    /// Queues that are known, and how many may be.
    pub queues: Usage,
    /// Kinds that jobs have, and how many may be.
    pub kinds: Usage,
    /// What requests that wait for an answer hold; set when the engine starts.
    pub requests_memory: OnceLock<ByteBudget>,
    /// 1 while the clock is doubted, else 0.
    pub clock_doubted: Gauge,
    /// Leases that ended before the job began, as the server lacked something.
    pub jobs_postponed: Counter,
    /// Jobs that ran out of attempts.
    pub jobs_dead: Counter,
    /// Jobs that were cancelled.
    pub jobs_cancelled: Counter,
    /// Requests that were turned away because the server was full.
    pub requests_busy: Counter,
    /// From accepted (or due) to completed, in microseconds.
    pub job_latency: Histogram,
    /// Jobs pending now.
    pub jobs_pending: Gauge,
    /// Jobs in flight now.
    pub jobs_in_flight: Gauge,
    /// How long recovery at boot took, in microseconds.
    pub recovery_micros: Gauge,
    /// fdatasync of the log, in microseconds.
    pub log_fsync: Histogram,
    /// Events written by one write.
    pub log_batch_events: Histogram,
    /// Bytes written to the log.
    pub log_bytes: Counter,
    /// Snapshots published.
    pub snapshots: Counter,
    /// Snapshots that failed.
    pub snapshots_failed: Counter,
    /// Pages of snapshots that turned out to be damaged after the start.
    pub snapshots_damaged: Counter,
    /// How often damage was met on disk while the server ran.
    pub damage_met: Counter,
    /// How often the state was written out anew from memory because of it.
    pub rescues: Counter,
    /// Jobs that waited and are dead, as their payload was lost by it.
    pub payloads_lost: Counter,
    /// Size of the last snapshot, in bytes.
    pub snapshot_bytes: Gauge,
    /// How long the last snapshot took, in microseconds.
    pub snapshot_micros: Gauge,
    /// Restarts of worker actors.
    pub restarts_worker: Counter,
    /// Restarts of the snapshot actor.
    pub restarts_snapshot: Counter,
    /// Told when there may be something new to see.
    pub(crate) changes: Changes,
}

/// Wakes the tasks that wait for something to change. Costs next to nothing while none waits.
#[derive(Debug)]
pub(crate) struct Changes(watch::Sender<()>);

impl Changes {
    /// There may be something new to see.
    pub fn tell(&self) {
        // A waiter that is not counted here yet sees the change itself: the fences allow nothing else.
        fence(SeqCst);
        if self.0.receiver_count() > 0 {
            self.0.send_replace(());
        }
    }

    /// Hears of every change from now on.
    pub fn listen(&self) -> watch::Receiver<()> {
        let changes = self.0.subscribe();
        fence(SeqCst);
        changes
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            jobs_enqueued: Counter::default(),
            jobs_dispatched: Counter::default(),
            jobs_completed: Counter::default(),
            jobs_failed: Counter::default(),
            accepts_jobs: Gauge::default(),
            texts: Usage::default(),
            queues: Usage::default(),
            kinds: Usage::default(),
            requests_memory: OnceLock::new(),
            clock_doubted: Gauge::default(),
            jobs_postponed: Counter::default(),
            jobs_dead: Counter::default(),
            jobs_cancelled: Counter::default(),
            requests_busy: Counter::default(),
            job_latency: Histogram::new(JOB_MICROS),
            jobs_pending: Gauge::default(),
            jobs_in_flight: Gauge::default(),
            recovery_micros: Gauge::default(),
            log_fsync: Histogram::new(DISK_MICROS),
            log_batch_events: Histogram::new(BATCH_EVENTS),
            log_bytes: Counter::default(),
            snapshots: Counter::default(),
            snapshots_failed: Counter::default(),
            snapshots_damaged: Counter::default(),
            damage_met: Counter::default(),
            rescues: Counter::default(),
            payloads_lost: Counter::default(),
            snapshot_bytes: Gauge::default(),
            snapshot_micros: Gauge::default(),
            restarts_worker: Counter::default(),
            restarts_snapshot: Counter::default(),
            changes: Changes(watch::Sender::new(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_to_the_range_that_ends_there() {
        let histogram = Histogram::new(&[1, 10]);
        [0, 1, 2, 10, 11].into_iter().for_each(|value| histogram.observe(value));
        assert_eq!(histogram.read(), (vec![2, 2, 1], 24));
    }
}
