//! What is done to many jobs at once, or asked about them: a step a turn, so that the server goes on beside it.

use std::collections::VecDeque;

use crate::api::outcome::EngineError;
use crate::api::requests::{QueueSet, SetAction};
use crate::engine::manager::durable_effects::Effect;
use crate::engine::manager::duties::forget_queues;
use crate::engine::manager::ledger::Ledger;
use crate::engine::messages::Reply;
use crate::ids::{JobId, QueueName, Timestamp};
use crate::jobs::filter::{ListRoom, Members};
use crate::jobs::{
    Command, Failure, FailureKind, Filter, JobTable, JobView, PayloadStore, Rejection, Status,
};

/// Jobs that are looked at in one step.
const EXAMINED_AT_ONCE: usize = 1_000;

/// What the history of a job says of an attempt that was taken from its worker by hand.
const PUT_BACK: &str = "put back in line by an operator";

/// Operations in the order in which they were asked for. The first is under way.
#[derive(Default)]
pub(super) struct BulkOps {
    ops: VecDeque<BulkOp>,
    /// Whether its next step has been seen to.
    is_under_way: bool,
}

/// One request that is being gone through.
struct BulkOp {
    /// The first ones last.
    steps: Vec<BulkStep>,
    purpose: Purpose,
}

/// Jobs to look at, and the queues to forget after them. It may take many turns.
struct BulkStep {
    members: Members,
    statuses: Vec<Status>,
    filter: Filter,
    then_remove: Vec<QueueName>,
}

enum Purpose {
    Act { action: SetAction, changed: u64, reply: Reply<u64> },
    List { found: Vec<JobView>, room: ListRoom, reply: Reply<Vec<JobView>> },
}

impl Purpose {
    fn refuse(self, error: impl Into<EngineError>) {
        match self {
            Purpose::Act { reply, .. } => reply.answer(Err(error.into())),
            Purpose::List { reply, .. } => reply.answer(Err(error.into())),
        }
    }

    fn effect(self) -> Effect {
        match self {
            Purpose::Act { changed, reply, .. } => Effect::Changed(reply, changed),
            Purpose::List { found, reply, .. } => Effect::Listed(reply, found),
        }
    }
}

impl BulkOps {
    /// Does the same to every job that is in `status` now and passes the filter.
    pub fn act(
        &mut self,
        ledger: &mut Ledger,
        now: Timestamp,
        action: SetAction,
        status: Status,
        filter: Filter,
        reply: Reply<u64>,
    ) {
        if let SetAction::Move(queue) = &action
            && ledger.table.admit_queue(queue).is_err()
        {
            forget_queues::make_room(ledger, 1, now);
            if let Err(rejection) = ledger.table.admit_queue(queue) {
                return reply.answer(Err(rejection.into()));
            }
        }
        let steps = vec![BulkStep::new(&ledger.table, vec![status], filter, usize::MAX, Vec::new())];
        self.add(ledger, BulkOp { steps, purpose: Purpose::Act { action, changed: 0, reply } });
    }

    /// Lists the first jobs that are in `status` now and pass the filter.
    pub fn list(
        &mut self,
        ledger: &Ledger,
        status: Status,
        filter: Filter,
        limit: usize,
        reply: Reply<Vec<JobView>>,
    ) {
        // Without a condition, the first ones are those that are wanted.
        let is_plain = filter.kind.is_none() && filter.queue.is_none() && filter.test.is_none();
        let members_max = if is_plain { limit } else { usize::MAX };
        let steps = vec![BulkStep::new(&ledger.table, vec![status], filter, members_max, Vec::new())];
        let (found, room) = (Vec::new(), ListRoom::of_jobs(limit));
        self.add(ledger, BulkOp { steps, purpose: Purpose::List { found, room, reply } });
    }

    /// Discards the pending jobs of queues, and forgets the queues.
    pub fn remove_queues(&mut self, ledger: &Ledger, queues: QueueSet, reply: Reply<u64>) {
        let steps = existing(&ledger.table, queues).into_iter().map(|queue| {
            let filter = Filter { queue: Some(queue.clone()), ..Filter::default() };
            BulkStep::new(&ledger.table, vec![Status::Pending], filter, usize::MAX, vec![queue])
        });
        self.discard(ledger, steps.rev().collect(), reply);
    }

    /// Discards every job, and forgets every queue.
    pub fn flush(&mut self, ledger: &Ledger, reply: Reply<u64>) {
        let queues = existing(&ledger.table, QueueSet::All);
        let all = Status::ALL.to_vec();
        let step = BulkStep::new(&ledger.table, all, Filter::default(), usize::MAX, queues);
        self.discard(ledger, vec![step], reply);
    }

    fn discard(&mut self, ledger: &Ledger, steps: Vec<BulkStep>, reply: Reply<u64>) {
        let purpose = Purpose::Act { action: SetAction::Discard, changed: 0, reply };
        self.add(ledger, BulkOp { steps, purpose });
    }

    fn add(&mut self, ledger: &Ledger, op: BulkOp) {
        if ledger.is_draining {
            return op.purpose.refuse(Rejection::Stopping);
        }
        self.ops.push_back(op);
    }

    /// Whether there is a [step](BulkOps::step) to see to. The caller does, so it is said once.
    pub fn take_due(&mut self) -> bool {
        !self.ops.is_empty() && !std::mem::replace(&mut self.is_under_way, true)
    }

    /// Does the next step. What follows from an operation that is over is held.
    pub fn step(&mut self, ledger: &mut Ledger, payload_store: &dyn PayloadStore, now: Timestamp) {
        self.is_under_way = false;
        let Some(op) = self.ops.front_mut() else { return };
        let stepped = op.step(ledger, payload_store, now);
        if let Ok(false) = stepped {
            return;
        }
        let Some(BulkOp { purpose, .. }) = self.ops.pop_front() else { return };
        match stepped {
            Ok(_) => ledger.hold(purpose.effect()),
            Err(error) => purpose.refuse(error),
        }
    }

    /// Whether no operation is under way.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Refuses what is not done yet: the server stops.
    pub fn refuse_all(&mut self) {
        self.ops.drain(..).for_each(|op| op.purpose.refuse(Rejection::Stopping));
    }
}

impl BulkStep {
    fn new(
        table: &JobTable,
        statuses: Vec<Status>,
        filter: Filter,
        members_max: usize,
        then_remove: Vec<QueueName>,
    ) -> BulkStep {
        let members = table.members(&statuses, &filter, members_max);
        BulkStep { members, statuses, filter, then_remove }
    }
}

impl BulkOp {
    /// Looks at the next jobs and queues, as many as a turn may; true when all is done.
    fn step(
        &mut self,
        ledger: &mut Ledger,
        payload_store: &dyn PayloadStore,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let mut left = EXAMINED_AT_ONCE;
        while left > 0 {
            let Some(step) = self.steps.last_mut() else { return Ok(true) };
            let BulkStep { members, statuses, filter, then_remove } = step;
            let before = members.len();
            match &mut self.purpose {
                Purpose::List { found, room, .. } => {
                    let views =
                        ledger.table.examine_whole(members, statuses, filter, left, room, payload_store);
                    found.extend(views);
                    return Ok(room.is_full() || members.is_empty());
                }
                // What it would write has no room reserved for it.
                Purpose::Act { .. } if !ledger.room.accepts_jobs => return Err(Rejection::DiskFull.into()),
                Purpose::Act { action, changed, .. } => {
                    let jobs = ledger.table.examine(members, statuses, filter, left, payload_store);
                    for job in jobs {
                        *changed += u64::from(act_on(ledger, action, job, now)?);
                    }
                }
            }
            left -= (before - members.len()).min(left);
            if !members.is_empty() {
                continue;
            }
            while left > 0
                && let Some(queue) = then_remove.pop()
            {
                left -= 1;
                ledger.execute(Command::RemoveQueue { queue }, now)?;
            }
            if then_remove.is_empty() {
                self.steps.pop();
            }
        }
        Ok(self.steps.is_empty())
    }
}

/// Whether it changed anything; a job that cannot have it done to it is left alone.
fn act_on(ledger: &mut Ledger, action: &SetAction, job: JobId, now: Timestamp) -> Result<bool, Rejection> {
    let done = match action {
        SetAction::RunNow => ledger.execute(Command::RunNow { job }, now),
        SetAction::Requeue => {
            let Some(token) = ledger.table.lease(&job).map(|lease| lease.token) else { return Ok(false) };
            let failure = Failure::new(FailureKind::Lost, PUT_BACK);
            let command = Command::Requeue { job: job.clone(), token, failure, counts: false, fences: true };
            ledger.take_away(command, &job, now)
        }
        SetAction::Kill => ledger.execute(Command::Kill { job }, now),
        SetAction::Move(queue) => ledger.execute(Command::Move { job, queue: queue.clone() }, now),
        SetAction::Cancel => ledger.take_away(Command::Cancel { job: job.clone() }, &job, now),
        SetAction::Discard => ledger.take_away(Command::Discard { job: job.clone() }, &job, now),
    };
    match done {
        Ok(event) => Ok(event.is_some()),
        Err(Rejection::WrongState { .. } | Rejection::Finished { .. } | Rejection::NotFound { .. }) => {
            Ok(false)
        }
        Err(rejection) => Err(rejection),
    }
}

/// Those of the queues that there are.
pub(super) fn existing(table: &JobTable, queues: QueueSet) -> Vec<QueueName> {
    match queues {
        QueueSet::All => table.queues().map(|queue| queue.queue).collect(),
        QueueSet::Named(mut names) => {
            names.retain(|name| table.has_queue(name));
            names
        }
    }
}
