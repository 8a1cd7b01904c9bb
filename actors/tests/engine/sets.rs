//! What is done to many jobs at once, and what becomes of a job that asked for something of its own.

use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::{Handlers, JobError, JobRun, StopReason};
use beaver_actors::engine::{Answer, AttemptEnd, Claim, Engine, QueueSet, SetAction, Tenant};
use beaver_actors::ids::{JobId, RemoteName};
use beaver_actors::jobs::{
    Backoff, Command, Exhausted, Failure, FailureKind, Filter, JobSpec, Payload, Rejection, Start, Status,
};
use beaver_actors::testing::{SimStorage, StepEngine};
use tokio::sync::oneshot;

use crate::harness::{
    Does, enqueue, job, job_in, kind, on_system, options, queue, ready, runs_until_stopped, until, when,
};

/// More than are looked at in one turn.
const MANY: usize = 5_000;
/// Jobs that are added meanwhile at most: fewer than requests may wait.
const ADDED_MAX: usize = 1_000;

fn later(spec: JobSpec) -> JobSpec {
    JobSpec { start: Start::After(Duration::from_secs(1_000_000)), ..spec }
}

fn only(ids: &[&JobId]) -> Filter {
    Filter { ids: Some(ids.iter().map(|id| (*id).clone()).collect()), ..Filter::default() }
}

async fn count(engine: &Engine, status: Status) -> u64 {
    engine.status().await.unwrap().jobs.of(status)
}

/// What a request about many jobs is answered, and the positions of jobs that are added until then. Both are asked for
/// on the manager's thread, where they take turns however busy the machine is.
async fn meanwhile(
    engine: &Engine,
    ask: impl FnOnce(&Engine) -> Answer<u64> + Send + 'static,
) -> (u64, Vec<u64>) {
    let (to, seen) = oneshot::channel();
    let beside = engine.clone();
    let thread = engine.manager_thread(Tenant::WorkerConversations).unwrap();
    thread.spawn(async move {
        let mut request = ask(&beside);
        let mut added = Vec::new();
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut request => break answer,
                () = tokio::task::yield_now() => {
                    if added.len() < ADDED_MAX {
                        added.push(beside.enqueue(vec![job_in("others", "other")]));
                    }
                }
            }
        };
        // Who waits for it is this test.
        let _ = to.send((answer, added));
    });
    let (answer, added) = seen.await.unwrap();
    let mut positions = Vec::new();
    for added in added {
        positions.push(added.await.unwrap()[0].seq.0);
    }
    (answer.unwrap(), positions)
}

#[test]
fn a_large_set_is_gone_through_in_pieces_and_new_jobs_are_served_in_between() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        engine.enqueue(vec![job_in("a", "mail"); MANY]).await.unwrap();
        let begin = engine.status().await.unwrap().log.seq.0;
        let kill = |engine: &Engine| engine.act(SetAction::Kill, Status::Pending, Filter::default());
        let (killed, positions) = meanwhile(&engine, kill).await;
        assert_eq!(killed, MANY as u64, "those that came later are not among them");
        assert_eq!(count(&engine, Status::Dead).await, MANY as u64);
        let end = begin + MANY as u64;
        let between = positions.iter().filter(|at| (begin + 1_000..end).contains(at)).count();
        assert!(between > 0, "none of {positions:?} lies between pieces ({begin} to {end})");
    });
}

#[test]
fn removing_a_long_queue_leaves_the_others_alone_and_serves_them_in_between() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let mut jobs = vec![job_in("a", "mail"); MANY];
        jobs.push(job_in("others", "other"));
        engine.enqueue(jobs).await.unwrap();
        let begin = engine.status().await.unwrap().log.seq.0;
        let remove = |engine: &Engine| engine.remove_queues(QueueSet::Named(vec![queue("a")]));
        let (removed, positions) = meanwhile(&engine, remove).await;
        assert_eq!(removed, MANY as u64);
        let status = engine.status().await.unwrap();
        let names: Vec<_> = status.queues.iter().map(|status| status.queue.to_string()).collect();
        assert_eq!(names, ["others"]);
        let between = positions.iter().filter(|at| (begin + 1_000..begin + MANY as u64).contains(at)).count();
        assert!(between > 0, "none of {positions:?}");
    });
}

#[test]
fn a_flush_takes_every_job_whatever_its_status_and_every_queue_and_survives_a_crash() {
    on_system(|| async {
        let disk = SimStorage::new();
        let engine = ready(&disk, options(), Handlers::new()).await;
        engine.enqueue(vec![job_in("a", "mail"); MANY / 2]).await.unwrap();
        engine.enqueue(vec![later(job_in("b", "mail")); 10]).await.unwrap();
        let worker = RemoteName::parse("ada").unwrap();
        let mut held = Vec::new();
        for _ in 0..3 {
            let given = engine.fetch([queue("a")].into(), worker.clone(), Duration::ZERO).await.unwrap();
            held.push(given.expect("a job").accept().0.id);
        }
        let claim = || Claim { worker: worker.clone(), token: None };
        engine.report(held[0].clone(), claim(), AttemptEnd::Success(None)).await.unwrap();
        engine.cancel(held[1].clone()).await.unwrap();
        engine.pause(QueueSet::All).await.unwrap();
        assert_eq!(engine.flush().await, Ok(MANY as u64 / 2 + 10));
        let gone = engine.report(held[2].clone(), claim(), AttemptEnd::Success(None)).await;
        assert_eq!(gone, Err(Rejection::NotFound { job: held[2].clone() }.into()));
        disk.cut_power();
        engine.abort().await;
        let engine = ready(&disk, options(), Handlers::new()).await;
        let status = engine.status().await.unwrap();
        assert_eq!((status.jobs.total(), status.queues.len()), (0, 0));
        assert_eq!((status.totals.processed, status.totals.failed), (1, 0), "what has been is not forgotten");
    });
}

#[test]
fn a_filter_picks_by_id_kind_queue_and_content_and_what_does_not_fit_is_left_alone() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let loud = JobSpec { payload: Payload::parse(r#"{"loud":true}"#).unwrap(), ..job_in("a", "call") };
        let specs =
            vec![job_in("a", "mail"), loud.clone(), job_in("b", "mail"), later(job_in("b", "call")), loud];
        let answers = engine.enqueue(specs).await.unwrap();
        let ids: Vec<_> = answers.into_iter().map(|answer| answer.id).collect();
        let act = |action, set, filter| {
            let engine = engine.clone();
            async move { engine.act(action, set, filter).await.unwrap() }
        };
        let of_kind = |name| Filter { kind: Some(kind(name)), ..Filter::default() };
        let in_queue = |name| Filter { queue: Some(queue(name)), ..Filter::default() };
        let is_loud: beaver_actors::jobs::JobTest = Arc::new(|job| job.payload.as_str().contains("loud"));
        let loud = Filter { test: Some(is_loud), ..in_queue("a") };

        let listed = engine.list(Status::Pending, loud.clone(), 10).await.unwrap();
        assert_eq!(listed.iter().map(|job| &job.id).collect::<Vec<_>>(), [&ids[1], &ids[4]]);
        assert_eq!(engine.list(Status::Pending, loud.clone(), 1).await.unwrap().len(), 1);
        assert_eq!(act(SetAction::Kill, Status::Pending, loud).await, 2);
        assert_eq!(
            act(SetAction::Kill, Status::Pending, of_kind("call")).await,
            0,
            "the last one is scheduled"
        );
        assert_eq!(
            act(SetAction::RunNow, Status::Pending, Filter::default()).await,
            0,
            "they can run already"
        );
        assert_eq!(act(SetAction::RunNow, Status::Dead, only(&[&ids[4], &ids[4], &ids[0]])).await, 1);
        assert_eq!(act(SetAction::Move(queue("c")), Status::Scheduled, in_queue("b")).await, 1);
        assert_eq!(act(SetAction::Cancel, Status::Pending, in_queue("b")).await, 1);
        assert_eq!(act(SetAction::Discard, Status::Dead, Filter::default()).await, 1);
        let mut found = Vec::new();
        for id in &ids {
            let view = engine.job(id.clone()).await;
            found.push(view.map(|view| (view.status, view.queue.to_string())).ok());
        }
        let at = |status, queue: &str| Some((status, queue.to_owned()));
        let expected = [
            at(Status::Pending, "a"),
            None,
            at(Status::Cancelled, "b"),
            at(Status::Scheduled, "c"),
            at(Status::Pending, "a"),
        ];
        assert_eq!(found, expected);
    });
}

#[test]
fn discarding_a_running_job_reaches_its_handler_at_once() {
    on_system(|| async {
        let (long, mut heard) = runs_until_stopped();
        let engine = ready(&SimStorage::new(), options(), Handlers::new().with(kind("long"), long)).await;
        let id = enqueue(&engine, job("long")).await;
        assert_eq!(heard.recv().await, Some(None), "it runs");
        assert_eq!(engine.act(SetAction::Discard, Status::InFlight, Filter::default()).await, Ok(1));
        assert_eq!(heard.recv().await, Some(Some(StopReason::Cancelled)));
        assert_eq!(engine.job(id.clone()).await, Err(Rejection::NotFound { job: id }.into()));
    });
}

/// Row 89.
#[test]
fn a_running_job_that_is_put_back_is_stopped_and_runs_again_without_an_attempt_being_counted() {
    on_system(|| async {
        let (long, mut heard) = runs_until_stopped();
        let engine = ready(&SimStorage::new(), options(), Handlers::new().with(kind("long"), long)).await;
        let id = enqueue(&engine, JobSpec { max_retry: Some(0), ..job("long") }).await;
        assert_eq!(heard.recv().await, Some(None), "it runs");
        assert_eq!(engine.act(SetAction::Requeue, Status::InFlight, only(&[&id])).await, Ok(1));
        let mut told = vec![heard.recv().await.unwrap(), heard.recv().await.unwrap()];
        told.sort_by_key(Option::is_some);
        assert_eq!(told, [None, Some(StopReason::Cancelled)], "the first is stopped, and it runs again");
        let view = engine.job(id.clone()).await.unwrap();
        assert_eq!((view.status, view.failed, view.attempt.0), (Status::InFlight, 0, 2));
        assert_eq!(&*view.errors[0].failure.message, "put back in line by an operator");
        assert_eq!(engine.act(SetAction::Requeue, Status::Dead, only(&[&id])).await, Ok(0));
    });
}

#[test]
fn a_dead_job_that_is_run_now_gets_one_more_attempt() {
    on_system(|| async {
        let handler = |job: JobRun| async move {
            match job.attempt.0 {
                3 => Ok(None),
                _ => Err(JobError::new("no luck")),
            }
        };
        let engine =
            ready(&SimStorage::new(), options(), Handlers::new().with(kind("work"), Does(handler, None)))
                .await;
        let id = enqueue(&engine, JobSpec { max_retry: Some(0), ..job("work") }).await;
        when(&engine, &id, Status::Dead).await;
        for (attempts, status) in [(2, Status::Dead), (3, Status::Completed)] {
            let again = engine.act(SetAction::RunNow, Status::Dead, only(&[&id])).await;
            assert_eq!(again, Ok(1));
            let view = until(&engine, async || {
                let view = engine.job(id.clone()).await.unwrap();
                (view.attempt.0 == attempts && view.status.is_finished()).then_some(view)
            })
            .await;
            assert_eq!((view.status, view.failed), (status, 2));
        }
    });
}

#[test]
fn a_pending_job_that_is_moved_stands_at_the_end_of_its_new_queue() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let moved = beaver.enqueue("mail");
    let spec = JobSpec { queue: queue("other"), ..StepEngine::spec("mail") };
    beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
    beaver.execute(Command::Move { job: moved.clone(), queue: queue("other") }).unwrap();
    beaver.sync();
    beaver.crash_keeping_only_synced_bytes();
    assert_ne!(beaver.dispatch(0).unwrap().0, moved);
    assert_eq!(beaver.dispatch(0).unwrap().0, moved);
}

#[test]
fn a_dead_job_that_is_moved_keeps_its_place_among_the_dead() {
    let mut beaver = StepEngine::on(SimStorage::new());
    beaver.options.policy.dead.count = 1;
    beaver.sync();
    beaver.crash_keeping_only_synced_bytes();
    let [older, newer] = [beaver.enqueue("mail"), beaver.enqueue("mail")];
    for job in [&older, &newer] {
        beaver.execute(Command::Kill { job: job.clone() }).unwrap();
    }
    beaver.execute(Command::Move { job: older.clone(), queue: queue("other") }).unwrap();
    beaver.execute(Command::Forget).unwrap().expect("there is one too many");
    assert_eq!((beaver.status_of(&older), beaver.status_of(&newer)), (None, Some(Status::Dead)));
    let image = beaver.image();
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image, "the snapshot forgets the same one");
}

#[test]
fn a_completed_job_gives_way_to_one_of_its_id_that_asks_for_it_and_to_no_other() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let id: JobId = "report".parse().unwrap();
    let spec = |replaces| JobSpec {
        id: Some("report".parse().unwrap()),
        replaces_completed: replaces,
        ..StepEngine::spec("mail")
    };
    let add = |beaver: &mut StepEngine, replaces| {
        beaver.execute(Command::Enqueue(Box::new(spec(replaces)))).unwrap().is_some()
    };
    assert!(add(&mut beaver, true));
    assert!(!add(&mut beaver, true), "an unfinished one stays");
    beaver.dispatch_and_ack(&id);
    assert!(!add(&mut beaver, false));
    assert_eq!(beaver.status_of(&id), Some(Status::Completed));
    assert!(add(&mut beaver, true));
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.status_of(&id), Some(Status::Pending));
    assert_eq!(beaver.table().view(&id).unwrap().attempt.0, 0);
}

#[test]
fn an_exhausted_job_is_dead_or_dropped_as_it_asked_for() {
    let mut beaver = StepEngine::on(SimStorage::new());
    for (name, exhausted, status) in
        [("kept", Exhausted::Dead, Status::Dead), ("dropped", Exhausted::Drop, Status::Cancelled)]
    {
        let id: JobId = name.parse().unwrap();
        let spec =
            JobSpec { id: Some(id.clone()), exhausted, max_retry: Some(1), ..StepEngine::spec("mail") };
        beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
        for expected in [Status::Retrying, status] {
            let (job, token) = beaver.dispatch(0).unwrap();
            beaver.fail(&job, token).unwrap();
            assert_eq!(beaver.status_of(&id), Some(expected));
            beaver.advance(Duration::from_secs(60));
        }
        let view = beaver.table().view(&id).unwrap();
        assert_eq!((view.failed, view.errors.len(), view.exhausted), (2, 2, exhausted));
    }
}

#[test]
fn each_job_pauses_between_its_attempts_as_it_asked_for() {
    let doubling = Backoff::Exponential { first_ms: 100, max_ms: 350, jitter_percent: 0 };
    let cases = [
        (Backoff::Fixed { delay_ms: 250 }, [250..=250, 250..=250, 250..=250, 250..=250]),
        (doubling, [100..=100, 200..=200, 350..=350, 350..=350]),
        (Backoff::Server, [500..=1_000, 1_000..=2_000, 2_000..=4_000, 4_000..=8_000]),
        (Backoff::Quartic, [15_000..=44_000, 16_000..=74_000, 31_000..=118_000, 96_000..=212_000]),
    ];
    let mut beaver = StepEngine::on(SimStorage::new());
    for (backoff, pauses) in cases {
        let spec = JobSpec { backoff, max_retry: Some(4), ..StepEngine::spec("mail") };
        beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
        for pause in pauses {
            let (job, token) = beaver.dispatch(0).expect("it is ready again");
            beaver.fail(&job, token).unwrap();
            let view = beaver.table().view(&job).unwrap();
            let (failed, next) = (view.errors.last().unwrap(), view.run_at.unwrap());
            assert_eq!(failed.next_at, Some(next), "{backoff:?}");
            let given = next.since_ms(failed.at);
            assert!(pause.contains(&given), "{backoff:?}: {given} ms");
            // It is still so when it comes from a snapshot.
            beaver.snapshot().unwrap();
            beaver.crash_keeping_only_synced_bytes();
            beaver.clock.advance(Duration::from_millis(given - 1));
            assert_eq!(beaver.execute(Command::Promote).unwrap(), None, "{backoff:?}: not before its moment");
            beaver.advance(Duration::from_millis(1));
        }
        let (job, token) = beaver.dispatch(0).expect("it is ready again");
        beaver.ack(&job, token).unwrap();
    }
}

#[test]
fn an_interrupted_attempt_counts_only_if_the_job_may_be_the_cause() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let spec = JobSpec { max_retry: Some(1), ..StepEngine::spec("mail") };
    beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
    let mut seen = Vec::new();
    for counts in [false, false, true, false, true] {
        let (job, token) = beaver.dispatch(0).expect("it is pending");
        let failure = Failure::new(FailureKind::Lost, "gone");
        beaver.execute(Command::Requeue { job: job.clone(), token, failure, counts, fences: false }).unwrap();
        let view = beaver.table().view(&job).unwrap();
        seen.push((view.status, view.attempt.0, view.failed));
    }
    let expected = [
        (Status::Pending, 1, 0),
        (Status::Pending, 2, 0),
        (Status::Pending, 3, 1),
        (Status::Pending, 4, 1),
        (Status::Dead, 5, 2),
    ];
    assert_eq!(seen, expected);
}
