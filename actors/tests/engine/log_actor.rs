//! WalActor by itself, with a thread of its own: what comes in while that one has the writer is done afterwards, whatever
//! the order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use beaver_actors::api::options::Durability;
use beaver_actors::base::clock::SystemClock;
use beaver_actors::base::metrics::Metrics;
use beaver_actors::engine::liveness::ExitGuard;
use beaver_actors::engine::log::actor::{WalActor, WalSettings};
use beaver_actors::engine::log::thread::LogThread;
use beaver_actors::engine::messages::{
    Append, ChildExited, CloseLog, Confirmed, LogFailed, Prune, Seal, Subscribe,
};
use beaver_actors::ids::{ChildId, Seq, Timestamp};
use beaver_actors::jobs::{Event, EventKind};
use beaver_actors::storage::Storage;
use beaver_actors::testing::SimStorage;
use beaver_actors::wal::format::{SegmentEnd, StoreId};
use beaver_actors::wal::index::LogIndex;
use beaver_actors::wal::recovery::{EachEvent, ReplayFrom, recover};
use beaver_actors::wal::writer::{LogPlace, LogWriter};
use beaver_actors::wal::{Group, codec};
use tokio::sync::{oneshot, watch};

use crate::harness::on_system;

const DIR: &str = "/log";

/// Hears what a WalActor tells.
struct Listener {
    through: watch::Sender<Seq>,
}

impl Actor for Listener {
    type Context = Context<Listener>;
}

impl Handler<Confirmed> for Listener {
    type Result = ();

    fn handle(&mut self, confirmed: Confirmed, _: &mut Context<Listener>) {
        self.through.send_replace(confirmed.through);
    }
}

impl Handler<LogFailed> for Listener {
    type Result = ();

    fn handle(&mut self, failed: LogFailed, _: &mut Context<Listener>) {
        panic!("{}", failed.message);
    }
}

impl Handler<ChildExited> for Listener {
    type Result = ();

    fn handle(&mut self, exited: ChildExited, _: &mut Context<Listener>) {
        assert!(!exited.panicked);
    }
}

fn start(disk: &SimStorage) -> (Addr<WalActor>, watch::Receiver<Seq>) {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let place = LogPlace {
        storage: storage.clone(),
        dir: DIR.into(),
        segment_bytes: 64 << 10,
        store: StoreId([1; 16]),
        dice: fastrand::Rng::with_seed(1),
        index: Arc::new(LogIndex::new(storage, DIR.into())),
    };
    let writer = LogWriter::begin(place, SegmentEnd::default(), &[], Timestamp(0)).unwrap();
    let (through, heard) = watch::channel(Seq::ZERO);
    let listener = Listener { through }.start();
    let settings = WalSettings {
        durability: Durability::Always,
        clock: Arc::new(SystemClock::default()),
        metrics: Arc::new(Metrics::default()),
        failed: listener.clone().recipient(),
        thread: Some(LogThread::start().unwrap()),
        blocks: Arc::default(),
    };
    let guard = ExitGuard::new(ChildId::Wal, 1, listener.clone().recipient());
    let log = WalActor::new(writer, settings, Box::new(()), guard).start();
    log.do_send(Subscribe(listener.recipient()));
    (log, heard)
}

/// So many events from `first` on.
fn group(first: u64, count: u32) -> Append {
    let mut bytes = Vec::new();
    let change = EventKind::Promote { due: Timestamp(1), number: Seq(1) };
    let event = Event { at: Timestamp(1), number: Seq::ZERO, change };
    (0..count).for_each(|_| codec::encode(&event, &mut bytes));
    let (emptied, _) = std::sync::mpsc::sync_channel(1);
    Append { group: Group { first: Seq(first), count, bytes }, emptied }
}

fn last_on(disk: &SimStorage) -> Seq {
    let mut last = Seq::ZERO;
    let mut visit = |seq, _, _: &_| {
        last = seq;
        Ok(())
    };
    recover(disk, Path::new(DIR), ReplayFrom::default(), &mut EachEvent(&mut visit), &mut |_, _| {}).unwrap();
    last
}

/// Small groups are written in place, large ones and all others on the thread.
#[test]
fn whatever_comes_while_the_log_is_at_the_disk_is_done_afterwards_and_in_order() {
    for count in [1, 10_000] {
        on_system(move || async move {
            let disk = SimStorage::new();
            let (log, mut heard) = start(&disk);
            let mut next = 1;
            let mut append = |log: &Addr<WalActor>| {
                log.do_send(group(next, count));
                next += u64::from(count);
                Seq(next - 1)
            };
            // All of them are in the mailbox before the actor looks.
            for _ in 0..20 {
                let (done, sealed) = oneshot::channel();
                append(&log);
                log.do_send(Seal { done });
                append(&log);
                log.do_send(Prune { through: Seq::ZERO });
                append(&log);
                sealed.await.unwrap().expect("a segment was begun");
            }
            let last = append(&log);
            let (done, closed) = oneshot::channel();
            log.do_send(CloseLog { done });
            let heard =
                tokio::time::timeout(Duration::from_secs(60), heard.wait_for(|through| *through == last));
            heard.await.expect("what was sent is confirmed").unwrap();
            closed.await.unwrap();
            disk.cut_power();
            assert_eq!(last_on(&disk), last);
        });
    }
}
