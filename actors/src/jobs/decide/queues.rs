//! Which queues there may be, and whether one is paused.

use std::collections::HashSet;

use crate::ids::{KindName, QueueName, Timestamp};
use crate::jobs::command::JobSpec;
use crate::jobs::event::EventKind;
use crate::jobs::rejection::Rejection;
use crate::jobs::table::JobTable;

impl JobTable {
    /// Whether there may be a queue of this name.
    ///
    /// # Errors
    /// [`Rejection::TooManyQueues`].
    pub fn admit_queue(&self, queue: &QueueName) -> Result<(), Rejection> {
        let queues_max = self.policy.queues_max;
        match self.sections.queues.len() < queues_max || self.sections.queues.find(queue).is_some() {
            true => Ok(()),
            false => Err(Rejection::TooManyQueues { queues_max }),
        }
    }

    /// Whether there may be the queues and kinds that these jobs name, all of them; asked once for a request.
    ///
    /// # Errors
    /// [`Rejection::TooManyQueues`] or [`Rejection::TooManyKinds`], with the number of the first job whose name is one too
    /// many.
    pub fn admit_names(&self, jobs: &[JobSpec]) -> Result<(), (usize, Rejection)> {
        let (queues_max, kinds_max) = (self.policy.queues_max, self.policy.kinds_max);
        let names = self.names();
        let (mut queues, mut kinds) = (names.queues, names.kinds);
        // Mostly there is room for more names than there are jobs, and none has to be looked at.
        if queues.saturating_add(jobs.len()) <= queues_max && kinds.saturating_add(jobs.len()) <= kinds_max {
            return Ok(());
        }
        let (mut new_queues, mut new_kinds): (HashSet<&QueueName>, HashSet<&KindName>) = Default::default();
        for (index, JobSpec { queue, kind, .. }) in jobs.iter().enumerate() {
            queues += usize::from(self.sections.queues.find(queue).is_none() && new_queues.insert(queue));
            kinds += usize::from(self.kinds.find(kind).is_none() && new_kinds.insert(kind));
            if queues > queues_max && !new_queues.is_empty() {
                return Err((index, Rejection::TooManyQueues { queues_max }));
            }
            if kinds > kinds_max && !new_kinds.is_empty() {
                return Err((index, Rejection::TooManyKinds { kinds_max }));
            }
        }
        Ok(())
    }

    /// A queue that nobody uses is removed.
    pub(super) fn decide_forget_queue(
        &self,
        queue: QueueName,
        idle_ms: u64,
        now: Timestamp,
    ) -> Option<EventKind> {
        let key = self.sections.queues.find(&queue)?;
        self.is_unused(key, now, idle_ms).then_some(EventKind::RemoveQueue { queue })
    }

    /// Whether there is such a queue, and it is, or is not, paused.
    pub(super) fn is_paused(&self, name: &QueueName, paused: bool) -> bool {
        let state = self.sections.queues.find(name).map(|key| self.sections.queues.get(key));
        state.is_some_and(|state| state.paused == paused) && self.has_queue(name)
    }
}
