//! Remote workers on the real engine: what they are given, in which order, and what becomes of their reports.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::{Handlers, JobRun};
use beaver_actors::base::clock::Clock;
use beaver_actors::engine::{
    Answer, AttemptEnd, Claim, Delivery, Ending, Engine, EngineError, Environment, QueueSet, SetAction,
};
use beaver_actors::ids::{Holder, JobId, Priority, RemoteName, Token};
use beaver_actors::jobs::{Backoff, Failure, FailureKind, Filter, JobSpec, JobView, Rejection, Status};
use beaver_actors::testing::{ManualClock, SimStorage};

use crate::harness::{
    Does, enqueue, job_in, kind, on_system, options, pass_awake, queue, ready, ready_here, until, when,
};

/// Longer than any test: a fetch that ends by its wait is a failure.
const LONG: Duration = Duration::from_secs(600);

fn worker(name: &str) -> RemoteName {
    RemoteName::parse(name).unwrap()
}

fn fetch(engine: &Engine, queues: &[&str], name: &str, wait: Duration) -> Answer<Option<Delivery>> {
    let queues: Arc<[_]> = queues.iter().map(|name| queue(name)).collect();
    engine.fetch(queues, worker(name), wait)
}

/// A job that was accepted.
struct Given {
    job: Box<JobView>,
    token: Token,
}

async fn taken(answer: Answer<Option<Delivery>>) -> Option<Given> {
    let (job, token) = answer.await.unwrap()?.accept();
    Some(Given { job, token })
}

async fn fetch_now(engine: &Engine, queues: &[&str], name: &str) -> Option<Given> {
    taken(fetch(engine, queues, name, Duration::ZERO)).await
}

fn claim(name: &str, token: Option<Token>) -> Claim {
    Claim { worker: worker(name), token }
}

async fn succeed(engine: &Engine, job: &JobId, claim: Claim) -> Result<(), EngineError> {
    engine.report(job.clone(), claim, AttemptEnd::Success(None)).await
}

fn named(name: &str, queue: &str) -> JobSpec {
    JobSpec { id: Some(name.parse().unwrap()), ..job_in(queue, "mail") }
}

#[test]
fn jobs_come_from_the_first_queue_that_has_one_then_by_priority_then_first_in_first_out() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let urgent = JobSpec { priority: Priority::new(9).unwrap(), ..named("a-urgent", "a") };
        let specs = [
            named("b-first", "b"),
            named("a-first", "a"),
            urgent,
            named("a-second", "a"),
            named("b-second", "b"),
        ];
        engine.enqueue(specs.to_vec()).await.unwrap();
        let mut line = Vec::new();
        for queues in [["b", "a"], ["a", "b"], ["a", "b"], ["a", "b"], ["a", "b"]] {
            let given = fetch_now(&engine, &queues, "ada").await.expect("a job is ready");
            assert_eq!((given.job.status, given.job.attempt.0), (Status::InFlight, 1));
            assert_eq!(given.job.worker, Some(Holder::Remote(worker("ada"))));
            assert_eq!(given.job.token, Some(given.token));
            line.push(given.job.id.to_string());
        }
        assert_eq!(line, ["b-first", "a-urgent", "a-first", "a-second", "b-second"]);
        assert!(fetch_now(&engine, &["a", "b", "unheard-of"], "ada").await.is_none());
    });
}

#[test]
fn waiting_workers_are_served_in_the_order_in_which_they_came_each_with_a_job_of_its_own() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let waiting: Vec<_> =
            (0..10).map(|nth| fetch(&engine, &["a", "b"], &format!("worker-{nth}"), LONG)).collect();
        // One that waits for another queue is passed over.
        let elsewhere = fetch(&engine, &["c"], "elsewhere", LONG);
        let first = enqueue(&engine, named("job-0", "b")).await;
        assert_eq!(engine.status().await.unwrap().jobs.of(Status::InFlight), 1, "one worker has it");
        assert_eq!(engine.job(first).await.unwrap().worker, Some(Holder::Remote(worker("worker-0"))));
        engine.enqueue((1..10).map(|nth| named(&format!("job-{nth}"), "a")).collect()).await.unwrap();
        for (nth, answer) in waiting.into_iter().enumerate() {
            let given = taken(answer).await.expect("a job");
            assert_eq!(given.job.id.to_string(), format!("job-{nth}"));
            assert_eq!(given.job.worker, Some(Holder::Remote(worker(&format!("worker-{nth}")))));
        }
        enqueue(&engine, named("last", "c")).await;
        assert_eq!(taken(elsewhere).await.expect("a job").job.id.to_string(), "last");
    });
}

#[test]
fn many_workers_at_once_get_every_job_exactly_once() {
    const JOBS: usize = 400;
    const WORKERS: usize = 8;
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let works = |nth: usize| {
            let engine = engine.clone();
            async move {
                let (name, mut done) = (format!("worker-{nth}"), Vec::new());
                while let Some(given) = taken(fetch(&engine, &["a", "b"], &name, LONG)).await {
                    if given.job.kind.as_str() == "enough" {
                        break;
                    }
                    let job = given.job.id;
                    succeed(&engine, &job, claim(&name, Some(given.token))).await.unwrap();
                    done.push(job.to_string());
                }
                done
            }
        };
        let workers: Vec<_> = (0..WORKERS).map(|nth| tokio::spawn(works(nth))).collect();
        for nth in 0..JOBS {
            enqueue(&engine, named(&format!("job-{nth}"), if nth % 3 == 0 { "b" } else { "a" })).await;
        }
        // Behind all the others, one for each.
        let enough = JobSpec { priority: Priority::new(0).unwrap(), ..job_in("b", "enough") };
        engine.enqueue(vec![enough; WORKERS]).await.unwrap();
        let mut done = Vec::new();
        for worker in workers {
            done.extend(worker.await.unwrap());
        }
        assert_eq!(done.len(), JOBS);
        assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), JOBS);
        let status = engine.status().await.unwrap();
        assert_eq!((status.totals.processed, status.totals.failed), (JOBS as u64, 0));
    });
}

#[test]
fn a_fetch_without_a_job_is_answered_with_none_after_its_wait() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        enqueue(&engine, named("other", "b")).await;
        let wait = Duration::from_millis(30);
        let started = tokio::time::Instant::now();
        assert!(fetch(&engine, &["a"], "ada", wait).await.unwrap().is_none());
        assert!(started.elapsed() >= wait);
        // Its place in line is free again.
        let next = fetch(&engine, &["a"], "bob", LONG);
        enqueue(&engine, named("job", "a")).await;
        assert_eq!(taken(next).await.expect("a job").job.id.to_string(), "job");
    });
}

#[test]
fn a_worker_that_has_stopped_waiting_is_passed_over() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let gone = fetch(&engine, &["a"], "gone", LONG);
        let there = fetch(&engine, &["a"], "there", LONG);
        drop(gone);
        enqueue(&engine, named("job", "a")).await;
        let given = taken(there).await.expect("a job");
        assert_eq!((given.job.attempt.0, given.job.errors.len()), (1, 0), "nobody else had it");
    });
}

#[test]
fn a_job_that_nobody_takes_delivery_of_comes_back_and_the_attempt_does_not_count() {
    on_system(|| async {
        // On this thread alone, nothing is delivered between the request and the moment at which nobody waits for it.
        let engine = ready_here(&SimStorage::new(), options(), Handlers::new()).await;
        let spec = JobSpec { max_retry: Some(0), ..named("job", "a") };
        let id = enqueue(&engine, spec).await;
        drop(fetch(&engine, &["a"], "gone", LONG));
        let view = until(&engine, async || {
            let view = engine.job(id.clone()).await.unwrap();
            (view.status == Status::Pending && view.attempt.0 == 1).then_some(view)
        })
        .await;
        assert_eq!((view.failed, view.errors.len()), (0, 1));
        assert_eq!(view.errors[0].failure.kind, FailureKind::Lost);
        let given = fetch_now(&engine, &["a"], "ada").await.expect("it is there again");
        assert_eq!(given.job.attempt.0, 2);
        let sorry = AttemptEnd::Failure(Failure::new(FailureKind::Error, "no").of_type("Sorry"), None);
        engine.report(id.clone(), claim("ada", Some(given.token)), sorry).await.unwrap();
        let view = engine.job(id).await.unwrap();
        assert_eq!((view.status, view.failed), (Status::Dead, 1), "its only attempt was this one");
        assert_eq!(view.errors[1].failure.errtype, "Sorry");
    });
}

#[test]
fn a_delivery_that_arrived_and_was_not_accepted_comes_back_as_well() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let id = enqueue(&engine, named("job", "a")).await;
        let arrived = fetch(&engine, &["a"], "gone", LONG);
        when(&engine, &id, Status::InFlight).await;
        let arrived = arrived.await.unwrap().expect("a job");
        let next = fetch(&engine, &["a"], "ada", LONG);
        drop(arrived);
        let given = taken(next).await.expect("it came back");
        assert_eq!((given.job.attempt.0, given.job.failed), (2, 0));
    });
}

#[test]
fn a_report_by_another_worker_or_under_another_token_is_refused_and_changes_nothing() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let id = enqueue(&engine, named("job", "a")).await;
        let waits = enqueue(&engine, named("waits", "b")).await;
        let given = fetch_now(&engine, &["a"], "ada").await.expect("a job");
        let before = engine.job(id.clone()).await.unwrap();
        let not_held = |job: &JobId, name: &str| -> EngineError {
            Rejection::NotHeld { job: job.clone(), worker: worker(name) }.into()
        };
        let other_token = Some(Token { seq: given.token.seq.next(), ..given.token });
        for (job, name, token) in [
            (&id, "bob", None),
            (&id, "bob", Some(given.token)),
            (&id, "ada", other_token),
            (&waits, "ada", None),
        ] {
            let refused = succeed(&engine, job, claim(name, token)).await;
            assert_eq!(refused, Err(not_held(job, name)));
            let sorry = AttemptEnd::Failure(Failure::new(FailureKind::Error, "no"), None);
            let refused = engine.report(job.clone(), claim(name, token), sorry).await;
            assert_eq!(refused, Err(not_held(job, name)));
        }
        assert_eq!(engine.job(id.clone()).await.unwrap(), before);
        let unknown: JobId = "unknown".parse().unwrap();
        let refused = succeed(&engine, &unknown, claim("ada", None)).await;
        assert_eq!(refused, Err(Rejection::NotFound { job: unknown }.into()));
        // Its name alone is enough.
        succeed(&engine, &id, claim("ada", None)).await.unwrap();
        let again = succeed(&engine, &id, claim("ada", None)).await;
        assert_eq!(again, Err(Rejection::Finished { job: id, status: "completed" }.into()));
    });
}

#[test]
fn a_remote_attempt_that_was_cancelled_keeps_its_lease_and_one_that_was_interrupted_does_not_count() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let id = enqueue(&engine, named("job", "a")).await;
        let given = fetch_now(&engine, &["a"], "ada").await.expect("a job");
        let before = engine.job(id.clone()).await.unwrap();
        let report = |end| engine.report(id.clone(), claim("ada", Some(given.token)), end);
        report(AttemptEnd::Cancelled(None)).await.unwrap();
        assert_eq!(engine.job(id.clone()).await.unwrap(), before);
        report(AttemptEnd::Interrupted).await.unwrap();
        let view = engine.job(id.clone()).await.unwrap();
        assert_eq!((view.status, view.failed, view.errors.len()), (Status::Pending, 0, 1));
        let again = report(AttemptEnd::Interrupted).await;
        assert_eq!(again, Err(Rejection::NotHeld { job: id.clone(), worker: worker("ada") }.into()));
    });
}

#[test]
fn a_report_on_a_local_workers_job_is_refused() {
    on_system(|| async {
        let handler = |mut job: JobRun| async move {
            job.stop.stopped().await;
            Ok(None)
        };
        let handlers = Handlers::new().with(kind("mail"), Does(handler, Some(Duration::from_secs(5))));
        let engine = ready(&SimStorage::new(), options(), handlers).await;
        let id = enqueue(&engine, named("job", "a")).await;
        when(&engine, &id, Status::InFlight).await;
        assert!(fetch_now(&engine, &["a"], "ada").await.is_none(), "it has been taken");
        for name in [worker("ada"), RemoteName::anonymous()] {
            let claim = Claim { worker: name.clone(), token: None };
            let refused = succeed(&engine, &id, claim).await;
            assert_eq!(refused, Err(Rejection::NotHeld { job: id.clone(), worker: name }.into()));
        }
    });
}

#[test]
fn an_expired_lease_is_a_failed_attempt_with_a_pause_and_a_late_failure_is_refused() {
    on_system(|| async {
        let clock = Arc::new(ManualClock::default());
        let environment = Environment {
            storage: Arc::new(SimStorage::new()),
            clock: clock.clone(),
            ..Environment::default()
        };
        let engine = Engine::start_on(environment, options(), Handlers::new());
        engine.ready().await.unwrap();
        let id = enqueue(
            &engine,
            JobSpec {
                timeout: Some(Duration::from_secs(10)),
                max_retry: Some(1),
                backoff: Backoff::Fixed { delay_ms: 5_000 },
                ..named("job", "a")
            },
        )
        .await;
        let given = fetch_now(&engine, &["a"], "ada").await.expect("a job");
        assert_eq!(given.job.deadline.unwrap().since_ms(clock.now()), 10_000);
        pass_awake(&engine, &clock, Duration::from_secs(9)).await;
        assert_eq!(engine.job(id.clone()).await.unwrap().status, Status::InFlight);
        pass_awake(&engine, &clock, Duration::from_secs(1)).await;
        let view = when(&engine, &id, Status::Retrying).await;
        assert_eq!(view.failed, 1);
        assert_eq!(view.run_at.unwrap().since_ms(clock.now()), 5_000);
        let error = &view.errors[0].failure;
        assert_eq!((error.kind, &*error.errtype), (FailureKind::Timeout, "ReservationExpired"));
        let sorry = AttemptEnd::Failure(Failure::new(FailureKind::Error, "no"), None);
        let late = engine.report(id.clone(), claim("ada", Some(given.token)), sorry).await;
        assert_eq!(late, Err(Rejection::NotHeld { job: id.clone(), worker: worker("ada") }.into()));
        assert_eq!(engine.job(id.clone()).await.unwrap(), view);

        clock.advance(Duration::from_secs(5));
        engine.status().await.unwrap();
        let again = fetch_now(&engine, &["a"], "bob").await.expect("it is ready again");
        assert!(again.token > given.token && again.job.attempt.0 == 2);
        pass_awake(&engine, &clock, Duration::from_secs(10)).await;
        when(&engine, &id, Status::Dead).await;
    });
}

#[test]
fn a_remote_lease_outlives_a_crash_of_the_server_and_a_local_one_does_not() {
    on_system(|| async {
        let disk = SimStorage::new();
        let handler = |mut job: JobRun| async move {
            job.stop.stopped().await;
            Ok(None)
        };
        let handlers = Handlers::new().with(kind("here"), Does(handler, Some(Duration::from_secs(5))));
        let engine = ready(&disk, options(), handlers).await;
        let here = enqueue(&engine, job_in("a", "here")).await;
        when(&engine, &here, Status::InFlight).await;
        let afar = enqueue(&engine, job_in("a", "afar")).await;
        let given = fetch_now(&engine, &["a"], "ada").await.expect("a job");
        assert_eq!(given.job.id, afar);
        disk.cut_power();
        engine.abort().await;

        let engine = ready(&disk, options(), Handlers::new()).await;
        let local = engine.job(here).await.unwrap();
        assert_eq!((local.status, local.failed), (Status::Pending, 1));
        let remote = engine.job(afar.clone()).await.unwrap();
        assert_eq!((remote.status, remote.failed), (Status::InFlight, 0));
        assert_eq!((remote.token, remote.deadline), (Some(given.token), given.job.deadline));
        assert_eq!(engine.status().await.unwrap().recovery.interrupted, 1);
        succeed(&engine, &afar, claim("ada", Some(given.token))).await.unwrap();
        assert_eq!(engine.job(afar).await.unwrap().status, Status::Completed);
    });
}

#[test]
fn the_report_on_a_job_that_was_cancelled_or_discarded_meanwhile_is_refused() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let ids: Vec<JobId> = ["cancelled", "discarded"].map(|name| name.parse().unwrap()).to_vec();
        engine.enqueue(vec![named("cancelled", "a"), named("discarded", "a")]).await.unwrap();
        for _ in &ids {
            fetch_now(&engine, &["a"], "ada").await.expect("a job");
        }
        engine.cancel(ids[0].clone()).await.unwrap();
        let only = Filter { ids: Some(vec![ids[1].clone()]), ..Filter::default() };
        assert_eq!(engine.act(SetAction::Discard, Status::InFlight, only).await, Ok(1));
        let finished = Rejection::Finished { job: ids[0].clone(), status: "cancelled" };
        assert_eq!(succeed(&engine, &ids[0], claim("ada", None)).await, Err(finished.into()));
        let not_found = Rejection::NotFound { job: ids[1].clone() };
        assert_eq!(succeed(&engine, &ids[1], claim("ada", None)).await, Err(not_found.into()));
        let status = engine.status().await.unwrap();
        assert_eq!((status.jobs.total(), status.totals.processed), (1, 0));
    });
}

/// Row 89.
#[test]
fn a_job_that_is_put_back_by_hand_goes_to_the_next_worker_and_the_report_of_the_first_is_refused() {
    on_system(|| async {
        let disk = SimStorage::new();
        let engine = ready(&disk, options(), Handlers::new()).await;
        let id = enqueue(&engine, JobSpec { max_retry: Some(0), ..named("held", "a") }).await;
        enqueue(&engine, named("later", "a")).await;
        let first = fetch_now(&engine, &["a"], "ada").await.expect("a job");
        let only = || Filter { ids: Some(vec![id.clone()]), ..Filter::default() };
        assert_eq!(engine.act(SetAction::Requeue, Status::InFlight, only()).await, Ok(1));
        assert_eq!(engine.act(SetAction::Requeue, Status::InFlight, only()).await, Ok(0), "it waits");
        for token in [None, Some(first.token)] {
            let refused = succeed(&engine, &id, claim("ada", token)).await.unwrap_err();
            assert!(matches!(refused, EngineError::Rejected(Rejection::NotHeld { .. })), "{refused}");
        }
        // It is so also after a start, and its place in line is the one that it had.
        assert_eq!(engine.stop(None).await, Ending::Clean);
        let engine = ready(&disk, options(), Handlers::new()).await;
        let next = fetch_now(&engine, &["a"], "bob").await.expect("a job");
        assert_eq!((&next.job.id, next.job.failed), (&id, 0));
        let failure = Failure::new(FailureKind::Error, "late");
        let late = engine
            .report(id.clone(), claim("ada", Some(first.token)), AttemptEnd::Failure(failure, None))
            .await;
        assert!(late.is_err());
        assert_eq!(engine.job(id.clone()).await.unwrap().status, Status::InFlight);
        succeed(&engine, &id, claim("bob", Some(next.token))).await.unwrap();
    });
}

#[test]
fn workers_that_wait_when_the_server_stops_are_told_so_and_the_stop_does_not_wait_for_them() {
    on_system(|| async {
        let disk = SimStorage::new();
        let engine = ready(&disk, options(), Handlers::new()).await;
        let id = enqueue(&engine, named("job", "a")).await;
        let given = fetch_now(&engine, &["a"], "ada").await.expect("a job");
        let waiting = fetch(&engine, &["a"], "bob", LONG);
        assert_eq!(engine.stop(None).await, Ending::Clean);
        assert_eq!(waiting.await.map(|_| ()), Err(Rejection::Stopping.into()));
        let late = fetch(&engine, &["a"], "bob", LONG).await;
        assert_eq!(late.map(|_| ()), Err(Rejection::Stopping.into()));
        // What ada holds is still hers after the restart.
        let engine = ready(&disk, options(), Handlers::new()).await;
        succeed(&engine, &id, claim("ada", Some(given.token))).await.unwrap();
    });
}

#[test]
fn a_waiting_worker_is_woken_by_a_promotion_a_resume_a_move_and_a_job_that_is_run_now() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let later = |ms| beaver_actors::jobs::Start::After(Duration::from_millis(ms));
        let waiting = fetch(&engine, &["a"], "ada", LONG);
        enqueue(&engine, JobSpec { start: later(20), ..named("promoted", "a") }).await;
        assert_eq!(taken(waiting).await.expect("a job").job.id.to_string(), "promoted");

        engine.pause(QueueSet::Named(vec![queue("a")])).await.unwrap();
        enqueue(&engine, named("resumed", "a")).await;
        assert!(fetch_now(&engine, &["a"], "ada").await.is_none(), "it is paused");
        let waiting = fetch(&engine, &["a"], "ada", LONG);
        engine.resume(QueueSet::All).await.unwrap();
        assert_eq!(taken(waiting).await.expect("a job").job.id.to_string(), "resumed");

        enqueue(&engine, named("moved", "b")).await;
        let waiting = fetch(&engine, &["a"], "ada", LONG);
        let moved = engine.act(SetAction::Move(queue("a")), Status::Pending, Filter::default());
        assert_eq!(moved.await, Ok(1));
        assert_eq!(taken(waiting).await.expect("a job").job.id.to_string(), "moved");

        enqueue(&engine, JobSpec { start: later(1_000_000), ..named("hurried", "a") }).await;
        let waiting = fetch(&engine, &["a"], "ada", LONG);
        assert_eq!(engine.act(SetAction::RunNow, Status::Scheduled, Filter::default()).await, Ok(1));
        assert_eq!(taken(waiting).await.expect("a job").job.id.to_string(), "hurried");
    });
}
