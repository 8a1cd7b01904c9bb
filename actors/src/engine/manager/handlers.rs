//! The messages that the manager takes, each one turn.

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};

use crate::api::handler::StopReason;
use crate::api::outcome::EngineError;
use crate::engine::liveness::gives_signs_of_life;
use crate::engine::manager::effects::Effect;
use crate::engine::manager::{JobManagerActor, Worker};
use crate::engine::messages::{
    Ask, Confirmed, Drain, End, Finished, Halt, HaltAll, Host, Outcome, Reply, SnapshotTaken, Submit,
    Subscribe, WorkerDown, WorkerUp,
};
use crate::ids::Holder;
use crate::jobs::{Command, Failure, FailureKind, Rejection};

impl Actor for JobManagerActor {
    type Context = Context<JobManagerActor>;

    fn started(&mut self, ctx: &mut Context<JobManagerActor>) {
        self.settings.subscribe.do_send(Subscribe(ctx.address().recipient()));
        self.end_turn(ctx);
    }
}

impl Handler<Submit> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, submit: Submit, ctx: &mut Context<JobManagerActor>) {
        let now = self.now();
        match submit {
            Submit::Enqueue { jobs, reply } => match self.enqueue(jobs, now) {
                Ok(answers) => self.hold(Effect::Enqueued(reply, answers)),
                Err(error) => reply.answer(Err(error)),
            },
            Submit::Cancel { job, reply } => {
                let done = self.take_away(Command::Cancel { job: job.clone() }, &job, now);
                self.hold_outcome(reply, done.map(|_| ()));
            }
            Submit::Report { job, claim, verdict, reply } => {
                let done = self.report(job, &claim, verdict, now);
                self.hold_outcome(reply, done);
            }
            Submit::Pause { queues, paused, reply } => match self.pause(queues, paused, now) {
                Ok(found) => self.hold(Effect::Paused(reply, found)),
                Err(rejection) => self.hold_rejection(reply, rejection),
            },
            Submit::Act { action, set, filter, reply } => self.act(action, set, filter, reply, ctx),
            Submit::RemoveQueues { queues, reply } => self.remove_queues(queues, reply, ctx),
            Submit::Flush { reply } => self.flush(reply, ctx),
        }
        self.end_turn(ctx);
    }
}

impl JobManagerActor {
    fn hold_outcome(&mut self, reply: Reply<()>, outcome: Result<(), Rejection>) {
        match outcome {
            Ok(()) => self.hold(Effect::Done(reply)),
            Err(rejection) => self.hold_rejection(reply, rejection),
        }
    }

    /// What it was rejected for must be durable, too, before anybody hears of it.
    fn hold_rejection<T: Send + 'static>(&mut self, reply: Reply<T>, rejection: Rejection) {
        self.hold(Effect::Rejected(Box::new(move || reply.answer(Err(rejection.into())))));
    }
}

impl Handler<Ask> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Context<JobManagerActor>) {
        match ask {
            Ask::Job { job, reply } => {
                let found = match self.table.whole_view(&job, &*self.settings.payload_store) {
                    Ok(found) => found.ok_or_else(|| Rejection::NotFound { job }.into()),
                    Err(error) => Err(EngineError::Unreadable(error)),
                };
                self.hold(match found {
                    Ok(view) => Effect::Viewed(reply, Box::new(view)),
                    Err(error) => Effect::Rejected(Box::new(move || reply.answer(Err(error)))),
                });
            }
            Ask::List { set, filter, limit, reply } => self.list(set, filter, limit, reply, ctx),
            Ask::Status { reply } => {
                let now = self.now();
                let status = Box::new(self.status(now));
                // While the log waits for space, an operator must still be able to see that it does.
                match self.room.accepts_jobs {
                    true => self.hold(Effect::Status(reply, status)),
                    false => reply.answer(Ok(*status)),
                }
            }
        }
        self.end_turn(ctx);
    }
}

impl Handler<Confirmed> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, confirmed: Confirmed, ctx: &mut Context<JobManagerActor>) {
        self.confirmed = self.confirmed.max(confirmed.through);
        self.durable = self.durable.max(confirmed.durable);
        self.room = confirmed.room;
        self.table.leave_payloads(self.confirmed, self.settings.payload_memory_bytes);
        self.end_turn(ctx);
        // Whoever waits for these must not wait for what else comes in.
        self.release(ctx);
    }
}

impl Handler<Finished> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, finished: Finished, ctx: &mut Context<JobManagerActor>) {
        let Finished { worker, job, token, outcome } = finished;
        let command = match outcome {
            Outcome::Succeeded(result) => Some(Command::Ack { job, token, result }),
            Outcome::Failed(failure, result) => Some(Command::Fail { job, token, failure, result }),
            Outcome::Interrupted => {
                let failure = Failure::new(FailureKind::Lost, "interrupted: the server was stopped");
                Some(Command::Requeue { job, token, failure, counts: false })
            }
            // The event that cancelled it has been logged already.
            Outcome::Cancelled => None,
        };
        let now = self.now();
        if let Some(Err(rejection)) = command.map(|command| self.execute(command, now)) {
            tracing::debug!(%rejection, "a worker's report came too late and changed nothing");
        }
        if let Some(Some(slot)) = self.workers.get_mut(worker.0 as usize)
            && slot.busy == Some(token)
        {
            slot.busy = None;
            self.idle.push_back(worker);
        }
        self.end_turn(ctx);
    }
}

impl Handler<WorkerUp> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, up: WorkerUp, ctx: &mut Context<JobManagerActor>) {
        if let Some(slot) = self.workers.get_mut(up.worker.0 as usize) {
            *slot = Some(Worker { run: up.run, halt: up.halt, busy: None });
            self.idle.push_back(up.worker);
        }
        self.end_turn(ctx);
    }
}

impl Handler<WorkerDown> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, down: WorkerDown, ctx: &mut Context<JobManagerActor>) {
        if let Some(slot) = self.workers.get_mut(down.worker.0 as usize) {
            *slot = None;
            self.idle.retain(|idle| *idle != down.worker);
        }
        let now = self.now();
        for (job, token) in self.table.in_flight(|holder| *holder == Holder::Local(down.worker)) {
            let failure = Failure::new(FailureKind::Lost, format!("{} {}", down.worker, down.cause));
            // Its lease is held, so this is not rejected. The job may be what killed the worker: it counts.
            let _ = self.execute(Command::Requeue { job, token, failure, counts: true }, now);
        }
        self.end_turn(ctx);
    }
}

impl Handler<SnapshotTaken> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, SnapshotTaken(info): SnapshotTaken, _: &mut Context<JobManagerActor>) {
        self.settings.snapshot = Some(info.into());
        self.settings.metrics.changes.tell();
    }
}

impl Handler<Drain> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, drain: Drain, ctx: &mut Context<JobManagerActor>) {
        self.draining = Some(Some(drain.done));
        self.end_sweeps();
        self.end_turn(ctx);
    }
}

impl Handler<HaltAll> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, _: HaltAll, _: &mut Context<JobManagerActor>) {
        for worker in self.workers.iter().flatten() {
            if let Some(token) = worker.busy {
                worker.halt.do_send(Halt { token, reason: StopReason::Shutdown });
            }
        }
    }
}

impl Handler<Host> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, Host(future): Host, _: &mut Context<JobManagerActor>) {
        // Not one of the actor's own futures: those are all looked at in each of its turns.
        tokio::spawn(future);
    }
}

impl Handler<End> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<JobManagerActor>) {
        ctx.stop();
    }
}

gives_signs_of_life!(JobManagerActor);
