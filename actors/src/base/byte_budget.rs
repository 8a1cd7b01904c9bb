//! Memory that many share: each takes a part of it and gives it back, and nobody waits for a part.
//!
//! Two that waited for each other's part would wait for ever, so one that does not get what it needs is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that all who share them may hold together. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Holdings>);

#[derive(Debug)]
struct Holdings {
    held: AtomicUsize,
    bytes_max: usize,
}

/// A part of a [`ByteBudget`]. Dropping it gives it back.
#[derive(Debug)]
pub struct ByteShare {
    budget: ByteBudget,
    bytes: usize,
}

impl ByteBudget {
    /// One of `bytes_max` bytes, all of them free.
    #[must_use]
    pub fn new(bytes_max: usize) -> ByteBudget {
        ByteBudget(Arc::new(Holdings { held: AtomicUsize::new(0), bytes_max }))
    }

    /// A share of no bytes, which may grow.
    #[must_use]
    pub fn share(&self) -> ByteShare {
        ByteShare { budget: self.clone(), bytes: 0 }
    }

    /// A share of `bytes`; none if fewer are free.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<ByteShare> {
        let mut share = self.share();
        share.resize(bytes).then_some(share)
    }

    /// How many bytes all shares may hold together.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.0.bytes_max
    }

    /// How many bytes are free.
    #[must_use]
    pub fn bytes_free(&self) -> usize {
        self.0.bytes_max - self.0.held.load(Relaxed)
    }
}

impl ByteShare {
    /// Makes the share as large as this, larger or smaller. False, and nothing changes, if it would need more than is
    /// free.
    pub fn resize(&mut self, bytes: usize) -> bool {
        let Holdings { held, bytes_max } = &*self.budget.0;
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            Some(more) => {
                let within = |held: usize| held.checked_add(more).filter(|held| held <= bytes_max);
                if held.fetch_update(Relaxed, Relaxed, within).is_err() {
                    return false;
                }
            }
            None => {
                held.fetch_sub(self.bytes - bytes, Relaxed);
            }
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for ByteShare {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_hold_more_than_the_budget_and_give_it_back() {
        let budget = ByteBudget::new(1_000);
        let first = budget.take(600).unwrap();
        assert!(budget.take(401).is_none());
        assert_eq!(budget.bytes_free(), 400, "a refusal leaves no trace");
        let second = budget.take(400).unwrap();
        assert_eq!((first.bytes, second.bytes, budget.bytes_free()), (600, 400, 0));
        assert!(budget.take(0).is_some(), "nothing is always free");
        drop((first, second));
        assert_eq!(budget.bytes_free(), budget.bytes_max());
    }

    #[test]
    fn a_share_grows_and_shrinks_within_what_is_free() {
        let budget = ByteBudget::new(1_000);
        let mut share = budget.share();
        let other = budget.take(500).unwrap();
        assert!(share.resize(300) && share.resize(500));
        assert!(!share.resize(501) && !share.resize(usize::MAX));
        assert_eq!(share.bytes, 500);
        drop(other);
        assert!(share.resize(1_000) && share.resize(10));
        assert_eq!(budget.bytes_free(), 990);
    }

    #[test]
    fn many_threads_together_stay_within_the_budget() {
        let budget = ByteBudget::new(100);
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let budget = &budget;
                scope.spawn(move || {
                    let mut dice = fastrand::Rng::with_seed(seed);
                    let mut share = budget.share();
                    for _ in 0..10_000 {
                        share.resize(dice.usize(..60));
                        assert!(budget.0.held.load(Relaxed) <= 100, "seed {seed}");
                    }
                });
            }
        });
        assert_eq!(budget.bytes_free(), 100);
    }
}
