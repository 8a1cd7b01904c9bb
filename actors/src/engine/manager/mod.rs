//! JobManagerActor: the only owner of the job table.
//!
//! Every message is one turn: decide, apply, encode the event for the log, and hold what follows from it (an answer, a
//! job for a worker) until the log says that it is durable. Turns of about the same time end together. This file tells
//! the turn; the rules stand in plain types beside it, which know no actor:
//!
//! - `ledger`: the one way in which jobs are changed; `requests`: what users ask for; `remote` and `local`: what workers
//!   get and report; `duties`: what is due without anybody asking.
//! - `group_commit`: when turns end together; `durable_effects`: what waits for the log; `bulk_ops`: what is done to many
//!   jobs, step by step; `pool`: local workers; `waiting_fetches` and `ready_queues`: remote workers that wait, and where
//!   there may be jobs for them.
//! - `rescue` and `stillness`: nothing changes while the state is written out anew, as what is on disk is damaged.
//! - `settings`: what the manager is given; `status`: the server at a glance; `pulse`: whether it stood still.

mod bulk_ops;
mod durable_effects;
mod duties;
mod group_commit;
mod ledger;
mod local;
mod pool;
mod pulse;
mod ready_queues;
mod remote;
mod requests;
mod rescue;
mod settings;
mod status;
mod stillness;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod waiting_fetches;

use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, WrapFuture,
};
use tokio::sync::oneshot;
use tracing::warn;

use crate::api::handler::StopReason;
use crate::api::status::{QueueStatus, SnapshotStatus};
use crate::base::clock::{Jump, SteadyTime};
use crate::base::line_limit::LineLimit;
use crate::engine::liveness::{ExitGuard, gives_signs_of_life};
use crate::engine::manager::bulk_ops::BulkOps;
use crate::engine::manager::durable_effects::{Death, Effect};
use crate::engine::manager::group_commit::AfterLook;
use crate::engine::manager::ledger::Ledger;
use crate::engine::manager::pool::Pool;
use crate::engine::manager::pulse::Pulse;
pub use crate::engine::manager::settings::ManagerSettings;
use crate::engine::manager::status::Visible;
use crate::engine::manager::stillness::Stillness;
use crate::engine::messages::{
    Ask, CloseIntake, Confirmed, Drain, End, Fetch, Finished, GiveBack, Halt, HaltAll, Host, Run,
    SnapshotTaken, Submit, Subscribe, WorkerDown, WorkerUp,
};
use crate::ids::{JobId, Seq, Timestamp, Token, WorkerId};
use crate::jobs::decide::clock::FOLLOWED_BACK_MS;
use crate::jobs::model::policy::millis;
use crate::jobs::{Exhausted, JobTable, Status};

/// The owner of the jobs, on the thread `beaver-manager`.
pub struct JobManagerActor {
    settings: ManagerSettings,
    time: SteadyTime,
    pulse: Pulse,
    /// The clock was set, and nothing has followed from it yet.
    jump: Option<Jump>,
    ledger: Ledger,
    pool: Pool<WorkerAddress>,
    bulk: BulkOps,
    /// Events up to here are on disk.
    durable: Seq,
    snapshot: Option<SnapshotStatus>,
    timer: Option<(Timestamp, SpawnHandle)>,
    /// What could be seen when it was last told that there is something new to see.
    told: Visible,
    /// How many dead jobs of a kind the log tells of.
    deaths: LineLimit,
    /// Whether the state may change.
    stillness: Stillness<Waiting>,
    /// While draining: told when nothing runs and what ran is confirmed.
    drained: Option<oneshot::Sender<()>>,
    /// The last event when nothing ran any more: others may follow, of jobs that are accepted.
    last_of_runs: Option<Seq>,
    /// While nothing is accepted any more: told when nothing is held.
    all_told: Option<oneshot::Sender<()>>,
    _guard: ExitGuard,
}

/// Something that came while the state stood still.
type Waiting = Box<dyn FnOnce(&mut JobManagerActor, &mut Context<JobManagerActor>)>;

/// How a local worker is reached.
struct WorkerAddress {
    run: Recipient<Run>,
    halt: Recipient<Halt>,
}

impl JobManagerActor {
    /// Around a recovered table whose every event is durable.
    #[must_use]
    pub fn new(
        table: JobTable,
        snapshot: Option<SnapshotStatus>,
        dice: fastrand::Rng,
        settings: ManagerSettings,
        guard: ExitGuard,
    ) -> JobManagerActor {
        let time = SteadyTime::begin(settings.clock.clone(), table.last_at(), FOLLOWED_BACK_MS);
        let durable = table.last();
        let mut ledger = Ledger::new(table, dice, settings.metrics.clone());
        ledger.free_space = settings.free_space.clone();
        ledger.shortage = settings.intake.shortage.clone();
        JobManagerActor {
            pulse: Pulse::begin(time.ticks()),
            jump: None,
            time,
            durable,
            ledger,
            pool: Pool::new(settings.worker_count),
            bulk: BulkOps::default(),
            snapshot,
            timer: None,
            told: Visible::default(),
            deaths: LineLimit::default(),
            stillness: Stillness::default(),
            drained: None,
            last_of_runs: None,
            all_told: None,
            settings,
            _guard: guard,
        }
    }

    /// A turn begins: its time. If the clock has jumped since the last one, workers get their time back first.
    fn begin_turn(&mut self) -> Timestamp {
        let (now, jump) = self.time.now();
        // Of several while the state may not change, the first says what time it should be.
        self.jump = self.jump.or(jump);
        if let Some(jump) = self.jump
            && !self.stillness.holds()
        {
            self.jump = None;
            duties::on_clock_jump(&mut self.ledger, now, jump, self.time.is_synchronised());
        }
        now
    }

    /// A turn ends: what follows from it is done soon.
    fn end_turn(&mut self, ctx: &mut Context<JobManagerActor>) {
        let begins_to_wait = self.ledger.commit.end_turn();
        if self.ledger.commit.is_large() {
            self.send_group();
        }
        if begins_to_wait {
            self.wait_for_more(ctx);
        }
    }

    fn wait_for_more(&mut self, ctx: &mut Context<JobManagerActor>) {
        self.ledger.commit.wait_for_more();
        // Comes back after the runtime has asked its sockets and has worked through what they brought.
        let looked = tokio::task::yield_now().into_actor(self);
        ctx.spawn(looked.map(|(), manager, ctx| match manager.ledger.commit.after_look() {
            AfterLook::Wait => manager.wait_for_more(ctx),
            AfterLook::Go => manager.finish_turn(ctx),
        }));
    }

    /// Starts what can be started, sends what has gathered, releases what is confirmed.
    fn finish_turn(&mut self, ctx: &mut Context<JobManagerActor>) {
        let now = self.begin_turn();
        if !self.stillness.holds() {
            if let Some(away) = self.pulse.turn(self.time.ticks()) {
                duties::on_pause(&mut self.ledger, now, away);
            }
            duties::watch_clock(&mut self.ledger, now, || self.time.is_synchronised());
            duties::run_due(&mut self.ledger, now);
            local::dispatch(&mut self.ledger, &mut self.pool, now);
            remote::serve_fetches(&mut self.ledger, now);
        }
        self.send_group();
        self.release(ctx);
        match self.stillness.holds() {
            true => self.tell_if_still(),
            false => self.set_timer(ctx, now),
        }
        let counts = self.ledger.table.counts();
        self.settings.metrics.jobs_pending.set(counts.of(Status::Pending));
        self.settings.metrics.jobs_in_flight.set(counts.of(Status::InFlight));
        let names = self.ledger.table.names();
        self.settings.metrics.queues.used.set(names.queues as u64);
        self.settings.metrics.kinds.used.set(names.kinds as u64);
        self.settings.metrics.texts.used.set(self.ledger.table.resident_bytes());
        let is_doubted = self.ledger.table.clock().doubted_since.is_some();
        self.settings.metrics.clock_doubted.set(u64::from(is_doubted));
        self.tell_intake();
        self.tell_if_drained();
    }

    /// Who only asks hears from now on what a new job would be told.
    fn tell_intake(&self) {
        self.settings.intake.tell(self.ledger.admit(1, 0).err(), &self.settings.metrics);
    }

    fn send_group(&mut self) {
        if let Some(append) = self.ledger.commit.take_group() {
            // A closed mailbox means that the log has died; the supervisor ends the engine for that.
            self.settings.wal.do_send(append);
        }
    }

    /// Lets out what is durable.
    fn release(&mut self, ctx: &mut Context<JobManagerActor>) {
        // A client that gets an answer finds the change that it speaks of told already.
        self.tell_if_changed();
        let mut may_go_on = false;
        while let Some(effect) = self.ledger.effects.release_next() {
            may_go_on |= self.perform(effect, ctx);
        }
        if may_go_on {
            self.end_turn(ctx);
        }
    }

    /// True if there may be something to do by it: a local worker is free again, as its job was cancelled before it began,
    /// or a job that cannot be delivered has failed.
    fn perform(&mut self, effect: Effect, ctx: &mut Context<JobManagerActor>) -> bool {
        match effect {
            Effect::Enqueued(reply, answers) => {
                let created = answers.iter().filter(|answer| answer.created).count();
                self.settings.metrics.jobs_enqueued.add(created as u64);
                self.ledger.commit.expect_reply();
                reply.answer(Ok(answers));
            }
            Effect::Done(reply) => {
                self.ledger.commit.expect_reply();
                reply.answer(Ok(()));
            }
            Effect::Rejected(reply, rejection) => reply.answer(Err((*rejection).into())),
            Effect::Paused(reply, found) => reply.answer(found.map_err(|rejection| (*rejection).into())),
            Effect::Changed(reply, count) => reply.answer(Ok(count)),
            Effect::Listed(reply, views) => reply.answer(Ok(views)),
            Effect::Viewed(reply, found) => reply.answer(*found),
            Effect::Queues(reply, queues) => reply.answer(Ok(queues)),
            Effect::Status(reply, status) => reply.answer(Ok(*status)),
            Effect::Undelivered(reply) => reply.answer(Ok(None)),
            Effect::Died(death) => self.tell_death(&death),
            Effect::Run(worker, job, token) => return self.run(worker, &job, token),
            Effect::Halt(worker, halt) => {
                if let Some(address) = self.pool.address(worker) {
                    address.halt.do_send(halt);
                }
            }
            Effect::Deliver(reply, job, token) => {
                // A closed mailbox means that the engine has ended; then its lease gives the job back.
                let manager: Recipient<GiveBack> = ctx.address().recipient();
                let give_back = move |unwanted| manager.do_send(unwanted);
                let payload_store = &*self.settings.payload_store;
                match remote::delivery(&self.ledger.table, payload_store, &job, token, give_back) {
                    Ok(delivery) => reply.answer(Ok(delivery)),
                    Err(error) => {
                        let now = self.begin_turn();
                        remote::end_unreadable(&mut self.ledger, job, token, &error, now);
                        reply.answer(Ok(None));
                        return true;
                    }
                }
            }
        }
        false
    }

    /// One line, or a count of many of the same kind.
    fn tell_death(&mut self, death: &Death) {
        let Some(left_out) = self.deaths.admit(death.kind.as_str(), death.at.0) else { return };
        let Death { job, kind, queue, attempt, end, error, .. } = death;
        let what = match end {
            Exhausted::Dead => "a job is dead: all its attempts failed",
            Exhausted::Drop => "a job was dropped: all its attempts failed",
        };
        match left_out {
            0 => warn!(%job, %kind, %queue, attempts = attempt.0, %error, "{what}"),
            _ => warn!(%job, %kind, %queue, attempts = attempt.0, %error, left_out, "{what}"),
        }
    }

    /// Sends a job to its worker, unless one of them is gone. True if the worker is free again.
    fn run(&mut self, worker: WorkerId, job: &JobId, token: Token) -> bool {
        let Some(address) = self.pool.runner(worker, token) else { return false };
        match self.ledger.table.assignment(job) {
            Some((_, assignment)) if assignment.token == token => {
                address.run.do_send(Run(assignment));
                false
            }
            _ => {
                self.ledger.attempt_ended(job, token);
                self.pool.finish(worker, token)
            }
        }
    }

    /// Not in every turn: a request that only looks would wake the client that waits for a change, which looks again.
    fn tell_if_changed(&mut self) {
        let visible = Visible::of(&self.ledger, &self.pool);
        if self.told != visible {
            self.told = visible;
            self.settings.metrics.changes.tell();
        }
    }

    fn set_timer(&mut self, ctx: &mut Context<JobManagerActor>, now: Timestamp) {
        let Some(nap) = duties::until_next(&self.ledger, now) else { return };
        let at = now.plus_ms(millis(nap));
        // One that fires too early does no harm: it sets the next. Most leases end long before they expire.
        if let Some((earlier, _)) = self.timer
            && earlier <= at
        {
            return self.pulse.expect(Duration::from_millis(earlier.since_ms(now)));
        }
        self.pulse.expect(nap);
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(nap, |manager, ctx| {
            manager.timer = None;
            manager.end_turn(ctx);
        });
        self.timer = Some((at, timer));
    }

    fn tell_if_drained(&mut self) {
        let is_asked = self.drained.is_some() || self.all_told.is_some();
        if !is_asked || self.stillness.holds() {
            return;
        }
        // Without space for the log nothing more is confirmed, however long anybody waits.
        let is_stuck = self.ledger.room.is_stuck;
        if self.pool.busy().next().is_none() && self.bulk.is_empty() {
            let last = *self.last_of_runs.get_or_insert(self.ledger.table.last());
            if (self.ledger.effects.confirmed() >= last || is_stuck)
                && let Some(done) = self.drained.take()
            {
                // The supervisor may have given up on it.
                let _ = done.send(());
            }
        }
        if (self.ledger.all_is_told() || is_stuck)
            && let Some(done) = self.all_told.take()
        {
            let _ = done.send(());
        }
    }

    /// Not by a message to itself, which would be the next one in the mailbox: all else on this thread comes first.
    fn step_bulk_later(&mut self, ctx: &mut Context<JobManagerActor>) {
        if self.bulk.take_due() {
            let others_had_their_turn = tokio::task::yield_now().into_actor(self);
            ctx.spawn(others_had_their_turn.map(|(), manager, ctx| manager.step_bulk(ctx)));
        }
    }

    fn step_bulk(&mut self, ctx: &mut Context<JobManagerActor>) {
        if self.stillness.holds() {
            self.stillness.bulk_waits = true;
            return;
        }
        let now = self.begin_turn();
        self.bulk.step(&mut self.ledger, &*self.settings.payload_store, now);
        self.end_turn(ctx);
        self.step_bulk_later(ctx);
    }
}

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
        let submit = match submit {
            // Refused at once.
            refused @ Submit::Enqueue { .. } => refused,
            other => match self.unless_still(other) {
                Some(submit) => submit,
                None => return,
            },
        };
        let now = self.begin_turn();
        requests::submit(&mut self.ledger, &mut self.bulk, &*self.settings.payload_store, submit, now);
        self.step_bulk_later(ctx);
        self.end_turn(ctx);
    }
}

impl Handler<Ask> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Context<JobManagerActor>) {
        match ask {
            Ask::Job { job, reply } => {
                requests::view(&mut self.ledger, &*self.settings.payload_store, job, reply);
            }
            Ask::List { status, filter, limit, reply } => {
                self.bulk.list(&self.ledger, status, filter, limit, reply);
                self.step_bulk_later(ctx);
            }
            Ask::Queues { page, reply } => {
                let now = self.begin_turn();
                let queues = QueueStatus::page(&self.ledger.table, &page, now);
                self.ledger.hold(Effect::Queues(reply, queues));
            }
            Ask::Status { queues_max, reply } => {
                let now = self.begin_turn();
                let (durable, snapshot) = (self.durable, self.snapshot);
                let status = status::status(
                    &self.ledger,
                    &self.pool,
                    &self.settings,
                    durable,
                    snapshot,
                    queues_max,
                    now,
                );
                // While the log waits for something, an operator must still be able to see that it does.
                if self.ledger.room.accepts_jobs && !self.ledger.shortage.is_on() {
                    self.ledger.hold(Effect::Status(reply, Box::new(status)));
                } else {
                    reply.answer(Ok(status));
                }
            }
        }
        self.end_turn(ctx);
    }
}

impl Handler<Fetch> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, fetch: Fetch, ctx: &mut Context<JobManagerActor>) {
        let Some(fetch) = self.unless_still(fetch) else { return };
        let now = self.begin_turn();
        remote::fetch(&mut self.ledger, fetch, now);
        self.end_turn(ctx);
    }
}

impl Handler<GiveBack> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, unwanted: GiveBack, ctx: &mut Context<JobManagerActor>) {
        let Some(unwanted) = self.unless_still(unwanted) else { return };
        let now = self.begin_turn();
        remote::give_back(&mut self.ledger, unwanted, now);
        self.end_turn(ctx);
    }
}

impl Handler<Confirmed> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, confirmed: Confirmed, ctx: &mut Context<JobManagerActor>) {
        self.ledger.effects.confirm(confirmed.through);
        self.durable = self.durable.max(confirmed.durable);
        self.ledger.commit.confirm(confirmed.through);
        self.ledger.room = confirmed.room;
        let confirmed = self.ledger.effects.confirmed();
        self.ledger.table.leave_payloads(confirmed, self.settings.payload_memory_bytes);
        self.end_turn(ctx);
        // Those that wait for these must not wait for what else comes in.
        self.release(ctx);
    }
}

impl Handler<Finished> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, finished: Finished, ctx: &mut Context<JobManagerActor>) {
        let Some(finished) = self.unless_still(finished) else { return };
        let now = self.begin_turn();
        local::finished(&mut self.ledger, &mut self.pool, finished, now);
        self.end_turn(ctx);
    }
}

impl Handler<WorkerUp> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, up: WorkerUp, ctx: &mut Context<JobManagerActor>) {
        // The end of the one before must be heard first.
        let Some(WorkerUp { worker, run, halt }) = self.unless_still(up) else { return };
        self.pool.join(worker, WorkerAddress { run, halt });
        self.end_turn(ctx);
    }
}

impl Handler<WorkerDown> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, down: WorkerDown, ctx: &mut Context<JobManagerActor>) {
        let Some(down) = self.unless_still(down) else { return };
        let now = self.begin_turn();
        local::down(&mut self.ledger, &mut self.pool, down, now);
        self.end_turn(ctx);
    }
}

impl Handler<SnapshotTaken> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, SnapshotTaken(info): SnapshotTaken, _: &mut Context<JobManagerActor>) {
        self.snapshot = Some(info.into());
        self.settings.metrics.changes.tell();
    }
}

impl Handler<Drain> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, drain: Drain, ctx: &mut Context<JobManagerActor>) {
        self.ledger.is_draining = true;
        self.ledger.is_closed |= !drain.accepts_jobs;
        self.tell_intake();
        self.drained = Some(drain.done);
        self.bulk.refuse_all();
        self.end_turn(ctx);
    }
}

impl Handler<CloseIntake> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, close: CloseIntake, ctx: &mut Context<JobManagerActor>) {
        self.ledger.is_closed = true;
        self.tell_intake();
        self.all_told = Some(close.done);
        self.end_turn(ctx);
    }
}

impl Handler<HaltAll> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, _: HaltAll, _: &mut Context<JobManagerActor>) {
        for (address, token) in self.pool.busy() {
            address.halt.do_send(Halt { token, reason: StopReason::Shutdown });
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
