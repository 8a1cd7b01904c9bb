//! The duties of the real actors: run, retry, time out, schedule, cancel, drain, refuse. On the simulated disk unless
//! a test is about the real one.

use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::{Handlers, JobError, JobRun, StopReason};
use beaver_actors::api::options::EngineOptions;
use beaver_actors::base::clock::Clock;
use beaver_actors::engine::{Ending, Engine, EngineError, Environment, Phase};
use beaver_actors::ids::Timestamp;
use beaver_actors::jobs::{FailureKind, Payload, Rejection, Start, Status};
use beaver_actors::testing::{ManualClock, SimStorage};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::harness::{
    Does, enqueue, in_simulated_time, job, kind, on_system, options, ready, ready_here, runs_until_stopped,
    until, when,
};

#[test]
fn jobs_run_and_leave_their_results() {
    on_system(|| async {
        let double = |job: JobRun| async move {
            let number: u64 = job.payload.read()?;
            Ok(Some(Payload::from_value(&(number * 2)).map_err(JobError::from)?))
        };
        let engine =
            ready(&SimStorage::new(), options(), Handlers::new().with(kind("double"), Does(double, None)))
                .await;
        let specs = (0..100).map(|number| {
            let mut spec = job("double");
            spec.payload = Payload::from_value(&number).unwrap();
            spec
        });
        let accepted = engine.enqueue(specs.collect()).await.unwrap();
        for (number, answer) in accepted.iter().enumerate() {
            assert!(answer.created);
            let view = when(&engine, &answer.id, Status::Completed).await;
            assert_eq!(view.result.unwrap().as_str(), (number * 2).to_string());
            assert_eq!((view.attempt.0, view.errors.len()), (1, 0));
        }
        assert_eq!(engine.metrics().jobs_completed.get(), 100);
        assert_eq!(engine.stop(None).await, Ending::Clean);
    });
}

#[test]
fn a_failing_and_a_panicking_job_are_retried_and_then_dead_with_their_errors() {
    on_system(|| async {
        let fails = |job: JobRun| async move {
            match job.attempt.0 {
                1 => Err(JobError::new("no luck")),
                _ => panic!("attempt {} goes wrong", job.attempt),
            }
        };
        let engine =
            ready(&SimStorage::new(), options(), Handlers::new().with(kind("fails"), Does(fails, None)))
                .await;
        let mut spec = job("fails");
        spec.max_retry = Some(1);
        let id = enqueue(&engine, spec).await;
        let view = when(&engine, &id, Status::Dead).await;
        let errors: Vec<_> = view
            .errors
            .iter()
            .map(|error| (error.attempt.0, error.failure.kind, &*error.failure.message))
            .collect();
        assert_eq!(
            errors,
            [(1, FailureKind::Error, "no luck"), (2, FailureKind::Panic, "panicked: attempt 2 goes wrong")]
        );
        let status = engine.status().await.unwrap();
        assert_eq!((status.workers.restarts, status.workers.idle), (0, 4), "no worker died of it");
    });
}

#[test]
fn a_job_over_its_timeout_is_stopped_and_counts_as_failed() {
    on_system(|| async {
        let (told, mut reasons) = mpsc::unbounded_channel();
        let sleeps = move |mut job: JobRun| {
            let told = told.clone();
            async move {
                let reason = job.stop.stopped().await;
                told.send(reason).unwrap();
                Err(JobError { result: Some(Payload::parse("[1]").unwrap()), ..JobError::new("stopped") })
            }
        };
        let handlers = Handlers::new().with(kind("sleeps"), Does(sleeps, Some(Duration::from_secs(5))));
        let engine = ready(&SimStorage::new(), options(), handlers).await;
        let mut spec = job("sleeps");
        (spec.timeout, spec.max_retry) = (Some(Duration::from_millis(20)), Some(0));
        let id = enqueue(&engine, spec).await;
        let view = when(&engine, &id, Status::Dead).await;
        assert_eq!(reasons.recv().await, Some(StopReason::Timeout));
        assert_eq!(view.errors[0].failure.kind, FailureKind::Timeout);
        assert!(view.errors[0].failure.message.contains("20 ms"), "{view:?}");
        assert_eq!(view.result.unwrap().as_str(), "[1]", "what it left behind is kept");
    });
}

#[test]
fn a_handler_that_blocks_its_thread_does_not_keep_its_worker() {
    on_system(|| async {
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = std::sync::Mutex::new(blocked);
        let blocks = move |_: JobRun| {
            let _ = blocked.lock().unwrap().recv_timeout(Duration::from_secs(30));
            async { Ok(None) }
        };
        let handlers = Handlers::new()
            .with(kind("blocks"), Does(blocks, None))
            .with(kind("noop"), Does(|_| async { Ok(None) }, None));
        let mut options = options();
        options.worker_count = 1;
        let engine = ready(&SimStorage::new(), options, handlers).await;
        let mut spec = job("blocks");
        (spec.timeout, spec.max_retry) = (Some(Duration::from_millis(20)), Some(0));
        let stuck = enqueue(&engine, spec).await;
        let other = enqueue(&engine, job("noop")).await;
        when(&engine, &stuck, Status::Dead).await;
        when(&engine, &other, Status::Completed).await;
        release.send(()).unwrap();
    });
}

#[test]
fn a_scheduled_job_waits_for_its_moment_and_a_cancelled_one_never_runs() {
    on_system(|| async {
        let (told, mut ran) = mpsc::unbounded_channel();
        let handler = move |job: JobRun| {
            told.send(job.id.clone()).unwrap();
            async { Ok(None) }
        };
        let engine =
            ready(&SimStorage::new(), options(), Handlers::new().with(kind("notes"), Does(handler, None)))
                .await;
        let mut spec = job("notes");
        spec.start = Start::After(Duration::from_millis(200));
        let cancelled = enqueue(&engine, spec.clone()).await;
        let later = enqueue(&engine, spec).await;
        assert_eq!(engine.job(later.clone()).await.unwrap().status, Status::Scheduled);
        engine.cancel(cancelled.clone()).await.unwrap();
        let now = enqueue(&engine, job("notes")).await;
        assert_eq!(ran.recv().await, Some(now));
        assert_eq!(ran.recv().await, Some(later.clone()));
        when(&engine, &later, Status::Completed).await;
        assert_eq!(engine.job(cancelled.clone()).await.unwrap().status, Status::Cancelled);
        let again = engine.cancel(cancelled.clone()).await;
        assert_eq!(again, Err(Rejection::Finished { job: cancelled, status: "cancelled" }.into()));
        assert!(ran.try_recv().is_err());
    });
}

#[test]
fn cancelling_a_running_job_reaches_its_handler_at_once() {
    on_system(|| async {
        let (long, mut heard) = runs_until_stopped();
        let engine = ready(&SimStorage::new(), options(), Handlers::new().with(kind("long"), long)).await;
        let id = enqueue(&engine, job("long")).await;
        assert_eq!(heard.recv().await, Some(None), "it runs");
        engine.cancel(id.clone()).await.unwrap();
        assert_eq!(heard.recv().await, Some(Some(StopReason::Cancelled)));
        assert_eq!(engine.job(id).await.unwrap().status, Status::Cancelled);
        until(&engine, async || (engine.status().await.unwrap().workers.idle == 4).then_some(())).await;
    });
}

#[test]
fn stopping_waits_for_what_runs_and_hands_back_what_takes_too_long() {
    on_system(|| async {
        let disk = SimStorage::new();
        let finish = Arc::new(Notify::new());
        let handler = {
            let finish = finish.clone();
            move |mut job: JobRun| {
                let finish = finish.clone();
                async move {
                    if job.payload.as_str() == "\"short\"" {
                        finish.notified().await;
                        return Ok(None);
                    }
                    job.stop.stopped().await;
                    Err(JobError::new("interrupted"))
                }
            }
        };
        let handlers = Handlers::new().with(kind("work"), Does(handler, Some(Duration::from_secs(5))));
        let engine = ready(&disk, options(), handlers).await;
        let mut ids = Vec::new();
        for payload in ["short", "long"] {
            let mut spec = job("work");
            spec.payload = Payload::from_value(&payload).unwrap();
            spec.max_retry = Some(0);
            let id = enqueue(&engine, spec).await;
            when(&engine, &id, Status::InFlight).await;
            ids.push(id);
        }
        let mut phase = engine.watch_phase();
        let finish_short = async {
            phase.wait_for(|phase| *phase == Phase::Draining).await.unwrap();
            finish.notify_one();
        };
        let (ending, ()) = tokio::join!(engine.stop(Some(Duration::from_millis(300))), finish_short);
        assert_eq!(ending, Ending::Clean);
        assert_eq!(engine.enqueue(vec![job("work")]).await, Err(Rejection::Stopping.into()));
        disk.cut_power();
        let engine = ready(&disk, options(), Handlers::new()).await;
        assert_eq!(engine.job(ids[0].clone()).await.unwrap().status, Status::Completed);
        let long = engine.job(ids[1].clone()).await.unwrap();
        assert_eq!((long.status, long.attempt.0), (Status::Pending, 1), "it does not die of our stopping");
        let recovery = engine.status().await.unwrap().recovery;
        assert_eq!((recovery.interrupted, recovery.events), (0, 0), "the last snapshot holds everything");
    });
}

#[test]
fn what_is_accepted_while_the_engine_stops_survives_a_power_cut_and_is_run_by_the_next() {
    on_system(|| async {
        let disk = SimStorage::new();
        let finish = Arc::new(Notify::new());
        let handler = {
            let finish = finish.clone();
            move |job: JobRun| {
                let finish = finish.clone();
                async move {
                    if job.payload.as_str() == "\"waits\"" {
                        finish.notified().await;
                    }
                    Ok(None)
                }
            }
        };
        let handlers = Handlers::new().with(kind("work"), Does(handler, Some(Duration::from_secs(5))));
        let engine = ready(&disk, options(), handlers).await;
        let mut spec = job("work");
        spec.payload = Payload::from_value(&"waits").unwrap();
        let first = enqueue(&engine, spec).await;
        when(&engine, &first, Status::InFlight).await;
        let mut phase = engine.watch_phase();
        let offers = async {
            phase.wait_for(|phase| *phase == Phase::Draining).await.unwrap();
            let mut accepted = Vec::new();
            loop {
                match engine.enqueue(vec![job("work")]).await {
                    Ok(added) => accepted.extend(added.into_iter().map(|added| added.id)),
                    Err(refused) => {
                        assert_eq!(refused, Rejection::Stopping.into());
                        break;
                    }
                }
                if accepted.len() == 10 {
                    let jobs = engine.status().await.unwrap().jobs;
                    assert_eq!(
                        (jobs.of(Status::Pending), jobs.of(Status::InFlight)),
                        (10, 1),
                        "none is started"
                    );
                    finish.notify_one();
                }
            }
            accepted
        };
        let (ending, accepted) = tokio::join!(engine.stop(None), offers);
        assert_eq!(ending, Ending::Clean);
        assert!(accepted.len() >= 10);
        disk.cut_power();
        let handlers = Handlers::new().with(kind("work"), Does(|_: JobRun| async { Ok(None) }, None));
        let engine = ready(&disk, options(), handlers).await;
        for id in accepted.iter().chain([&first]) {
            when(&engine, id, Status::Completed).await;
        }
    });
}

/// Row 32: nobody loses a lease because somebody set the clock.
#[test]
fn a_clock_that_is_set_forward_ends_no_lease_and_one_set_back_delays_no_job() {
    for (set, jump_ms) in [("forward", 3_600_000_i64), ("back", -3_600_000)] {
        on_system(move || async move {
            let clock = Arc::new(ManualClock::default());
            let finish = Arc::new(Notify::new());
            let handler = {
                let finish = finish.clone();
                move |job: JobRun| {
                    let finish = finish.clone();
                    async move {
                        if job.payload.as_str() == "true" {
                            finish.notified().await;
                        }
                        Ok(None)
                    }
                }
            };
            let handlers = Handlers::new().with(kind("work"), Does(handler, None));
            let environment = Environment {
                storage: Arc::new(SimStorage::new()),
                clock: clock.clone(),
                ..Environment::default()
            };
            let engine = Engine::start_on(environment, options(), handlers);
            engine.ready().await.unwrap();
            let mut long = job("work");
            long.payload = Payload::parse("true").unwrap();
            let long = enqueue(&engine, long).await;
            when(&engine, &long, Status::InFlight).await;
            let deadline = engine.job(long.clone()).await.unwrap().deadline.unwrap();

            let wall = Clock::now(&*clock).0;
            clock.set_wall(Timestamp(wall.checked_add_signed(jump_ms).unwrap()));
            let mut soon = job("work");
            soon.start = Start::After(Duration::from_secs(15));
            let soon = enqueue(&engine, soon).await;
            // Ten seconds until it is believed: at the second step. The job is due five seconds later.
            const BELIEVED_AFTER_MS: u64 = 12_000;
            for _ in 0..3 {
                clock.advance(Duration::from_secs(6));
                engine.status().await.unwrap();
            }
            when(&engine, &soon, Status::Completed).await;
            let view = engine.job(long.clone()).await.unwrap();
            assert_eq!(view.status, Status::InFlight, "{set}");
            // From there on it lasts as long as one that is given there.
            let longer_ms = u64::try_from(jump_ms).map_or(0, |jump_ms| jump_ms + BELIEVED_AFTER_MS);
            assert_eq!(view.deadline.unwrap().since_ms(deadline), longer_ms, "{set}");
            finish.notify_one();
            when(&engine, &long, Status::Completed).await;
        });
    }
}

#[test]
fn the_same_id_is_one_job_from_many_clients_at_once() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let tries: Vec<_> = (0..50)
            .map(|_| {
                let (engine, mut spec) = (engine.clone(), job("later"));
                spec.id = Some("order-1".parse().unwrap());
                tokio::spawn(async move { engine.enqueue(vec![spec.clone(), spec]).await.unwrap() })
            })
            .collect();
        let mut created = 0;
        for answers in tries {
            created += answers.await.unwrap().iter().filter(|answer| answer.created).count();
        }
        assert_eq!(created, 1);
        assert_eq!(engine.status().await.unwrap().jobs.total(), 1);
    });
}

#[test]
fn a_batch_with_one_bad_job_adds_none_of_them_and_names_it() {
    on_system(|| async {
        let mut options = options();
        options.policy.payload_bytes_max = 10;
        let engine = ready(&SimStorage::new(), options, Handlers::new()).await;
        let mut large = job("later");
        large.payload = Payload::from_value(&"x".repeat(20)).unwrap();
        let answer = engine.enqueue(vec![job("later"), large]).await;
        let rejection = Rejection::PayloadTooLarge { bytes: 22, bytes_max: 10 };
        assert_eq!(answer, Err(EngineError::RejectedAt { index: 1, rejection }));
        assert_eq!(engine.status().await.unwrap().jobs.total(), 0);
    });
}

#[test]
fn a_full_queue_and_too_many_requests_are_told_apart() {
    on_system(|| async {
        let mut options = options();
        options.policy.jobs_max = 3;
        options.requests_max = 2;
        let engine = ready(&SimStorage::new(), options, Handlers::new()).await;
        let four = vec![job("later"); 4];
        assert_eq!(engine.enqueue(four).await, Err(Rejection::TooManyJobs { jobs_max: 3 }.into()));
        let many: Vec<_> = (0..50)
            .map(|_| {
                let engine = engine.clone();
                tokio::spawn(async move { engine.enqueue(vec![job("later")]).await })
            })
            .collect();
        let (mut accepted, mut busy) = (0, 0);
        for answer in many {
            match answer.await.unwrap() {
                Ok(_) => accepted += 1,
                Err(EngineError::Busy) => busy += 1,
                Err(other) => assert_eq!(other, Rejection::TooManyJobs { jobs_max: 3 }.into()),
            }
        }
        assert!(accepted <= 3);
        assert_eq!(engine.metrics().requests_busy.get(), busy);
        assert_eq!(engine.status().await.unwrap().jobs.total(), accepted);
    });
}

#[test]
fn a_kind_nobody_handles_waits_and_the_status_says_so() {
    on_system(|| async {
        let noop = Does(|_| async { Ok(None) }, None);
        let engine = ready(&SimStorage::new(), options(), Handlers::new().with(kind("noop"), noop)).await;
        engine.enqueue(vec![job("mail"), job("mail"), job("noop")]).await.unwrap();
        let status = until(&engine, async || {
            let status = engine.status().await.unwrap();
            (status.jobs.of(Status::Completed) == 1).then_some(status)
        })
        .await;
        assert_eq!(status.jobs.of(Status::Pending), 2);
        let waiting: Vec<_> = status
            .waiting_for_worker
            .iter()
            .map(|waiting| (waiting.kind.as_str(), waiting.pending))
            .collect();
        assert_eq!(waiting, [("mail", 2)]);
    });
}

#[test]
fn a_new_job_is_a_change_of_the_engine_and_a_look_at_it_is_none() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        until(&engine, async || (engine.status().await.unwrap().workers.idle == 4).then_some(())).await;
        let changes = engine.changes();
        engine.status().await.unwrap();
        assert!(!changes.has_changed().unwrap());
        enqueue(&engine, job("later")).await;
        assert!(changes.has_changed().unwrap());
    });
}

#[test]
fn snapshots_are_taken_by_themselves_and_a_quiet_engine_takes_none() {
    in_simulated_time(|| async {
        let disk = SimStorage::new();
        let mut options = options();
        options.snapshot_interval = Duration::from_millis(20);
        let engine = ready_here(&disk, options.clone(), Handlers::new()).await;
        for _ in 0..3 {
            let before = engine.metrics().snapshots.get();
            enqueue(&engine, job("later")).await;
            until(&engine, async || (engine.metrics().snapshots.get() > before).then_some(())).await;
        }
        let taken = engine.metrics().snapshots.get();
        let status = until(&engine, async || {
            let status = engine.status().await.unwrap();
            status.snapshot.is_some_and(|snapshot| snapshot.jobs == 3).then_some(status)
        })
        .await;
        assert_eq!(status.snapshot.unwrap().seq, status.log.seq);
        // Many intervals later there is nothing new to hold.
        let another = until(&engine, async || (engine.metrics().snapshots.get() > taken).then_some(()));
        assert!(timeout(Duration::from_millis(200), another).await.is_err(), "one more was taken");
        disk.cut_power();
        let engine = ready_here(&disk, options, Handlers::new()).await;
        let recovery = engine.status().await.unwrap().recovery;
        assert_eq!((recovery.snapshot_jobs, recovery.events), (3, 0));
    });
}

#[test]
fn on_the_real_disk_a_stopped_engine_comes_back_with_everything() {
    on_system(|| async {
        let dir = tempfile::tempdir().unwrap();
        let mut options = EngineOptions::in_dir(dir.path());
        options.segment_bytes = 1 << 20;
        for round in 1..=3_u64 {
            let engine = Engine::start(options.clone(), Handlers::new());
            engine.ready().await.unwrap();
            engine.enqueue(vec![job("later"); 5_000]).await.unwrap();
            assert_eq!(engine.status().await.unwrap().jobs.total(), round * 5_000);
            assert_eq!(engine.stop(None).await, Ending::Clean);
        }
    });
}
