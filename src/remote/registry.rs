//! Who is connected: remote workers by name, and the connections of everybody.
//!
//! A worker is known from its first HELLO until it has been silent for a minute. It may have many connections, or
//! none for a moment. Remote workers are no actors: nothing that they do crashes anything here.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use beaver_actors::base::clock::Clock;
use beaver_actors::ids::{JobId, RemoteName, Timestamp, Token};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::status::{RemoteStatus, RemoteWorker, WorkerState};

/// A worker that did not BEAT for this long is gone.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How many leases of one worker are remembered; of others only its name is checked.
const LEASES_MAX: usize = 10_000;
/// How many workers without a connection are waited for.
const ABSENT_MAX: usize = 4_000;

/// How much is remembered of the name of a worker's machine, in bytes.
const HOSTNAME_BYTES_MAX: usize = 256;
/// How much is remembered of what a worker says about itself, in bytes of all labels that are kept.
const LABEL_BYTES_MAX: usize = 4 << 10;

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// Its worker was silent for too long.
    Reaped,
    /// The server stops.
    Shutdown,
}

/// How a client introduces itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Introduction {
    /// Its name as a worker; empty for none.
    pub(crate) wid: String,
    /// The name of its machine, as it says.
    pub(crate) hostname: String,
    /// The number of its process there, as it says.
    pub(crate) pid: i64,
    /// What it says about itself.
    pub(crate) labels: Vec<String>,
}

impl Introduction {
    /// With as much of what is only shown as is remembered of it.
    fn shortened(mut self) -> Introduction {
        self.hostname.truncate(self.hostname.floor_char_boundary(HOSTNAME_BYTES_MAX));
        self.hostname.shrink_to_fit();
        let mut left = LABEL_BYTES_MAX;
        let fits = |label: &String| {
            // What a short text takes beside its bytes.
            let bytes = label.len() + size_of::<String>();
            left.checked_sub(bytes).is_some_and(|less| {
                left = less;
                true
            })
        };
        let kept: Vec<String> = self.labels.into_iter().take_while(fits).collect();
        Introduction { labels: kept, ..self }
    }
}

/// All remote workers and connections. Clones are the same registry.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Mutex<Inner>>,
    clock: Arc<dyn Clock>,
    /// What all clients asked for so far.
    commands: Arc<AtomicU64>,
    since: Instant,
}

#[derive(Default)]
struct Inner {
    /// In the order of their coming, so that a simulation runs the same way twice.
    connections: BTreeMap<u64, ConnectionEntry>,
    connections_ever: u64,
    workers: BTreeMap<String, WorkerEntry>,
    reaped: u64,
}

struct ConnectionEntry {
    wid: Option<String>,
    close: Option<oneshot::Sender<CloseReason>>,
}

struct WorkerEntry {
    hostname: String,
    pid: i64,
    labels: Vec<String>,
    /// The furthest state that it said it is in.
    reported: WorkerState,
    started_at: Timestamp,
    last_beat: Timestamp,
    silent_since: Instant,
    rss_kb: Option<i64>,
    connections: usize,
    shared: Arc<WorkerCell>,
}

/// What a worker's connections look at without asking the registry.
#[derive(Default)]
struct WorkerCell {
    state: AtomicU8,
    leases: Mutex<HashMap<JobId, HeldLease>>,
}

#[derive(Clone, Copy)]
struct HeldLease {
    token: Token,
    /// The connection that fetched the job.
    connection: u64,
    until: Instant,
}

impl Registry {
    /// An empty one.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Registry {
        Registry { inner: Arc::default(), clock, commands: Arc::default(), since: Instant::now() }
    }

    /// Somebody asked for something.
    pub(crate) fn count_command(&self) {
        self.commands.fetch_add(1, Relaxed);
    }

    /// How often that was so.
    #[must_use]
    pub(crate) fn commands(&self) -> u64 {
        self.commands.load(Relaxed)
    }

    /// How long somebody could come.
    #[must_use]
    pub(crate) fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete when its guard is dropped, also by a panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is there.
    #[must_use]
    pub fn status(&self) -> RemoteStatus {
        let inner = self.lock();
        let now = Instant::now();
        let workers = inner.workers.iter().map(|(wid, worker)| RemoteWorker {
            wid: wid.clone(),
            hostname: worker.hostname.clone(),
            pid: worker.pid,
            labels: worker.labels.clone(),
            state: worker.shared.state(),
            started_at: worker.started_at,
            last_beat: worker.last_beat,
            rss_kb: worker.rss_kb,
            connections: worker.connections,
            running: worker.shared.running(now),
        });
        RemoteStatus { connections: inner.connections.len(), workers: workers.collect() }
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// How many workers are known, and how many were given up since the server started.
    #[must_use]
    pub(crate) fn workers(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.workers.len(), inner.reaped)
    }

    /// Asks a worker to go on to a state; it hears of it at its next BEAT. False if none of this name is connected.
    pub fn ask(&self, wid: &str, state: WorkerState) -> bool {
        let inner = self.lock();
        let is_there = |worker: &&WorkerEntry| worker.connections > 0;
        let Some(worker) = inner.workers.get(wid).filter(is_there) else { return false };
        worker.shared.advance(state);
        tracing::info!(actor = %actor(wid), state = state.as_str(), "asked");
        true
    }

    /// Takes note of a sign of life. Returns what the worker does not know yet that it has to do.
    ///
    /// # Errors
    /// There is no worker of this name.
    pub(crate) fn beat(
        &self,
        wid: &str,
        reported: WorkerState,
        rss_kb: Option<i64>,
    ) -> Result<Option<WorkerState>, UnknownWorker> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let worker = inner.workers.get_mut(wid).ok_or(UnknownWorker)?;
        worker.last_beat = now;
        worker.silent_since = Instant::now();
        worker.rss_kb = rss_kb.or(worker.rss_kb);
        if reported > worker.reported {
            worker.reported = reported;
            worker.shared.advance(reported);
            tracing::info!(actor = %actor(wid), state = reported.as_str(), "reported");
        }
        let state = worker.shared.state();
        Ok((state > worker.reported).then_some(state))
    }

    /// A connection was opened. The other half hears when it is to end.
    pub(crate) fn join(&self) -> (Member, oneshot::Receiver<CloseReason>) {
        let (close, closed) = oneshot::channel();
        let mut inner = self.lock();
        inner.connections_ever += 1;
        let number = inner.connections_ever;
        inner.connections.insert(number, ConnectionEntry { wid: None, close: Some(close) });
        drop(inner);
        let member =
            Member { registry: self.clone(), number, name: RemoteName::anonymous(), shared: Arc::default() };
        (member, closed)
    }

    /// Gives up workers that have been silent for too long, and ends their connections.
    pub(crate) fn reap(&self) {
        let now = Instant::now();
        let mut inner = self.lock();
        let silent = |worker: &WorkerEntry| now.duration_since(worker.silent_since) >= SILENCE_MAX;
        let gone: Vec<String> =
            inner.workers.iter().filter(|(_, worker)| silent(worker)).map(|(wid, _)| wid.clone()).collect();
        for wid in gone {
            inner.workers.remove(&wid);
            inner.reaped += 1;
            let its =
                inner.connections.values_mut().filter(|connection| connection.wid.as_ref() == Some(&wid));
            let closed = its.map(|connection| connection.close(CloseReason::Reaped)).count();
            tracing::warn!(
                actor = %actor(&wid),
                connections = closed,
                "silent for a minute: given up; its jobs wait for their reservation to expire"
            );
        }
    }

    /// Ends every connection.
    pub(crate) fn close_all(&self) {
        for connection in self.lock().connections.values_mut() {
            connection.close(CloseReason::Shutdown);
        }
    }
}

/// There is no worker of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownWorker;

impl ConnectionEntry {
    fn close(&mut self, why: CloseReason) {
        // An error means that it has ended by itself.
        let _ = self.close.take().map(|close| close.send(why));
    }
}

impl WorkerCell {
    fn state(&self) -> WorkerState {
        WorkerState::from_number(self.state.load(Relaxed))
    }

    fn advance(&self, state: WorkerState) {
        self.state.fetch_max(state as u8, Relaxed);
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<JobId, HeldLease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, now: Instant) -> usize {
        self.leases().values().filter(|lease| lease.until > now).count()
    }
}

/// One connection in the registry; dropping it takes it out.
pub(crate) struct Member {
    registry: Registry,
    number: u64,
    name: RemoteName,
    shared: Arc<WorkerCell>,
}

impl Member {
    /// The client has said who it is. Only one that gives a `wid` is a worker.
    pub(crate) fn introduce(&mut self, introduction: Introduction) -> Result<(), String> {
        if introduction.wid.is_empty() {
            return Ok(());
        }
        self.name = RemoteName::parse(&introduction.wid).map_err(|error| error.to_string())?;
        let now = self.registry.clock.now();
        let mut inner = self.registry.lock();
        if let Some(connection) = inner.connections.get_mut(&self.number) {
            connection.wid = Some(introduction.wid.clone());
        }
        let Introduction { wid, hostname, pid, labels } = introduction.shortened();
        if let Some(worker) = inner.workers.get_mut(&wid).filter(|worker| worker.connections > 0) {
            worker.connections += 1;
            self.shared = Arc::clone(&worker.shared);
            return Ok(());
        }
        tracing::info!(actor = %actor(&wid), hostname, pid, "connected");
        // A process that comes under the name of one that has gone begins afresh: what that one was asked to do was meant
        // for it. Its leases are still counted.
        let leases = inner.workers.remove(&wid).map(|gone| std::mem::take(&mut *gone.shared.leases()));
        self.shared =
            Arc::new(WorkerCell { leases: Mutex::new(leases.unwrap_or_default()), ..WorkerCell::default() });
        let worker = WorkerEntry {
            hostname,
            pid,
            labels,
            reported: WorkerState::Running,
            started_at: now,
            last_beat: now,
            silent_since: Instant::now(),
            rss_kb: None,
            connections: 1,
            shared: Arc::clone(&self.shared),
        };
        inner.workers.insert(wid, worker);
        Ok(())
    }

    /// Under which name it holds leases.
    pub(crate) fn name(&self) -> &RemoteName {
        &self.name
    }

    /// Whether it gets jobs.
    pub(crate) fn takes_jobs(&self) -> bool {
        self.shared.state() == WorkerState::Running
    }

    /// It has fetched a job.
    pub(crate) fn holds(&self, job: JobId, token: Token, lease: Duration) {
        let now = Instant::now();
        let mut leases = self.shared.leases();
        if leases.len() >= LEASES_MAX {
            leases.retain(|_, lease| lease.until > now);
        }
        if leases.len() < LEASES_MAX {
            leases.insert(job, HeldLease { token, connection: self.number, until: now + lease });
        }
    }

    /// The token of a job that this very connection fetched.
    pub(crate) fn token(&self, job: &JobId) -> Option<Token> {
        let leases = self.shared.leases();
        leases.get(job).filter(|lease| lease.connection == self.number).map(|lease| lease.token)
    }

    /// The job has been reported.
    pub(crate) fn holds_no_more(&self, job: &JobId) {
        self.shared.leases().remove(job);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        inner.connections.remove(&self.number);
        let wid = self.name.as_str();
        // After a reaping, another worker may have come under the same name.
        let Some(worker) = inner.workers.get_mut(wid) else { return };
        if !Arc::ptr_eq(&worker.shared, &self.shared) {
            return;
        }
        worker.connections -= 1;
        if worker.connections == 0 {
            tracing::debug!(actor = %actor(wid), "no connection left");
            if inner.workers.len() > ABSENT_MAX {
                inner.workers.remove(wid);
            }
        }
    }
}

/// Its path in the tree of supervision.
fn actor(wid: &str) -> String {
    format!("supervisor/remote[{wid}]")
}

#[cfg(test)]
mod tests {
    use beaver_actors::base::clock::SystemClock;
    use beaver_actors::ids::{Epoch, Seq, Term, Timeline};
    use tokio::time::advance;

    use super::*;

    fn registry() -> Registry {
        Registry::new(Arc::new(SystemClock::default()))
    }

    fn worker(registry: &Registry, wid: &str) -> (Member, oneshot::Receiver<CloseReason>) {
        let (mut member, closed) = registry.join();
        let (wid, hostname) = (wid.into(), "here".into());
        member.introduce(Introduction { wid, hostname, pid: 7, labels: Vec::new() }).unwrap();
        (member, closed)
    }

    /// Row 75.
    #[test]
    fn of_what_a_worker_says_about_itself_no_more_is_kept_than_is_worth_showing() {
        let long = Introduction {
            wid: "w".to_owned(),
            hostname: "é".repeat(10_000),
            pid: 7,
            labels: (0..5_000).map(|number| format!("label-{number}")).collect(),
        };
        let short = long.shortened();
        let kept: usize = short.labels.iter().map(|label| label.len() + size_of::<String>()).sum();
        assert_eq!(short.hostname.len(), HOSTNAME_BYTES_MAX);
        assert!(kept <= LABEL_BYTES_MAX && short.labels.len() > 100, "{kept}");
        let usual = Introduction { hostname: "host".to_owned(), labels: vec!["a".to_owned()], ..short };
        let kept = usual.shortened();
        assert_eq!((kept.hostname.as_str(), kept.labels), ("host", vec!["a".to_owned()]));
    }

    #[test]
    fn a_state_only_moves_forward_and_is_repeated_until_the_worker_reports_it() {
        let registry = registry();
        let (member, _closed) = worker(&registry, "w1");
        assert_eq!(registry.beat("w1", WorkerState::Running, None), Ok(None));
        assert!(member.takes_jobs());
        assert!(registry.ask("w1", WorkerState::Terminate) && registry.ask("w1", WorkerState::Quiet));
        for _ in 0..2 {
            assert_eq!(registry.beat("w1", WorkerState::Running, None), Ok(Some(WorkerState::Terminate)));
        }
        assert!(!member.takes_jobs());
        assert_eq!(registry.beat("w1", WorkerState::Quiet, Some(9)), Ok(Some(WorkerState::Terminate)));
        assert_eq!(registry.beat("w1", WorkerState::Terminate, None), Ok(None));
        assert_eq!(registry.beat("w1", WorkerState::Running, None), Ok(None));
        assert_eq!(registry.status().workers[0].rss_kb, Some(9));
        assert!(!registry.ask("nobody", WorkerState::Quiet));
        assert_eq!(registry.beat("nobody", WorkerState::Running, None), Err(UnknownWorker));
    }

    /// Row 79.
    #[test]
    fn a_wid_whose_last_connection_has_gone_begins_afresh() {
        let registry = registry();
        for how in [WorkerState::Quiet, WorkerState::Terminate] {
            let (first, _a) = worker(&registry, "pod");
            let (second, _b) = worker(&registry, "pod");
            assert!(registry.ask("pod", how));
            registry.beat("pod", how, Some(9)).unwrap();
            drop(first);
            let (third, _c) = worker(&registry, "pod");
            assert!(
                !second.takes_jobs() && !third.takes_jobs(),
                "one connection is left of those that were asked"
            );
            drop((second, third));
            assert_eq!(registry.status().workers[0].state, how, "shown as it was left");
            assert!(!registry.ask("pod", WorkerState::Terminate), "nobody would hear of it");
            let (again, _d) = worker(&registry, "pod");
            assert!(again.takes_jobs());
            assert_eq!(registry.beat("pod", WorkerState::Running, None), Ok(None));
            let status = registry.status().workers.remove(0);
            assert_eq!((status.state, status.connections, status.rss_kb), (WorkerState::Running, 1, None));
        }
    }

    #[test]
    fn a_worker_that_turns_quiet_by_itself_gets_no_jobs() {
        let registry = registry();
        let (member, _closed) = worker(&registry, "w1");
        assert_eq!(registry.beat("w1", WorkerState::Quiet, None), Ok(None));
        assert!(!member.takes_jobs());
        assert_eq!(registry.status().workers[0].state, WorkerState::Quiet);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_worker_is_given_up_after_a_minute_and_its_connections_are_closed() {
        let registry = registry();
        let (first, mut first_closed) = worker(&registry, "silent");
        let (second, mut second_closed) = worker(&registry, "silent");
        let (other, mut other_closed) = worker(&registry, "alive");
        let (producer, mut producer_closed) = registry.join();
        advance(Duration::from_secs(59)).await;
        registry.reap();
        assert_eq!(registry.workers(), (2, 0));
        registry.beat("alive", WorkerState::Running, None).unwrap();
        advance(Duration::from_secs(1)).await;
        registry.reap();
        assert_eq!(registry.workers(), (1, 1));
        assert_eq!(
            (first_closed.try_recv(), second_closed.try_recv()),
            (Ok(CloseReason::Reaped), Ok(CloseReason::Reaped))
        );
        assert!(other_closed.try_recv().is_err() && producer_closed.try_recv().is_err());
        let (again, _closed) = worker(&registry, "silent");
        drop((first, second));
        assert_eq!(registry.status().workers[1].connections, 1, "the new one is not the old one");
        drop((other, producer, again));
        assert_eq!(registry.connections(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_known_to_the_connection_that_fetched_and_counted_for_its_worker() {
        let registry = registry();
        let (first, _a) = worker(&registry, "w1");
        let (second, _b) = worker(&registry, "w1");
        let job = |text| JobId::parse(text).unwrap();
        let token = |seq| Token { epoch: Epoch { timeline: Timeline(7), term: Term(1) }, seq: Seq(seq) };
        first.holds(job("a"), token(1), Duration::from_secs(60));
        first.holds(job("b"), token(2), Duration::from_secs(60));
        second.holds(job("c"), token(3), Duration::from_secs(100));
        assert_eq!((first.token(&job("a")), second.token(&job("a"))), (Some(token(1)), None));
        assert_eq!(registry.status().workers[0].running, 3);
        second.holds_no_more(&job("a"));
        assert_eq!(first.token(&job("a")), None);
        advance(Duration::from_secs(70)).await;
        assert_eq!(registry.status().workers[0].running, 1);
        let status = serde_json::to_value(registry.status()).unwrap();
        assert_eq!(status["workers"][0]["state"], "running");
        assert_eq!(status["connections"], 2);
    }
}
