//! What an operator can set about the engine.

use std::path::PathBuf;
use std::time::Duration;

use crate::jobs::Policy;
pub use crate::snapshot::policy::Layering;

/// When the log calls fdatasync, and so what an answer promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Every answer comes after fdatasync: what was answered survives a power cut.
    Always,
    /// Answers come after the write; fdatasync follows within this time. A crash of the process loses nothing,
    /// a power cut at most the answers of that time.
    Interval(Duration),
    /// The operating system decides. A crash of the process loses nothing, a power cut some seconds.
    Never,
}

impl Durability {
    /// What is to be said of an unfinished last write, which was never synced: whether anybody was told of it.
    #[must_use]
    pub fn of_unsynced(self) -> &'static str {
        match self {
            Durability::Always => {
                "with `durability: always` answers come after the sync, so nothing in it was acknowledged"
            }
            Durability::Interval(_) => {
                "with `durability: interval` it may hold what was accepted within sync_interval before a power cut"
            }
            Durability::Never => {
                "with `durability: never` it may hold what was accepted before a power cut since the operating system \
                 synced last"
            }
        }
    }
}

/// Options of one engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Holds the lock file, `quarantine/`, and unless said otherwise `wal/` and `snapshots/`.
    pub data_dir: PathBuf,
    /// Directory of the log's segments.
    pub wal_dir: PathBuf,
    /// Directory of the snapshots.
    pub snapshot_dir: PathBuf,
    /// When the log calls fdatasync.
    pub durability: Durability,
    /// Size of one segment of the log, in bytes, at most; a batch that is larger gets one of its own.
    pub segment_bytes: u64,
    /// WorkerActors in the pool; each runs one job at a time. 0 accepts jobs without running any.
    pub worker_count: usize,
    /// Time between snapshots; none is taken if nothing happened.
    pub snapshot_interval: Duration,
    /// Whether one is taken when the engine is stopped, too.
    pub snapshot_at_stop: bool,
    /// How many snapshots are kept, at least 2 (the newest and the one to fall back to).
    pub snapshots_kept: usize,
    /// Snapshots older than this are deleted, but never the two newest. With 2 kept, the older one of a
    /// large state goes early, by the policy of [`Layering`].
    pub snapshot_age_max: Duration,
    /// When snapshots tell only of what changed, and when those are put together.
    pub layering: Layering,
    /// At shutdown, running jobs get this long to end by themselves.
    pub drain_timeout: Duration,
    /// Whether new jobs are accepted meanwhile; they run after the next start.
    pub accepts_while_draining: bool,
    /// An actor that gives no sign of life for this long ends the engine; for the log it is only reported.
    pub heartbeat_timeout: Duration,
    /// Requests that may wait for an answer at the same time; more are answered "busy".
    pub requests_max: usize,
    /// Longest expected wait for an answer. New jobs that would have to wait longer are answered "busy". A request that
    /// finds no other waiting is accepted even if it is large.
    pub request_wait_max: Duration,
    /// Bytes that those requests may hold together, by [`crate::jobs::JobSpec::weight`]. A request that is larger
    /// by itself, or larger than 512 MiB, is rejected.
    pub request_bytes_max: usize,
    /// Memory for payloads of jobs that wait, about, in bytes. The others are read back from disk when their job is
    /// started. Small ones are always in memory.
    pub payload_memory_bytes: u64,
    /// Defaults, retries, retention, limits.
    pub policy: Policy,
}

impl EngineOptions {
    /// The defaults, with everything below `data_dir`.
    #[must_use]
    pub fn in_dir(data_dir: impl Into<PathBuf>) -> EngineOptions {
        let data_dir = data_dir.into();
        EngineOptions {
            wal_dir: data_dir.join("wal"),
            snapshot_dir: data_dir.join("snapshots"),
            data_dir,
            durability: Durability::Always,
            segment_bytes: 64 << 20,
            worker_count: 8,
            snapshot_interval: Duration::from_secs(60),
            snapshot_at_stop: true,
            snapshots_kept: 2,
            snapshot_age_max: Duration::from_secs(7 * 24 * 60 * 60),
            layering: Layering::default(),
            drain_timeout: Duration::from_secs(30),
            accepts_while_draining: true,
            heartbeat_timeout: Duration::from_secs(30),
            requests_max: 10_000,
            request_wait_max: Duration::from_millis(250),
            request_bytes_max: 512 << 20,
            payload_memory_bytes: 64 << 20,
            policy: Policy::default(),
        }
    }
}
