//! What follows from events, held until they are durable: answers, jobs for workers, orders to stop.

use actix::{AsyncContext, Context, Recipient};

use crate::api::requests::Delivery;
use crate::api::status::EngineStatus;
use crate::engine::manager::JobManagerActor;
use crate::engine::messages::{GiveBack, Halt, Reply, Run};
use crate::ids::{JobId, QueueName, Token, WorkerId};
use crate::jobs::command::Enqueued;
use crate::jobs::{Command, Failure, FailureKind, JobView, UnreadablePayload};

/// What follows from an event, once that is durable.
pub(super) enum Effect {
    Enqueued(Reply<Vec<Enqueued>>, Vec<Enqueued>),
    Done(Reply<()>),
    Paused(Reply<Vec<QueueName>>, Vec<QueueName>),
    Changed(Reply<u64>, u64),
    Listed(Reply<Vec<JobView>>, Vec<JobView>),
    Viewed(Reply<JobView>, Box<JobView>),
    Status(Reply<EngineStatus>, Box<EngineStatus>),
    Rejected(Box<dyn FnOnce() + Send>),
    Run(WorkerId, JobId, Token),
    /// A job for a remote worker.
    Deliver(Reply<Option<Delivery>>, JobId, Token),
    /// None for it.
    Undelivered(Reply<Option<Delivery>>),
    Halt(WorkerId, Halt),
}

impl JobManagerActor {
    /// Holds an effect until everything so far is durable.
    pub(super) fn hold(&mut self, effect: Effect) {
        self.held.push_back((self.table.last(), effect));
    }

    pub(super) fn release(&mut self, ctx: &mut Context<JobManagerActor>) {
        // Whoever gets an answer finds the change that it speaks of told already.
        self.tell_if_changed();
        let mut may_go_on = false;
        while let Some((after, _)) = self.held.front() {
            if *after > self.confirmed {
                break;
            }
            let Some((_, effect)) = self.held.pop_front() else { break };
            may_go_on |= self.perform(effect, ctx);
        }
        if may_go_on {
            self.end_turn(ctx);
        }
    }

    /// Lets an effect out. True if there may be something to do by it: a local worker is free again, as its job was
    /// cancelled before it began, or a job that cannot be delivered has failed.
    fn perform(&mut self, effect: Effect, ctx: &mut Context<JobManagerActor>) -> bool {
        match effect {
            Effect::Enqueued(reply, answers) => {
                let created = answers.iter().filter(|answer| answer.created).count();
                self.settings.metrics.jobs_enqueued.add(created as u64);
                self.expect_another();
                reply.answer(Ok(answers));
            }
            Effect::Done(reply) => {
                self.expect_another();
                reply.answer(Ok(()));
            }
            Effect::Paused(reply, found) => reply.answer(Ok(found)),
            Effect::Changed(reply, count) => reply.answer(Ok(count)),
            Effect::Listed(reply, views) => reply.answer(Ok(views)),
            Effect::Viewed(reply, view) => reply.answer(Ok(*view)),
            Effect::Status(reply, status) => reply.answer(Ok(*status)),
            Effect::Undelivered(reply) => reply.answer(Ok(None)),
            Effect::Deliver(reply, job, token) => {
                match self.delivery(&job, token, ctx.address().recipient()) {
                    Ok(delivery) => reply.answer(Ok(delivery)),
                    Err(error) => {
                        self.fail_unreadable(job, token, &error);
                        reply.answer(Ok(None));
                        return true;
                    }
                }
            }
            Effect::Rejected(answer) => answer(),
            Effect::Run(worker, job, token) => return self.start(worker, &job, token),
            Effect::Halt(worker, halt) => {
                if let Some(Some(worker)) = self.workers.get(worker.0 as usize) {
                    worker.halt.do_send(halt);
                }
            }
        }
        false
    }

    /// A job for the remote worker that holds it; none if that has been taken away in the meantime.
    fn delivery(
        &self,
        job: &JobId,
        token: Token,
        manager: Recipient<GiveBack>,
    ) -> Result<Option<Delivery>, UnreadablePayload> {
        let is_held = self.table.lease(job).is_some_and(|lease| lease.token == token);
        if !is_held {
            return Ok(None);
        }
        let Some(view) = self.table.whole_view(job, &*self.settings.payload_store)? else { return Ok(None) };
        let job = job.clone();
        // A closed mailbox means that the engine has ended; then its lease gives the job back.
        Ok(Some(Delivery::new(view, token, move || manager.do_send(GiveBack { job, token }))))
    }

    /// A job whose payload is damaged fails as if its worker had said so: it is seen, and stops nobody else.
    fn fail_unreadable(&mut self, job: JobId, token: Token, error: &UnreadablePayload) {
        tracing::error!(%job, %error, "a job cannot be delivered");
        let failure = Failure::new(FailureKind::Error, error.to_string());
        let now = self.now();
        // It is held under this token, so this is not rejected.
        let _ = self.execute(Command::Fail { job, token, failure, result: None }, now);
    }

    /// Sends a job to its worker, unless one of them is gone. True if the worker is free again.
    fn start(&mut self, id: WorkerId, job: &JobId, token: Token) -> bool {
        let Some(Some(worker)) = self.workers.get_mut(id.0 as usize) else { return false };
        if worker.busy != Some(token) {
            return false;
        }
        match self.table.assignment(job) {
            Some((_, assignment)) if assignment.token == token => {
                worker.run.do_send(Run(assignment));
                false
            }
            _ => {
                worker.busy = None;
                self.idle.push_back(id);
                true
            }
        }
    }
}
