//! WalActor by itself: what comes in while the log is at the disk is done afterwards, in order; what it does by itself and
//! when; and how it ends.

mod disk;
mod log;

use std::mem;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use beaver_actors::api::options::Durability;
use beaver_actors::base::metrics::Histogram;
use beaver_actors::ids::{ChildId, Seq};
use beaver_actors::internals::engine::log::thread::LogThread;
use beaver_actors::internals::engine::messages::{Append, Crash, End, Ping, Prune, Seal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::harness::{in_simulated_time, on_system, pass};
use crate::log_actor::log::{LARGE, Log, MS, bytes_of, group, is_pending, last_on};

/// Small groups are written in place, large ones and all others on the thread.
#[test]
fn what_comes_while_the_log_is_at_the_disk_is_done_afterwards_and_in_order() {
    for count in [1, LARGE] {
        on_system(move || async move {
            let mut log = Log::start(Durability::Always, Some(LogThread::start().unwrap()));
            // All of them are in the mailbox before the actor looks.
            for _ in 0..20 {
                log.append(count);
                let sealed = log.seal();
                log.append(count);
                log.wal.do_send(Prune { through: Seq::ZERO });
                log.append(count);
                sealed.await.unwrap().expect("a segment was begun");
            }
            let last = log.append(count);
            let closed = log.close();
            log.confirms(last).await;
            closed.await.unwrap();
            log.disk.cut_power();
            assert_eq!(last_on(&log.disk), last);
        });
    }
}

#[test]
fn a_log_that_waits_for_the_disk_gives_no_sign_of_life_and_then_does_all_that_it_was_asked_for() {
    on_system(|| async {
        let mut log = Log::start(Durability::Always, Some(LogThread::start().unwrap()));
        log.settles().await;
        let shut = log.gate.shut();
        log.append(LARGE);
        log.gate.reached.notified().await;
        let ping = log.wal.send(Ping);
        tokio::pin!(ping);
        assert!(is_pending(&mut ping).await);
        let (done, sealed) = oneshot::channel();
        // The mailbox has taken the first when the second is sent, and the loop behind it has been polled since.
        log.wal.send(Seal { done }).await.unwrap();
        log.wal.send(Prune { through: Seq::ZERO }).await.unwrap();
        assert!(is_pending(&mut ping).await);
        let last = log.append(LARGE);
        assert_eq!(log.confirmed(), Seq::ZERO);
        drop(shut);
        ping.await.unwrap();
        assert!(sealed.await.unwrap().is_some());
        log.confirms(last).await;
    });
}

/// Under load some have always gathered.
#[test]
fn what_is_asked_for_and_what_is_due_come_before_groups_that_have_gathered() {
    on_system(|| async {
        let mut log = Log::start(Durability::Interval(MS), Some(LogThread::start().unwrap()));
        let mut shut = log.gate.shut();
        log.append(LARGE);
        log.gate.reached.notified().await;
        let ping = log.wal.send(Ping);
        tokio::pin!(ping);
        let mut is_answered = false;
        while !is_answered || log.metrics.log_fsync.read().0.iter().all(|count| *count == 0) {
            log.append(LARGE);
            drop(mem::replace(&mut shut, log.gate.shut()));
            log.gate.reached.notified().await;
            is_answered = is_answered || !is_pending(&mut ping).await;
        }
    });
}

#[test]
fn a_segment_that_ends_is_durable_and_what_was_asked_for_first_is_done_first() {
    on_system(|| async {
        let mut log = Log::start(Durability::Never, Some(LogThread::start().unwrap()));
        let last = log.append(3);
        log.confirms(last).await;
        assert_eq!((log.told.borrow().durable, log.segments()), (Seq::ZERO, 1));
        assert_eq!(log.seal().await.unwrap(), Some(last));
        assert_eq!(log.segments(), 2);
        log.tells(|told| told.durable == last).await;
        let last = log.append(1);
        log.confirms(last).await;
        let (sealed, closed) = (log.seal(), log.close());
        assert_eq!(sealed.await.unwrap(), Some(last));
        closed.await.unwrap();
    });
}

#[test]
fn buffers_of_groups_that_are_written_come_back() {
    on_system(|| async {
        let mut log = Log::start(Durability::Always, Some(LogThread::start().unwrap()));
        let (emptied, buffers) = mpsc::sync_channel(1);
        log.wal.do_send(Append { emptied, ..group(1, 1) });
        log.confirms(Seq(1)).await;
        assert!(buffers.try_recv().unwrap().is_empty());
    });
}

#[test]
fn what_gathers_is_written_together_and_marked_once_when_nothing_follows() {
    in_simulated_time(|| async {
        let mut log = Log::start(Durability::Always, None);
        log.settles().await;
        let before = log.calls();
        let last = (0..100).map(|_| log.append(1)).last().unwrap();
        log.confirms(last).await;
        assert_eq!(log.metrics.log_bytes.get(), 100 * bytes_of(1));
        let seen = [&log.metrics.log_batch_events, &log.metrics.log_fsync].map(Histogram::read);
        assert_eq!(seen.each_ref().map(|(counts, _)| counts.iter().sum::<u64>()), [1, 1]);
        assert_eq!(seen[0].1, 100);
        assert_eq!(log.calls(), [before[0] + 1, before[1] + 1], "one write and one sync");
        pass(4 * MS).await;
        assert_eq!(log.calls(), [before[0] + 1, before[1] + 1]);
        pass(2 * MS).await;
        assert_eq!(
            log.calls(),
            [before[0] + 3, before[1] + 1],
            "mark and witness are evidence, not data: no sync"
        );
        pass(2_000 * MS).await;
        assert_eq!(log.calls(), [before[0] + 3, before[1] + 1]);
    });
}

#[test]
fn a_log_that_never_falls_idle_is_witnessed_once_a_second_and_marked_when_it_does() {
    in_simulated_time(|| async {
        let mut log = Log::start(Durability::Always, None);
        log.settles().await;
        let [before, _] = log.calls();
        let (mut witnessed, mut said) = (0, log.witness());
        for _ in 0..1_000 {
            let last = log.append(1);
            log.confirms(last).await;
            pass(3 * MS).await;
            let now = log.witness();
            if now != said {
                assert!(now.synced >= Seq(last.0 - 1));
                (witnessed, said) = (witnessed + 1, now);
            }
        }
        assert_eq!((witnessed, log.calls()[0]), (2, before + 1_002), "in three seconds, without a mark");
        pass(10 * MS).await;
        assert_eq!((log.witness().synced, log.calls()[0]), (Seq(1_000), before + 1_004));
    });
}

#[test]
fn a_sync_that_comes_later_is_witnessed_and_marked_too() {
    in_simulated_time(|| async {
        let mut log = Log::start(Durability::Interval(100 * MS), None);
        let last = log.append(3);
        log.confirms(last).await;
        pass(50 * MS).await;
        assert_eq!((log.witness().synced, log.witness().written), (Seq::ZERO, last));
        pass(60 * MS).await;
        assert_eq!((log.witness().synced, log.witness().written), (last, last));
    });
}

#[test]
fn with_an_interval_everything_is_confirmed_at_once_and_synced_once_a_period() {
    in_simulated_time(|| async {
        let mut log = Log::start(Durability::Interval(100 * MS), None);
        log.settles().await;
        assert!(log.told.borrow().room.accepts_jobs, "that is told without a write");
        let [_, before] = log.calls();
        for periods in 1..4 {
            for _ in 0..3 {
                let last = log.append(1);
                log.confirms(last).await;
                pass(10 * MS).await;
            }
            assert_eq!(log.calls()[1], before + periods - 1);
            pass(80 * MS).await;
            assert_eq!(log.calls()[1], before + periods);
            assert_eq!(log.told.borrow().durable, log.confirmed());
        }
        pass(1_000 * MS).await;
        assert_eq!(log.calls()[1], before + 3, "nothing is left to sync");
    });
}

#[test]
fn what_the_end_of_a_segment_has_synced_is_not_synced_again() {
    in_simulated_time(|| async {
        let mut log = Log::start(Durability::Interval(100 * MS), None);
        let last = log.append(1);
        log.confirms(last).await;
        assert_eq!(log.seal().await.unwrap(), Some(last));
        let [_, syncs] = log.calls();
        pass(1_000 * MS).await;
        assert_eq!(log.calls()[1], syncs);
    });
}

#[test]
fn without_syncs_everything_is_confirmed_at_once_and_durable_when_the_log_is_closed() {
    in_simulated_time(|| async {
        let mut log = Log::start(Durability::Never, None);
        log.settles().await;
        let [_, before] = log.calls();
        let last = log.append(3);
        log.confirms(last).await;
        pass(10_000 * MS).await;
        assert_eq!(log.calls()[1], before);
        let closed = log.close();
        closed.await.unwrap();
        log.disk.cut_power();
        assert_eq!(last_on(&log.disk), last);
    });
}

#[test]
fn what_a_full_disk_does_not_take_is_tried_again_and_written_before_what_came_later() {
    in_simulated_time(|| async {
        let mut log = Log::start(Durability::Always, None);
        log.append(1);
        log.settles().await;
        log.disk.set_capacity(Some(log.disk.used()));
        // The next segment is there already, the one after it is not.
        let first = log.append(LARGE);
        log.confirms(first).await;
        log.append(LARGE);
        log.settles().await;
        log.append(1);
        pass(1_000 * MS).await;
        let last = log.append(LARGE);
        pass(1_000 * MS).await;
        assert_eq!(log.confirmed(), first);
        log.disk.set_capacity(None);
        let there_is_space = Instant::now();
        log.confirms(last).await;
        assert!(there_is_space.elapsed() <= 250 * MS);
        log.disk.cut_power();
        assert_eq!(last_on(&log.disk), last);
    });
}

#[test]
fn a_log_that_is_closed_or_has_failed_takes_nothing_more_and_keeps_the_directory_until_it_is_told_to_end() {
    for fails in [false, true] {
        on_system(move || async move {
            let mut log = Log::start(Durability::Always, Some(LogThread::start().unwrap()));
            if fails {
                log.disk.fail_syncs(1);
                log.append(1);
                assert!((&mut log.failed).await.unwrap().message.contains("cannot sync"));
            } else {
                log.close().await.unwrap();
            }
            let before = log.calls();
            log.append(1);
            let sealed = log.seal();
            let closed = log.close();
            assert!(matches!(sealed.await, Ok(None) | Err(_)));
            assert!(closed.await.is_err());
            // Nobody waits for the disk any more.
            log.settles().await;
            assert_eq!((log.calls(), log.confirmed()), (before, Seq::ZERO));
            assert!(!log.is_free.load(Ordering::Relaxed) && log.exited.try_recv().is_err());
            log.wal.do_send(End);
            let exited = (&mut log.exited).await.unwrap();
            assert!(!exited.panicked && log.is_free.load(Ordering::Relaxed));
        });
    }
}

/// What the end of a log is due to.
type Cause = fn(&mut Option<Log>);

/// So that a new engine can begin as soon as the supervisor hears of it.
#[test]
fn the_directory_is_free_when_the_end_of_the_log_is_told_and_a_panic_is_told_from_an_order() {
    let told: Cause = |log| log.as_ref().unwrap().wal.do_send(End);
    let abandoned: Cause = |log| drop(log.take());
    let crashed: Cause = |log| log.as_ref().unwrap().wal.do_send(Crash(ChildId::Wal));
    let crashes_in_its_thread: Cause = |log| {
        let log = log.as_mut().unwrap();
        log.gate.panics.store(true, Ordering::Relaxed);
        log.append(LARGE);
    };
    let ends = [(told, false), (abandoned, false), (crashed, true), (crashes_in_its_thread, true)];
    for (cause, panics) in ends {
        on_system(move || async move {
            let mut log = Log::start(Durability::Always, Some(LogThread::start().unwrap()));
            let last = log.append(1);
            log.confirms(last).await;
            let (is_free, exited) =
                (log.is_free.clone(), mem::replace(&mut log.exited, oneshot::channel().1));
            let mut log = Some(log);
            cause(&mut log);
            assert_eq!(exited.await.unwrap().panicked, panics);
            assert!(is_free.load(Ordering::Relaxed));
            if let Some(log) = log {
                assert!(log.seal().await.is_err(), "nobody waits for what is not done any more");
            }
        });
    }
}

#[test]
fn a_log_that_nobody_can_reach_any_more_does_first_what_it_has_planned() {
    in_simulated_time(|| async {
        let mut log = Log::start(Durability::Interval(100 * MS), None);
        let last = log.append(1);
        log.confirms(last).await;
        let Log { wal, disk, exited, .. } = log;
        drop(wal);
        exited.await.unwrap();
        disk.cut_power();
        assert_eq!(last_on(&disk), last);
    });
}

#[test]
fn a_log_that_is_told_to_end_while_its_thread_writes_ends_when_that_is_done() {
    on_system(|| async {
        let mut log = Log::start(Durability::Always, Some(LogThread::start().unwrap()));
        log.settles().await;
        let shut = log.gate.shut();
        let last = log.append(LARGE);
        log.gate.reached.notified().await;
        log.wal.send(End).await.unwrap();
        assert!(!log.is_free.load(Ordering::Relaxed) && log.exited.try_recv().is_err());
        drop(shut);
        let exited = (&mut log.exited).await.unwrap();
        assert!(!exited.panicked && log.is_free.load(Ordering::Relaxed));
        log.disk.cut_power();
        assert_eq!(last_on(&log.disk), last);
    });
}
