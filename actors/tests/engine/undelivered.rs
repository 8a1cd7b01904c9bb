//! Jobs that could not begin, through no fault of their own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use beaver_actors::api::handler::{HandlerFuture, Handlers, JobError, JobHandler, JobRun};
use beaver_actors::engine::Engine;
use beaver_actors::ids::{JobId, RemoteName, Token};
use beaver_actors::jobs::{
    Command, Exhausted, Failure, FailureKind, Filter, JobSpec, JobView, Payload, Start, Status,
};
use beaver_actors::testing::{Call, Fault, SimStorage, StepEngine};

use crate::harness::{enqueue, job, kind, on_system, options, queue, ready, until, when};

/// Fails as if something were lacking, this many times, and succeeds after that.
struct Short(AtomicU32);

impl JobHandler for Short {
    fn run(&self, _: JobRun) -> HandlerFuture {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        Box::pin(async move {
            match left {
                Ok(_) => Err(JobError::shortage("no descriptor is left for the program's output")),
                Err(_) => Ok(None),
            }
        })
    }
}

fn enqueued(beaver: &mut StepEngine, spec: JobSpec) -> JobId {
    let id = JobId::parse("letter").unwrap();
    beaver.execute(Command::Enqueue(Box::new(JobSpec { id: Some(id.clone()), ..spec }))).unwrap();
    id
}

fn postpone(job: &JobId, token: Token) -> Command {
    Command::Postpone { job: job.clone(), token, failure: Failure::new(FailureKind::Undelivered, "full") }
}

fn pause_of(view: &JobView) -> Duration {
    let last = view.errors.last().unwrap();
    Duration::from_millis(last.next_at.unwrap().since_ms(last.at))
}

/// Row 63.
#[test]
fn what_the_server_could_not_deliver_pauses_twice_as_long_each_time_and_is_no_attempt() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let mut spec = StepEngine::spec("mail");
    (spec.max_retry, spec.exhausted) = (Some(1), Exhausted::Drop);
    let job = enqueued(&mut beaver, spec);
    let (_, token) = beaver.dispatch(0).unwrap();
    let broken = Failure::new(FailureKind::Error, "the job's own");
    beaver.execute(Command::Fail { job: job.clone(), token, failure: broken, result: None }).unwrap();
    beaver.advance(Duration::from_secs(60));
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        let (_, token) = beaver.dispatch(0).expect("the pause is over");
        beaver.execute(postpone(&job, token)).unwrap();
        let view = beaver.whole_view(&job);
        assert_eq!((view.status, view.failed), (Status::Retrying, 1), "{seconds}");
        assert_eq!(pause_of(&view), Duration::from_secs(seconds));
        let kinds: Vec<_> = view.errors.iter().map(|error| (error.failure.kind, error.counted)).collect();
        assert_eq!(kinds, [(FailureKind::Error, true), (FailureKind::Undelivered, false)], "{seconds}");
        if seconds == 4 {
            beaver.snapshot().unwrap();
        }
        if seconds == 8 {
            beaver.sync();
            beaver.crash_keeping_only_synced_bytes();
        }
        beaver.advance(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert_eq!(beaver.dispatch(0), None, "the pause of {seconds} s is not over");
        beaver.advance(Duration::from_millis(1));
    }
    let (_, token) = beaver.dispatch(0).unwrap();
    let broken = Failure::new(FailureKind::Error, "again");
    beaver.execute(Command::Fail { job: job.clone(), token, failure: broken, result: None }).unwrap();
    let view = beaver.whole_view(&job);
    assert_eq!((view.status, view.failed, view.attempt.0), (Status::Cancelled, 2, 11));
}

/// Row 63: a pause after an attempt that did run begins at a second again.
#[test]
fn the_pause_begins_anew_when_the_job_has_run_in_between() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let mut spec = StepEngine::spec("mail");
    spec.max_retry = Some(3);
    let job = enqueued(&mut beaver, spec);
    for pauses in [3, 1] {
        for nth in 0..pauses {
            let (_, token) = beaver.dispatch(0).unwrap();
            beaver.execute(postpone(&job, token)).unwrap();
            assert_eq!(pause_of(&beaver.whole_view(&job)), Duration::from_secs(1 << nth));
            beaver.advance(Duration::from_secs(60));
        }
        let (_, token) = beaver.dispatch(0).unwrap();
        let broken = Failure::new(FailureKind::Error, "no");
        beaver.execute(Command::Fail { job: job.clone(), token, failure: broken, result: None }).unwrap();
        beaver.advance(Duration::from_secs(60));
    }
}

/// Rows 63, 73.
#[test]
fn a_handler_that_lacked_something_of_the_servers_is_asked_again_and_nothing_counts() {
    on_system(|| async {
        let handlers = Handlers::new().with(kind("program"), Short(AtomicU32::new(1)));
        let engine = ready(&SimStorage::new(), options(), handlers).await;
        let id = enqueue(&engine, JobSpec { max_retry: Some(0), ..job("program") }).await;
        let view = when(&engine, &id, Status::Completed).await;
        assert_eq!((view.attempt.0, view.failed), (2, 0));
        assert_eq!(view.errors[0].failure.kind, FailureKind::Undelivered);
        assert!(!view.errors[0].counted);
        let metrics = engine.metrics();
        assert_eq!((metrics.jobs_postponed.get(), metrics.jobs_failed.get()), (1, 0));
    });
}

/// An engine that keeps no payload in memory, with a job that would be dead after one failure.
async fn with_stored_payload(disk: &SimStorage, handlers: Handlers, start: Start) -> (Engine, JobId) {
    let mut options = options();
    options.payload_memory_bytes = 0;
    let engine = ready(disk, options, handlers).await;
    let payload = Payload::from_value(&"parchment ".repeat(20)).unwrap();
    let spec = JobSpec { max_retry: Some(0), exhausted: Exhausted::Drop, payload, start, ..job("scroll") };
    let id = enqueue(&engine, spec).await;
    (engine, id)
}

async fn fetched(engine: &Engine) -> Option<Box<JobView>> {
    let worker = RemoteName::parse("reader").unwrap();
    let fetch = engine.fetch([queue("default")].into(), worker, Duration::ZERO);
    fetch.await.unwrap().map(|delivery| delivery.accept().0)
}

/// Row 63.
#[test]
fn a_payload_that_cannot_be_read_for_a_moment_is_delivered_a_moment_later() {
    on_system(|| async {
        let disk = SimStorage::new();
        let (engine, id) = with_stored_payload(&disk, Handlers::new(), Start::Now).await;
        disk.fail_call_of(Call::Read, disk.calls_of(Call::Read) + 1, Fault::Eio);
        assert!(fetched(&engine).await.is_none());
        let view = when(&engine, &id, Status::Retrying).await;
        assert_eq!((view.failed, view.errors[0].failure.kind), (0, FailureKind::Undelivered));
        let given = until(&engine, async || fetched(&engine).await).await;
        assert_eq!((given.id, given.attempt.0), (id, 2));
        assert!(given.payload.as_str().contains("parchment"));
    });
}

/// Row 63: only damage is final, and then the job is dead, even if its producer wants it dropped.
#[test]
fn a_job_whose_payload_is_damaged_is_dead_and_says_so_whether_fetched_or_run_here() {
    for is_local in [false, true] {
        on_system(move || async move {
            let handlers = match is_local {
                true => Handlers::new().with(kind("scroll"), Short(AtomicU32::new(0))),
                false => Handlers::new(),
            };
            let disk = SimStorage::new();
            // It is due when the damage is done.
            let start = Start::After(Duration::from_millis(50));
            let (engine, id) = with_stored_payload(&disk, handlers, start).await;
            for path in disk.paths("/data/wal") {
                disk.tamper(&path, |bytes| {
                    if let Some(at) = bytes.windows(9).position(|text| text == b"parchment") {
                        bytes[at] ^= 1;
                    }
                });
            }
            let view = until(&engine, async || {
                if !is_local {
                    assert!(fetched(&engine).await.is_none());
                }
                let view = engine.job(id.clone()).await.unwrap();
                view.status.is_finished().then_some(view)
            })
            .await;
            assert_eq!(view.status, Status::Dead);
            let failure = &view.errors[0].failure;
            assert_eq!((view.errors.len(), failure.kind), (1, FailureKind::PayloadLost));
            assert!(failure.message.contains("checksum"), "{failure:?}");
            // It is still listed, with all that can be read of it.
            assert_eq!((view.payload.as_str(), view.unreadable.len()), ("null", 1));
            let listed = engine.list(Status::Dead, Filter::default(), 9).await.unwrap();
            let [listed] = listed.as_slice() else { panic!("one, not {listed:?}") };
            assert_eq!((&listed.id, &listed.errors, listed.unreadable.len()), (&view.id, &view.errors, 1));
        });
    }
}
