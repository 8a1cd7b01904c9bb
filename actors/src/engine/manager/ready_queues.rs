//! Which queues may have got jobs for remote workers since these were looked at last.

use crate::engine::manager::waiting_fetches::WaitingFetches;
use crate::ids::QueueName;
use crate::jobs::EventKind;

/// Queues to look at. None of them need have a job.
#[derive(Default)]
pub(super) struct ReadyQueues {
    all: bool,
    some: Vec<QueueName>,
}

impl ReadyQueues {
    /// Notes what may let a waiting worker have a job.
    pub fn mark_ready(&mut self, kind: &EventKind, fetches: &WaitingFetches) {
        if fetches.is_empty() {
            return;
        }
        match kind {
            EventKind::Enqueue(new) => {
                let queue = &new.profile.queue;
                let is_first = self.some.last() != Some(queue);
                if new.run_at.is_none() && is_first && fetches.wait_for(queue) {
                    self.some.push(queue.clone());
                }
            }
            kind => self.all |= kind.event_type().may_make_ready(),
        }
    }

    /// Any queue may have one.
    pub fn mark_all(&mut self) {
        self.all = true;
    }

    /// The queues to look at now, of those that workers wait for.
    pub fn take(&mut self, fetches: &WaitingFetches) -> Vec<QueueName> {
        let ReadyQueues { all, some } = std::mem::take(self);
        if all { fetches.queues() } else { some }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::testing::{NOW, fetch, ledger_with, queue, spec};
    use crate::ids::JobId;
    use crate::jobs::{JobSpec, Start};

    fn enqueued(name: &str, start: Start) -> EventKind {
        let spec = JobSpec { queue: queue(name), start, ..spec() };
        ledger_with(0).decide_enqueue(spec, NOW).unwrap().unwrap().kind
    }

    #[test]
    fn a_job_that_can_run_now_marks_its_queue_once_if_a_worker_waits_for_it() {
        let (mut ready, mut fetches) = (ReadyQueues::default(), WaitingFetches::default());
        ready.mark_ready(&enqueued("a", Start::Now), &fetches);
        assert_eq!(ready.take(&fetches), [], "nobody waits");
        fetches.add(fetch(1, &["a", "b"], 100).0);
        let later = Start::At(NOW.plus_ms(9));
        for (name, start) in [("a", Start::Now), ("a", Start::Now), ("b", later), ("c", Start::Now)] {
            ready.mark_ready(&enqueued(name, start), &fetches);
        }
        assert_eq!(ready.take(&fetches), [queue("a")]);
        assert_eq!(ready.take(&fetches), [], "they have been looked at");
    }

    #[test]
    fn what_may_free_any_job_marks_every_queue_that_workers_wait_for() {
        let (mut ready, mut fetches) = (ReadyQueues::default(), WaitingFetches::default());
        fetches.add(fetch(1, &["b", "a"], 100).0);
        ready.mark_ready(&EventKind::SetPaused { queue: queue("z"), paused: false }, &fetches);
        assert_eq!(ready.take(&fetches), [queue("a"), queue("b")]);
        let cancel = EventKind::Cancel { job: JobId::parse("job").unwrap() };
        ready.mark_ready(&cancel, &fetches);
        assert_eq!(ready.take(&fetches), []);
    }
}
