//! Remote workers that wait for a job, in the order in which they came.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::api::requests::Delivery;
use crate::engine::messages::Reply;
use crate::ids::{QueueName, RemoteName, Timestamp};

/// A remote worker that waits.
pub(super) struct WaitingFetch {
    /// What it asked for, in the order in which it wants them.
    pub queues: Arc<[QueueName]>,
    pub worker: RemoteName,
    /// Until when it waits.
    pub deadline: Timestamp,
    /// Where its job goes.
    pub reply: Reply<Option<Delivery>>,
}

/// Fetches count from 1 in the order in which they came.
type Arrival = u64;

/// All that wait, found by the queues that they wait for.
#[derive(Default)]
pub(super) struct WaitingFetches {
    last: Arrival,
    waiting: BTreeMap<Arrival, WaitingFetch>,
    by_queue: HashMap<QueueName, BTreeSet<Arrival>>,
    by_deadline: BTreeSet<(Timestamp, Arrival)>,
}

impl WaitingFetches {
    /// Enters one behind the others.
    pub fn add(&mut self, fetch: WaitingFetch) {
        self.last += 1;
        self.put_back(self.last, fetch);
    }

    /// Enters one that was taken, where it stood before.
    pub fn put_back(&mut self, arrival: Arrival, fetch: WaitingFetch) {
        for queue in &*fetch.queues {
            match self.by_queue.get_mut(queue) {
                Some(arrivals) => arrivals.insert(arrival),
                None => self.by_queue.entry(queue.clone()).or_default().insert(arrival),
            };
        }
        self.by_deadline.insert((fetch.deadline, arrival));
        self.waiting.insert(arrival, fetch);
    }

    /// Takes the first that waits for a queue. Those that have stopped waiting in the meantime are dropped.
    pub fn take_first(&mut self, queue: &QueueName) -> Option<(Arrival, WaitingFetch)> {
        loop {
            let arrival = *self.by_queue.get(queue)?.first()?;
            let fetch = self.take(arrival)?;
            if !fetch.reply.is_closed() {
                return Some((arrival, fetch));
            }
        }
    }

    /// Takes the next one whose time is over.
    pub fn take_expired(&mut self, now: Timestamp) -> Option<WaitingFetch> {
        let (deadline, arrival) = *self.by_deadline.first()?;
        (deadline <= now).then(|| self.take(arrival)).flatten()
    }

    pub fn take_all(&mut self) -> impl Iterator<Item = WaitingFetch> {
        std::mem::take(self).waiting.into_values()
    }

    /// The clock went back: they wait for as long as before.
    pub fn set_back(&mut self, from: Timestamp, to: Timestamp) {
        self.by_deadline.clear();
        for (arrival, fetch) in &mut self.waiting {
            fetch.deadline = to.plus_ms(fetch.deadline.since_ms(from));
            self.by_deadline.insert((fetch.deadline, *arrival));
        }
    }

    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn wait_for(&self, queue: &QueueName) -> bool {
        self.by_queue.contains_key(queue)
    }

    /// Every queue that somebody waits for, in the order of their names.
    pub fn queues(&self) -> Vec<QueueName> {
        let mut queues: Vec<_> = self.by_queue.keys().cloned().collect();
        queues.sort_unstable();
        queues
    }

    fn take(&mut self, arrival: Arrival) -> Option<WaitingFetch> {
        let fetch = self.waiting.remove(&arrival)?;
        self.by_deadline.remove(&(fetch.deadline, arrival));
        for queue in &*fetch.queues {
            let Some(arrivals) = self.by_queue.get_mut(queue) else { continue };
            arrivals.remove(&arrival);
            if arrivals.is_empty() {
                self.by_queue.remove(queue);
            }
        }
        Some(fetch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::testing::{fetch, queue};

    fn first(fetches: &mut WaitingFetches, name: &str) -> Option<RemoteName> {
        fetches.take_first(&queue(name)).map(|(_, fetch)| fetch.worker)
    }

    fn worker(request: u64) -> Option<RemoteName> {
        Some(fetch(request, &[], 0).0.worker)
    }

    #[test]
    fn the_first_that_came_for_a_queue_is_the_first_to_get_a_job_of_it() {
        let mut fetches = WaitingFetches::default();
        let wanted: [&[&str]; 3] = [&["a"], &["b", "a"], &["a", "b"]];
        let answers: Vec<_> = (1..)
            .zip(wanted)
            .map(|(request, queues)| {
                let (fetch, answer) = fetch(request, queues, 100);
                fetches.add(fetch);
                answer
            })
            .collect();
        assert_eq!(fetches.queues(), [queue("a"), queue("b")]);
        assert_eq!(first(&mut fetches, "b"), worker(2));
        let (arrival, taken) = fetches.take_first(&queue("a")).unwrap();
        assert_eq!(Some(&taken.worker), worker(1).as_ref());
        fetches.put_back(arrival, taken);
        assert_eq!([first(&mut fetches, "a"), first(&mut fetches, "a")], [worker(1), worker(3)]);
        assert!(fetches.is_empty() && !fetches.wait_for(&queue("a")) && fetches.next_deadline().is_none());
        drop(answers);
    }

    #[test]
    fn one_that_has_stopped_waiting_is_passed_over() {
        let mut fetches = WaitingFetches::default();
        let (gone, answer) = fetch(1, &["a"], 100);
        let (waits, _answer) = fetch(2, &["a"], 100);
        fetches.add(gone);
        fetches.add(waits);
        drop(answer);
        assert_eq!([first(&mut fetches, "a"), first(&mut fetches, "a")], [worker(2), None]);
    }

    #[test]
    fn those_whose_time_is_over_leave_in_the_order_of_their_deadlines() {
        let mut fetches = WaitingFetches::default();
        for (request, deadline) in [(1, 30), (2, 10), (3, 20)] {
            fetches.add(fetch(request, &["a"], deadline).0);
        }
        assert_eq!(fetches.next_deadline(), Some(Timestamp(10)));
        assert!(fetches.take_expired(Timestamp(9)).is_none());
        let mut expired = || fetches.take_expired(Timestamp(20)).map(|fetch| fetch.worker);
        assert_eq!([expired(), expired(), expired()], [worker(2), worker(3), None]);
        assert_eq!(fetches.take_all().count(), 1);
    }
}
