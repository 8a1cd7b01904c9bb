//! What is done to many jobs at once, or asked about them: a piece a turn, so that the queue goes on beside it.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use crate::api::outcome::EngineError;
use crate::api::requests::{QueueSet, SetAction};
use crate::engine::manager::JobManagerActor;
use crate::engine::manager::effects::Effect;
use crate::engine::messages::Reply;
use crate::ids::{JobId, QueueName, Timestamp};
use crate::jobs::filter::Members;
use crate::jobs::{Command, Filter, JobView, Rejection, Status};

/// How many jobs are looked at in one turn.
const EXAMINED_AT_ONCE: usize = 1_000;

/// One request that is being gone through.
pub(super) struct Sweep {
    /// The first ones last.
    parts: Vec<Part>,
    purpose: Purpose,
}

enum Purpose {
    Act { action: SetAction, changed: u64, reply: Reply<u64> },
    List { found: Vec<JobView>, limit: usize, reply: Reply<Vec<JobView>> },
}

impl Purpose {
    fn refuse(self, error: impl Into<EngineError>) {
        match self {
            Purpose::Act { reply, .. } => reply.answer(Err(error.into())),
            Purpose::List { reply, .. } => reply.answer(Err(error.into())),
        }
    }
}

/// Jobs to look at, and the queue to forget after them.
struct Part {
    members: Members,
    statuses: Vec<Status>,
    filter: Filter,
    then_remove: Vec<QueueName>,
}

impl JobManagerActor {
    pub(super) fn act(
        &mut self,
        action: SetAction,
        set: Status,
        filter: Filter,
        reply: Reply<u64>,
        ctx: &mut Context<JobManagerActor>,
    ) {
        if let SetAction::Move(queue) = &action
            && let Err(rejection) = self.table.admit_queue(queue)
        {
            return reply.answer(Err(rejection.into()));
        }
        let parts = vec![self.part(vec![set], filter, usize::MAX, Vec::new())];
        self.begin_sweep(parts, Purpose::Act { action, changed: 0, reply }, ctx);
    }

    pub(super) fn list(
        &mut self,
        set: Status,
        filter: Filter,
        limit: usize,
        reply: Reply<Vec<JobView>>,
        ctx: &mut Context<JobManagerActor>,
    ) {
        // Without a condition, the first ones are those that are wanted.
        let is_plain = filter.kind.is_none() && filter.queue.is_none() && filter.test.is_none();
        let members_max = if is_plain { limit } else { usize::MAX };
        let parts = vec![self.part(vec![set], filter, members_max, Vec::new())];
        self.begin_sweep(parts, Purpose::List { found: Vec::new(), limit, reply }, ctx);
    }

    pub(super) fn remove_queues(
        &mut self,
        queues: QueueSet,
        reply: Reply<u64>,
        ctx: &mut Context<JobManagerActor>,
    ) {
        let parts = self.existing(queues).into_iter().map(|queue| {
            let filter = Filter { queue: Some(queue.clone()), ..Filter::default() };
            self.part(vec![Status::Pending], filter, usize::MAX, vec![queue])
        });
        let parts = parts.rev().collect();
        self.begin_sweep(parts, Purpose::Act { action: SetAction::Discard, changed: 0, reply }, ctx);
    }

    pub(super) fn flush(&mut self, reply: Reply<u64>, ctx: &mut Context<JobManagerActor>) {
        let queues = self.existing(QueueSet::All);
        let parts = vec![self.part(Status::ALL.to_vec(), Filter::default(), usize::MAX, queues)];
        self.begin_sweep(parts, Purpose::Act { action: SetAction::Discard, changed: 0, reply }, ctx);
    }

    /// Pauses queues, or resumes them; returns those of them that there are.
    pub(super) fn pause(
        &mut self,
        queues: QueueSet,
        paused: bool,
        now: Timestamp,
    ) -> Result<Vec<QueueName>, Rejection> {
        let found = self.existing(queues);
        for queue in found.iter().cloned() {
            let command = Command::SetPaused { queue, paused };
            self.execute(command, now)?;
        }
        Ok(found)
    }

    fn part(
        &self,
        statuses: Vec<Status>,
        filter: Filter,
        members_max: usize,
        then_remove: Vec<QueueName>,
    ) -> Part {
        let members = self.table.members(&statuses, &filter, members_max);
        Part { members, statuses, filter, then_remove }
    }

    fn begin_sweep(&mut self, parts: Vec<Part>, purpose: Purpose, ctx: &mut Context<JobManagerActor>) {
        if self.draining.is_some() {
            return purpose.refuse(Rejection::Stopping);
        }
        self.sweeps.push_back(Sweep { parts, purpose });
        if self.sweeps.len() == 1 {
            self.go_on_later(ctx);
        }
    }

    /// A message to itself would be the next one in the mailbox; whatever else lives on this thread comes first.
    fn go_on_later(&mut self, ctx: &mut Context<JobManagerActor>) {
        let others_had_their_turn = tokio::task::yield_now().into_actor(self);
        ctx.spawn(others_had_their_turn.map(|(), manager, ctx| manager.go_on(ctx)));
    }

    fn go_on(&mut self, ctx: &mut Context<JobManagerActor>) {
        let now = self.now();
        if let Some(mut sweep) = self.sweeps.pop_front() {
            match self.sweep_on(&mut sweep, now) {
                Ok(true) => self.hold(match sweep.purpose {
                    Purpose::Act { changed, reply, .. } => Effect::Changed(reply, changed),
                    Purpose::List { found, reply, .. } => Effect::Listed(reply, found),
                }),
                Ok(false) => self.sweeps.push_front(sweep),
                Err(error) => sweep.purpose.refuse(error),
            }
        }
        self.end_turn(ctx);
        if !self.sweeps.is_empty() {
            self.go_on_later(ctx);
        }
    }

    /// Does the next piece; true when all is done.
    fn sweep_on(&mut self, sweep: &mut Sweep, now: Timestamp) -> Result<bool, EngineError> {
        let Some(part) = sweep.parts.last_mut() else { return Ok(true) };
        let Part { members, statuses, filter, .. } = part;
        let payload_store = self.settings.payload_store.clone();
        match &mut sweep.purpose {
            Purpose::List { found, limit, .. } => {
                let missing = *limit - found.len();
                let views = self.table.examine_whole(
                    members,
                    statuses,
                    filter,
                    EXAMINED_AT_ONCE,
                    missing,
                    &*payload_store,
                );
                found.extend(views.map_err(EngineError::Unreadable)?);
                return Ok(found.len() == *limit || part.members.is_empty());
            }
            // What it would write has no room set aside for it.
            Purpose::Act { .. } if !self.room.accepts_jobs => return Err(Rejection::DiskFull.into()),
            Purpose::Act { action, changed, .. } => {
                let jobs = self.table.examine(members, statuses, filter, EXAMINED_AT_ONCE, &*payload_store);
                for job in jobs.map_err(EngineError::Unreadable)? {
                    *changed += u64::from(self.act_on(action, job, now)?);
                }
            }
        }
        if part.members.is_empty() {
            let removed = std::mem::take(&mut part.then_remove);
            sweep.parts.pop();
            for queue in removed {
                self.execute(Command::RemoveQueue { queue }, now)?;
            }
        }
        Ok(sweep.parts.is_empty())
    }

    /// Whether it changed anything; a job that cannot have it done to it is left alone.
    fn act_on(&mut self, action: &SetAction, job: JobId, now: Timestamp) -> Result<bool, Rejection> {
        let done = match action {
            SetAction::RunNow => self.execute(Command::RunNow { job }, now),
            SetAction::Kill => self.execute(Command::Kill { job }, now),
            SetAction::Move(queue) => self.execute(Command::Move { job, queue: queue.clone() }, now),
            SetAction::Cancel => self.take_away(Command::Cancel { job: job.clone() }, &job, now),
            SetAction::Discard => self.take_away(Command::Discard { job: job.clone() }, &job, now),
        };
        match done {
            Ok(event) => Ok(event.is_some()),
            Err(Rejection::WrongState { .. } | Rejection::Finished { .. } | Rejection::NotFound { .. }) => {
                Ok(false)
            }
            Err(rejection) => Err(rejection),
        }
    }

    fn existing(&self, queues: QueueSet) -> Vec<QueueName> {
        match queues {
            QueueSet::All => self.table.queues().map(|queue| queue.queue).collect(),
            QueueSet::Named(mut names) => {
                names.retain(|name| self.table.has_queue(name));
                names
            }
        }
    }

    /// What was asked of many jobs and is not done yet is refused: the server stops.
    pub(super) fn end_sweeps(&mut self) {
        self.sweeps.drain(..).for_each(|sweep| sweep.purpose.refuse(Rejection::Stopping));
    }
}
