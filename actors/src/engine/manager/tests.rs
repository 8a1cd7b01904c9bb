//! Turns by their lists of effects: what a message leads to, in which order, and what must be durable before.

use std::time::Duration;

use tokio::sync::oneshot::error::TryRecvError;

use crate::api::handler::StopReason;
use crate::api::outcome::EngineError;
use crate::api::requests::{AttemptEnd, Claim, QueueSet, SetAction};
use crate::engine::manager::bulk_ops::BulkOps;
use crate::engine::manager::durable_effects::Effect;
use crate::engine::manager::ledger::Ledger;
use crate::engine::manager::pool::Pool;
use crate::engine::manager::testing::{
    Answered, NOW, NoPayloads, enqueue, fetch, held, ledger_under, ledger_with, queue, remote as named, spec,
    start_local, start_remote, token,
};
use crate::engine::manager::{local, remote, requests};
use crate::engine::messages::{Fetch, Finished, GiveBack, Halt, Reply, Submit, WorkerDown};
use crate::ids::{JobId, Seq, Token, WorkerId};
use crate::jobs::command::Enqueued;
use crate::jobs::{
    Command, Failure, FailureKind, Filter, JobSpec, LISTED_BYTES_MAX, Payload, Policy, Rejection, Start,
    Status,
};
use crate::wal::writer::Room;

const ADA: WorkerId = WorkerId(0);

fn submit(ledger: &mut Ledger, message: Submit) {
    requests::submit(ledger, &mut BulkOps::default(), &NoPayloads, message, NOW);
}

fn job(name: &str) -> JobId {
    JobId::parse(name).unwrap()
}

fn spec_of(name: &str) -> JobSpec {
    JobSpec { id: Some(job(name)), ..spec() }
}

fn refused<T>(mut answer: Answered<T>) -> Option<EngineError> {
    answer.try_recv().expect("it is answered at once").err()
}

#[test]
fn jobs_that_are_added_are_answered_after_the_last_of_them_one_answer_a_job() {
    let mut ledger = ledger_with(0);
    let jobs = vec![spec_of("a"), spec_of("b"), spec_of("a")];
    submit(&mut ledger, Submit::Enqueue { jobs, reply: Reply::numbered(1) });
    let answers = [("a", true, 1), ("b", true, 2), ("a", false, 2)];
    let answers =
        answers.map(|(id, created, seq)| Enqueued { id: job(id), created, conflicts: false, seq: Seq(seq) });
    assert_eq!(held(&mut ledger), [(Seq(2), Effect::Enqueued(Reply::numbered(1), answers.to_vec()))]);
    assert_eq!(ledger.commit.take_group().unwrap().group.count, 2);
}

#[test]
fn jobs_of_which_one_is_rejected_are_refused_at_once_and_leave_nothing() {
    let policy = Policy { payload_bytes_max: 10, ..Policy::default() };
    let mut ledger = ledger_under(policy);
    let large = JobSpec { payload: Payload::parse("[1,2,3,4,5,6]").unwrap(), ..spec() };
    let (reply, answer) = Reply::with_receiver(1);
    submit(&mut ledger, Submit::Enqueue { jobs: vec![spec(), large], reply });
    let rejection = Rejection::PayloadTooLarge { bytes: 13, bytes_max: 10 };
    assert_eq!(refused(answer), Some(EngineError::RejectedAt { index: 1, rejection }));
    assert_eq!((held(&mut ledger), ledger.table.last()), (vec![], Seq::ZERO));
}

#[test]
fn new_jobs_are_refused_at_once_while_the_disk_is_full_and_while_the_server_stops() {
    for (accepts_jobs, is_closed, rejection) in
        [(false, false, Rejection::DiskFull), (false, true, Rejection::Stopping)]
    {
        let mut ledger = ledger_with(0);
        ledger.room = Room { bytes: 0, accepts_jobs, is_stuck: false };
        (ledger.is_draining, ledger.is_closed) = (true, is_closed);
        let (reply, answer) = Reply::with_receiver(1);
        submit(&mut ledger, Submit::Enqueue { jobs: vec![spec()], reply });
        assert_eq!(refused(answer), Some(rejection.into()));
        assert_eq!((held(&mut ledger), ledger.table.last()), (vec![], Seq::ZERO));
    }
}

#[test]
fn the_report_of_a_remote_worker_is_answered_after_its_event() {
    let mut ledger = ledger_with(2);
    for (request, token_is_said, end) in [
        (1, true, AttemptEnd::Success(None)),
        (2, false, AttemptEnd::Failure(Failure::new(FailureKind::Error, "no"), None)),
    ] {
        let (job, token) = start_remote(&mut ledger, "w1");
        let claim = Claim { worker: named("w1"), token: token_is_said.then_some(token) };
        submit(&mut ledger, Submit::Report { job, claim, end, reply: Reply::numbered(request) });
        let last = ledger.table.last();
        assert_eq!(held(&mut ledger), [(last, Effect::Done(Reply::numbered(request)))]);
    }
    let counts = ledger.table.counts();
    assert_eq!((ledger.table.last(), counts.of(Status::Completed)), (Seq(6), 1));
    assert_eq!(counts.of(Status::Retrying), 1);
}

#[test]
fn a_rejection_waits_for_what_it_was_rejected_for() {
    let mut ledger = ledger_with(1);
    let (job, token) = start_remote(&mut ledger, "w1");
    let report = |worker: &str, reply| {
        let claim = Claim { worker: named(worker), token: Some(token) };
        Submit::Report { job: job.clone(), claim, end: AttemptEnd::Success(None), reply }
    };
    submit(&mut ledger, report("w2", Reply::numbered(1)));
    submit(&mut ledger, report("w1", Reply::numbered(2)));
    submit(&mut ledger, report("w1", Reply::numbered(3)));
    let not_held = Rejection::NotHeld { job: job.clone(), worker: named("w2") };
    let finished = Rejection::Finished { job, status: "completed" };
    let expected = [
        (Seq(2), Effect::Rejected(Reply::numbered(1), Box::new(not_held))),
        (Seq(3), Effect::Done(Reply::numbered(2))),
        (Seq(3), Effect::Rejected(Reply::numbered(3), Box::new(finished))),
    ];
    assert_eq!(held(&mut ledger), expected);
}

#[test]
fn cancelling_a_running_job_tells_its_local_worker_and_then_its_caller() {
    let mut ledger = ledger_with(2);
    let (job, token) = start_local(&mut ledger, ADA);
    submit(&mut ledger, Submit::Cancel { job: job.clone(), reply: Reply::numbered(1) });
    let halt = Halt { token, reason: StopReason::Cancelled };
    let expected = [(Seq(4), Effect::Halt(ADA, halt)), (Seq(4), Effect::Done(Reply::numbered(1)))];
    assert_eq!(held(&mut ledger), expected);

    let (job, _) = start_remote(&mut ledger, "w1");
    submit(&mut ledger, Submit::Cancel { job, reply: Reply::numbered(2) });
    let last = ledger.table.last();
    assert_eq!(held(&mut ledger), [(last, Effect::Done(Reply::numbered(2)))], "it hears when it reports");
}

#[test]
fn a_pause_is_answered_after_the_last_queue_and_one_that_changes_nothing_after_what_was_before() {
    let mut ledger = ledger_with(0);
    for name in ["a", "b"] {
        enqueue(&mut ledger, JobSpec { queue: queue(name), ..spec() });
    }
    for (request, paused, last) in [(1, true, 4), (2, true, 4), (3, false, 6)] {
        let reply = Reply::numbered(request);
        let queues = QueueSet::Named(["a", "b", "nobody"].map(queue).to_vec());
        submit(&mut ledger, Submit::Pause { queues, paused, reply });
        let found = Ok(["a", "b"].map(queue).to_vec());
        assert_eq!(held(&mut ledger), [(Seq(last), Effect::Paused(Reply::numbered(request), found))]);
        assert!(ledger.table.queues().all(|queue| queue.paused == paused));
    }
}

#[test]
fn ready_jobs_go_to_idle_workers_and_what_ends_frees_its_worker() {
    let (mut ledger, mut pool) = (ledger_with(3), Pool::new(2));
    pool.join(ADA, ());
    pool.join(WorkerId(1), ());
    local::dispatch(&mut ledger, &mut pool, NOW);
    let runs = held(&mut ledger);
    let [
        (Seq(4), Effect::Run(ADA, first, Token { seq: Seq(4), .. })),
        (Seq(5), Effect::Run(WorkerId(1), ..)),
    ] = &runs[..]
    else {
        panic!("{runs:?}");
    };
    let end = AttemptEnd::Success(None);
    let report = Finished { worker: ADA, job: first.clone(), token: token(4), end };
    local::finished(&mut ledger, &mut pool, report, NOW);
    assert_eq!((held(&mut ledger), pool.idle_count()), (vec![], 1));
    ledger.is_draining = true;
    local::dispatch(&mut ledger, &mut pool, NOW);
    assert_eq!(held(&mut ledger), [], "nothing is started while the server stops");
    ledger.is_draining = false;
    local::dispatch(&mut ledger, &mut pool, NOW);
    assert!(matches!(held(&mut ledger)[..], [(Seq(7), Effect::Run(ADA, _, Token { seq: Seq(7), .. }))]));
    local::dispatch(&mut ledger, &mut pool, NOW);
    assert_eq!(pool.idle_count(), 0, "both are busy");
}

#[test]
fn what_a_dead_worker_ran_is_pending_again_and_nobody_else_is_told() {
    let (mut ledger, mut pool) = (ledger_with(1), Pool::new(1));
    pool.join(ADA, ());
    local::dispatch(&mut ledger, &mut pool, NOW);
    held(&mut ledger);
    let down = WorkerDown { worker: ADA, cause: "panicked".to_owned() };
    local::down(&mut ledger, &mut pool, down, NOW);
    assert_eq!((held(&mut ledger), pool.up_count()), (vec![], 0));
    assert_eq!((ledger.table.last(), ledger.table.counts().of(Status::Pending)), (Seq(3), 1));
}

#[test]
fn a_fetch_gets_a_job_or_waits_for_one_and_hears_when_its_wait_is_over() {
    let mut ledger = ledger_with(1);
    let ask = |ledger: &mut Ledger, request, wait_ms| {
        let wait = Duration::from_millis(wait_ms);
        let queues = [queue("default")].into();
        let message = Fetch { queues, worker: named("w1"), wait, reply: Reply::numbered(request) };
        remote::fetch(ledger, message, NOW);
    };
    ask(&mut ledger, 1, 0);
    let delivered = held(&mut ledger);
    let [(Seq(2), Effect::Deliver(reply, given, Token { seq: Seq(2), .. }))] = &delivered[..] else {
        panic!("{delivered:?}")
    };
    assert_eq!(*reply, Reply::numbered(1));
    ask(&mut ledger, 2, 0);
    assert_eq!(held(&mut ledger), [(Seq(2), Effect::Undelivered(Reply::numbered(2)))]);

    let (waits, _answer) = fetch(3, &["default"], NOW.0 + 50);
    ledger.fetches.add(waits);
    remote::serve_fetches(&mut ledger, NOW.plus_ms(49));
    assert_eq!(held(&mut ledger), [], "there is no job and there is time");
    remote::give_back(&mut ledger, GiveBack { job: given.clone(), token: token(2) }, NOW.plus_ms(49));
    remote::serve_fetches(&mut ledger, NOW.plus_ms(49));
    let expected = Effect::Deliver(Reply::numbered(3), given.clone(), token(4));
    assert_eq!(held(&mut ledger), [(Seq(4), expected)]);
    assert_eq!(ledger.table.view(given).unwrap().failed, 0, "the first attempt does not count");

    let (waits, _answer) = fetch(4, &["default"], NOW.0 + 50);
    ledger.fetches.add(waits);
    remote::serve_fetches(&mut ledger, NOW.plus_ms(50));
    assert_eq!(held(&mut ledger), [(Seq(4), Effect::Undelivered(Reply::numbered(4)))]);
}

#[test]
fn workers_that_wait_when_the_server_stops_are_told_so_at_once() {
    let mut ledger = ledger_with(0);
    let (waits, answer) = fetch(1, &["default"], NOW.0 + 50);
    ledger.fetches.add(waits);
    ledger.is_draining = true;
    remote::serve_fetches(&mut ledger, NOW);
    assert!(matches!(refused(answer), Some(EngineError::Rejected(Rejection::Stopping))));
    assert_eq!(held(&mut ledger), []);
}

#[test]
fn on_a_full_disk_a_fetch_waits_and_gets_its_job_when_there_is_room_again() {
    let mut ledger = ledger_with(1);
    ledger.room = Room { bytes: 0, accepts_jobs: false, is_stuck: false };
    let (waits, _answer) = fetch(1, &["default"], NOW.0 + 50);
    ledger.fetches.add(waits);
    ledger.ready.mark_all();
    remote::serve_fetches(&mut ledger, NOW);
    assert_eq!(held(&mut ledger), []);
    ledger.room.accepts_jobs = true;
    remote::serve_fetches(&mut ledger, NOW);
    assert!(matches!(held(&mut ledger)[..], [(Seq(2), Effect::Deliver(..))]));
}

#[test]
fn a_job_that_was_taken_away_before_its_delivery_is_not_delivered() {
    let mut ledger = ledger_with(1);
    let (job, token) = start_remote(&mut ledger, "w1");
    let mut given_back = Vec::new();
    let deliver = |ledger: &Ledger| remote::delivery(&ledger.table, &NoPayloads, &job, token, |_| ());
    given_back.push(deliver(&ledger).unwrap().map(|delivery| delivery.accept().1));
    submit(&mut ledger, Submit::Cancel { job: job.clone(), reply: Reply::numbered(1) });
    given_back.push(deliver(&ledger).unwrap().map(|delivery| delivery.accept().1));
    assert_eq!(given_back, [Some(token), None]);
}

#[test]
fn a_list_of_jobs_with_long_texts_ends_with_the_job_that_tells_of_more() {
    let (mut ledger, mut bulk) = (ledger_with(0), BulkOps::default());
    let payload = Payload::from_value(&"x".repeat(LISTED_BYTES_MAX / 10)).unwrap();
    let jobs = vec![JobSpec { payload, ..spec() }; 15];
    submit(&mut ledger, Submit::Enqueue { jobs, reply: Reply::numbered(1) });
    held(&mut ledger);
    bulk.list(&ledger, Status::Pending, Filter::default(), 15, Reply::numbered(2));
    bulk.step(&mut ledger, &NoPayloads, NOW);
    let [(_, Effect::Listed(_, listed))] = &held(&mut ledger)[..] else { panic!("it is answered") };
    assert_eq!(listed.len(), 11);
}

#[test]
fn a_job_is_delivered_whose_earlier_result_cannot_be_read_back() {
    let mut ledger = ledger_with(1);
    let (job, token) = start_remote(&mut ledger, "w1");
    let result = Payload::from_value(&"half way ".repeat(20)).unwrap();
    let failure = Failure::new(FailureKind::Error, "no paper");
    ledger.execute(Command::Fail { job: job.clone(), token, failure, result: Some(result) }, NOW).unwrap();
    ledger.execute(Command::RunNow { job }, NOW).unwrap();
    let (job, token) = start_remote(&mut ledger, "w1");
    let last = ledger.table.last();
    ledger.table.leave_payloads(last, u64::MAX);
    assert_eq!(
        ledger.table.whole_view(&job, &NoPayloads).unwrap().unreadable.len(),
        1,
        "the result is not there"
    );
    assert!(remote::delivery(&ledger.table, &NoPayloads, &job, token, |_| ()).unwrap().is_some());
}

#[test]
fn a_bulk_operation_goes_step_by_step_and_is_answered_after_its_last_event() {
    let (mut ledger, mut bulk) = (ledger_with(1_500), BulkOps::default());
    let kill = Submit::Act {
        action: SetAction::Kill,
        status: Status::Pending,
        filter: Filter::default(),
        reply: Reply::numbered(1),
    };
    requests::submit(&mut ledger, &mut bulk, &NoPayloads, kill, NOW);
    assert!(bulk.take_due() && !bulk.take_due(), "its next step is seen to once");
    bulk.step(&mut ledger, &NoPayloads, NOW);
    assert_eq!((held(&mut ledger), ledger.table.counts().of(Status::Dead)), (vec![], 1_000));
    bulk.list(&ledger, Status::Scheduled, Filter::default(), 10, Reply::numbered(2));
    for (request, effect) in
        [(1, Effect::Changed(Reply::numbered(1), 1_500)), (2, Effect::Listed(Reply::numbered(2), vec![]))]
    {
        assert!(bulk.take_due(), "operation {request} goes on");
        bulk.step(&mut ledger, &NoPayloads, NOW);
        assert_eq!(held(&mut ledger), [(ledger.table.last(), effect)]);
    }
    assert!(bulk.is_empty() && !bulk.take_due());
}

#[test]
fn bulk_operations_are_refused_on_a_full_disk_and_when_the_server_stops() {
    let (mut ledger, mut bulk) = (ledger_with(1), BulkOps::default());
    let ask = |ledger: &mut Ledger, bulk: &mut BulkOps| {
        let (reply, answer) = Reply::with_receiver(1);
        requests::submit(ledger, bulk, &NoPayloads, Submit::Flush { reply }, NOW);
        answer
    };
    ledger.room.accepts_jobs = false;
    let full = ask(&mut ledger, &mut bulk);
    bulk.step(&mut ledger, &NoPayloads, NOW);
    assert_eq!(refused(full), Some(Rejection::DiskFull.into()));
    ledger.room.accepts_jobs = true;
    let mut under_way = ask(&mut ledger, &mut bulk);
    assert_eq!(under_way.try_recv(), Err(TryRecvError::Empty));
    ledger.is_draining = true;
    bulk.refuse_all();
    assert_eq!(refused(under_way), Some(Rejection::Stopping.into()));
    let too_late = ask(&mut ledger, &mut bulk);
    assert_eq!(refused(too_late), Some(Rejection::Stopping.into()));
    assert_eq!((held(&mut ledger), ledger.table.counts().of(Status::Pending)), (vec![], 1));
}

#[test]
fn a_queue_that_is_removed_is_forgotten_after_its_pending_jobs_and_keeps_the_others() {
    let (mut ledger, mut bulk) = (ledger_with(2), BulkOps::default());
    enqueue(&mut ledger, JobSpec { start: Start::After(Duration::from_secs(9)), ..spec() });
    let queues = QueueSet::Named(vec![queue("default"), queue("nobody")]);
    let remove = Submit::RemoveQueues { queues, reply: Reply::numbered(1) };
    requests::submit(&mut ledger, &mut bulk, &NoPayloads, remove, NOW);
    bulk.step(&mut ledger, &NoPayloads, NOW);
    assert_eq!(held(&mut ledger), [(Seq(6), Effect::Changed(Reply::numbered(1), 2))]);
    assert_eq!(ledger.table.counts().of(Status::Scheduled), 1);
}

#[test]
fn a_question_about_a_job_is_answered_with_what_is_durable_or_why_not() {
    let mut ledger = ledger_with(0);
    let known = enqueue(&mut ledger, spec());
    let view = ledger.table.whole_view(&known, &NoPayloads).unwrap();
    requests::view(&mut ledger, &NoPayloads, known, Reply::numbered(1));
    requests::view(&mut ledger, &NoPayloads, job("unknown"), Reply::numbered(2));
    let unknown = Rejection::NotFound { job: job("unknown") };
    let expected = [
        (Seq(1), Effect::Viewed(Reply::numbered(1), Box::new(Ok(view)))),
        (Seq(1), Effect::Viewed(Reply::numbered(2), Box::new(Err(unknown.into())))),
    ];
    assert_eq!(held(&mut ledger), expected);
}
