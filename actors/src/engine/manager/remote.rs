//! What remote workers ask for: a job, and to report on one.

use actix::{Context, Handler};

use crate::api::requests::{AttemptEnd, Claim};
use crate::engine::manager::JobManagerActor;
use crate::engine::manager::effects::Effect;
use crate::engine::manager::fetchers::Fetcher;
use crate::engine::messages::{Fetch, GiveBack};
use crate::ids::{JobId, QueueName, Timestamp, Token};
use crate::jobs::model::policy::millis;
use crate::jobs::{Command, EventKind, Failure, FailureKind, Rejection};

/// Which queues may have got jobs since the last look.
#[derive(Default)]
pub(super) struct Stirred {
    all: bool,
    some: Vec<QueueName>,
}

impl Handler<Fetch> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, fetch: Fetch, ctx: &mut Context<JobManagerActor>) {
        let now = self.now();
        let Fetch { queues, worker, wait, reply } = fetch;
        let deadline = now.plus_ms(millis(wait));
        let fetcher = Fetcher { queues, worker, deadline, reply };
        if self.draining.is_some() {
            fetcher.reply.answer(Err(Rejection::Stopping.into()));
        } else if let Some(fetcher) = self.reserve(fetcher, now) {
            match wait.is_zero() {
                true => self.hold(Effect::Undelivered(fetcher.reply)),
                false => self.fetchers.add(fetcher),
            }
        }
        self.end_turn(ctx);
    }
}

impl JobManagerActor {
    /// Notes what may let a waiting worker have a job.
    pub(super) fn stir(&mut self, change: &EventKind) {
        if self.fetchers.is_empty() {
            return;
        }
        match change {
            EventKind::Enqueue(new) => {
                let is_first = self.stirred.some.last() != Some(&new.queue);
                if new.run_at.is_none() && is_first && self.fetchers.wait_for(&new.queue) {
                    self.stirred.some.push(new.queue.clone());
                }
            }
            EventKind::Promote { .. }
            | EventKind::Requeue { .. }
            | EventKind::RunNow { .. }
            | EventKind::Move { .. }
            | EventKind::Resume { .. } => self.stirred.all = true,
            _ => {}
        }
    }

    /// Gives ready jobs to remote workers that wait for them.
    pub(super) fn serve_fetchers(&mut self, now: Timestamp) {
        if self.draining.is_some() {
            self.fetchers
                .take_all()
                .for_each(|fetcher| fetcher.reply.answer(Err(Rejection::Stopping.into())));
            return;
        }
        let stirred = std::mem::take(&mut self.stirred);
        let queues = match stirred.all {
            true => self.fetchers.queues(),
            false => stirred.some,
        };
        'queues: for queue in queues {
            while self.table.has_ready_in(&queue) {
                if !self.has_room_to_start() {
                    // Later. Who has waited for long enough hears so all the same.
                    self.stirred.all = true;
                    break 'queues;
                }
                let Some((ticket, fetcher)) = self.fetchers.take_first(&queue) else { break };
                if let Some(fetcher) = self.reserve(fetcher, now) {
                    self.fetchers.put_back(ticket, fetcher);
                    break;
                }
            }
        }
        while let Some(fetcher) = self.fetchers.take_expired(now) {
            self.hold(Effect::Undelivered(fetcher.reply));
        }
    }

    /// Reserves a job for it; returns it if there is none.
    fn reserve(&mut self, fetcher: Fetcher, now: Timestamp) -> Option<Fetcher> {
        if !self.has_room_to_start() {
            self.stirred.all = true;
            return Some(fetcher);
        }
        let (queues, worker) = (fetcher.queues.clone(), fetcher.worker.clone());
        let command = Command::Reserve { queues, worker };
        let Ok(Some(event)) = self.table.decide(command, now, &mut self.settings.dice) else {
            return Some(fetcher);
        };
        let Some(job) = event.change.job().cloned() else { return Some(fetcher) };
        let token = Token(self.record(event).0);
        self.hold(Effect::Deliver(fetcher.reply, job, token));
        None
    }

    pub(super) fn report(
        &mut self,
        job: JobId,
        claim: &Claim,
        verdict: AttemptEnd,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let token = self.table.held_by(&job, &claim.worker, claim.token)?;
        let command = match verdict {
            AttemptEnd::Success(result) => Command::Ack { job, token, result },
            AttemptEnd::Failure(failure) => Command::Fail { job, token, failure, result: None },
        };
        self.execute(command, now).map(|_| ())
    }
}

impl Handler<GiveBack> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, GiveBack { job, token }: GiveBack, ctx: &mut Context<JobManagerActor>) {
        let now = self.now();
        let message = "the worker had gone before it got the job";
        let failure = Failure::new(FailureKind::Lost, message);
        // It was not run, so the attempt does not count.
        if let Err(rejection) = self.execute(Command::Requeue { job, token, failure, counts: false }, now) {
            tracing::debug!(%rejection, "a job that could not be delivered has moved on");
        }
        self.end_turn(ctx);
    }
}
