//! What follows from events and waits until they are durable: answers, jobs for workers, orders to stop.

use std::collections::VecDeque;

use crate::api::outcome::EngineError;
use crate::api::requests::Delivery;
use crate::api::status::{EngineStatus, QueueStatus};
use crate::engine::messages::{Halt, Reply};
use crate::ids::{Attempt, JobId, KindName, QueueName, Seq, Timestamp, Token, WorkerId};
use crate::jobs::command::Enqueued;
use crate::jobs::{Exhausted, JobView, Rejection};

/// One thing that follows. It says what is to be done and does nothing: two can be compared, printed and counted.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Jobs were added, or had been before.
    Enqueued(Reply<Vec<Enqueued>>, Vec<Enqueued>),
    Done(Reply<()>),
    /// It is not. What it was rejected for must be durable, too, before anybody hears of it.
    Rejected(Reply<()>, Box<Rejection>),
    /// Queues that were paused or resumed, or why none was.
    Paused(Reply<Vec<QueueName>>, Result<Vec<QueueName>, Box<Rejection>>),
    /// A bulk operation is over: how many jobs it changed.
    Changed(Reply<u64>, u64),
    /// Jobs as they stand.
    Listed(Reply<Vec<JobView>>, Vec<JobView>),
    /// A job as it stands, or why it cannot be shown.
    Viewed(Reply<JobView>, Box<Result<JobView, EngineError>>),
    /// Some queues.
    Queues(Reply<Vec<QueueStatus>>, Vec<QueueStatus>),
    /// The server at a glance.
    Status(Reply<EngineStatus>, Box<EngineStatus>),
    /// A job has used up its attempts.
    Died(Box<Death>),
    /// A job for a local worker, under this lease.
    Run(WorkerId, JobId, Token),
    /// An order to a local worker to end what it runs.
    Halt(WorkerId, Halt),
    /// A job for a remote worker, under this lease.
    Deliver(Reply<Option<Delivery>>, JobId, Token),
    /// No job for a remote worker.
    Undelivered(Reply<Option<Delivery>>),
}

/// What the log says of a job that has used up its attempts.
#[derive(Debug, PartialEq)]
pub(super) struct Death {
    pub job: JobId,
    pub kind: KindName,
    pub queue: QueueName,
    pub attempt: Attempt,
    pub at: Timestamp,
    /// Dead, or dropped.
    pub end: Exhausted,
    /// The first line of the last error.
    pub error: String,
}

/// Effects in the order in which they followed, each with the position that must be durable before it is let out.
pub(super) struct DurableEffects {
    /// Positions never decrease from one to the next.
    held: VecDeque<(Seq, Effect)>,
    confirmed: Seq,
}

impl DurableEffects {
    /// None yet; everything up to `confirmed` is durable.
    pub fn new(confirmed: Seq) -> DurableEffects {
        DurableEffects { held: VecDeque::new(), confirmed }
    }

    /// Holds an effect until everything up to `after` is durable.
    pub fn hold(&mut self, after: Seq, effect: Effect) {
        debug_assert!(self.held.back().is_none_or(|(last, _)| *last <= after), "effects follow in order");
        self.held.push_back((after, effect));
    }

    /// Everything up to here is as durable as the setting asks for.
    pub fn confirm(&mut self, through: Seq) {
        self.confirmed = self.confirmed.max(through);
    }

    /// Up to where everything is confirmed.
    pub fn confirmed(&self) -> Seq {
        self.confirmed
    }

    /// The next one that may be let out.
    pub fn release_next(&mut self) -> Option<Effect> {
        let confirmed = self.confirmed;
        self.held.pop_front_if(|(after, _)| *after <= confirmed).map(|(_, effect)| effect)
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is held, for tests to compare.
    #[cfg(test)]
    pub fn take_held(&mut self) -> Vec<(Seq, Effect)> {
        self.held.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(request: u64) -> Effect {
        Effect::Done(Reply::numbered(request))
    }

    fn released(effects: &mut DurableEffects) -> Vec<Effect> {
        std::iter::from_fn(|| effects.release_next()).collect()
    }

    #[test]
    fn effects_are_let_out_in_their_order_and_none_before_its_position_is_confirmed() {
        let mut effects = DurableEffects::new(Seq(3));
        for (request, after) in [(1, 3), (2, 4), (3, 4), (4, 6)] {
            effects.hold(Seq(after), done(request));
        }
        assert_eq!(released(&mut effects), [done(1)], "nothing new has to be durable for it");
        effects.confirm(Seq(5));
        assert_eq!(released(&mut effects), [done(2), done(3)]);
        assert!(!effects.is_empty());
        effects.confirm(Seq(6));
        assert_eq!(released(&mut effects), [done(4)]);
        assert!(effects.is_empty());
    }

    #[test]
    fn a_confirmation_that_comes_late_takes_nothing_back() {
        let mut effects = DurableEffects::new(Seq(0));
        effects.confirm(Seq(5));
        effects.confirm(Seq(2));
        assert_eq!(effects.confirmed(), Seq(5));
    }

    #[test]
    fn effects_differ_by_request_and_by_what_they_say() {
        assert_ne!(done(1), done(2));
        let changed = |count| Effect::Changed(Reply::numbered(1), count);
        assert_eq!(changed(7), changed(7));
        assert_ne!(changed(7), changed(8));
    }
}
