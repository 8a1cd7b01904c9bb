//! Jobs in flight by the moment their lease expires.
//!
//! Most jobs have the same timeout, so most leases expire in the order in which they began. One that expires after all
//! others joins a list threaded through the slots, which costs a few writes; the rest goes to a tree.
//! Why not a tree alone: `docs/decisions/0013-leases-in-a-list.md`.

use std::collections::BTreeSet;

use crate::ids::{Seq, Timestamp};
use crate::jobs::table::list::{Links, List, Slot};
use crate::jobs::table::packed_job::{PackedJob, occupied};
use crate::jobs::table::slots::Slots;

/// When a lease expires, and its token.
type Key = (Timestamp, Seq, Slot);

#[derive(Debug, Default)]
pub(crate) struct Leases {
    line: List,
    others: BTreeSet<Key>,
}

#[inline]
fn key(jobs: &Slots<Option<PackedJob>>, slot: Slot) -> Key {
    let lease = occupied(jobs, slot).lease().expect("only jobs in flight are among the leases");
    (lease.deadline, lease.token.seq, slot)
}

impl Leases {
    /// Adds a job in flight.
    #[inline]
    pub fn insert(&mut self, links: &mut Slots<Links>, jobs: &Slots<Option<PackedJob>>, slot: Slot) {
        let this = key(jobs, slot);
        match self.line.tail().is_none_or(|tail| key(jobs, tail) < this) {
            true => self.line.push_back(links, slot),
            false => drop(self.others.insert(this)),
        }
    }

    /// Removes a job that is there, under the lease with which it was added.
    #[inline]
    pub fn remove(&mut self, links: &mut Slots<Links>, jobs: &Slots<Option<PackedJob>>, slot: Slot) {
        match self.line.has(links, slot) {
            true => self.line.remove(links, slot),
            false => drop(self.others.remove(&key(jobs, slot))),
        }
    }

    /// When the next one expires.
    pub fn first(&self, jobs: &Slots<Option<PackedJob>>) -> Option<Timestamp> {
        let line = self.line.head().map(|head| key(jobs, head).0);
        let other = self.others.first().map(|(deadline, ..)| *deadline);
        [line, other].into_iter().flatten().min()
    }

    /// The jobs in the order in which their leases expire.
    pub fn iter<'a>(
        &'a self,
        links: &'a Slots<Links>,
        jobs: &'a Slots<Option<PackedJob>>,
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
    pub fn are_in_order(&self, links: &Slots<Links>, jobs: &Slots<Option<PackedJob>>) -> bool {
        self.line.iter(links).map(|slot| key(jobs, slot)).is_sorted()
            && self.others.iter().all(|other| key(jobs, other.2) == *other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, Epoch, Holder, JobId, Token, WorkerId};
    use crate::jobs::model::job::{JobState, Lease};
    use crate::jobs::model::payload::{Payload, PayloadRef};
    use crate::jobs::table::packed_job::ProfileId;

    /// A job in flight until `deadline`, started by event `token`.
    fn job(token: u64, deadline: u64) -> Option<PackedJob> {
        let lease = Lease {
            holder: Holder::Local(WorkerId(0)),
            token: Token { epoch: Epoch::default(), seq: Seq(token) },
            since: Timestamp(0),
            deadline: Timestamp(deadline),
            pending_since: Timestamp(0),
        };
        let id = JobId::generate(Timestamp(0), u128::from(token));
        let payload = PayloadRef::Here(Payload::empty());
        let job = PackedJob::accepted(id, Seq(1), Timestamp(0), None, payload, ProfileId(0));
        let mut job = job.with_state(JobState::InFlight(Box::new(lease)), Seq(1));
        job.set_attempt(Attempt(1));
        Some(job)
    }

    #[test]
    fn leases_are_in_the_order_in_which_they_expire_wherever_they_are_kept() {
        let deadlines = [30, 30, 90, 40, 90, 20, 100];
        let jobs: Slots<_> = (1..).zip(deadlines).map(|(token, deadline)| job(token, deadline)).collect();
        let mut links = (0..jobs.len()).map(|_| Links::LOOSE).collect();
        let mut leases = Leases::default();
        for slot in 0..jobs.len() as Slot {
            leases.insert(&mut links, &jobs, slot);
        }
        assert_eq!(leases.iter(&links, &jobs).collect::<Vec<_>>(), [5, 0, 1, 3, 2, 4, 6]);
        assert!(leases.are_in_order(&links, &jobs));
        assert_eq!(leases.others.len(), 2, "those that expire before one that began earlier");
        for (gone, next) in
            [(5, Some(30)), (6, Some(30)), (0, Some(30)), (1, Some(40)), (2, Some(40)), (3, Some(90))]
        {
            leases.remove(&mut links, &jobs, gone);
            assert_eq!(leases.first(&jobs), next.map(Timestamp));
        }
        leases.remove(&mut links, &jobs, 4);
        assert_eq!((leases.first(&jobs), leases.line.len(), leases.others.len()), (None, 0, 0));
    }
}
