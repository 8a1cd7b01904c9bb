//! What the tests of the manager's parts share: a ledger without an actor, jobs in it, requests by number.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::api::outcome::EngineError;
use crate::api::requests::Delivery;
use crate::base::metrics::Metrics;
use crate::engine::manager::durable_effects::Effect;
use crate::engine::manager::ledger::Ledger;
use crate::engine::manager::waiting_fetches::WaitingFetch;
use crate::engine::messages::Reply;
use crate::ids::{Epoch, JobId, KindName, QueueName, RemoteName, Seq, Timestamp, Token, WorkerId};
use crate::jobs::{Command, JobSpec, JobTable, Payload, PayloadStore, Policy, TextAt, UnreadablePayload};

pub(super) const NOW: Timestamp = Timestamp(1_000_000);

pub(super) fn queue(name: &str) -> QueueName {
    QueueName::parse(name).unwrap()
}

pub(super) fn remote(name: &str) -> RemoteName {
    RemoteName::parse(name).unwrap()
}

/// An empty ledger, whose local workers run jobs of [`spec`].
pub(super) fn ledger_under(policy: Policy) -> Ledger {
    let table = JobTable::new(policy, &[spec().kind]);
    Ledger::new(table, fastrand::Rng::with_seed(1), Arc::new(Metrics::default()))
}

/// A ledger with this number of jobs that are ready.
pub(super) fn ledger_with(jobs: usize) -> Ledger {
    let mut ledger = ledger_under(Policy::default());
    (0..jobs).for_each(|_| _ = enqueue(&mut ledger, spec()));
    ledger
}

pub(super) fn spec() -> JobSpec {
    JobSpec::new(queue("default"), KindName::parse("mail").unwrap(), Payload::empty())
}

pub(super) fn enqueue(ledger: &mut Ledger, spec: JobSpec) -> JobId {
    let event = ledger.decide_enqueue(spec, NOW).unwrap().unwrap();
    let job = event.kind.job().unwrap().clone();
    ledger.record(event);
    job
}

/// The token of a lease that the event of this number gave, in the term of these ledgers.
pub(super) fn token(seq: u64) -> Token {
    Token { epoch: Epoch::default(), seq: Seq(seq) }
}

pub(super) fn start_local(ledger: &mut Ledger, worker: WorkerId) -> (JobId, Token) {
    ledger.start(Command::Dispatch { worker }, NOW).unwrap()
}

pub(super) fn start_remote(ledger: &mut Ledger, worker: &str) -> (JobId, Token) {
    let command = Command::Reserve { queues: [queue("default")].into(), worker: remote(worker) };
    ledger.start(command, NOW).unwrap()
}

/// What waits for the log, with the position that each waits for.
pub(super) fn held(ledger: &mut Ledger) -> Vec<(Seq, Effect)> {
    ledger.effects.take_held()
}

/// Where an answer arrives.
pub(super) type Answered<T> = oneshot::Receiver<Result<T, EngineError>>;

/// A fetch by the worker of this number, as a request of this number.
pub(super) fn fetch(
    request: u64,
    queues: &[&str],
    deadline: u64,
) -> (WaitingFetch, Answered<Option<Delivery>>) {
    let (reply, answer) = Reply::with_receiver(request);
    let queues = queues.iter().map(|name| queue(name)).collect();
    let worker = remote(&format!("w{request}"));
    (WaitingFetch { queues, worker, deadline: Timestamp(deadline), reply }, answer)
}

/// A disk without a payload.
pub(super) struct NoPayloads;

impl PayloadStore for NoPayloads {
    fn read(&self, at: TextAt) -> Result<Payload, UnreadablePayload> {
        Err(UnreadablePayload { at, problem: "there is none".to_owned(), is_lost: true })
    }
}
