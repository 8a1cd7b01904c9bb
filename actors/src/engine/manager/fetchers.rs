//! Remote workers that wait for a job, in the order in which they came.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::api::requests::Delivery;
use crate::engine::messages::Reply;
use crate::ids::{QueueName, RemoteName, Timestamp};

/// One that waits.
pub(super) struct Fetcher {
    /// What it asked for, in the order in which it wants them.
    pub queues: Arc<[QueueName]>,
    /// Who it is.
    pub worker: RemoteName,
    /// Until when it waits.
    pub deadline: Timestamp,
    /// Where its job goes.
    pub reply: Reply<Option<Delivery>>,
}

/// Its place in line.
type Ticket = u64;

/// All that wait, found by the queues that they wait for.
#[derive(Default)]
pub(super) struct Fetchers {
    last: Ticket,
    waiting: BTreeMap<Ticket, Fetcher>,
    by_queue: HashMap<QueueName, BTreeSet<Ticket>>,
    by_deadline: BTreeSet<(Timestamp, Ticket)>,
}

impl Fetchers {
    pub fn add(&mut self, fetcher: Fetcher) {
        self.last += 1;
        self.put_back(self.last, fetcher);
    }

    /// Enters one under the ticket that it has.
    pub fn put_back(&mut self, ticket: Ticket, fetcher: Fetcher) {
        for queue in &*fetcher.queues {
            match self.by_queue.get_mut(queue) {
                Some(tickets) => tickets.insert(ticket),
                None => self.by_queue.entry(queue.clone()).or_default().insert(ticket),
            };
        }
        self.by_deadline.insert((fetcher.deadline, ticket));
        self.waiting.insert(ticket, fetcher);
    }

    /// The first in line for a queue. Those that have stopped waiting in the meantime are dropped.
    pub fn take_first(&mut self, queue: &QueueName) -> Option<(Ticket, Fetcher)> {
        loop {
            let ticket = *self.by_queue.get(queue)?.first()?;
            let fetcher = self.take(ticket)?;
            if !fetcher.reply.is_closed() {
                return Some((ticket, fetcher));
            }
        }
    }

    /// The next one whose time is over.
    pub fn take_expired(&mut self, now: Timestamp) -> Option<Fetcher> {
        let (deadline, ticket) = *self.by_deadline.first()?;
        (deadline <= now).then(|| self.take(ticket)).flatten()
    }

    pub fn take_all(&mut self) -> impl Iterator<Item = Fetcher> {
        std::mem::take(self).waiting.into_values()
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

    fn take(&mut self, ticket: Ticket) -> Option<Fetcher> {
        let fetcher = self.waiting.remove(&ticket)?;
        self.by_deadline.remove(&(fetcher.deadline, ticket));
        for queue in &*fetcher.queues {
            let Some(tickets) = self.by_queue.get_mut(queue) else { continue };
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.by_queue.remove(queue);
            }
        }
        Some(fetcher)
    }
}
