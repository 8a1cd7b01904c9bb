//! Admission: what is let in, and the table of everything that the server limits.
//!
//! A mailbox has no bound of its own, so every request takes its permits before it is sent to the manager and gives them
//! back when it is answered: a place among the requests, a share of their bytes, and a part of what the
//! `limiter` lets wait; `intake` says whether the manager accepts new jobs at all. Nobody waits for a permit: what cannot have one is told "busy" at once, with nothing done.
//!
//! # All limits
//! "Busy" is 429 with the code `busy` over HTTP and an `ERR busy: ..` in the work protocol; each adds one to the metric
//! `queue_requests_busy_total`, and so does a connection too many. A limit without a key is fixed. Where a client is told nothing, it is kept waiting by its
//! own connection: what it sends stays unread, in the buffers of the system.
//!
//! | limit | unit | default | key | what a client is told beyond it | where |
//! |---|---|---|---|---|---|
//! | requests that wait for an answer | requests | 10,000 | `requests_max` | busy | `engine/admission/mod.rs` |
//! | what these requests hold together, and the names of queues that remote workers wait for, beyond 4 KiB a worker | bytes, in whole KiB | 512 MiB | `request_bytes_max` | busy | `engine/admission/mod.rs` |
//! | one request | bytes | 512 MiB, or `request_bytes_max` if that is less | `request_bytes_max` | 413 `request_too_large` | `engine/admission/mod.rs` |
//! | wait of new jobs for their answer | cost (1 + jobs + KiB) that may wait, learned | 250 ms | `request_wait_max` | busy | `engine/admission/limiter.rs` |
//! | remote workers that wait for a job | fetches | 100,000 | | busy | `engine/admission/mod.rs` |
//! | unfinished jobs | jobs | 50,000,000 | `jobs_max` | 429 `too_many_jobs` | `jobs/decide/enqueue.rs` |
//! | queues, with removed ones that have a job | names | 150,000 | `queues_max` | 429 `too_many_queues`, when no queue is empty and not paused | `jobs/decide/queues.rs` |
//! | kinds that jobs have | names | 150,000 | `kinds_max` | 429 `too_many_kinds` | `jobs/decide/queues.rs` |
//! | payload of one job | bytes of compact JSON | 1 MiB | `payload_bytes_max` | 413 `payload_too_large` | `jobs/decide/enqueue.rs` |
//! | new jobs while no file of the log can be opened | whether it can, tried ten times a second for 30 s | | | 503 `shortage` | `storage/patient.rs` |
//! | new jobs on a full disk | whether the log's next segment could be allocated, and a request that needs more than that fits | | | 507 `disk_full` | `engine/manager/ledger.rs` |
//! | starts of jobs on a full disk | room in the log: 512 KiB for each that runs | | | nothing: jobs wait | `engine/manager/ledger.rs` |
//! | payloads in memory of jobs that wait | bytes | 64 MiB | `payload_memory` | nothing: the rest is read back from disk | `jobs/table/mod.rs` |
//! | jobs that run here | jobs | 8 | `worker_count` | nothing: jobs wait | `engine/manager/pool.rs` |
//! | one bulk operation at a time, in steps | jobs looked at | 1,000 a step | | nothing: the next operation waits | `engine/manager/bulk_ops.rs` |
//! | HTTP connections | connections | 1,024, or what descriptors are enough for | `connections_max` | 503 `busy`, closed | `src/auth/places.rs`, `src/server/descriptors.rs`, `src/server/http_server.rs` |
//! | HTTP connections of monitoring | connections | 64, as above | `connections_max` if that is less | 503 `busy`, closed | the same |
//! | those that are listened to while they are told so | connections | an eighth of the above, 2 to 64 | | the same, at once | `src/auth/places.rs` |
//! | head of an HTTP request | time | 10 s | `header_timeout` | closed without a word | `src/server/http_server.rs` |
//! | one HTTP request: body and answer | time | 1 min | `request_timeout` | 408 `request_timeout` while the body comes, then 500 `unknown` | `src/http/body.rs`, `src/http/deadline.rs` |
//! | an HTTP answer that is not read | time, and a second more for each 16 KiB that were taken | 1 min | `request_timeout` | closed without a word | `src/server/stall.rs` |
//! | body of an HTTP request | bytes | 256 MiB | `body_bytes_max` | 413 `body_too_large` | `src/http/body.rs` (`BodyReader`) |
//! | all bodies that are read or parsed | bytes | 256 MiB, or `body_bytes_max` if that is more | `bodies_bytes_max` | busy | `src/http/body.rs` (`BodyReader`), `src/auth/memory.rs` |
//! | answers over 16 KiB that are not read yet; replies of the work protocol | bytes | 96 MiB, where one that is larger has all of it; 32 MiB | `answer_bytes_max`, and a quarter of it | over HTTP nothing for `request_timeout`, then busy; a client of the work protocol is closed | `src/auth/memory.rs`, `src/http/answer.rs`, `src/fwp/connection.rs` |
//! | a list in an HTTP answer | bytes | 8 MiB, and the job that exceeds it | | `"more": true` | `src/http/routes/sets.rs` |
//! | connections of the work protocol | connections | 2,000, or what descriptors are enough for | `faktory_connections_max` | `ERR too many connections: ..` after HELLO, or at once; closed | `src/auth/places.rs`, `src/server/descriptors.rs`, `src/server/fwp_server.rs` |
//! | TLS and HELLO | time | 2 s | `faktory_handshake_timeout` | `ERR no HELLO within ..`, or nothing if TLS was not done; closed | `src/server/fwp_server.rs`, `src/fwp/welcome.rs` |
//! | HELLO | bytes | 64 KiB | | closed without a word | `src/fwp/welcome.rs` |
//! | one command | bytes of its line | 16 MiB | `faktory_line_bytes_max` | `ERR the line is longer than ..`, closed | `src/fwp/connection.rs` |
//! | buffers of long lines, beyond 64 KiB a connection | bytes | 16 times `faktory_line_bytes_max` | | `ERR busy: too many long lines ..`, not counted; closed | `src/fwp/line.rs` (`Inbox`), `src/auth/memory.rs` |
//! | lines over 16 KiB that are read at the same time | lines | 4 | | nothing for `request_wait_max`; then a PUSH is told busy | `src/fwp/long_line_gate.rs` (`LongLineGate`) |
//! | commands of a connection that wait for their reply | commands | 1,000; 8 while the engine is crowded | | nothing | `src/fwp/connection.rs` (`PENDING_MAX`, `PENDING_CROWDED_MAX`) |
//! | lines of these commands | bytes | 16 MiB; 16 KiB while the engine is crowded | | nothing | `src/fwp/connection.rs` (`PENDING_BYTES_MAX`, `PENDING_BYTES_CROWDED_MAX`) |
//! | what is read ahead behind a FETCH | bytes | 64 KiB | | nothing | `src/fwp/connection.rs` (`AHEAD_BYTES_MAX`) |
//! | replies that are not read | bytes | 1 MiB | | nothing | `src/fwp/connection.rs` (`OUT_BYTES_MAX`) |
//! | half a line, or replies that are not read | time without a byte | 60 s | | `ERR no end of the line for ..`, or nothing; closed | `src/fwp/connection.rs` (`STALL_MAX`) |
//! | a connection without a command | time | 1 d | `faktory_idle_timeout` | `ERR no command for ..`, closed | `src/fwp/connection.rs` |
//! | lines of a connection before others are looked at | bytes | 16 KiB, or one line | | nothing | `src/fwp/connection.rs` (`TAKEN_BYTES_MAX`) |
//! | leases of a remote worker that its connections remember | leases | 10,000 | | nothing: of others, the worker's name is checked alone | `src/remote/registry.rs` |
//! | what is remembered of a remote worker's machine and labels | bytes | 256, and 4 KiB of labels | | nothing: the rest is not shown | `src/remote/registry.rs` |
//! | remote workers without a connection | workers | 4,000 | | nothing: the one that leaves is forgotten | `src/remote/registry.rs` |
//! | addresses whose wrong passwords are remembered | addresses | 4,096 | | nothing: the one that was wrong the longest ago is forgotten | `src/auth/guesses.rs` |
//! | kinds whose lines in the log are counted apart | kinds | 256 | | nothing: the rest share one count | `base/line_limit.rs` |
//! | queues in an answer of status; of INFO; of a list | queues | 100; 1,000; 1,000 | | how many are left out; `total_queues`; the next page | `api/status.rs`, `src/fwp/info.rs`, `src/query/queue_words.rs` |
//!
//! *Crowded* (`Engine::is_crowded`): a quarter of `requests_max` waits, or half of `request_bytes_max` is held, or an
//! eighth of what the limiter lets wait.

pub mod intake;
pub(crate) mod limiter;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::options::EngineOptions;
use crate::api::outcome::EngineError;
use crate::base::byte_budget::{ByteBudget, ByteShare};
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::engine::admission::intake::Intake;
use crate::engine::admission::limiter::{AdmissionLimiter, LimiterPermit};
use crate::jobs::Rejection;

/// No request may be larger: it becomes one batch of the log.
const REQUEST_BYTES_MAX: usize = 512 << 20;
/// How many remote workers may wait for a job at the same time.
const FETCHES_MAX: usize = 100_000;
/// Names of queues of a waiting worker that do not count into what requests hold.
const FETCH_BYTES_UNCOUNTED: usize = 4 << 10;
/// What requests hold is counted in whole pieces of this size.
const KIB: usize = 1 << 10;

/// The limits on requests, for all handles of one engine.
pub(crate) struct Admission {
    limiter: Arc<AdmissionLimiter>,
    /// Places for requests that wait for an answer.
    requests: Arc<Semaphore>,
    requests_max: usize,
    /// What they may hold.
    bytes: ByteBudget,
    /// Places for workers that wait for a job: they may wait long, and must not be in the way of requests.
    fetches: Arc<Semaphore>,
    requests_ever: AtomicU64,
    /// Whether the manager accepts new jobs.
    pub intake: Arc<Intake>,
    metrics: Arc<Metrics>,
}

/// Which request: no two of one engine have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(u64);

/// What a request takes up until it is answered. Dropping it gives that back.
#[derive(Debug)]
pub(crate) struct RequestPermits {
    id: RequestId,
    _request: OwnedSemaphorePermit,
    _bytes: ByteShare,
    /// None for a fetch: what it waits for is a job.
    _limiter: Option<LimiterPermit>,
}

impl RequestPermits {
    /// Which request they were given to.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Those of a request of this number, in an engine of its own.
    #[cfg(test)]
    pub fn numbered(number: u64) -> RequestPermits {
        let request = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("it is free");
        RequestPermits {
            id: RequestId(number),
            _request: request,
            _bytes: ByteBudget::new(0).share(),
            _limiter: None,
        }
    }
}

impl Admission {
    pub fn new(options: &EngineOptions, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Arc<Admission> {
        let requests_max = options.requests_max.min(Semaphore::MAX_PERMITS);
        let kibibytes = (options.request_bytes_max / KIB).max(1);
        let bytes = ByteBudget::new(kibibytes * KIB);
        let policy = &options.policy;
        metrics.texts.limit.set(options.payload_memory_bytes);
        metrics.queues.limit.set(policy.queues_max as u64);
        metrics.kinds.limit.set(policy.kinds_max as u64);
        // Metrics that outlive an engine tell of the first: so do their counters.
        let _ = metrics.requests_memory.set(bytes.clone());
        Arc::new(Admission {
            limiter: AdmissionLimiter::new(clock, options.request_wait_max),
            requests: Arc::new(Semaphore::new(requests_max)),
            requests_max,
            bytes,
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            requests_ever: AtomicU64::new(0),
            intake: Arc::default(),
            metrics,
        })
    }

    /// The permits of a request that adds jobs.
    pub fn new_jobs(&self, jobs: usize, bytes: usize) -> Result<RequestPermits, EngineError> {
        let permits = self.permits(&self.requests, bytes)?;
        let limiter = self.limiter.admit_jobs(jobs, bytes).ok_or_else(|| self.turn_away())?;
        Ok(RequestPermits { _limiter: Some(limiter), ..permits })
    }

    /// The permits of a report on an attempt.
    pub fn report(&self, bytes: usize) -> Result<RequestPermits, EngineError> {
        let permits = self.permits(&self.requests, bytes)?;
        Ok(RequestPermits { _limiter: Some(self.limiter.admit_report(bytes)), ..permits })
    }

    /// The permits of any other request.
    pub fn other(&self) -> Result<RequestPermits, EngineError> {
        let permits = self.permits(&self.requests, 0)?;
        Ok(RequestPermits { _limiter: Some(self.limiter.admit_other()), ..permits })
    }

    /// The permits of a remote worker that wants a job.
    pub fn fetch(&self, bytes: usize) -> Result<RequestPermits, EngineError> {
        // Those of usual length are many and small: what they take is that of their connections.
        let bytes = if bytes <= FETCH_BYTES_UNCOUNTED { 0 } else { bytes };
        self.permits(&self.fetches, bytes)
    }

    /// A place and a share of the bytes. The limiter is asked after that: it measures how long a request waits that it
    /// has let in, and one that is refused waits for nothing.
    fn permits(&self, places: &Arc<Semaphore>, bytes: usize) -> Result<RequestPermits, EngineError> {
        let bytes_max = self.bytes.bytes_max().min(REQUEST_BYTES_MAX);
        if bytes > bytes_max {
            return Err(Rejection::RequestTooLarge { bytes, bytes_max }.into());
        }
        let request = Arc::clone(places).try_acquire_owned().ok();
        let share = self.bytes.take(bytes.next_multiple_of(KIB));
        let (Some(request), Some(share)) = (request, share) else { return Err(self.turn_away()) };
        let id = RequestId(self.requests_ever.fetch_add(1, Relaxed));
        Ok(RequestPermits { id, _request: request, _bytes: share, _limiter: None })
    }

    /// Whether that much waits already that a client that has asked for much should wait for answers before it asks for
    /// more.
    pub fn is_crowded(&self) -> bool {
        self.requests.available_permits() <= self.requests_max - self.requests_max / 4
            || self.bytes.bytes_free() < self.bytes.bytes_max() / 2
            || self.limiter.is_crowded()
    }

    /// Whether a new job of this size would be turned away now.
    pub fn is_full(&self, bytes: usize) -> bool {
        self.limiter.is_full(bytes) || self.requests.available_permits() == 0
    }

    /// Counts a request that is turned away, and says so.
    pub fn turn_away(&self) -> EngineError {
        self.metrics.requests_busy.add(1);
        EngineError::Busy
    }

    /// How long new jobs may wait for their answer.
    pub fn wait_max(&self) -> Duration {
        self.limiter.wait_max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;

    fn admission(change: impl FnOnce(&mut EngineOptions)) -> Arc<Admission> {
        let mut options = EngineOptions::in_dir("/data");
        change(&mut options);
        Admission::new(&options, Arc::new(SystemClock::default()), Arc::default())
    }

    #[test]
    fn requests_take_places_and_bytes_and_give_them_back_when_they_are_answered() {
        let admission =
            admission(|options| (options.requests_max, options.request_bytes_max) = (2, 10 << 10));
        let first = admission.report(8 << 10).unwrap();
        assert_eq!(admission.report(2_049).unwrap_err(), EngineError::Busy, "2,049 bytes are 3 KiB");
        let second = admission.report(2 << 10).unwrap();
        assert_ne!(first.id(), second.id());
        assert_eq!(admission.other().unwrap_err(), EngineError::Busy, "two wait already");
        assert_eq!(admission.metrics.requests_busy.get(), 2);
        drop((first, second));
        assert!(admission.report(10 << 10).is_ok());
    }

    #[test]
    fn a_request_that_is_larger_than_any_may_be_is_told_how_large_it_may_be() {
        let admission = admission(|options| options.request_bytes_max = 3_000);
        let too_large = Rejection::RequestTooLarge { bytes: 2_049, bytes_max: 2_048 };
        assert_eq!(admission.report(2_049).unwrap_err(), too_large.into());
        assert_eq!(admission.metrics.requests_busy.get(), 0, "it will never be accepted");
    }

    /// The time that those took would pass for that of an engine that answers at once.
    #[test]
    fn from_requests_that_are_refused_nothing_is_learned() {
        let admission =
            admission(|options| (options.requests_max, options.request_bytes_max) = (1 << 20, 1 << 10));
        const HEAVY: usize = 1 << 20;
        let _waiting: Vec<_> = (0..12_500).map(|_| admission.other().unwrap()).collect();
        assert!(admission.is_full(HEAVY));
        for _ in 0..100 {
            assert!(matches!(admission.new_jobs(1, 2 << 10), Err(EngineError::Rejected(_))));
        }
        assert!(admission.is_full(HEAVY));
    }

    #[test]
    fn workers_that_wait_for_a_job_take_no_place_from_requests() {
        let admission = admission(|options| options.requests_max = 1);
        let fetches: Vec<_> = (0..FETCHES_MAX).map(|_| admission.fetch(100).unwrap()).collect();
        assert_eq!(admission.fetch(100).unwrap_err(), EngineError::Busy);
        assert!(!admission.is_full(0) && admission.other().is_ok());
        drop(fetches);
    }
}
