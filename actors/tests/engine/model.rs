//! The job table against a model that is too simple to be wrong: a list of jobs, searched from the front.

use std::time::Duration;

use beaver_actors::ids::{JobId, KindName, Lsn, Priority, QueueName, Timestamp, Token, WorkerId};
use beaver_actors::jobs::{
    Change, Command, Event, Failure, FailureKind, JobSpec, JobTable, Payload, Policy, Rejection, Retention,
    Start, Status,
};
use beaver_actors::wal::codec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Enqueue {
        name: u8,
        priority: u8,
        delay_ms: u64,
        max_retry: u32,
        foreign: bool,
    },
    Dispatch,
    /// On the nth known job, under its token or under a stale one.
    Ack(usize, bool),
    Fail(usize, bool),
    Requeue(usize, bool),
    Extend(usize, u64),
    Cancel(usize),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0_u8..12, 0_u8..3, prop_oneof![3 => Just(0_u64), 1 => 1_u64..5_000], 0_u32..3, prop::bool::weighted(0.1))
            .prop_map(|(name, priority, delay_ms, max_retry, foreign)| Op::Enqueue {
                name, priority, delay_ms, max_retry, foreign,
            }),
        5 => Just(Op::Dispatch),
        3 => (0_usize..16, prop::bool::weighted(0.1)).prop_map(|(nth, stale)| Op::Ack(nth, stale)),
        3 => (0_usize..16, prop::bool::weighted(0.1)).prop_map(|(nth, stale)| Op::Fail(nth, stale)),
        1 => (0_usize..16, any::<bool>()).prop_map(|(nth, counts)| Op::Requeue(nth, counts)),
        1 => (0_usize..16, 0_u64..60_000).prop_map(|(nth, by_ms)| Op::Extend(nth, by_ms)),
        1 => (0_usize..16).prop_map(Op::Cancel),
        2 => (1_u64..20_000).prop_map(Op::Pass),
    ]
}

#[derive(Clone, Debug)]
struct ModelJob {
    id: JobId,
    status: Status,
    priority: u8,
    order: u64,
    number: u64,
    due: u64,
    deadline: u64,
    token: u64,
    attempt: u32,
    max_retry: u32,
    foreign: bool,
    finished: (u64, u64),
}

/// What the table should hold.
#[derive(Default)]
struct Model {
    jobs: Vec<ModelJob>,
}

impl Model {
    fn position(&self, id: &JobId) -> Option<usize> {
        self.jobs.iter().position(|job| job.id == *id)
    }

    fn next(&self) -> Option<JobId> {
        let ready = self.jobs.iter().filter(|job| job.status == Status::Pending && !job.foreign);
        ready.min_by_key(|job| (u8::MAX - job.priority, job.order, job.number)).map(|job| job.id.clone())
    }

    /// Follows an event; everything it says was decided by the table.
    fn follow(&mut self, lsn: Lsn, event: &Event) {
        let at = event.at.0;
        if let Change::Enqueue(new) = &event.change {
            self.jobs.retain(|job| job.id != new.id);
            self.jobs.push(ModelJob {
                id: new.id.clone(),
                status: if new.run_at.is_some() { Status::Scheduled } else { Status::Pending },
                priority: new.priority.level(),
                order: lsn.0,
                number: lsn.0,
                due: new.run_at.map_or(0, |run_at| run_at.0),
                deadline: 0,
                token: 0,
                attempt: 0,
                max_retry: new.max_retry,
                foreign: new.kind.as_str() == "foreign",
                finished: (0, 0),
            });
            return;
        }
        if let Change::Promote { due, number } = &event.change {
            let mut waiting: Vec<_> = self.jobs.iter_mut().filter(|job| is_waiting(job.status)).collect();
            waiting.retain(|job| (job.due, job.number) <= (due.0, number.0));
            for job in waiting {
                (job.status, job.order) = (Status::Pending, lsn.0);
            }
            return;
        }
        if let Change::Forget { completed, dead, cancelled } = &event.change {
            self.jobs.retain(|job| match job.status {
                Status::Completed => job.finished.0 > completed.0,
                Status::Dead => job.finished.0 > dead.0,
                Status::Cancelled => job.finished.0 > cancelled.0,
                _ => true,
            });
            return;
        }
        let position = event.change.job().and_then(|id| self.position(id)).expect("the model knows the job");
        let job = &mut self.jobs[position];
        match &event.change {
            Change::Dispatch { attempt, deadline, .. } => {
                assert_eq!(job.status, Status::Pending);
                assert_eq!(attempt.0, job.attempt + 1);
                job.status = Status::InFlight;
                (job.token, job.attempt, job.deadline) = (lsn.0, attempt.0, deadline.0);
            }
            Change::Ack { .. } => (job.status, job.finished) = (Status::Completed, (lsn.0, at)),
            Change::Retry { retry_at, .. } | Change::Timeout { retry_at, .. } => {
                (job.status, job.due) = (Status::Retrying, retry_at.0);
                assert!(job.attempt <= job.max_retry, "it has a retry left");
            }
            Change::Requeue { .. } => job.status = Status::Pending,
            Change::Dead { .. } => {
                assert!(job.attempt > job.max_retry, "it is out of attempts");
                (job.status, job.finished) = (Status::Dead, (lsn.0, at));
            }
            Change::Extend { deadline, .. } => {
                assert!(deadline.0 >= job.deadline, "a lease only gets longer");
                job.deadline = deadline.0;
            }
            Change::Cancel { .. } => (job.status, job.finished) = (Status::Cancelled, (lsn.0, at)),
            Change::Enqueue(_) | Change::Promote { .. } | Change::Forget { .. } | Change::Digest { .. } => {}
        }
    }
}

fn is_waiting(status: Status) -> bool {
    matches!(status, Status::Scheduled | Status::Retrying)
}

fn policy() -> Policy {
    let kept = Retention { count: 4, age: Duration::from_secs(60) };
    Policy {
        timeout: Duration::from_secs(10),
        completed: kept,
        dead: kept,
        cancelled: Retention { count: 1, ..kept },
        ..Policy::default()
    }
}

fn handled() -> Vec<KindName> {
    vec![KindName::parse("mail").unwrap()]
}

struct Run {
    table: JobTable,
    model: Model,
    log: Vec<(Lsn, Event)>,
    now: Timestamp,
    dice: fastrand::Rng,
}

impl Run {
    fn execute(&mut self, command: Command) -> Result<Option<Event>, Rejection> {
        let event = self.table.decide(command, self.now, &mut self.dice)?;
        if let Some(event) = &event {
            let lsn = self.table.last().next();
            self.table.apply(lsn, event.clone()).unwrap();
            self.model.follow(lsn, event);
            self.log.push((lsn, event.clone()));
            let broken = self.table.check();
            assert!(broken.is_empty(), "after {event:?}: {broken:#?}");
        }
        Ok(event)
    }

    fn compare(&self) {
        for job in &self.model.jobs {
            let view = self.table.view(&job.id).expect("the table knows every job of the model");
            assert_eq!((view.status, view.attempt.0), (job.status, job.attempt), "job {}", job.id);
            assert_eq!(self.table.is_completed(&job.id), job.status == Status::Completed);
        }
        assert_eq!(self.table.counts().total(), self.model.jobs.len() as u64);
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Enqueue { name, priority, delay_ms, max_retry, foreign } => {
                let id = JobId::parse(&format!("job-{name}")).unwrap();
                let kind = KindName::parse(if foreign { "foreign" } else { "mail" }).unwrap();
                let mut spec = JobSpec::new(QueueName::parse("default").unwrap(), kind, Payload::empty());
                spec.id = Some(id.clone());
                spec.priority = Priority::new(priority).unwrap();
                spec.max_retry = Some(max_retry);
                spec.start = Start::After(Duration::from_millis(delay_ms));
                let known = self.model.position(&id).map(|position| self.model.jobs[position].status);
                let is_new = known.is_none_or(|status| matches!(status, Status::Dead | Status::Cancelled));
                let event = self.execute(Command::Enqueue(Box::new(spec))).unwrap();
                assert_eq!(event.is_some(), is_new, "{known:?}");
            }
            Op::Dispatch => {
                let expected = self.model.next();
                let event = self.execute(Command::Dispatch { worker: WorkerId(0) }).unwrap();
                assert_eq!(event.and_then(|event| event.change.job().cloned()), expected);
            }
            Op::Ack(nth, stale) => {
                self.report(nth, stale, |job, token| Command::Ack { job, token, result: None })
            }
            Op::Fail(nth, stale) => self.report(nth, stale, |job, token| {
                let failure = Failure::new(FailureKind::Error, "no");
                Command::Fail { job, token, failure, result: None }
            }),
            Op::Requeue(nth, counts) => self.report(nth, false, move |job, token| {
                let failure = Failure::new(FailureKind::Lost, "gone");
                Command::Requeue { job, token, failure, counts }
            }),
            Op::Extend(nth, by_ms) => {
                self.report(nth, false, move |job, token| Command::Extend { job, token, by_ms });
            }
            Op::Cancel(nth) => {
                let Some(job) = self.nth(nth) else { return };
                let result = self.execute(Command::Cancel { job: job.id });
                assert_eq!(result.is_err(), job.status.is_finished());
            }
            Op::Pass(ms) => {
                self.now = self.now.plus_ms(ms);
                for (job, token) in self.table.expired(self.now, usize::MAX) {
                    let position = self.model.position(&job).unwrap();
                    assert!(self.model.jobs[position].deadline <= self.now.0);
                    let failure = Failure::new(FailureKind::Timeout, "expired");
                    self.execute(Command::Fail { job, token, failure, result: None }).unwrap();
                }
                while self.execute(Command::Promote).unwrap().is_some() {}
                while self.execute(Command::Forget).unwrap().is_some() {}
                let overdue = |job: &&ModelJob| is_waiting(job.status) && job.due <= self.now.0;
                assert!(!self.model.jobs.iter().any(|job| overdue(&job)), "promoted when due");
                let old = |job: &&ModelJob| job.status.is_finished() && job.finished.1 + 60_000 <= self.now.0;
                assert!(!self.model.jobs.iter().any(|job| old(&job)), "forgotten when old");
            }
        }
    }

    /// A report on the nth job: accepted exactly if it is in flight under the token that is presented.
    fn report(&mut self, nth: usize, stale: bool, command: impl FnOnce(JobId, Token) -> Command) {
        let Some(job) = self.nth(nth) else { return };
        let token = Token(job.token + u64::from(stale));
        let held = job.status == Status::InFlight && !stale;
        let result = self.execute(command(job.id.clone(), token));
        match result {
            Ok(event) => assert!(held && event.is_some(), "{job:?}"),
            Err(Rejection::StaleToken { .. }) => assert!(!held && !job.status.is_finished(), "{job:?}"),
            Err(Rejection::Finished { .. }) => assert!(job.status.is_finished(), "{job:?}"),
            Err(other) => panic!("{other}"),
        }
    }

    fn nth(&self, nth: usize) -> Option<ModelJob> {
        let count = self.model.jobs.len();
        (count > 0).then(|| self.model.jobs[nth % count].clone())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_a_simple_model_does_and_its_events_rebuild_it(
        ops in prop::collection::vec(op(), 1..120),
        seed in any::<u64>(),
    ) {
        let mut run = Run {
            table: JobTable::new(policy(), &handled()),
            model: Model::default(),
            log: Vec::new(),
            now: Timestamp(1_000_000),
            dice: fastrand::Rng::with_seed(seed),
        };
        for op in ops {
            run.step(op);
            run.compare();
        }
        // From genesis, through bytes.
        let mut replayed = JobTable::new(policy(), &handled());
        for (lsn, event) in &run.log {
            let mut bytes = Vec::new();
            codec::encode(event, &mut bytes);
            replayed.apply(*lsn, codec::decode(&mut bytes.as_slice()).unwrap()).unwrap();
        }
        prop_assert_eq!(replayed.records(), run.table.records());
        // From an image half way, and the rest of the log.
        let half = run.log.len() / 2;
        let mut first = JobTable::new(policy(), &handled());
        for (lsn, event) in &run.log[..half] {
            first.apply(*lsn, event.clone()).unwrap();
        }
        let mut restored =
            JobTable::restore(policy(), &handled(), first.last(), first.last_at(), first.records()).unwrap();
        prop_assert_eq!(restored.check(), Vec::<String>::new());
        for (lsn, event) in &run.log[half..] {
            restored.apply(*lsn, event.clone()).unwrap();
        }
        prop_assert_eq!(restored.records(), run.table.records());
        prop_assert_eq!(restored.check(), Vec::<String>::new());
        // Both give the same jobs next.
        let mut line = (Vec::new(), Vec::new());
        for (table, line) in [(&mut restored, &mut line.0), (&mut run.table, &mut line.1)] {
            while let Some(event) =
                table.decide(Command::Dispatch { worker: WorkerId(0) }, run.now, &mut run.dice).unwrap()
            {
                line.push(event.change.job().cloned());
                table.apply(table.last().next(), event).unwrap();
            }
        }
        prop_assert_eq!(line.0, line.1);
    }
}

#[test]
fn an_event_that_does_not_follow_or_does_not_fit_is_refused() {
    let mut table = JobTable::new(policy(), &handled());
    let cancel = Event { at: Timestamp(1), change: Change::Cancel { job: JobId::parse("job-1").unwrap() } };
    let gap = table.apply(Lsn(2), cancel.clone()).unwrap_err().to_string();
    assert!(gap.contains("should follow event 0"), "{gap}");
    let unknown = table.apply(Lsn(1), cancel).unwrap_err().to_string();
    assert!(unknown.contains("there is no job job-1"), "{unknown}");
}

#[test]
fn a_million_jobs_of_one_moment_are_promoted_in_slices() {
    let mut table = JobTable::new(Policy::default(), &handled());
    let mut dice = fastrand::Rng::with_seed(7);
    let now = Timestamp(1_000);
    for _ in 0..25_000 {
        let mut spec =
            JobSpec::new(QueueName::parse("default").unwrap(), handled()[0].clone(), Payload::empty());
        spec.start = Start::At(Timestamp(2_000));
        let event = table.decide(Command::Enqueue(Box::new(spec)), now, &mut dice).unwrap().unwrap();
        table.apply(table.last().next(), event).unwrap();
    }
    let mut slices = Vec::new();
    while let Some(event) = table.decide(Command::Promote, Timestamp(2_000), &mut dice).unwrap() {
        let before = table.counts().of(Status::Pending);
        table.apply(table.last().next(), event).unwrap();
        slices.push(table.counts().of(Status::Pending) - before);
    }
    assert_eq!(slices, [10_000, 10_000, 5_000]);
    assert_eq!(table.check(), Vec::<String>::new());
}

#[test]
fn jobs_of_unknown_kinds_wait_without_holding_up_the_others() {
    let mut table = JobTable::new(Policy::default(), &handled());
    let mut dice = fastrand::Rng::with_seed(7);
    for kind in ["foreign", "foreign", "mail"] {
        let spec = JobSpec::new(
            QueueName::parse("default").unwrap(),
            KindName::parse(kind).unwrap(),
            Payload::empty(),
        );
        let event = table.decide(Command::Enqueue(Box::new(spec)), Timestamp(1), &mut dice).unwrap().unwrap();
        table.apply(table.last().next(), event).unwrap();
    }
    let waiting: Vec<_> =
        table.pending_without_worker().map(|(kind, count)| (kind.to_string(), count)).collect();
    assert_eq!(waiting, [("foreign".to_owned(), 2)]);
    let dispatch = Command::Dispatch { worker: WorkerId(0) };
    let event = table.decide(dispatch, Timestamp(1), &mut dice).unwrap().expect("the mail is found");
    table.apply(table.last().next(), event).unwrap();
    assert!(!table.has_ready());
}
