//! What is played on the disk before it crashes: a fixed piece of work, and the account of it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::options::{EngineOptions, Layering};
use crate::base::clock::Clock;
use crate::ids::{JobId, QueueName, RemoteName, Seq, Token, WorkerId};
use crate::jobs::{Backoff, Command, Event, Exhausted, Failure, FailureKind, JobSpec, Start};
use crate::testing::{SimStorage, StepEngine, StepError};
use crate::wal::WalError;
use crate::wal::recovery::{EachEvent, ReplayFrom, recover};

/// Small, so that the work fills several.
const SEGMENT_BYTES: u64 = 2 << 10;
const ROUNDS: u32 = 4;

/// What was proposed, what was acknowledged, and what went wrong on the way.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Every event that was decided; the first one has position 1.
    pub events: Vec<Event>,
    /// Positions at which an operation was complete: nothing between two of them may come back alone.
    pub ends: BTreeSet<u64>,
    /// Pairs: after this number of calls to the disk, a sync had covered everything up to this position.
    pub acked: Vec<(u64, u64)>,
    /// It ended in the midst of a boot, which may have decided more.
    pub is_open: bool,
    /// Operations that were tried.
    pub operations: u64,
    /// What must not be.
    pub findings: Vec<String>,
}

impl Story {
    /// What was acknowledged when the disk had been called this often.
    #[must_use]
    pub fn acked_after(&self, calls: u64) -> u64 {
        self.acked.iter().take_while(|(at, _)| *at <= calls).map(|(_, acked)| *acked).max().unwrap_or(0)
    }

    /// Takes in what the log holds behind the events that are known.
    ///
    /// # Errors
    /// What recovery says.
    pub fn read_on(&mut self, storage: &SimStorage, options: &EngineOptions) -> Result<(), String> {
        let known = ReplayFrom { covered: Seq(self.events.len() as u64), ..ReplayFrom::default() };
        let mut take = |_, event, _: &_| {
            self.events.push(event);
            Ok(())
        };
        recover(&storage.fork(), &options.wal_dir, known, &mut EachEvent(&mut take), &mut |_, _| {})
            .map(|_| ())
            .map_err(|error| error.to_string())
    }
}

/// Options under which the work fills several segments.
#[must_use]
pub fn options() -> EngineOptions {
    let mut options = EngineOptions::in_dir("/data");
    options.segment_bytes = SEGMENT_BYTES;
    // Snapshots tell only of changes, and are put together as soon as those outweigh half of what they change.
    options.layering = Layering { changes_from_bytes: 0, log_bytes: 2 << 10, ..Layering::default() };
    options
}

/// Queues that a remote worker serves; no local worker handles what is in them.
pub const REMOTE_QUEUES: [&str; 2] = [CALLS, LETTERS];
const CALLS: &str = "calls";
const LETTERS: &str = "letters";

fn queue(name: &str) -> QueueName {
    QueueName::parse(name).expect("a good name")
}

/// A job for a remote worker. One that `drops` has a single attempt.
fn call(name: &str, id: &JobId) -> JobSpec {
    let mut spec = JobSpec { id: Some(id.clone()), queue: queue(CALLS), ..StepEngine::spec("call") };
    spec.backoff = Backoff::Fixed { delay_ms: 60_000 };
    if name == "drops" {
        (spec.exhausted, spec.max_retry) = (Exhausted::Drop, Some(0));
    }
    spec
}

/// The disk or the log said no: the process would have ended.
struct Ended;

struct Player<'a> {
    engine: StepEngine,
    storage: &'a SimStorage,
    story: Story,
    /// How much of the engine's history is in the story.
    told: usize,
    jobs: u32,
    /// What a remote worker holds, across snapshots and restarts.
    held_afar: Option<(JobId, Token)>,
}

/// Does the work until it is done or the disk fails. The engine that is returned still runs, if any does.
pub fn play(storage: &SimStorage, seed: u64) -> (Story, Option<StepEngine>) {
    let Ok(engine) = StepEngine::with(storage.clone(), options(), seed) else {
        return (Story { is_open: true, ..Story::default() }, None);
    };
    let mut player = Player { engine, storage, story: Story::default(), told: 0, jobs: 0, held_afar: None };
    // Boot has begun a term.
    player.note();
    // It ends early when the disk fails, which the story tells.
    let _ = player.work();
    (player.story, Some(player.engine))
}

impl Player<'_> {
    fn work(&mut self) -> Result<(), Ended> {
        for round in 0..ROUNDS {
            self.round()?;
            match round {
                0 => {
                    self.afar()?;
                    self.snapshot()?;
                }
                1 => self.reopen()?,
                2 => {
                    self.snapshot()?;
                    self.rescue()?;
                }
                _ => {
                    self.afar()?;
                    self.snapshot()?;
                    self.reopen()?;
                    self.round()?;
                }
            }
        }
        Ok(())
    }

    fn round(&mut self) -> Result<(), Ended> {
        self.enqueue(1, Start::Now)?;
        self.enqueue(1, Start::Now)?;
        self.sync()?;
        self.enqueue(3, Start::Now)?;
        self.enqueue(6, Start::After(Duration::from_secs(5)))?;
        self.sync()?;
        let held = [self.dispatch()?, self.dispatch()?, self.dispatch()?];
        let [Some(first), Some(second), Some(third)] = held else {
            self.story.findings.push("fewer than three jobs are ready".to_owned());
            return Err(Ended);
        };
        self.sync()?;
        self.op(|engine| engine.ack(&first.0, first.1))?;
        self.sync()?;
        self.op(|engine| engine.fail(&second.0, second.1))?;
        self.enqueue(1, Start::Now)?;
        let failure = Failure::new(FailureKind::Lost, "put back by hand");
        let (job, token) = third.clone();
        let requeue = Command::Requeue { job, token, failure, counts: true, fences: true };
        self.op(|engine| engine.execute(requeue).map(|_| ()))?;
        self.sync()?;
        self.stale(&third)?;
        let again = self.dispatch()?;
        self.sync()?;
        self.stale(&third)?;
        if let Some((job, token)) = again {
            self.op(|engine| engine.execute(Command::Extend { job, token, by_ms: 1_000 }).map(|_| ()))?;
        }
        let withdrawn = self.enqueue(1, Start::After(Duration::from_secs(60)))?;
        self.op(|engine| engine.execute(Command::Cancel { job: withdrawn }).map(|_| ()))?;
        self.engine.clock.advance(Duration::from_secs(6));
        self.op(|engine| engine.execute(Command::Promote).map(|_| ()))?;
        self.sync()
    }

    /// Remote workers, and what an operator does to jobs and queues. It ends with a paused queue, a job that is held
    /// and some that wait, which the next one begins with.
    fn afar(&mut self) -> Result<(), Ended> {
        if let Some(held) = self.held_afar.take() {
            self.op(|engine| {
                engine.execute(Command::SetPaused { queue: queue(CALLS), paused: false }).map(|_| ())
            })?;
            self.report(&held, true)?;
            let mut left = Vec::new();
            while let Some(given) = self.reserve()? {
                left.push(given);
            }
            // Nobody is given a job before that is durable.
            self.sync()?;
            for given in &left {
                self.report(given, true)?;
            }
        }
        self.jobs += 1;
        let names = ["run", "fails", "drops", "late", "held", "killed", "moved"];
        let ids = names.map(|name| {
            let id = format!("call-{}-{name}", self.jobs);
            JobId::parse(&id).expect("a good id")
        });
        let [.., killed, moved] = ids.clone();
        self.op(|engine| {
            let calls = names.iter().zip(&ids).map(|(name, id)| Command::Enqueue(Box::new(call(name, id))));
            engine.execute_together(calls.collect()).map(|_| ())
        })?;
        self.sync()?;
        let mut given = [const { None }; 5];
        for given in &mut given {
            *given = self.reserve()?;
        }
        let [Some(run), Some(fails), Some(drops), Some(late), Some(held)] = given else {
            self.story.findings.push("fewer than five calls are ready".to_owned());
            return Err(Ended);
        };
        self.op(|engine| {
            engine.execute(Command::SetPaused { queue: queue(CALLS), paused: true }).map(|_| ())
        })?;
        self.sync()?;
        if let Some((job, _)) = self.reserve()? {
            self.story.findings.push(format!("{job} was given away, though its queue is paused"));
        }
        self.report(&run, true)?;
        self.report(&fails, false)?;
        self.report(&drops, false)?;
        // It was given up already, and has succeeded all the same.
        self.report(&late, false)?;
        self.report(&late, true)?;
        self.op(|engine| engine.execute(Command::RunNow { job: fails.0 }).map(|_| ()))?;
        self.sync()?;
        let command = Command::Move { job: moved, queue: queue(LETTERS) };
        self.op(|engine| engine.execute(command).map(|_| ()))?;
        self.op(|engine| engine.execute(Command::Kill { job: killed.clone() }).map(|_| ()))?;
        self.op(|engine| engine.execute(Command::Discard { job: killed.clone() }).map(|_| ()))?;
        self.sync()?;
        let again = Command::Enqueue(Box::new(call("killed", &killed)));
        self.op(|engine| engine.execute(again).map(|_| ()))?;
        self.held_afar = Some(held);
        self.sync()
    }

    fn reserve(&mut self) -> Result<Option<(JobId, Token)>, Ended> {
        let mut given = None;
        self.op(|engine| {
            given = engine.reserve(&REMOTE_QUEUES, "ada")?;
            Ok(())
        })?;
        Ok(given)
    }

    /// The remote worker reports; somebody else did before it, and must not be believed.
    fn report(&mut self, (job, token): &(JobId, Token), is_success: bool) -> Result<(), Ended> {
        let [ada, bob] = ["ada", "bob"].map(|name| RemoteName::parse(name).expect("a good name"));
        if self.engine.table().succeeded_by(job, &bob, None).is_ok() {
            self.story.findings.push(format!("{job} is held by {ada}, and a report by {bob} was accepted"));
        }
        self.op(|engine| match is_success {
            true => engine.ack(job, engine.table().succeeded_by(job, &ada, Some(*token))?),
            false => engine.fail(job, engine.table().held_by(job, &ada, Some(*token))?),
        })
    }

    /// One operation. A rejection of something that is right is a finding.
    fn op(&mut self, act: impl FnOnce(&mut StepEngine) -> Result<(), StepError>) -> Result<(), Ended> {
        self.story.operations += 1;
        let result = act(&mut self.engine);
        self.note();
        match result {
            Ok(()) => Ok(()),
            Err(StepError::Rejected(rejection)) => {
                self.story.findings.push(format!("rejected: {rejection}"));
                Ok(())
            }
            Err(StepError::Log(_)) => Err(Ended),
        }
    }

    /// Adds jobs in one request and returns the last one's id.
    fn enqueue(&mut self, count: u32, start: Start) -> Result<JobId, Ended> {
        let mut commands = Vec::new();
        let mut id = JobId::parse("none").expect("a good id");
        for _ in 0..count {
            self.jobs += 1;
            let mut spec = StepEngine::spec("mail");
            id = JobId::parse(&format!("job-{}", self.jobs)).expect("a good id");
            (spec.id, spec.start) = (Some(id.clone()), start);
            commands.push(Command::Enqueue(Box::new(spec)));
        }
        self.op(|engine| engine.execute_together(commands).map(|_| ()))?;
        Ok(id)
    }

    fn dispatch(&mut self) -> Result<Option<(JobId, Token)>, Ended> {
        let mut taken = None;
        self.op(|engine| {
            let Some(seq) = engine.execute(Command::Dispatch { worker: WorkerId(0) })? else { return Ok(()) };
            let job = engine.history.last().and_then(|(_, event)| event.kind.job().cloned());
            taken = job.map(|job| (job, Token { epoch: engine.table().epoch(), seq }));
            Ok(())
        })?;
        Ok(taken)
    }

    /// A worker that has lost its lease reports success, and must not be believed.
    fn stale(&mut self, (job, token): &(JobId, Token)) -> Result<(), Ended> {
        let mut result = Ok(());
        self.op(|engine| {
            result = engine.ack(job, *token);
            Ok(())
        })?;
        match result {
            Err(StepError::Rejected(_)) => Ok(()),
            Err(StepError::Log(_)) => Err(Ended),
            Ok(()) => {
                self.story
                    .findings
                    .push(format!("a report on {job} was accepted under the stale token {token}"));
                Ok(())
            }
        }
    }

    fn sync(&mut self) -> Result<(), Ended> {
        self.op(|engine| engine.log().sync().map(|_| ()).map_err(StepError::Log))
    }

    /// A snapshot that fails is tried another time; the log goes on.
    fn snapshot(&mut self) -> Result<(), Ended> {
        self.engine.clock.advance(Duration::from_secs(1));
        let mut sealed = None;
        self.op(|engine| {
            let at = engine.clock.now();
            sealed = Some(engine.log().rotate(at).map_err(StepError::Log)?);
            Ok(())
        })?;
        let Some(sealed) = sealed else { return Ok(()) };
        self.op(|engine| {
            let _ = engine.fold(sealed);
            Ok(())
        })
    }

    /// The state is written out anew, as it is when damage is met. One that fails is tried another time.
    fn rescue(&mut self) -> Result<(), Ended> {
        self.op(|engine| match engine.rescue() {
            // Its event is in the table: without it in the log, nothing may follow.
            Err(_) if engine.log().last() < engine.table().last() => Err(StepError::Log(WalError::Poisoned)),
            _ => Ok(()),
        })
    }

    /// Closes in good order and boots again, with a job in flight.
    fn reopen(&mut self) -> Result<(), Ended> {
        self.story.operations += 2;
        let closed = self.engine.try_close();
        if let Ok(durable) = &closed {
            self.story.acked.push((self.storage.calls(), durable.0));
        }
        closed.map_err(|_| Ended)?;
        self.story.is_open = true;
        self.engine.boot().map_err(|_| Ended)?;
        self.story.is_open = false;
        // A closing mark that could not be written is no reason not to close: it is evidence, not data.
        if self.engine.recovery.torn_bytes > 0 && self.storage.failed_calls() == 0 {
            self.story.findings.push("a log that was closed in good order has a torn tail".to_owned());
        }
        self.note();
        Ok(())
    }

    /// Takes down what has happened, and what was acknowledged by it.
    fn note(&mut self) {
        let news = &self.engine.history[self.told..];
        self.story.events.extend(news.iter().map(|(_, event)| event.clone()));
        self.told = self.engine.history.len();
        self.story.ends.insert(self.story.events.len() as u64);
        self.story.acked.push((self.storage.calls(), self.engine.log().durable().0));
    }
}
