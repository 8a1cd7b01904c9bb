//! The pool of local workers: which are there, and which of them run a job.

use std::collections::VecDeque;

use crate::ids::{Token, WorkerId};

/// Local workers by number. `A` is how a worker is reached.
pub(super) struct Pool<A> {
    /// None while one is down.
    members: Vec<Option<PoolMember<A>>>,
    /// Those that run nothing, the one that has waited longest first.
    idle: VecDeque<WorkerId>,
}

struct PoolMember<A> {
    address: A,
    /// The lease under which it runs a job.
    busy: Option<Token>,
}

impl<A> Pool<A> {
    /// One for this number of workers, none of which is up.
    pub fn new(count: usize) -> Pool<A> {
        Pool { members: (0..count).map(|_| None).collect(), idle: VecDeque::new() }
    }

    /// A worker is up and idle.
    pub fn join(&mut self, worker: WorkerId, address: A) {
        if let Some(member) = self.members.get_mut(worker.0 as usize) {
            *member = Some(PoolMember { address, busy: None });
            self.idle.push_back(worker);
        }
    }

    /// A worker is down.
    pub fn leave(&mut self, worker: WorkerId) {
        if let Some(member) = self.members.get_mut(worker.0 as usize) {
            *member = None;
            self.idle.retain(|idle| *idle != worker);
        }
    }

    /// The worker that has been idle longest. It [begins](Pool::begin) a job, or is [given back](Pool::put_back).
    pub fn take_idle(&mut self) -> Option<WorkerId> {
        self.idle.pop_front()
    }

    /// There is no job for the idle worker that was taken last.
    pub fn put_back(&mut self, worker: WorkerId) {
        self.idle.push_front(worker);
    }

    /// A worker is to run a job under this lease.
    pub fn begin(&mut self, worker: WorkerId, token: Token) {
        if let Some(member) = self.member(worker) {
            member.busy = Some(token);
        }
    }

    /// A worker is idle again, if this lease is the one that it runs. Whether it is.
    pub fn finish(&mut self, worker: WorkerId, token: Token) -> bool {
        let Some(member) = self.member(worker).filter(|member| member.busy == Some(token)) else {
            return false;
        };
        member.busy = None;
        self.idle.push_back(worker);
        true
    }

    /// How a worker is reached, if it is up.
    pub fn address(&self, worker: WorkerId) -> Option<&A> {
        Some(&self.members.get(worker.0 as usize)?.as_ref()?.address)
    }

    /// How a worker is reached, if it is to run a job under this lease.
    pub fn runner(&self, worker: WorkerId, token: Token) -> Option<&A> {
        let member = self.members.get(worker.0 as usize)?.as_ref()?;
        (member.busy == Some(token)).then_some(&member.address)
    }

    /// Those that run a job, and the leases.
    pub fn busy(&self) -> impl Iterator<Item = (&A, Token)> {
        self.members.iter().flatten().filter_map(|member| Some((&member.address, member.busy?)))
    }

    /// How many are up.
    pub fn up_count(&self) -> usize {
        self.members.iter().flatten().count()
    }

    /// How many are up and run nothing.
    pub fn idle_count(&self) -> usize {
        self.idle.len()
    }

    fn member(&mut self, worker: WorkerId) -> Option<&mut PoolMember<A>> {
        self.members.get_mut(worker.0 as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manager::testing::token;

    const ADA: WorkerId = WorkerId(0);
    const BOB: WorkerId = WorkerId(1);

    fn pool() -> Pool<&'static str> {
        let mut pool = Pool::new(2);
        pool.join(ADA, "ada");
        pool.join(BOB, "bob");
        pool
    }

    fn busy(pool: &Pool<&'static str>) -> Vec<(&'static str, Token)> {
        pool.busy().map(|(address, token)| (*address, token)).collect()
    }

    #[test]
    fn the_worker_that_has_been_idle_longest_is_next_and_one_that_got_nothing_stays_first() {
        let mut pool = pool();
        assert_eq!(pool.take_idle(), Some(ADA));
        pool.put_back(ADA);
        assert_eq!(pool.take_idle(), Some(ADA));
        pool.begin(ADA, token(1));
        assert_eq!(pool.take_idle(), Some(BOB));
        pool.begin(BOB, token(2));
        assert_eq!((pool.take_idle(), pool.idle_count(), pool.up_count()), (None, 0, 2));
        assert_eq!(busy(&pool), [("ada", token(1)), ("bob", token(2))]);
        assert!(pool.finish(BOB, token(2)) && pool.finish(ADA, token(1)));
        assert_eq!((pool.take_idle(), pool.take_idle()), (Some(BOB), Some(ADA)));
    }

    #[test]
    fn only_the_end_of_the_lease_that_it_runs_frees_a_worker() {
        let mut pool = pool();
        assert_eq!(pool.take_idle(), Some(ADA));
        pool.begin(ADA, token(2));
        assert!(!pool.finish(ADA, token(1)), "it came too late");
        assert!(!pool.finish(BOB, token(2)), "it is not its");
        assert_eq!((pool.runner(ADA, token(2)), pool.runner(ADA, token(1))), (Some(&"ada"), None));
        assert!(pool.finish(ADA, token(2)));
        assert!(!pool.finish(ADA, token(2)), "it is idle once");
        assert_eq!((pool.idle_count(), pool.runner(ADA, token(2))), (2, None));
    }

    #[test]
    fn a_worker_that_is_down_is_not_idle_and_its_next_life_runs_nothing() {
        let mut pool = pool();
        pool.leave(BOB);
        assert_eq!((pool.up_count(), pool.idle_count(), pool.address(BOB)), (1, 1, None));
        assert_eq!(pool.take_idle(), Some(ADA));
        pool.begin(ADA, token(1));
        pool.leave(ADA);
        assert_eq!((busy(&pool), pool.finish(ADA, token(1))), (vec![], false));
        pool.join(ADA, "ada again");
        assert_eq!(pool.address(ADA), Some(&"ada again"));
        assert_eq!(pool.take_idle(), Some(ADA));
        let stranger = WorkerId(7);
        pool.join(stranger, "stranger");
        pool.begin(stranger, token(3));
        pool.leave(stranger);
        assert_eq!((pool.up_count(), pool.idle_count()), (1, 0), "there are two places");
    }
}
