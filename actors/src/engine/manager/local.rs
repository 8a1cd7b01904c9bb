//! What local workers get and report: jobs from the pool's side.

use crate::engine::manager::durable_effects::Effect;
use crate::engine::manager::ledger::Ledger;
use crate::engine::manager::pool::Pool;
use crate::engine::messages::{Finished, WorkerDown};
use crate::ids::{Holder, Timestamp};
use crate::jobs::{Command, Failure, FailureKind};

/// Gives ready jobs to idle workers. They start once their dispatch is durable.
pub(super) fn dispatch<A>(ledger: &mut Ledger, pool: &mut Pool<A>, now: Timestamp) {
    while !ledger.is_draining && ledger.table.has_ready() && ledger.has_room_to_start() {
        let Some(worker) = pool.take_idle() else { return };
        let Some((job, token)) = ledger.start(Command::Dispatch { worker }, now) else {
            return pool.put_back(worker);
        };
        pool.begin(worker, token);
        ledger.hold(Effect::Run(worker, job, token));
    }
}

/// An attempt has ended.
pub(super) fn finished<A>(ledger: &mut Ledger, pool: &mut Pool<A>, finished: Finished, now: Timestamp) {
    let Finished { worker, job, token, end } = finished;
    let command = match ledger.attempt_ended(&job, token) {
        true => end.into_output(job, token),
        false => end.into_command(job, token),
    };
    if let Some(command) = command
        && let Err(rejection) = ledger.execute(command, now)
    {
        tracing::debug!(%rejection, "a worker's report came too late and changed nothing");
    }
    pool.finish(worker, token);
}

/// A worker has died, and with it what it ran.
pub(super) fn down<A>(ledger: &mut Ledger, pool: &mut Pool<A>, down: WorkerDown, now: Timestamp) {
    pool.leave(down.worker);
    // Of what it had not begun yet, nobody will report.
    ledger.ending.retain(|_, (worker, _)| *worker != down.worker);
    for (job, token) in ledger.table.in_flight(|holder| *holder == Holder::Local(down.worker)) {
        let failure = Failure::new(FailureKind::Lost, format!("{} {}", down.worker, down.cause));
        // Its lease is held, so this is not rejected. The job may be what killed the worker: it counts.
        let _ = ledger.execute(Command::Requeue { job, token, failure, counts: true, fences: true }, now);
    }
}
