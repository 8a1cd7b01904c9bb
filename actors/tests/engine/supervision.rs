//! What becomes of the engine when one of its actors, or the disk, fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use beaver_actors::api::handler::{Handlers, JobRun};
use beaver_actors::engine::{Ending, EngineError, FailCause, Phase};
use beaver_actors::ids::{ChildId, WorkerId};
use beaver_actors::jobs::{FailureKind, Payload, Rejection, Status};
use beaver_actors::testing::SimStorage;
use tokio::sync::Notify;

use crate::harness::{Does, enqueue, job, kind, on_system, options, ready, start, until, when};

/// Row 38.
#[test]
fn a_crashed_worker_is_restarted_and_its_job_runs_again() {
    on_system(|| async {
        let started = Arc::new(Notify::new());
        let runs = Arc::new(AtomicU32::new(0));
        let handler = {
            let (started, runs) = (started.clone(), runs.clone());
            move |_: JobRun| {
                let (started, run) = (started.clone(), runs.fetch_add(1, SeqCst));
                async move {
                    started.notify_one();
                    if run == 0 {
                        std::future::pending::<()>().await;
                    }
                    Ok(None)
                }
            }
        };
        let mut options = options();
        options.worker_count = 1;
        let engine =
            ready(&SimStorage::new(), options, Handlers::new().with(kind("slow"), Does(handler, None))).await;
        let id = enqueue(&engine, job("slow")).await;
        started.notified().await;
        engine.crash(ChildId::Worker(WorkerId(0)));
        let view = when(&engine, &id, Status::Completed).await;
        assert_eq!(view.attempt.0, 2);
        assert_eq!(view.errors[0].failure.kind, FailureKind::Lost);
        assert!(view.errors[0].failure.message.contains("worker[0] panicked"), "{view:?}");
        let status = engine.status().await.unwrap();
        assert_eq!((status.workers.restarts, status.workers.idle), (1, 1));
        assert_eq!(engine.stop(None).await, Ending::Clean);
    });
}

/// Row 42.
#[test]
fn a_worker_that_crashes_again_and_again_ends_the_engine() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let mut restarts = 0;
        let ending = loop {
            engine.crash(ChildId::Worker(WorkerId(2)));
            let ended = until(&engine, async || match &engine.phase() {
                Phase::Stopped(ending) => Some(Some(ending.clone())),
                _ => (engine.metrics().restarts_worker.get() > restarts).then_some(None),
            });
            if let Some(ending) = ended.await {
                break ending;
            }
            restarts = engine.metrics().restarts_worker.get();
        };
        let Ending::Failed { cause, message } = ending else { panic!("it failed") };
        assert_eq!(cause, FailCause::Crashed);
        assert!(message.contains("supervisor/worker[2]") && message.contains("6 times"), "{message}");
        assert_eq!(restarts, 5);
    });
}

/// Rows 39 and 40.
#[test]
fn the_death_of_the_log_or_of_the_manager_ends_the_engine_and_nothing_acknowledged_is_lost() {
    for child in [ChildId::Wal, ChildId::Manager] {
        on_system(move || async move {
            let disk = SimStorage::new();
            let engine = ready(&disk, options(), Handlers::new()).await;
            let id = enqueue(&engine, job("later")).await;
            engine.crash(child);
            let Ending::Failed { cause, message } = engine.stopped().await else { panic!("it failed") };
            assert_eq!(cause, FailCause::Crashed);
            assert!(message.contains(&format!("{child} panicked")), "{message}");
            let answer = engine.enqueue(vec![job("later")]).await;
            assert!(
                matches!(answer, Err(EngineError::Unknown | EngineError::Rejected(Rejection::Stopping))),
                "{answer:?}"
            );
            disk.cut_power();
            let engine = ready(&disk, options(), Handlers::new()).await;
            assert_eq!(engine.job(id).await.unwrap().status, Status::Pending);
        });
    }
}

#[test]
fn a_crashed_snapshot_actor_is_restarted_and_the_queue_goes_on() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        engine.crash(ChildId::Snapshot);
        until(&engine, async || (engine.metrics().restarts_snapshot.get() > 0).then_some(())).await;
        enqueue(&engine, job("later")).await;
        assert_eq!(engine.stop(None).await, Ending::Clean);
        assert_eq!(engine.metrics().snapshots.get(), 1, "the new one took the last snapshot");
    });
}

/// Row 41: the holder of the engine hears of it, and ends the process.
#[test]
fn the_death_of_the_supervisor_is_the_end_of_the_engine_and_nothing_acknowledged_is_lost() {
    on_system(|| async {
        let disk = SimStorage::new();
        let engine = ready(&disk, options(), Handlers::new()).await;
        let id = enqueue(&engine, job("later")).await;
        engine.crash_supervisor();
        let Ending::Failed { cause, message } = engine.stopped().await else { panic!("it failed") };
        assert_eq!((cause, message.as_str()), (FailCause::Crashed, "the supervisor died"));
        disk.cut_power();
        let engine = ready(&disk, options(), Handlers::new()).await;
        assert_eq!(engine.job(id).await.unwrap().status, Status::Pending);
    });
}

/// Row 43.
#[test]
fn an_actor_that_stands_still_ends_the_engine_and_a_slow_log_does_not() {
    for child in [ChildId::Manager, ChildId::Worker(WorkerId(3)), ChildId::Wal] {
        on_system(move || async move {
            let disk = SimStorage::new();
            let mut options = options();
            options.heartbeat_timeout = Duration::from_millis(300);
            let engine = ready(&disk, options, Handlers::new()).await;
            let id = enqueue(&engine, job("later")).await;
            if child == ChildId::Wal {
                engine.freeze(child, Duration::from_millis(1_500)).await;
                // Its callers wait; nothing false is told, and nothing ends.
                enqueue(&engine, job("later")).await;
                assert_eq!(engine.stop(None).await, Ending::Clean);
                return;
            }
            // Longer than this test lasts: on a busy machine the supervisor may itself be late.
            engine.freeze(child, Duration::MAX).await;
            let Ending::Failed { cause, message } = engine.stopped().await else { panic!("it failed") };
            assert_eq!(cause, FailCause::Crashed);
            assert!(message.contains("stands still"), "{message}");
            disk.cut_power();
            let engine = ready(&disk, crate::harness::options(), Handlers::new()).await;
            assert_eq!(engine.job(id).await.unwrap().status, Status::Pending);
        });
    }
}

#[test]
fn a_manager_that_has_waited_for_the_disk_has_all_its_time_after_that() {
    on_system(|| async {
        let mut options = options();
        options.heartbeat_timeout = Duration::from_millis(500);
        let engine = ready(&SimStorage::new(), options, Handlers::new()).await;
        for _ in 0..2 {
            // Somebody asks for a sign of life meanwhile, and waits in vain until after the first has ended.
            engine.freeze(ChildId::Wal, Duration::from_millis(700)).await;
            engine.freeze(ChildId::Manager, Duration::from_millis(400)).await;
            enqueue(&engine, job("later")).await;
        }
        assert_eq!(engine.stop(None).await, Ending::Clean);
    });
}

/// Row 11, through the actors.
#[test]
fn a_failed_sync_is_answered_unknown_and_ends_the_engine_as_a_storage_failure() {
    on_system(|| async {
        let disk = SimStorage::new();
        let engine = ready(&disk, options(), Handlers::new()).await;
        let kept = enqueue(&engine, job("later")).await;
        disk.fail_syncs(1);
        assert_eq!(engine.enqueue(vec![job("later")]).await, Err(EngineError::Unknown));
        let Ending::Failed { cause, message } = engine.stopped().await else { panic!("it failed") };
        assert_eq!(cause, FailCause::Storage);
        assert!(message.contains("cannot sync"), "{message}");
        disk.cut_power();
        let engine = ready(&disk, options(), Handlers::new()).await;
        let status = engine.status().await.unwrap();
        assert_eq!(status.jobs.total(), 1);
        assert_eq!(engine.job(kept).await.unwrap().status, Status::Pending);
    });
}

/// Row 17, through the actors.
#[test]
fn on_a_full_disk_new_jobs_are_refused_running_ones_finish_and_service_resumes() {
    on_system(|| async {
        let disk = SimStorage::new();
        let finish = Arc::new(Notify::new());
        let handler = {
            let finish = finish.clone();
            move |_: JobRun| {
                let finish = finish.clone();
                async move {
                    finish.notified().await;
                    Ok(None)
                }
            }
        };
        let mut options = options();
        options.segment_bytes = 1 << 20;
        let engine = ready(&disk, options, Handlers::new().with(kind("waits"), Does(handler, None))).await;
        let running = enqueue(&engine, job("waits")).await;
        when(&engine, &running, Status::InFlight).await;
        disk.set_capacity(Some(disk.used()));
        let mut filler = job("later");
        filler.payload = Payload::from_value(&"x".repeat(100 << 10)).unwrap();
        let mut accepted = 1;
        loop {
            match engine.enqueue(vec![filler.clone()]).await {
                Ok(_) => accepted += 1,
                Err(error) => break assert_eq!(error, EngineError::Rejected(Rejection::DiskFull)),
            }
            assert!(accepted < 100, "the disk never fills");
        }
        assert!(!engine.status().await.unwrap().log.accepts_jobs);
        finish.notify_one();
        when(&engine, &running, Status::Completed).await;
        disk.set_capacity(None);
        until(&engine, async || engine.enqueue(vec![filler.clone()]).await.ok()).await;
        assert_eq!(engine.status().await.unwrap().jobs.total(), accepted + 1);
        assert_eq!(engine.stop(None).await, Ending::Clean);
    });
}

#[test]
fn an_engine_that_cannot_start_says_why_and_answers_nobody() {
    on_system(|| async {
        let disk = SimStorage::new();
        let first = ready(&disk, options(), Handlers::new()).await;
        let second = start(&disk, options(), Handlers::new());
        let Err(Ending::Failed { cause, message }) = second.ready().await else { panic!("it is refused") };
        assert_eq!(cause, FailCause::Locked);
        assert!(message.contains("/data"), "{message}");
        assert!(second.enqueue(vec![job("later")]).await.is_err());
        assert_eq!(first.stop(None).await, Ending::Clean);
        let third = ready(&disk, options(), Handlers::new()).await;
        enqueue(&third, job("later")).await;
    });
}
