//! Which queues there may be, and whether one is paused.

use crate::ids::QueueName;
use crate::jobs::rejection::Rejection;
use crate::jobs::sections::queues::QUEUES_MAX;
use crate::jobs::table::JobTable;

impl JobTable {
    /// Whether there may be a queue of this name; asked once for every job of a request, before the first.
    ///
    /// # Errors
    /// [`Rejection::TooManyQueues`].
    pub fn admit_queue(&self, queue: &QueueName) -> Result<(), Rejection> {
        match self.sections.queues.len() < QUEUES_MAX || self.sections.queues.find(queue).is_some() {
            true => Ok(()),
            false => Err(Rejection::TooManyQueues { queues_max: QUEUES_MAX }),
        }
    }

    /// Whether there is such a queue, and it is, or is not, paused.
    pub(super) fn is_paused(&self, name: &QueueName, paused: bool) -> bool {
        let state = self.sections.queues.find(name).map(|key| self.sections.queues.get(key));
        state.is_some_and(|state| state.paused == paused) && self.has_queue(name)
    }
}
