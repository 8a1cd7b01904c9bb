//! A log by itself, and what is heard from it.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use beaver_actors::api::options::Durability;
use beaver_actors::base::clock::{Clock, SystemClock};
use beaver_actors::base::metrics::Metrics;
use beaver_actors::ids::{ChildId, Epoch, Seq, Timestamp};
use beaver_actors::internals::engine::liveness::ExitGuard;
use beaver_actors::internals::engine::log::actor::WalActor;
use beaver_actors::internals::engine::log::task::WalSettings;
use beaver_actors::internals::engine::log::thread::LogThread;
use beaver_actors::internals::engine::messages::{
    Append, ChildExited, CloseLog, Confirmed, LogFailed, Ping, Seal, Subscribe,
};
use beaver_actors::internals::storage::Storage;
use beaver_actors::internals::wal::format::{SegmentEnd, StoreId};
use beaver_actors::internals::wal::index::LogIndex;
use beaver_actors::internals::wal::recovery::{EachEvent, ReplayFrom, recover};
use beaver_actors::internals::wal::witness::{self, Testimony};
use beaver_actors::internals::wal::writer::{LogPlace, LogWriter, Room};
use beaver_actors::internals::wal::{Group, codec};
use beaver_actors::jobs::{Event, EventKind};
use beaver_actors::testing::{Call, SimStorage};
use tokio::sync::{Notify, oneshot, watch};

const DIR: &str = "/log";

/// Hears what a WalActor tells.
struct Listener {
    told: watch::Sender<Confirmed>,
    failed: Option<oneshot::Sender<LogFailed>>,
    exited: Option<oneshot::Sender<ChildExited>>,
}

impl Actor for Listener {
    type Context = Context<Listener>;
}

impl Handler<Confirmed> for Listener {
    type Result = ();

    fn handle(&mut self, confirmed: Confirmed, _: &mut Context<Listener>) {
        self.told.send_replace(confirmed);
    }
}

impl Handler<LogFailed> for Listener {
    type Result = ();

    fn handle(&mut self, failed: LogFailed, _: &mut Context<Listener>) {
        let once = self.failed.take().expect("the log fails once");
        once.send(failed).expect("the test listens");
    }
}

impl Handler<ChildExited> for Listener {
    type Result = ();

    fn handle(&mut self, exited: ChildExited, _: &mut Context<Listener>) {
        // A test that has seen enough has gone.
        let _ = self.exited.take().expect("the log ends once").send(exited);
    }
}

/// A clock that panics, is slow, or keeps the log's thread waiting when that looks at it next.
#[derive(Default)]
pub(super) struct Gate {
    clock: SystemClock,
    pub panics: AtomicBool,
    shut: Mutex<Option<mpsc::Receiver<()>>>,
    /// Told when the log's thread waits.
    pub reached: Notify,
    /// What each sync takes longer than it does, in milliseconds.
    pub slow_ms: AtomicU64,
    /// Looks at the ticks: two a sync.
    looks: AtomicU64,
    /// Whether the last sync was done on the log's thread.
    pub synced_there: AtomicBool,
}

impl Gate {
    /// Until what is returned is dropped.
    pub fn shut(&self) -> mpsc::Sender<()> {
        let (open, opens) = mpsc::channel();
        *self.shut.lock().unwrap() = Some(opens);
        open
    }

    fn is_log_thread() -> bool {
        thread::current().name() == Some("beaver-log")
    }
}

impl Clock for Gate {
    fn now(&self) -> Timestamp {
        assert!(!self.panics.load(Ordering::Relaxed), "for the test");
        let shut = if Gate::is_log_thread() { self.shut.lock().unwrap().take() } else { None };
        if let Some(opens) = shut {
            self.reached.notify_one();
            let _ = opens.recv();
        }
        self.clock.now()
    }

    fn ticks(&self) -> Duration {
        self.synced_there.store(Gate::is_log_thread(), Ordering::Relaxed);
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        self.clock.ticks() + Duration::from_millis(looks * self.slow_ms.load(Ordering::Relaxed))
    }
}

/// Notes when the data directory is free.
struct Lock(Arc<AtomicBool>);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A log on a disk, and what is heard from it.
pub(super) struct Log {
    pub wal: Addr<WalActor>,
    pub disk: SimStorage,
    pub gate: Arc<Gate>,
    pub metrics: Arc<Metrics>,
    pub is_free: Arc<AtomicBool>,
    /// What was confirmed last.
    pub told: watch::Receiver<Confirmed>,
    pub failed: oneshot::Receiver<LogFailed>,
    pub exited: oneshot::Receiver<ChildExited>,
    next: u64,
}

impl Log {
    pub fn start(durability: Durability, thread: Option<LogThread>) -> Log {
        let disk = SimStorage::new();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let place = LogPlace {
            storage: storage.clone(),
            dir: DIR.into(),
            segment_bytes: 64 << 10,
            store: StoreId([1; 16]),
            witness: format!("{DIR}/witness").into(),
            epoch: Epoch::default(),
            dice: fastrand::Rng::with_seed(1),
            index: Arc::new(LogIndex::new(storage, DIR.into())),
        };
        let writer = LogWriter::begin(place, SegmentEnd::default(), &[], Timestamp(0)).unwrap();
        let nothing = Confirmed {
            through: Seq::ZERO,
            durable: Seq::ZERO,
            room: Room { bytes: 0, accepts_jobs: false, is_stuck: false },
        };
        let (told, hears_told) = watch::channel(nothing);
        let (failed, hears_failed) = oneshot::channel();
        let (exited, hears_exited) = oneshot::channel();
        let listener = Listener { told, failed: Some(failed), exited: Some(exited) }.start();
        let (gate, metrics, is_free) =
            (Arc::new(Gate::default()), Arc::<Metrics>::default(), Arc::<AtomicBool>::default());
        let settings = WalSettings {
            durability,
            clock: gate.clone(),
            metrics: metrics.clone(),
            failed: listener.clone().recipient(),
            thread,
            blocks: Arc::default(),
        };
        let guard = ExitGuard::new(ChildId::Wal, 1, listener.clone().recipient());
        let wal = WalActor::new(writer, settings, Box::new(Lock(is_free.clone())), guard).start();
        wal.do_send(Subscribe(listener.recipient()));
        Log {
            wal,
            disk,
            gate,
            metrics,
            is_free,
            told: hears_told,
            failed: hears_failed,
            exited: hears_exited,
            next: 1,
        }
    }

    /// Sends a group of events; returns the last one's position.
    pub fn append(&mut self, count: u32) -> Seq {
        self.wal.do_send(group(self.next, count));
        self.next += u64::from(count);
        Seq(self.next - 1)
    }

    pub async fn confirms(&mut self, last: Seq) {
        self.tells(|told| told.through == last).await;
    }

    pub async fn tells(&mut self, is_it: impl FnMut(&Confirmed) -> bool) {
        let heard = tokio::time::timeout(Duration::from_secs(60), self.told.wait_for(is_it));
        heard.await.expect("it is told").unwrap();
    }

    /// Up to where events may be told.
    pub fn confirmed(&self) -> Seq {
        self.told.borrow().through
    }

    /// Asks for the end of the current segment.
    pub fn seal(&self) -> oneshot::Receiver<Option<Seq>> {
        let (done, sealed) = oneshot::channel();
        self.wal.do_send(Seal { done });
        sealed
    }

    /// Asks for the end of the log.
    pub fn close(&self) -> oneshot::Receiver<()> {
        let (done, closed) = oneshot::channel();
        self.wal.do_send(CloseLog { done });
        closed
    }

    /// What the second witness says now.
    pub fn witness(&self) -> Testimony {
        let said = witness::read(&self.disk, Path::new(&format!("{DIR}/witness"))).unwrap();
        said.expect("a writer that begins says something")
    }

    pub fn segments(&self) -> usize {
        self.disk.paths(DIR).iter().filter(|path| path.extension().is_some_and(|it| it == "wal")).count()
    }

    /// Waits until the actor has come to all that it was sent.
    pub async fn settles(&self) {
        self.wal.send(Ping).await.unwrap();
    }

    /// How often the disk was written to and synced.
    pub fn calls(&self) -> [u64; 2] {
        [Call::Write, Call::Sync].map(|call| self.disk.calls_of(call))
    }
}

/// More than is written in place.
pub(super) const LARGE: u32 = 10_000;
pub(super) const MS: Duration = Duration::from_millis(1);

/// This many events from `first` on.
pub(super) fn group(first: u64, count: u32) -> Append {
    let mut bytes = Vec::new();
    let kind = EventKind::Promote { due: Timestamp(1), through: Seq(1) };
    let event = Event { at: Timestamp(1), job_seq: Seq::ZERO, kind };
    (0..count).for_each(|_| codec::encode(&event, &mut bytes));
    let (emptied, _) = mpsc::sync_channel(1);
    Append { group: Group { first: Seq(first), count, bytes }, emptied }
}

/// Bytes of this many events.
pub(super) fn bytes_of(count: u32) -> u64 {
    group(1, count).group.bytes.len() as u64
}

/// Whether it is not there yet.
pub(super) async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
    poll_fn(|task| Poll::Ready(Pin::new(&mut *future).poll(task).is_pending())).await
}

pub(super) fn last_on(disk: &SimStorage) -> Seq {
    let mut last = Seq::ZERO;
    let mut visit = |seq, _, _: &_| {
        last = seq;
        Ok(())
    };
    recover(disk, Path::new(DIR), ReplayFrom::default(), &mut EachEvent(&mut visit), &mut |_, _| {}).unwrap();
    last
}
