//! Finds a job's slot by its id.
//!
//! An entry is eight bytes: the slot, and half of the id's hash, so that neither growing nor most of the misses
//! have to look at the jobs themselves, each of which would be a miss of the processor's cache (recovery of a
//! million jobs spends a third less time for it). The hash is keyed at random, against producers that choose
//! ids to collide; nothing iterates over the index in its own order, so this never shows.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::list::Slot;
use crate::ids::JobId;

#[derive(Debug, Default)]
pub(crate) struct IdIndex {
    entries: HashTable<Entry>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    slot: Slot,
}

impl IdIndex {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The slot with this id; `is` tells whether a slot really has it.
    pub fn find(&self, id: &JobId, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        let hash = self.hash(id);
        let found = self.entries.find(spread(hash), |entry| entry.hash == hash && is(entry.slot));
        found.map(|entry| entry.slot)
    }

    /// Adds an id that is not there.
    pub fn insert(&mut self, id: &JobId, slot: Slot) {
        let hash = self.hash(id);
        self.entries.insert_unique(spread(hash), Entry { hash, slot }, |entry| spread(entry.hash));
    }

    /// Removes an id that is there.
    pub fn remove(&mut self, id: &JobId, slot: Slot) {
        let hash = self.hash(id);
        let Ok(entry) = self.entries.find_entry(spread(hash), |entry| entry.slot == slot) else {
            panic!("job {id} is not in the index of ids");
        };
        entry.remove();
    }

    /// Half of the hash: more than four billion ids never fit in memory, so the other half would find nothing more.
    fn hash(&self, id: &JobId) -> u32 {
        (self.hasher.hash_one(id) >> 32) as u32
    }
}

/// Spreads 32 bits over the 64 of which the table uses the lowest and the highest (Fibonacci hashing).
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
