//! What one client asks for, turned into requests of the engine, and the engine's answers into replies.
//!
//! A command is sent to the engine the moment it is read; its reply is written when its turn comes. TRACK and BATCH
//! have their place in [`Session::submit`].

use std::borrow::Cow;
use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use beaver_actors::engine::{
    Answer, AttemptEnd, Claim, Delivery, EngineError, EngineStatus, QueuePage, QueueStatus, QueueTest,
};
use beaver_actors::ids::{JobId, QueueName};
use beaver_actors::jobs::command::Enqueued;
use beaver_actors::jobs::{Filter, Rejection};
use tokio::time::{Sleep, sleep};

use super::command::{self, Beat, FwpCommand, QueueCommand};
use super::info::{self, Facts};
use super::long_line_gate::LongLineTurn;
use super::mutate::Mutation;
use super::reply::{self, SHUTDOWN};
use super::state::FwpShared;
use crate::query::fits::condition;
use crate::remote::registry::Member;
use crate::telemetry::acts::{self, Asker};
use crate::wire::faktory_job::{self, JobReader, Refused};

/// How long a FETCH waits for a job: clients give up after 5 s.
const FETCH_WAIT: Duration = Duration::from_secs(2);
const NO_TRACKING: &str = "tracking subsystem is only available in Faktory Enterprise";
const NO_BATCHES: &str = "batch subsystem is only available in Faktory Enterprise";

/// A client whose HELLO was accepted.
pub(super) struct Session {
    shared: Arc<FwpShared>,
    member: Member,
    peer: SocketAddr,
    reader: JobReader,
    /// The queues of its last FETCH, as text and read: most workers always ask for the same.
    fetched: (String, Arc<[QueueName]>),
    scratch: Vec<u8>,
}

/// A reply that is on its way.
pub(super) enum Pending {
    Said(Said),
    Pushed(Answer<Vec<Enqueued>>),
    PushedMany(Answer<Vec<Enqueued>>, Vec<Refused>),
    Fetched(Answer<Option<Delivery>>),
    /// A worker that gets no jobs waits as long as one for whom there is none.
    Held(Pin<Box<Sleep>>),
    Acked(Answer<()>, JobId),
    Failed(Answer<()>, JobId),
    Paused(Answer<Vec<QueueName>>, Act),
    Counted(Answer<u64>, Act),
    Info(Box<Answer<EngineStatus>>),
    Latencies(Answer<Vec<QueueStatus>>, Vec<String>),
}

/// What an operator asked for: its name, and the words for it.
pub(super) struct Act(&'static str, String);

/// A reply that is known at once.
pub(super) enum Said {
    Ok,
    Bulk(Vec<u8>),
    Error(Cow<'static, str>),
}

/// What became of a report, for good.
enum Settled {
    Counted,
    /// It changed nothing, as the worker does not have the job (any more).
    Refused(Rejection),
}

/// What follows a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Next,
    /// No more commands are taken.
    Close,
}

impl Pending {
    pub(super) fn error(text: impl Into<Cow<'static, str>>) -> Pending {
        Pending::Said(Said::Error(text.into()))
    }

    /// Whether the command after this one has to wait for its reply.
    pub(super) fn is_fetch(&self) -> bool {
        matches!(self, Pending::Fetched(_) | Pending::Held(_))
    }
}

impl Said {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Said::Ok => reply::ok(out),
            Said::Bulk(text) => reply::bulk(out, text),
            Said::Error(text) => reply::error(out, text),
        }
    }
}

impl Session {
    pub(super) fn new(shared: Arc<FwpShared>, member: Member, peer: SocketAddr) -> Session {
        let reader = JobReader::new(shared.state.payload_bytes_max);
        Session {
            shared,
            member,
            peer,
            reader,
            fetched: (String::new(), Arc::default()),
            scratch: Vec::new(),
        }
    }

    /// Whether others might soon be told that the server is busy.
    pub(super) fn is_crowded(&self) -> bool {
        self.shared.state.engine.is_crowded()
    }

    /// Its turn to send long lines.
    pub(super) fn turn(&self) -> LongLineTurn {
        self.shared.long_line_gate.of_one(self.shared.state.engine.request_wait_max())
    }

    /// Starts what a line asks for; `None` for END. New jobs that come late are turned away.
    pub(super) fn submit(&mut self, line: &[u8], is_late: bool) -> Option<Pending> {
        self.shared.state.registry.count_command();
        let line = match command::text_of(line) {
            Ok(line) => line,
            Err(error) => return Some(Pending::error(error)),
        };
        let engine = &self.shared.state.engine;
        let pending = match FwpCommand::parse(&line) {
            FwpCommand::Push(_) | FwpCommand::PushBulk(_) if is_late => Err(engine.turn_away().to_string()),
            FwpCommand::Push(_) | FwpCommand::PushBulk(_)
                if let Err(busy) = engine.refuse_if_busy(line.len()) =>
            {
                Err(busy.to_string())
            }
            FwpCommand::Push(job) => {
                self.reader.one(job).map(|spec| Pending::Pushed(engine.enqueue(vec![spec])))
            }
            FwpCommand::PushBulk(jobs) => self.push_many(jobs),
            FwpCommand::Fetch(queues) => self.fetch(queues),
            FwpCommand::Ack(job) => self.ack(job),
            FwpCommand::Fail(job) => self.fail(job),
            FwpCommand::Beat(beat) => self.beat(beat),
            FwpCommand::Info => Ok(Pending::Info(Box::new(engine.status_with(info::QUEUES_SHOWN)))),
            FwpCommand::Flush => Ok(Pending::Counted(engine.flush(), Act("flushed", "all".to_owned()))),
            FwpCommand::Queue(queues) => self.queue(queues),
            FwpCommand::Mutate(mutation) => self.mutate(mutation),
            FwpCommand::Track => Err(NO_TRACKING.to_owned()),
            FwpCommand::Batch => Err(NO_BATCHES.to_owned()),
            FwpCommand::Unknown(verb) => Err(format!("unknown command {verb}")),
            FwpCommand::End => return None,
        };
        Some(pending.unwrap_or_else(Pending::error))
    }

    fn push_many(&mut self, jobs: &str) -> Result<Pending, String> {
        let (specs, refused) = self.reader.many(jobs)?;
        match specs.is_empty() {
            true => Ok(Pending::Said(Said::Bulk(refusals(&refused)))),
            false => Ok(Pending::PushedMany(self.shared.state.engine.enqueue(specs), refused)),
        }
    }

    fn fetch(&mut self, names: &str) -> Result<Pending, String> {
        if self.fetched.0 != names || self.fetched.1.is_empty() {
            self.fetched = (names.to_owned(), command::fetched_queues(names)?);
        }
        if !self.member.takes_jobs() {
            return Ok(Pending::Held(Box::pin(sleep(FETCH_WAIT))));
        }
        let (queues, worker) = (Arc::clone(&self.fetched.1), self.member.name().clone());
        Ok(Pending::Fetched(self.shared.state.engine.fetch(queues, worker, FETCH_WAIT)))
    }

    fn ack(&mut self, text: &str) -> Result<Pending, String> {
        let Some(job) = command::acked_job(text)? else { return Ok(Pending::Said(Said::Ok)) };
        let answer = self.report(&job, AttemptEnd::Success(None));
        Ok(Pending::Acked(answer, job))
    }

    fn fail(&mut self, text: &str) -> Result<Pending, String> {
        let (job, failure) = command::failed_job(text)?;
        let answer = self.report(&job, AttemptEnd::Failure(failure, None));
        Ok(Pending::Failed(answer, job))
    }

    fn report(&self, job: &JobId, verdict: AttemptEnd) -> Answer<()> {
        let claim = Claim { worker: self.member.name().clone(), token: self.member.token(job) };
        self.shared.state.engine.report(job.clone(), claim, verdict)
    }

    fn beat(&self, text: &str) -> Result<Pending, String> {
        let beat = Beat::parse(text)?;
        let told = self.shared.state.registry.beat(&beat.wid, beat.state(), beat.rss_kb);
        let state = told.map_err(|_| format!("unknown worker {}", beat.wid))?;
        Ok(Pending::Said(match state {
            None => Said::Ok,
            Some(state) => Said::Bulk(format!("{{\"state\":\"{}\"}}", state.as_str()).into_bytes()),
        }))
    }

    fn queue(&self, text: &str) -> Result<Pending, String> {
        let engine = &self.shared.state.engine;
        let act = |name| Act(name, text.to_owned());
        Ok(match QueueCommand::parse(text)? {
            QueueCommand::Pause(queues) => Pending::Paused(engine.pause(queues), act("queue paused")),
            QueueCommand::Resume(queues) => Pending::Paused(engine.resume(queues), act("queue resumed")),
            QueueCommand::Remove(queues) => {
                Pending::Counted(engine.remove_queues(queues), act("queue removed"))
            }
            QueueCommand::Latency(names) => {
                let known: HashSet<_> = names.iter().filter_map(|name| QueueName::parse(name).ok()).collect();
                let test: QueueTest = Arc::new(move |queue| known.contains(queue));
                let page = QueuePage { test: Some(test), after: None, limit: usize::MAX };
                Pending::Latencies(engine.queues(page), names)
            }
        })
    }

    fn mutate(&self, text: &str) -> Result<Pending, String> {
        let Mutation { action, target, filter } = Mutation::parse(text)?;
        let test = filter.glob.map(condition);
        let chosen = Filter { ids: filter.jids, kind: filter.kind, test, ..Filter::default() };
        let act = Act("jobs changed", text.to_owned());
        Ok(Pending::Counted(self.shared.state.engine.act(action, target, chosen), act))
    }

    /// Writes the reply once it is known.
    pub(super) fn poll(
        &mut self,
        pending: &mut Pending,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<After> {
        let told = match pending {
            Pending::Said(said) => {
                said.write(out);
                Ok(())
            }
            Pending::Pushed(answer) => {
                // A batch of one needs no number in front of what is wrong.
                let pushed = ready!(Pin::new(answer).poll(cx)).map_err(|error| match error {
                    EngineError::RejectedAt { rejection, .. } => EngineError::Rejected(rejection),
                    error => error,
                });
                pushed.map(|pushed| match pushed.iter().find(|job| job.conflicts) {
                    Some(job) => reply::error(out, &reply::waits_otherwise(&job.id)),
                    None => reply::ok(out),
                })
            }
            Pending::PushedMany(answer, refused) => {
                let pushed = ready!(Pin::new(answer).poll(cx));
                pushed.map(|pushed| {
                    let conflicts = pushed
                        .into_iter()
                        .filter(|job| job.conflicts)
                        .map(|job| Refused { why: reply::waits_otherwise(&job.id), jid: job.id.to_string() });
                    refused.extend(conflicts);
                    reply::bulk(out, &refusals(refused));
                })
            }
            Pending::Fetched(answer) => {
                let fetched = ready!(Pin::new(answer).poll(cx));
                fetched.map(|delivery| match delivery {
                    Some(delivery) => self.deliver(delivery, out),
                    None => reply::nothing(out),
                })
            }
            Pending::Held(sleep) => {
                ready!(sleep.as_mut().poll(cx));
                reply::nothing(out);
                Ok(())
            }
            Pending::Acked(answer, job) => {
                let acked = self.settled(job, ready!(Pin::new(answer).poll(cx)));
                acked.map(|settled| match settled {
                    // It is done, as the worker says, or was and has been forgotten.
                    Settled::Counted | Settled::Refused(Rejection::NotFound { .. }) => reply::ok(out),
                    Settled::Refused(rejection) if rejection.is_of_completed() => reply::ok(out),
                    Settled::Refused(rejection) => reply::error(out, &reply::too_late(rejection)),
                })
            }
            Pending::Failed(answer, job) => {
                let failed = self.settled(job, ready!(Pin::new(answer).poll(cx)));
                failed.map(|settled| match settled {
                    Settled::Counted => reply::ok(out),
                    Settled::Refused(_) => reply::error(out, &reply::no_such_job(job)),
                })
            }
            Pending::Paused(answer, act) => {
                ready!(Pin::new(answer).poll(cx)).map(|_| self.carried_out(act, out))
            }
            Pending::Counted(answer, act) => {
                ready!(Pin::new(answer).poll(cx)).map(|_| self.carried_out(act, out))
            }
            Pending::Info(answer) => {
                let status = ready!(Pin::new(answer).poll(cx));
                status.map(|status| reply::bulk(out, &info::info(&status, &self.facts())))
            }
            Pending::Latencies(answer, names) => {
                let queues = ready!(Pin::new(answer).poll(cx));
                queues.map(|queues| reply::bulk(out, &info::latencies(&queues, names)))
            }
        };
        Poll::Ready(match told {
            Ok(()) => After::Next,
            Err(EngineError::Rejected(Rejection::Stopping)) => {
                reply::error(out, SHUTDOWN);
                After::Close
            }
            Err(error) => {
                reply::error(out, &error.to_string());
                After::Next
            }
        })
    }

    fn carried_out(&self, Act(name, what): &Act, out: &mut Vec<u8>) {
        acts::tell(name, what, Asker::Peer(self.peer));
        reply::ok(out);
    }

    fn deliver(&mut self, delivery: Delivery, out: &mut Vec<u8>) {
        let (job, token) = delivery.accept();
        self.member.holds(job.id.clone(), token, Duration::from_millis(job.timeout_ms));
        self.scratch.clear();
        faktory_job::write(&job, &mut self.scratch);
        reply::bulk(out, &self.scratch);
    }

    /// Whether a report counts. An error means that nothing is decided: the worker may report again.
    fn settled(&self, job: &JobId, reported: Result<(), EngineError>) -> Result<Settled, EngineError> {
        use Rejection::{Finished, NotFound, NotHeld, StaleToken};
        let settled = match reported {
            Ok(()) => Settled::Counted,
            Err(EngineError::Rejected(
                rejection @ (NotFound { .. } | NotHeld { .. } | StaleToken { .. } | Finished { .. }),
            )) => Settled::Refused(rejection),
            Err(error) => return Err(error),
        };
        self.member.holds_no_more(job);
        Ok(settled)
    }

    fn facts(&self) -> Facts {
        let state = &self.shared.state;
        Facts::of(&state.registry, &*state.clock)
    }
}

/// What was wrong with which job, as an object.
fn refusals(refused: &[Refused]) -> Vec<u8> {
    let map: serde_json::Map<String, serde_json::Value> =
        refused.iter().map(|Refused { jid, why }| (jid.clone(), why.as_str().into())).collect();
    serde_json::to_vec(&map).expect("text is always JSON")
}
