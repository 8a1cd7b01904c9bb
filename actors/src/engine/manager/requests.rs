//! What a user's request leads to.

use crate::api::outcome::EngineError;
use crate::api::requests::QueueSet;
use crate::engine::manager::bulk_ops::{BulkOps, existing};
use crate::engine::manager::durable_effects::Effect;
use crate::engine::manager::duties::{forget_queues, watch_clock};
use crate::engine::manager::ledger::Ledger;
use crate::engine::manager::remote;
use crate::engine::messages::{Reply, Submit};
use crate::ids::{JobId, QueueName, Timestamp};
use crate::jobs::command::Enqueued;
use crate::jobs::decide::enqueue::Offer;
use crate::jobs::{Command, JobSpec, JobView, PayloadStore, Rejection};

/// Does what is asked, or begins to if it is asked of many jobs.
pub(super) fn submit(
    ledger: &mut Ledger,
    bulk: &mut BulkOps,
    payload_store: &dyn PayloadStore,
    submit: Submit,
    now: Timestamp,
) {
    match submit {
        Submit::Enqueue { jobs, reply } => match enqueue(ledger, payload_store, jobs, now) {
            Ok(answers) => ledger.hold(Effect::Enqueued(reply, answers)),
            Err(error) => reply.answer(Err(error)),
        },
        Submit::Cancel { job, reply } => {
            let done = ledger.take_away(Command::Cancel { job: job.clone() }, &job, now);
            hold_outcome(ledger, reply, done.map(|_| ()));
        }
        Submit::Report { job, claim, end, reply } => {
            let done = remote::report(ledger, job, &claim, end, now);
            hold_outcome(ledger, reply, done);
        }
        Submit::Pause { queues, paused, reply } => {
            let found = pause(ledger, queues, paused, now).map_err(Box::new);
            ledger.hold(Effect::Paused(reply, found));
        }
        Submit::Act { action, status, filter, reply } => bulk.act(ledger, now, action, status, filter, reply),
        Submit::RemoveQueues { queues, reply } => bulk.remove_queues(ledger, queues, reply),
        Submit::TrustClock { reply } => {
            let ended = watch_clock::trust(ledger, now);
            ledger.hold(Effect::Changed(reply, u64::from(ended)));
        }
        Submit::Flush { reply } => bulk.flush(ledger, reply),
    }
}

/// Shows a job as it stands.
pub(super) fn view(ledger: &mut Ledger, payload_store: &dyn PayloadStore, job: JobId, reply: Reply<JobView>) {
    let found = ledger.table.whole_view(&job, payload_store);
    let found = found.ok_or_else(|| Rejection::NotFound { job }.into());
    ledger.hold(Effect::Viewed(reply, Box::new(found)));
}

fn hold_outcome(ledger: &mut Ledger, reply: Reply<()>, outcome: Result<(), Rejection>) {
    ledger.hold(match outcome {
        Ok(()) => Effect::Done(reply),
        Err(rejection) => Effect::Rejected(reply, Box::new(rejection)),
    });
}

fn enqueue(
    ledger: &mut Ledger,
    payload_store: &dyn PayloadStore,
    jobs: Vec<JobSpec>,
    now: Timestamp,
) -> Result<Vec<Enqueued>, EngineError> {
    // All that could be rejected is rejected before the first job is added: all or nothing.
    ledger.admit(jobs.len(), jobs.iter().map(JobSpec::weight).sum())?;
    admit_names(ledger, &jobs, now)?;
    for (index, job) in jobs.iter().enumerate() {
        let admitted = ledger.table.admit_job(job).and_then(|()| ledger.admit_id(job.id.as_ref()));
        if let Err(rejection) = admitted {
            return Err(EngineError::RejectedAt { index, rejection });
        }
    }
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let given = job.id.clone();
        let offer =
            if job.follows_running { ledger.table.offer(&job, now, payload_store) } else { Offer::New };
        let event = if offer == Offer::New { ledger.decide_enqueue(job, now)? } else { None };
        let created = event.is_some();
        let id = match event {
            Some(event) => {
                let id = event.kind.job().cloned();
                ledger.record(event);
                id
            }
            None => given,
        };
        let id = id.expect("a generated id is new, so an event follows that names it");
        answers.push(Enqueued {
            id,
            created,
            conflicts: offer == Offer::Conflicts,
            seq: ledger.table.last(),
        });
    }
    Ok(answers)
}

/// Whether there may be the queues and kinds that these jobs name. If not, room is made for them by what nobody uses.
fn admit_names(ledger: &mut Ledger, jobs: &[JobSpec], now: Timestamp) -> Result<(), EngineError> {
    if ledger.table.admit_names(jobs).is_ok() {
        return Ok(());
    }
    forget_queues::make_room(ledger, jobs.len(), now);
    let admitted = ledger.table.admit_names(jobs);
    admitted.map_err(|(index, rejection)| EngineError::RejectedAt { index, rejection })
}

/// Pauses queues, or resumes them; returns those of them that there are.
fn pause(
    ledger: &mut Ledger,
    queues: QueueSet,
    paused: bool,
    now: Timestamp,
) -> Result<Vec<QueueName>, Rejection> {
    let found = existing(&ledger.table, queues);
    for queue in found.iter().cloned() {
        ledger.execute(Command::SetPaused { queue, paused }, now)?;
    }
    Ok(found)
}
