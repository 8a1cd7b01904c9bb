//! The job table against a model that is too simple to be wrong: a list of jobs, searched from the front.
//!
//! Every event is checked against the model as it is applied; at the end the events, an image with the rest of the
//! events, and an image folded from them must all give the same jobs, queues and totals.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::options::Layering;
use beaver_actors::ids::{
    Epoch, JobId, KindName, Priority, QueueName, RemoteName, Seq, Term, Timeline, Timestamp, Token, WorkerId,
};
use beaver_actors::internals::jobs::event::ClockStep;
use beaver_actors::internals::jobs::record::JobRecord;
use beaver_actors::internals::jobs::sections::{Overview, Sections};
use beaver_actors::internals::snapshot::compact::{Compaction, CompactionStep};
use beaver_actors::internals::snapshot::fold::Delta;
use beaver_actors::internals::snapshot::store::SnapshotStore;
use beaver_actors::internals::wal::codec;
use beaver_actors::jobs::{
    Backoff, Command, Event, EventKind, Exhausted, Failure, FailureKind, JobSpec, JobTable, Payload, Policy,
    Rejection, Retention, Start, Status,
};
use beaver_actors::testing::SimStorage;
use proptest::prelude::*;

use self::ops::{HOUR_MS, New, Op, op, op_under_a_bad_clock};
use self::simple::{Model, ModelJob, TIMEOUT_MS, is_waiting};

mod ops;
mod simple;

fn queue(number: u8) -> QueueName {
    QueueName::parse(["alpha", "beta", "gamma", "nowhere"][usize::from(number)]).unwrap()
}

fn remote(number: u8) -> RemoteName {
    match number {
        0 => RemoteName::anonymous(),
        number => RemoteName::parse(&format!("worker-{number}")).unwrap(),
    }
}

fn policy() -> Policy {
    let kept = Retention { count: 4, age: Duration::from_secs(60) };
    Policy {
        timeout: Duration::from_millis(TIMEOUT_MS),
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
    log: Vec<(Seq, Event)>,
    now: Timestamp,
    dice: fastrand::Rng,
}

impl Run {
    fn new(seed: u64) -> Run {
        Run {
            table: JobTable::new(policy(), &handled()),
            model: Model::default(),
            log: Vec::new(),
            now: Timestamp(100_000 * HOUR_MS.cast_unsigned()),
            dice: fastrand::Rng::with_seed(seed),
        }
    }

    fn execute(&mut self, command: Command) -> Result<Option<Event>, Rejection> {
        let event = self.table.decide(command, self.now, &mut self.dice)?;
        if let Some(event) = &event {
            let seq = self.table.last().next();
            self.table.apply(seq, event.clone()).unwrap();
            self.model.follow(seq, event);
            self.log.push((seq, event.clone()));
            let broken = self.table.check();
            assert!(broken.is_empty(), "after {event:?}: {broken:#?}");
        }
        Ok(event)
    }

    fn compare(&self) {
        for job in &self.model.jobs {
            let view = self.table.view(&job.id).expect("the table knows every job of the model");
            let seen = (view.status, view.attempt.0, view.failed, view.queue.as_str());
            assert_eq!(seen, (job.status, job.attempt, job.failed, &*job.queue), "job {}", job.id);
            assert_eq!(self.table.is_completed(&job.id), job.status == Status::Completed);
        }
        assert_eq!(self.table.counts().total(), self.model.jobs.len() as u64);
        let Overview { queues, totals, terms, .. } = self.table.overview();
        assert_eq!(terms.epoch, self.model.epoch);
        let queues: Vec<_> = queues.iter().map(|queue| (queue.name.to_string(), queue.paused)).collect();
        let expected: Vec<_> =
            self.model.queues.iter().map(|(name, paused)| (name.clone(), *paused)).collect();
        assert_eq!(queues, expected);
        assert_eq!(totals, self.model.totals);
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Enqueue(new) => self.enqueue(&new),
            Op::Dispatch => {
                let expected = self.model.next();
                let event = self.execute(Command::Dispatch { worker: WorkerId(0) }).unwrap();
                assert_eq!(event.and_then(|event| event.kind.job().cloned()), expected);
            }
            Op::Reserve(who, from) => {
                let queues: Vec<_> = from.into_iter().map(queue).collect();
                let names: Vec<_> = queues.iter().map(ToString::to_string).collect();
                let expected = self.model.next_of(&names);
                let command = Command::Reserve { queues: queues.into(), worker: remote(who) };
                let event = self.execute(command).unwrap();
                assert_eq!(event.and_then(|event| event.kind.job().cloned()), expected);
            }
            Op::Ack(nth, stale) => {
                self.report(nth, stale, |job, token| Command::Ack { job, token, result: None })
            }
            Op::Fail(nth, stale) => self.report(nth, stale, |job, token| {
                let failure = Failure::new(FailureKind::Error, "no").of_type("Sorry");
                Command::Fail { job, token, failure, result: None }
            }),
            Op::Report(nth, who, knows) => self.report_from_afar(nth, &remote(who), knows),
            Op::Requeue(nth, counts, fences) => self.report(nth, false, move |job, token| {
                let failure = Failure::new(FailureKind::Lost, "gone");
                Command::Requeue { job, token, failure, counts, fences }
            }),
            Op::Postpone(nth) => self.report(nth, false, |job, token| {
                let failure = Failure::new(FailureKind::Undelivered, "full");
                Command::Postpone { job, token, failure }
            }),
            Op::Extend(nth, by_ms) => {
                self.report(nth, false, move |job, token| Command::Extend { job, token, by_ms });
            }
            Op::Cancel(nth) => {
                let Some(job) = self.nth(nth) else { return };
                let result = self.execute(Command::Cancel { job: job.id });
                assert_eq!(result.is_err(), job.status.is_finished());
            }
            Op::RunNow(nth) => {
                let Some(job) = self.nth(nth) else { return };
                let result = self.execute(Command::RunNow { job: job.id });
                assert_eq!(result.is_ok(), is_waiting(job.status) || job.status == Status::Dead);
            }
            Op::Kill(nth) => {
                let Some(job) = self.nth(nth) else { return };
                let result = self.execute(Command::Kill { job: job.id });
                assert_eq!(result.is_ok(), is_waiting(job.status) || job.status == Status::Pending);
            }
            Op::Discard(nth) => {
                let Some(job) = self.nth(nth) else { return };
                assert!(self.execute(Command::Discard { job: job.id.clone() }).unwrap().is_some());
                let again = self.execute(Command::Discard { job: job.id.clone() });
                assert_eq!(again, Err(Rejection::NotFound { job: job.id }));
            }
            Op::Move(nth, to) => {
                let Some(job) = self.nth(nth) else { return };
                let result = self.execute(Command::Move { job: job.id, queue: queue(to) });
                let movable = [Status::Pending, Status::Scheduled, Status::Retrying, Status::Dead];
                assert_eq!(result.is_ok(), movable.contains(&job.status));
                let moved = result.is_ok_and(|event| event.is_some());
                assert_eq!(moved, movable.contains(&job.status) && job.queue != queue(to).as_str());
            }
            Op::Pause(number) => {
                let expected = self.is_paused(number) == Some(false);
                let event = self.execute(Command::SetPaused { queue: queue(number), paused: true }).unwrap();
                assert_eq!(event.is_some(), expected);
            }
            Op::Resume(number) => {
                let expected = self.is_paused(number) == Some(true);
                let event = self.execute(Command::SetPaused { queue: queue(number), paused: false }).unwrap();
                assert_eq!(event.is_some(), expected);
            }
            Op::RemoveQueue(number) => {
                let expected = self.is_paused(number).is_some();
                let event = self.execute(Command::RemoveQueue { queue: queue(number) }).unwrap();
                assert_eq!(event.is_some(), expected);
            }
            Op::ForgetQueue(number, idle_ms) => {
                let name = queue(number);
                let is_empty = !self.model.jobs.iter().any(|job| job.queue == name.as_str());
                let expected = idle_ms == 0 && is_empty && self.is_paused(number) == Some(false);
                let event = self.execute(Command::ForgetQueue { queue: name, idle_ms }).unwrap();
                assert_eq!(event.is_some(), expected);
                // At any time, and without anybody noticing.
                self.table.reclaim_names();
                assert_eq!(self.table.check(), [""; 0]);
            }
            Op::Output(nth, stale) => self.output(nth, stale),
            Op::Restart => assert!(self.execute(Command::BeginTerm).unwrap().is_some()),
            Op::SpareLeases(away_ms) => {
                let is_held = self.model.jobs.iter().any(|job| job.status == Status::InFlight);
                let event = self.execute(Command::SpareLeases { away_ms }).unwrap();
                assert_eq!(event.is_some(), is_held);
            }
            Op::SetClock(hours, is_synchronised) => self.set_clock(hours, is_synchronised),
            Op::TrustClock => {
                let is_doubted = self.model.is_doubted;
                assert_eq!(self.execute(Command::TrustClock).unwrap().is_some(), is_doubted);
                assert!(!self.model.is_doubted);
            }
            Op::Pass(ms) => self.pass(ms),
        }
    }

    fn set_clock(&mut self, hours: i64, is_synchronised: bool) {
        let expected = self.now;
        self.now = Timestamp(self.now.0.checked_add_signed(hours * HOUR_MS).unwrap());
        let was_doubted = self.model.is_doubted;
        let event = self.execute(Command::SetClock { expected, is_synchronised }).unwrap();
        self.now = self.table.time_by(self.now);
        assert!(!(self.model.is_doubted && is_synchronised));
        if self.log.is_empty() {
            return assert_eq!(event, None);
        }
        if !is_synchronised && hours > 7 * 24 {
            assert!(self.model.is_doubted);
        }
        if hours.abs() < 24 {
            let is_news = was_doubted && !self.model.is_doubted;
            let is_again =
                |event: &Event| matches!(event.kind, EventKind::SetClock { step: ClockStep::Again, .. });
            assert_eq!(event.filter(|event| !is_again(event)).is_some(), is_news, "small steps are nothing");
        }
    }

    fn enqueue(&mut self, new: &New) {
        let id = JobId::parse(&format!("job-{}", new.name)).unwrap();
        let kind = KindName::parse(if new.foreign { "foreign" } else { "mail" }).unwrap();
        let mut spec = JobSpec::new(queue(new.queue), kind, Payload::empty());
        spec.id = Some(id.clone());
        spec.priority = Priority::new(new.priority).unwrap();
        spec.max_retry = Some(new.max_retry);
        spec.start = Start::After(Duration::from_millis(new.delay_ms));
        spec.backoff = new.backoff;
        spec.exhausted = if new.drop { Exhausted::Drop } else { Exhausted::Dead };
        spec.custom = new.drop.then(|| Payload::parse(r#"{"a":1}"#).unwrap());
        spec.backtrace_lines = u32::from(new.drop);
        spec.replaces_completed = new.replaces;
        spec.follows_running = new.follows;
        let known = self.model.position(&id).map(|position| self.model.jobs[position].status);
        let is_new = match known {
            None | Some(Status::Dead | Status::Cancelled) => true,
            Some(Status::Completed) => new.replaces,
            Some(Status::InFlight) => new.follows,
            Some(_) => false,
        };
        let event = self.execute(Command::Enqueue(Box::new(spec))).unwrap();
        assert_eq!(event.is_some(), is_new, "{known:?}");
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        for (job, token) in self.table.expired(self.now, usize::MAX) {
            let position = self.model.position(&job).unwrap();
            assert!(self.model.jobs[position].deadline <= self.now.0);
            let failure = Failure::new(FailureKind::Timeout, "expired");
            self.execute(Command::Fail { job, token, failure, result: None }).unwrap();
        }
        while self.execute(Command::Succeed).unwrap().is_some() {}
        assert!(!self.model.jobs.iter().any(|job| job.is_followed && job.status.is_finished()), "succeeded");
        while self.execute(Command::Promote).unwrap().is_some() {}
        while self.execute(Command::Forget).unwrap().is_some() {}
        let overdue = |job: &&ModelJob| is_waiting(job.status) && job.due <= self.now.0;
        assert!(!self.model.jobs.iter().any(|job| overdue(&job)), "promoted when due");
        // In the order in which they ended: what may have ended later is not forgotten before the others.
        for status in [Status::Completed, Status::Dead, Status::Cancelled] {
            let finished = self.model.jobs.iter().filter(|job| job.status == status);
            let first = finished.min_by_key(|job| job.finished.0);
            let is_old = first.is_some_and(|job| self.model.ended_at(job) + 60_000 <= self.now.0);
            assert!(!is_old || self.model.is_doubted, "forgotten when old");
        }
    }

    /// A report on the nth job: accepted exactly if it is in flight under the token that is presented; or, if it is one of
    /// success, waits and was last in flight under it.
    fn report(&mut self, nth: usize, stale: bool, command: impl FnOnce(JobId, Token) -> Command) {
        let Some(job) = self.nth(nth) else { return };
        let token = self.token(&job, stale);
        let command = command(job.id.clone(), token);
        let counts = match command {
            Command::Ack { .. } => job.may_succeed(),
            _ => job.status == Status::InFlight,
        };
        let held = counts && !stale;
        let result = self.execute(command);
        match result {
            Ok(event) => assert!(held && event.is_some(), "{job:?}"),
            Err(Rejection::StaleToken { .. }) => assert!(!held && !job.status.is_finished(), "{job:?}"),
            Err(Rejection::Finished { .. }) => assert!(job.status.is_finished(), "{job:?}"),
            Err(other) => panic!("{other}"),
        }
    }

    /// The token of the last lease of a job; or one that nobody was given, of another event or of another start.
    fn token(&mut self, job: &ModelJob, stale: bool) -> Token {
        let Token { epoch, seq } = job.token;
        let Epoch { timeline, term } = epoch;
        let other = match self.dice.u8(0..3) {
            0 => Token { epoch, seq: seq.next() },
            1 => Token { epoch: Epoch { timeline, term: Term(term.0 + 1) }, seq },
            _ => Token { epoch: Epoch { timeline: Timeline(timeline.0 + 1), term }, seq },
        };
        if stale { other } else { job.token }
    }

    /// What an attempt left behind is taken late only after the job's end, and only of its last attempt that did not
    /// succeed.
    fn output(&mut self, nth: usize, stale: bool) {
        let Some(job) = self.nth(nth) else { return };
        let token = self.token(&job, stale);
        let result = Payload::parse(&format!("{{\"after\":{}}}", self.log.len())).unwrap();
        let command = Command::Output { job: job.id.clone(), token, result: result.clone() };
        let has_ended = matches!(job.status, Status::Dead | Status::Cancelled);
        let is_fit = has_ended && !stale && job.attempt > 0 && !job.is_fenced;
        match self.execute(command) {
            Ok(_) => {
                assert!(is_fit, "{job:?}");
                assert_eq!(self.table.view(&job.id).unwrap().result, Some(result));
            }
            Err(Rejection::StaleToken { .. }) => assert!(!is_fit, "{job:?}"),
            Err(other) => panic!("{other}"),
        }
    }

    /// A remote worker's report of success: accepted exactly if that worker holds the job, or was the last that did.
    fn report_from_afar(&mut self, nth: usize, worker: &RemoteName, knows: bool) {
        let Some(job) = self.nth(nth) else { return };
        let token = knows.then_some(job.token);
        let theirs = job.remote.as_ref() == Some(worker);
        let is_held = theirs && job.status == Status::InFlight;
        assert_eq!(self.table.held_by(&job.id, worker, token).is_ok(), is_held, "{job:?}");
        let theirs = theirs && job.may_succeed();
        match self.table.succeeded_by(&job.id, worker, token) {
            Ok(token) => {
                assert!(theirs && token == job.token, "{job:?}");
                self.execute(Command::Ack { job: job.id, token, result: None }).unwrap();
            }
            Err(Rejection::NotHeld { .. }) => assert!(!theirs && !job.status.is_finished(), "{job:?}"),
            Err(Rejection::Finished { .. }) => assert!(job.status.is_finished(), "{job:?}"),
            Err(other) => panic!("{other}"),
        }
    }

    fn nth(&self, nth: usize) -> Option<ModelJob> {
        let count = self.model.jobs.len();
        (count > 0).then(|| self.model.jobs[nth % count].clone())
    }

    /// Whether a queue is paused; none if there is none: it was never used, or removed and no job waits in it.
    fn is_paused(&self, number: u8) -> Option<bool> {
        let name = queue(number);
        let waits = |job: &ModelJob| job.status == Status::Pending && job.queue == name.as_str();
        let is_there = self.model.queues.get(name.as_str()).copied();
        is_there.or_else(|| self.model.jobs.iter().any(waits).then_some(false))
    }

    /// Everything that an image would hold.
    fn image(&self) -> (Vec<JobRecord>, Sections) {
        image(&self.table)
    }
}

fn image(table: &JobTable) -> (Vec<JobRecord>, Sections) {
    (table.records(), table.sections().clone())
}

/// A table from events as they are read back from bytes.
fn replayed(log: &[(Seq, Event)]) -> JobTable {
    let mut table = JobTable::new(policy(), &handled());
    for (seq, event) in log {
        let mut bytes = Vec::new();
        codec::encode(event, &mut bytes);
        table.apply(*seq, codec::decode(&mut bytes.as_slice()).unwrap()).unwrap();
    }
    table
}

fn restored(last: Seq, last_at: Timestamp, (records, sections): (Vec<JobRecord>, Sections)) -> JobTable {
    JobTable::restore(policy(), &handled(), (last, last_at), sections, records).unwrap()
}

/// Images on a disk of their own, which are written as a whole, or tell only of what changed.
fn images(changes_from_bytes: u64) -> SnapshotStore {
    let dir = Path::new("/images");
    let layering = Layering { changes_from_bytes, ..Layering::default() };
    SnapshotStore::new(Arc::new(SimStorage::new()), dir, dir).with(layering)
}

/// Folds events into the state before them, if there is one.
fn fold(images: &SnapshotStore, events: &[(Seq, Event)]) {
    let before = images.newest_without(&[]).unwrap();
    let (last, last_at) = before
        .as_ref()
        .map_or((Seq::ZERO, Timestamp(0)), |before| (before.header().last, before.header().last_at));
    let sections = before.as_ref().map_or_else(Sections::default, |before| before.sections().clone());
    let mut delta = Delta::after(last, last_at, sections);
    events.iter().for_each(|(seq, event)| delta.take(*seq, event.clone()).unwrap());
    images.write(before, delta, [7; 16], Timestamp(9)).unwrap();
}

fn read(images: &SnapshotStore) -> (Vec<JobRecord>, Sections) {
    let both = |_: &_, sections: &Sections, jobs: &mut dyn Iterator<Item = JobRecord>| {
        Ok((jobs.collect(), sections.clone()))
    };
    images.load(both).unwrap_or_else(|(error, _)| panic!("{error}")).value
}

/// The jobs that local workers get one after the other.
fn line(table: &mut JobTable, now: Timestamp) -> Vec<Option<JobId>> {
    let mut line = Vec::new();
    let mut dice = fastrand::Rng::with_seed(1);
    let dispatch = || Command::Dispatch { worker: WorkerId(0) };
    while let Some(event) = table.decide(dispatch(), now, &mut dice).unwrap() {
        line.push(event.kind.job().cloned());
        table.apply(table.last().next(), event).unwrap();
    }
    line
}

/// The table follows the model, and is what its events give in every way in which they are kept.
fn every_way_gives_the_same(ops: Vec<Op>, seed: u64, parts: (f64, f64)) -> Result<(), TestCaseError> {
    let mut run = Run::new(seed);
    for op in ops {
        run.step(op);
        run.compare();
    }
    // From genesis, through bytes, and once more.
    prop_assert_eq!(image(&replayed(&run.log)), run.image());
    prop_assert_eq!(image(&replayed(&run.log)), run.image());
    // From an image part of the way, and the rest of the log.
    let nth = |part: f64| (run.log.len() as f64 * part) as usize;
    let (at, then) = (nth(parts.0.min(parts.1)), nth(parts.0.max(parts.1)));
    let first = replayed(&run.log[..at]);
    let mut restored_there = restored(first.last(), first.last_at(), image(&first));
    prop_assert_eq!(image(&restored_there), image(&first));
    prop_assert_eq!(restored_there.check(), Vec::<String>::new());
    for (seq, event) in &run.log[at..] {
        restored_there.apply(*seq, event.clone()).unwrap();
    }
    prop_assert_eq!(image(&restored_there), run.image());
    prop_assert_eq!(restored_there.check(), Vec::<String>::new());
    // From images folded out of the log, each on top of the one before: as a whole, and as what changed.
    for changes_from_bytes in [u64::MAX, 0] {
        let images = images(changes_from_bytes);
        fold(&images, &run.log[..at]);
        prop_assert_eq!(read(&images), image(&first));
        for more in [&run.log[at..then], &run.log[then..]] {
            if !more.is_empty() {
                fold(&images, more);
            }
        }
        prop_assert_eq!(read(&images), run.image());
        while let Some(mut compaction) = Compaction::begin_if_due(&images, Timestamp(10)).unwrap() {
            while compaction.step().unwrap() != CompactionStep::Published {}
        }
        prop_assert_eq!(read(&images), run.image());
        let mut folded = restored(run.table.last(), run.table.last_at(), read(&images));
        prop_assert_eq!(folded.check(), Vec::<String>::new());
        let mut same = replayed(&run.log);
        prop_assert_eq!(line(&mut folded, run.now), line(&mut same, run.now));
    }
    // All give the same jobs next.
    let next = line(&mut run.table, run.now);
    prop_assert_eq!(&line(&mut restored_there, run.now), &next);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_a_simple_model_does_and_its_events_rebuild_it(
        ops in prop::collection::vec(op(), 1..120),
        seed in any::<u64>(),
        parts in (0.0..1.0, 0.0..1.0),
    ) {
        every_way_gives_the_same(ops, seed, parts)?;
    }

    /// Row 67.
    #[test]
    fn the_table_does_what_the_model_does_also_while_the_clock_is_set_back_and_forth(
        ops in prop::collection::vec(op_under_a_bad_clock(), 1..120),
        seed in any::<u64>(),
        parts in (0.0..1.0, 0.0..1.0),
    ) {
        every_way_gives_the_same(ops, seed, parts)?;
    }
}

/// Row 67.
#[test]
fn what_is_due_after_the_clock_went_back_is_found_in_layers_from_before() {
    let hour = HOUR_MS.cast_unsigned();
    let waiting = |name, delay_ms| {
        let backoff = Backoff::Server;
        let (queue, priority, max_retry, foreign) = (0, 0, 0, false);
        let (drop, replaces, follows) = (false, false, false);
        let new =
            New { name, queue, priority, delay_ms, max_retry, foreign, backoff, drop, replaces, follows };
        Op::Enqueue(new)
    };
    let mut run = Run::new(1);
    let images = images(0);
    let mut written = 0;
    for ops in [
        vec![waiting(1, 2_400 * hour), Op::SetClock(400 * 24, true), Op::Pass(1)],
        vec![Op::SetClock(-400 * 24, true), waiting(2, 2 * hour)],
        vec![Op::Pass(3 * hour)],
    ] {
        ops.into_iter().for_each(|op| run.step(op));
        fold(&images, &run.log[written..]);
        written = run.log.len();
        assert_eq!(read(&images), run.image());
    }
    assert_eq!(run.table.counts().of(Status::Pending), 2);
}

#[test]
fn an_event_that_does_not_follow_or_does_not_fit_is_refused() {
    let mut table = JobTable::new(policy(), &handled());
    let cancel = Event {
        at: Timestamp(1),
        job_seq: Seq::ZERO,
        kind: EventKind::Cancel { job: JobId::parse("job-1").unwrap() },
    };
    let gap = table.apply(Seq(2), cancel.clone()).unwrap_err().to_string();
    assert!(gap.contains("should follow event 0"), "{gap}");
    let unknown = table.apply(Seq(1), cancel).unwrap_err().to_string();
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
    let queue = QueueName::parse("default").unwrap();
    for (paused, kinds) in [(true, 0), (false, 1)] {
        let set = Command::SetPaused { queue: queue.clone(), paused };
        let event = table.decide(set, Timestamp(1), &mut dice).unwrap().unwrap();
        table.apply(table.last().next(), event).unwrap();
        assert_eq!(
            table.pending_without_worker().count(),
            kinds,
            "what waits for its queue waits for no worker"
        );
    }
    let dispatch = Command::Dispatch { worker: WorkerId(0) };
    let event = table.decide(dispatch, Timestamp(1), &mut dice).unwrap().expect("the mail is found");
    table.apply(table.last().next(), event).unwrap();
    assert!(!table.has_ready());
}
