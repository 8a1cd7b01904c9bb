//! What remote workers ask for: a job, and to report on one.

use crate::api::requests::{AttemptEnd, Claim, Delivery};
use crate::engine::manager::durable_effects::Effect;
use crate::engine::manager::ledger::Ledger;
use crate::engine::manager::waiting_fetches::WaitingFetch;
use crate::engine::messages::{Fetch, GiveBack};
use crate::ids::{JobId, Timestamp, Token};
use crate::jobs::model::policy::millis;
use crate::jobs::{Command, Failure, FailureKind, JobTable, PayloadStore, Rejection, UnreadablePayload};

/// A worker wants a job: it gets one, or waits for one.
pub(super) fn fetch(ledger: &mut Ledger, fetch: Fetch, now: Timestamp) {
    let Fetch { queues, worker, wait, reply } = fetch;
    // It may be up to a millisecond later than it says: with one more, nobody waits for less than it wants.
    let deadline = now.plus_ms(millis(wait).saturating_add(1));
    let fetch = WaitingFetch { queues, worker, deadline, reply };
    if ledger.is_draining {
        fetch.reply.answer(Err(Rejection::Stopping.into()));
    } else if let Some(fetch) = reserve(ledger, fetch, now) {
        if wait.is_zero() {
            ledger.hold(Effect::Undelivered(fetch.reply));
        } else {
            ledger.fetches.add(fetch);
        }
    }
}

/// Gives ready jobs to workers that wait for them, and none to those that have waited long enough.
pub(super) fn serve_fetches(ledger: &mut Ledger, now: Timestamp) {
    if ledger.is_draining {
        ledger.fetches.take_all().for_each(|fetch| fetch.reply.answer(Err(Rejection::Stopping.into())));
        return;
    }
    'queues: for queue in ledger.ready.take(&ledger.fetches) {
        while ledger.table.has_ready_in(&queue) {
            if !ledger.has_room_to_start() {
                // Later. Those that have waited long enough hear so all the same.
                ledger.ready.mark_all();
                break 'queues;
            }
            let Some((arrival, fetch)) = ledger.fetches.take_first(&queue) else { break };
            if let Some(fetch) = reserve(ledger, fetch, now) {
                ledger.fetches.put_back(arrival, fetch);
                break;
            }
        }
    }
    while let Some(fetch) = ledger.fetches.take_expired(now) {
        ledger.hold(Effect::Undelivered(fetch.reply));
    }
}

/// Reserves a job for a worker; gives its fetch back if there is none.
fn reserve(ledger: &mut Ledger, fetch: WaitingFetch, now: Timestamp) -> Option<WaitingFetch> {
    if !ledger.has_room_to_start() {
        ledger.ready.mark_all();
        return Some(fetch);
    }
    let (queues, worker) = (fetch.queues.clone(), fetch.worker.clone());
    let Some((job, token)) = ledger.start(Command::Reserve { queues, worker }, now) else {
        return Some(fetch);
    };
    ledger.hold(Effect::Deliver(fetch.reply, job, token));
    None
}

/// A reserved job as its worker gets it; none if it has been taken away in the meantime. What is not accepted is given
/// back.
pub(super) fn delivery(
    table: &JobTable,
    payload_store: &dyn PayloadStore,
    job: &JobId,
    token: Token,
    give_back: impl FnOnce(GiveBack) + Send + 'static,
) -> Result<Option<Delivery>, UnreadablePayload> {
    let is_held = table.lease(job).is_some_and(|lease| lease.token == token);
    if !is_held {
        return Ok(None);
    }
    let Some(view) = table.delivered_view(job, payload_store)? else { return Ok(None) };
    let job = job.clone();
    Ok(Some(Delivery::new(view, token, move || give_back(GiveBack { job, token }))))
}

/// A job whose payload cannot be read is tried again later, or dead if it is damaged: it is seen, and stops nobody else.
pub(super) fn end_unreadable(
    ledger: &mut Ledger,
    job: JobId,
    token: Token,
    error: &UnreadablePayload,
    now: Timestamp,
) {
    tracing::error!(%job, %error, "a job cannot be delivered");
    if let Some(command) = AttemptEnd::from(error).into_command(job, token) {
        // It is held under this token, so this is not rejected.
        let _ = ledger.execute(command, now);
    }
}

/// A job that reached no worker is pending again. It was not run, so the attempt does not count.
pub(super) fn give_back(ledger: &mut Ledger, GiveBack { job, token }: GiveBack, now: Timestamp) {
    let message = "the worker had gone before it got the job";
    let failure = Failure::new(FailureKind::Lost, message);
    let command = Command::Requeue { job, token, failure, counts: false, fences: true };
    if let Err(rejection) = ledger.execute(command, now) {
        tracing::debug!(%rejection, "a job that could not be delivered has moved on");
    }
}

/// A worker reports how an attempt ended.
pub(super) fn report(
    ledger: &mut Ledger,
    job: JobId,
    claim: &Claim,
    end: AttemptEnd,
    now: Timestamp,
) -> Result<(), Rejection> {
    let Claim { worker, token } = claim;
    let token = match end {
        AttemptEnd::Success(_) => ledger.table.succeeded_by(&job, worker, *token)?,
        _ => ledger.table.held_by(&job, worker, *token)?,
    };
    match end.into_command(job, token) {
        Some(command) => ledger.execute(command, now).map(|_| ()),
        None => Ok(()),
    }
}
