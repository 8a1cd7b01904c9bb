//! Queues: pause, resume, remove, and what is still known of them after a crash.

use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::Handlers;
use beaver_actors::engine::{AttemptEnd, Claim, Engine, Environment, QueueSet, QueueStatus};
use beaver_actors::ids::RemoteName;
use beaver_actors::jobs::{Command, JobSpec, Start, Status};
use beaver_actors::testing::{ManualClock, SimStorage, StepEngine};

use crate::harness::{Does, enqueue, job_in, kind, on_system, options, queue, ready, when};

async fn status_of(engine: &Engine, name: &str) -> Option<QueueStatus> {
    let queues = engine.status().await.unwrap().queues;
    queues.into_iter().find(|status| status.queue == queue(name))
}

#[test]
fn local_workers_pass_over_a_paused_queue_until_it_is_resumed() {
    on_system(|| async {
        let noop = Does(|_| async { Ok(None) }, None);
        let engine = ready(&SimStorage::new(), options(), Handlers::new().with(kind("noop"), noop)).await;
        let first = enqueue(&engine, job_in("a", "noop")).await;
        when(&engine, &first, Status::Completed).await;
        let found = engine.pause(QueueSet::Named(vec![queue("a"), queue("unheard-of")])).await.unwrap();
        assert_eq!(found, [queue("a")]);
        let paused = enqueue(&engine, job_in("a", "noop")).await;
        let other = enqueue(&engine, job_in("b", "noop")).await;
        when(&engine, &other, Status::Completed).await;
        assert_eq!(engine.job(paused.clone()).await.unwrap().status, Status::Pending);
        let status = status_of(&engine, "a").await.unwrap();
        assert!(status.paused && status.jobs.of(Status::Pending) == 1);
        assert!(status_of(&engine, "unheard-of").await.is_none(), "it was not made by being named");
        engine.resume(QueueSet::All).await.unwrap();
        when(&engine, &paused, Status::Completed).await;
    });
}

#[test]
fn what_runs_when_its_queue_is_paused_goes_on_and_a_retry_waits_for_the_resume() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let id = enqueue(&engine, job_in("a", "mail")).await;
        let from: Arc<[_]> = [queue("a")].into();
        let worker = RemoteName::parse("ada").unwrap();
        let fetch = || engine.fetch(from.clone(), worker.clone(), Duration::ZERO);
        let _ = fetch().await.unwrap().expect("a job").accept();
        engine.pause(QueueSet::All).await.unwrap();
        let failure = beaver_actors::jobs::Failure::new(beaver_actors::jobs::FailureKind::Error, "no");
        let claim = Claim { worker: worker.clone(), token: None };
        engine.report(id.clone(), claim, AttemptEnd::Failure(failure, None)).await.unwrap();
        when(&engine, &id, Status::Pending).await;
        assert!(fetch().await.unwrap().is_none());
        engine.resume(QueueSet::All).await.unwrap();
        assert_eq!(fetch().await.unwrap().expect("a job").accept().0.attempt.0, 2);
    });
}

#[test]
fn a_pause_is_still_there_after_a_crash_and_after_snapshots_and_so_is_its_end() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let job = beaver.enqueue("mail");
    let line = || queue("default");
    let is_paused = |beaver: &StepEngine| beaver.table().overview().queues[0].paused;
    beaver.execute(Command::SetPaused { queue: line(), paused: true }).unwrap();
    beaver.sync();
    beaver.crash_keeping_only_synced_bytes();
    assert!(is_paused(&beaver), "from the log");
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert!(is_paused(&beaver), "from the snapshot");
    assert_eq!(beaver.dispatch(0), None);
    beaver.enqueue("mail");
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert!(is_paused(&beaver), "carried over into the next snapshot");
    beaver.execute(Command::SetPaused { queue: line(), paused: false }).unwrap();
    beaver.sync();
    beaver.crash_keeping_only_synced_bytes();
    assert!(!is_paused(&beaver), "the log goes on behind the snapshot");
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert!(!is_paused(&beaver));
    assert_eq!(beaver.dispatch(0).unwrap().0, job);
}

#[test]
fn a_removed_queue_takes_its_pending_jobs_along_and_no_others_and_begins_anew_unpaused() {
    on_system(|| async {
        let disk = SimStorage::new();
        let engine = ready(&disk, options(), Handlers::new()).await;
        let later = JobSpec { start: Start::After(Duration::from_secs(1_000)), ..job_in("a", "mail") };
        let specs = vec![job_in("a", "mail"), job_in("a", "mail"), job_in("b", "mail"), later];
        let answers = engine.enqueue(specs).await.unwrap();
        engine.pause(QueueSet::Named(vec![queue("a")])).await.unwrap();
        let removed = engine.remove_queues(QueueSet::Named(vec![queue("a"), queue("unheard-of")])).await;
        assert_eq!(removed, Ok(2));
        for (nth, status) in [(2, Status::Pending), (3, Status::Scheduled)] {
            assert_eq!(engine.job(answers[nth].id.clone()).await.unwrap().status, status);
        }
        assert!(status_of(&engine, "a").await.is_none(), "nothing in it is pending");
        disk.cut_power();
        engine.abort().await;
        let engine = ready(&disk, options(), Handlers::new()).await;
        assert!(status_of(&engine, "a").await.is_none(), "after a crash, too");
        enqueue(&engine, job_in("a", "mail")).await;
        let status = status_of(&engine, "a").await.unwrap();
        let jobs = (status.jobs.of(Status::Pending), status.jobs.of(Status::Scheduled));
        assert!(!status.paused && jobs == (1, 1), "{status:?}");
    });
}

#[test]
fn a_queue_exists_while_it_is_empty_and_tells_how_long_its_oldest_job_has_waited() {
    on_system(|| async {
        let clock = Arc::new(ManualClock::default());
        let environment = Environment {
            storage: Arc::new(SimStorage::new()),
            clock: clock.clone(),
            ..Environment::default()
        };
        let engine = Engine::start_on(environment, options(), Handlers::new());
        engine.ready().await.unwrap();
        let oldest = enqueue(&engine, job_in("a", "mail")).await;
        clock.advance(Duration::from_secs(2));
        let urgent =
            JobSpec { priority: beaver_actors::ids::Priority::new(9).unwrap(), ..job_in("a", "call") };
        enqueue(&engine, urgent).await;
        clock.advance(Duration::from_secs(3));
        assert_eq!(status_of(&engine, "a").await.unwrap().latency_ms, 5_000);
        engine.cancel(oldest).await.unwrap();
        assert_eq!(status_of(&engine, "a").await.unwrap().latency_ms, 3_000);
        let given = engine.fetch([queue("a")].into(), RemoteName::anonymous(), Duration::ZERO).await;
        let _ = given.unwrap().expect("a job").accept();
        let status = status_of(&engine, "a").await.expect("it exists without pending jobs");
        assert_eq!((status.latency_ms, status.jobs.of(Status::InFlight)), (0, 1));
    });
}
