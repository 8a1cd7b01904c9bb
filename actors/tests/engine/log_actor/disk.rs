//! What the log's actor makes of a disk that is slow, full, or fails.

use std::sync::atomic::Ordering::Relaxed;

use beaver_actors::api::options::Durability;
use beaver_actors::engine::FailCause;
use beaver_actors::ids::Seq;
use beaver_actors::internals::engine::log::thread::LogThread;
use beaver_actors::internals::engine::messages::Prune;
use beaver_actors::testing::{Call, Fault};
use tokio::time::Instant;

use crate::harness::{in_simulated_time, on_system, pass};
use crate::log_actor::log::{LARGE, Log, MS, bytes_of, last_on};

/// Two batches of this many events do not fit into one segment.
const MUCH: u32 = 6_000;

/// A log that writes its last segment, the second: there is no space for another.
async fn almost_full() -> Log {
    let mut log = Log::start(Durability::Always, None);
    log.append(MUCH);
    log.settles().await;
    log.disk.set_capacity(Some(log.disk.used()));
    let last = log.append(MUCH);
    log.confirms(last).await;
    assert_eq!((log.segments(), log.told.borrow().room.accepts_jobs), (2, false));
    log
}

#[test]
fn small_batches_are_written_in_place_unless_the_segment_ends_or_the_disk_is_slow() {
    on_system(|| async {
        let mut log = Log::start(Durability::Always, Some(LogThread::start().unwrap()));
        let batches = [
            (1, false, "it is small"),
            (LARGE, true, "it is large"),
            (1, true, "the segment is full"),
            (1, false, "the next one is not"),
        ];
        for (count, there, why) in batches {
            let last = log.append(count);
            log.confirms(last).await;
            assert_eq!(log.gate.synced_there.load(Relaxed), there, "{why}");
        }
        log.gate.slow_ms.store(20, Relaxed);
        for there in [false, true] {
            let last = log.append(1);
            log.confirms(last).await;
            assert_eq!(log.gate.synced_there.load(Relaxed), there);
        }
    });
}

#[test]
fn a_full_disk_is_asked_again_after_a_time_and_not_for_every_group_that_comes() {
    in_simulated_time(|| async {
        let mut log = almost_full().await;
        log.append(LARGE);
        log.settles().await;
        let asked = log.disk.calls();
        for _ in 0..10 {
            log.append(1);
            log.settles().await;
        }
        assert_eq!(log.disk.calls(), asked);
        pass(251 * MS).await;
        assert!(log.disk.calls() > asked);
        log.disk.set_capacity(None);
        for _ in 0..2 {
            let last = log.append(1);
            log.confirms(last).await;
        }
    });
}

#[test]
fn space_that_comes_back_is_told_although_nobody_writes() {
    in_simulated_time(|| async {
        let mut log = almost_full().await;
        log.disk.set_capacity(None);
        let there_is_space = Instant::now();
        log.tells(|told| told.room.accepts_jobs).await;
        assert!(there_is_space.elapsed() <= 250 * MS);
    });
}

#[test]
fn space_of_segments_that_are_deleted_is_told_at_once() {
    in_simulated_time(|| async {
        let mut log = almost_full().await;
        log.wal.do_send(Prune { through: Seq(u64::from(MUCH)) });
        let deletes = Instant::now();
        log.tells(|told| told.room.accepts_jobs).await;
        assert!(log.segments() == 1 && deletes.elapsed().is_zero());
    });
}

#[test]
fn on_a_full_disk_no_segment_ends_and_the_log_goes_on() {
    in_simulated_time(|| async {
        let mut log = almost_full().await;
        assert_eq!(log.seal().await.unwrap(), None);
        log.disk.set_capacity(None);
        let last = log.append(1);
        log.confirms(last).await;
    });
}

#[test]
fn of_a_batch_that_finds_no_space_the_groups_that_do_are_confirmed_and_all_are_counted_once() {
    in_simulated_time(|| async {
        let mut log = Log::start(Durability::Always, None);
        log.settles().await;
        // Together they find no space; one by one, the first does.
        let [writes, _] = log.calls();
        for write in [writes + 1, writes + 3] {
            log.disk.fail_call_of(Call::Write, write, Fault::Enospc);
        }
        let [first, second] = [log.append(1), log.append(1)];
        log.confirms(first).await;
        let now = log.disk.fork();
        now.cut_power();
        assert_eq!(last_on(&now), first);
        log.confirms(second).await;
        log.disk.cut_power();
        assert_eq!(last_on(&log.disk), second);
        assert_eq!(log.metrics.log_bytes.get(), 2 * bytes_of(1));
        assert_eq!(log.metrics.log_batch_events.read().1, 2);
    });
}

#[test]
fn a_segment_that_cannot_end_and_a_log_that_cannot_close_are_told_as_failures_of_storage() {
    for closes in [false, true] {
        on_system(move || async move {
            let mut log = Log::start(Durability::Always, Some(LogThread::start().unwrap()));
            let last = log.append(1);
            log.confirms(last).await;
            log.disk.fail_syncs(1);
            match closes {
                true => assert!(log.close().await.is_err()),
                false => assert!(log.seal().await.is_err()),
            }
            let failed = (&mut log.failed).await.unwrap();
            assert_eq!(failed.cause, FailCause::Storage);
            assert!(failed.message.contains("cannot sync"), "{}", failed.message);
        });
    }
}
