//! Too much at once, for too long, or at the edge of what numbers can hold.

use std::time::Duration;

use beaver_actors::api::handler::Handlers;
use beaver_actors::engine::{Ending, EngineError};
use beaver_actors::ids::{Attempt, ChildId, KindName, QueueName, Seq, Timestamp, WorkerId};
use beaver_actors::internals::jobs::model::payload::Content;
use beaver_actors::internals::jobs::model::profile::Profile;
use beaver_actors::internals::jobs::record::{JobRecord, Life};
use beaver_actors::internals::jobs::sections::Sections;
use beaver_actors::jobs::{
    Backoff, Command, Exhausted, Failure, FailureKind, JobSpec, JobState, JobTable, Payload, PayloadRef,
    Policy, Start, Status,
};
use beaver_actors::testing::{SimStorage, StepEngine, times};
use tokio::task::JoinSet;

use crate::harness::{enqueue, job, on_system, options, ready};

/// Row 48: the line is bounded, everybody gets an answer, and what was accepted is there.
#[test]
fn a_flood_behind_one_slow_sync_is_answered_busy_and_loses_nothing() {
    const REQUESTS: usize = 100_000;
    const WAITING_MAX: usize = 1_000;
    on_system(|| async {
        let disk = SimStorage::new();
        let mut settings = options();
        settings.requests_max = WAITING_MAX;
        settings.segment_bytes = 8 << 20;
        let engine = ready(&disk, settings.clone(), Handlers::new()).await;
        engine.freeze(ChildId::Wal, Duration::from_millis(700)).await;
        let mut flood = JoinSet::new();
        for _ in 0..REQUESTS {
            let engine = engine.clone();
            flood.spawn(async move { engine.enqueue(vec![job("later")]).await });
        }
        let (mut accepted, mut busy) = (0, 0);
        while let Some(answer) = flood.join_next().await {
            match answer.unwrap() {
                Ok(_) => accepted += 1,
                Err(EngineError::Busy) => busy += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(accepted + busy, REQUESTS);
        assert!(busy > 0 && accepted >= WAITING_MAX, "{accepted} accepted, {busy} busy");
        assert_eq!(engine.metrics().requests_busy.get(), busy as u64);
        // The flood is over: the next one is served at once.
        enqueue(&engine, job("later")).await;
        engine.abort().await;
        disk.cut_power();
        let engine = ready(&disk, settings, Handlers::new()).await;
        assert_eq!(engine.status().await.unwrap().jobs.total(), accepted as u64 + 1);
    });
}

/// Row 19: a caller that stops waiting knows nothing; the job is there all the same, and no lease expires meanwhile.
#[test]
fn a_request_whose_caller_gives_up_during_a_slow_sync_is_done_all_the_same() {
    on_system(|| async {
        let disk = SimStorage::new();
        let engine = ready(&disk, options(), Handlers::new()).await;
        engine.freeze(ChildId::Wal, Duration::from_millis(500)).await;
        let mut spec = job("later");
        spec.id = Some("order-1".parse().unwrap());
        let answer =
            tokio::time::timeout(Duration::from_millis(20), engine.enqueue(vec![spec.clone()])).await;
        assert!(answer.is_err(), "its caller gave up");
        let again = engine.enqueue(vec![spec]).await.unwrap();
        assert!(!again[0].created, "it had been accepted");
        assert_eq!(engine.stop(None).await, Ending::Clean);
    });
}

/// Row 37.
#[test]
fn an_id_is_still_one_job_after_a_snapshot_and_a_restart() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let mut spec = StepEngine::spec("mail");
    spec.id = Some("order-1".parse().unwrap());
    assert!(beaver.execute(Command::Enqueue(Box::new(spec.clone()))).unwrap().is_some());
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert!(beaver.execute(Command::Enqueue(Box::new(spec.clone()))).unwrap().is_none());
    beaver.dispatch_and_ack(&"order-1".parse().unwrap());
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert!(beaver.execute(Command::Enqueue(Box::new(spec))).unwrap().is_none(), "completed ones count, too");
}

/// Row 55, with a fifth of them, or with all: `BEAVER_TORTURE=5`. Order and limits are kept, in bounded steps.
#[test]
fn jobs_of_one_moment_become_pending_in_slices_and_in_the_order_in_which_they_came() {
    const JOBS: u64 = 200_000;
    const JOBS_MAX: u64 = 1_000_000;
    let jobs = JOBS.saturating_mul(times()).min(JOBS_MAX);
    let kind = KindName::parse("mail").unwrap();
    let mut table = JobTable::new(Policy::default(), std::slice::from_ref(&kind));
    let mut dice = fastrand::Rng::with_seed(1);
    let queue = QueueName::parse("default").unwrap();
    for _ in 0..jobs {
        let mut spec = JobSpec::new(queue.clone(), kind.clone(), Payload::empty());
        spec.start = Start::At(Timestamp(10_000));
        let event = table.decide(Command::Enqueue(Box::new(spec)), Timestamp(1_000), &mut dice).unwrap();
        table.apply(table.last().next(), event.unwrap()).unwrap();
    }
    let mut slices = 0;
    while let Some(event) = table.decide(Command::Promote, Timestamp(10_000), &mut dice).unwrap() {
        table.apply(table.last().next(), event).unwrap();
        slices += 1;
    }
    assert_eq!(slices, jobs.div_ceil(10_000));
    assert_eq!(table.check(), Vec::<String>::new());
    let numbers: std::collections::HashMap<_, _> =
        table.records().into_iter().map(|job| (job.id, job.enqueued_seq)).collect();
    let mut last = Seq::ZERO;
    for _ in 0..1_000 {
        let dispatch = Command::Dispatch { worker: WorkerId(0) };
        let event = table.decide(dispatch, Timestamp(10_000), &mut dice).unwrap().unwrap();
        let number = numbers[event.kind.job().unwrap()];
        table.apply(table.last().next(), event).unwrap();
        assert!(number > last, "first come, first served");
        last = number;
    }
}

/// Row 55: counters that pass 2^32, and attempts that cannot count on.
#[test]
fn positions_pass_two_to_the_32_and_attempts_stop_at_their_end() {
    let kind = KindName::parse("mail").unwrap();
    let last = Seq(u64::from(u32::MAX) - 1);
    let tired = JobRecord {
        id: "tired".parse().unwrap(),
        enqueued_seq: Seq(1),
        created_at: Timestamp(1),
        profile: Profile {
            queue: QueueName::parse("default").unwrap(),
            kind: kind.clone(),
            priority: Default::default(),
            backoff: Backoff::Server,
            exhausted: Exhausted::Dead,
            timeout_ms: u64::MAX,
            max_retry: u32::MAX,
            backtrace_lines: 0,
        },
        content: Content { payload: PayloadRef::Here(Payload::empty()), custom: None },
        life: Life {
            state: JobState::Pending { since: Timestamp(1) },
            attempt: Attempt(u32::MAX - 1),
            line_seq: Seq(1),
            failures: Vec::new(),
            failed: 0,
            result: None,
            last_lease: None,
            successor: None,
        },
    };
    let sections = Sections::default();
    let mut table =
        JobTable::restore(Policy::default(), &[kind], (last, Timestamp(1)), sections, [tired]).unwrap();
    let mut dice = fastrand::Rng::with_seed(1);
    let mut now = Timestamp(2);
    for _ in 0..4 {
        for command in [Command::Promote, Command::Dispatch { worker: WorkerId(0) }] {
            if let Some(event) = table.decide(command, now, &mut dice).unwrap() {
                table.apply(table.last().next(), event).unwrap();
            }
        }
        for (job, token) in table.in_flight(|_| true) {
            let failure = Failure::new(FailureKind::Error, "no");
            let fail = Command::Fail { job, token, failure, result: None };
            let event = table.decide(fail, now, &mut dice).unwrap().unwrap();
            table.apply(table.last().next(), event).unwrap();
        }
        assert_eq!(table.check(), Vec::<String>::new());
        now = now.plus_ms(1_000_000);
    }
    assert!(table.last().0 > u64::from(u32::MAX));
    assert_eq!(table.view(&"tired".parse().unwrap()).unwrap().attempt, Attempt(u32::MAX));
    assert_eq!(table.counts().of(Status::Dead), 1);
}
