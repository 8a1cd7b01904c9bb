//! Jobs in flight by the moment their lease expires.
//!
//! Most jobs have the same timeout, so most leases expire in the order in which they began. One that expires after all
//! others joins a list threaded through the slots, which costs a few writes; the rest goes to a tree. (With a tree alone
//! it took 430 of the 2,370 instructions of a dispatch, and 210 of the 1,840 of an ack.)

use std::collections::BTreeSet;

use super::kept::Job;
use super::list::{Links, List, Slot};
use super::table::occupied;
use crate::ids::{Lsn, Timestamp};

/// When a lease expires, and its token.
type Key = (Timestamp, Lsn, Slot);

#[derive(Debug, Default)]
pub(crate) struct Leases {
    line: List,
    others: BTreeSet<Key>,
}

fn key(jobs: &[Option<Job>], slot: Slot) -> Key {
    let lease = occupied(jobs, slot).lease().expect("only jobs in flight are among the leases");
    (lease.deadline, Lsn(lease.token.0), slot)
}

impl Leases {
    /// Adds a job in flight.
    pub fn insert(&mut self, links: &mut [Links], jobs: &[Option<Job>], slot: Slot) {
        let this = key(jobs, slot);
        match self.line.tail().is_none_or(|tail| key(jobs, tail) < this) {
            true => self.line.push_back(links, slot),
            false => drop(self.others.insert(this)),
        }
    }

    /// Removes a job that is there, under the lease with which it was added.
    pub fn remove(&mut self, links: &mut [Links], jobs: &[Option<Job>], slot: Slot) {
        match self.line.has(links, slot) {
            true => self.line.remove(links, slot),
            false => drop(self.others.remove(&key(jobs, slot))),
        }
    }

    /// When the next one expires.
    pub fn first(&self, jobs: &[Option<Job>]) -> Option<Timestamp> {
        let line = self.line.head().map(|head| key(jobs, head).0);
        let other = self.others.first().map(|(deadline, ..)| *deadline);
        [line, other].into_iter().flatten().min()
    }

    /// The jobs in the order in which their leases expire.
    pub fn iter<'a>(
        &'a self,
        links: &'a [Links],
        jobs: &'a [Option<Job>],
    ) -> impl Iterator<Item = Slot> + 'a {
        let mut line = self.line.iter(links).map(|slot| key(jobs, slot)).peekable();
        let mut others = self.others.iter().copied().peekable();
        std::iter::from_fn(move || {
            let next = match (line.peek(), others.peek()) {
                (Some(one), Some(other)) if other < one => others.next(),
                (Some(_), _) => line.next(),
                (None, _) => others.next(),
            };
            next.map(|(_, _, slot)| slot)
        })
    }

    /// Whether both parts are in order, for `check()`.
    pub fn are_in_order(&self, links: &[Links], jobs: &[Option<Job>]) -> bool {
        self.line.iter(links).map(|slot| key(jobs, slot)).is_sorted()
            && self.others.iter().all(|other| key(jobs, other.2) == *other)
    }
}
