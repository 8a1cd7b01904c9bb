//! Finds a job's slot by its id.
//!
//! An entry is eight bytes: the slot, and half of the id's hash. Growing, and most lookups of an id that is not there,
//! therefore need no look at the jobs themselves, each of which would be a miss of the processor's cache. The hash is
//! keyed at random, against producers that choose ids to collide; nothing iterates over the index in its own order,
//! so the random order is never visible. An id in the form of generated ones, which has 16 bytes, is hashed by
//! [`PairHasher`].
//!
//! The index is cut into [`SHARDS`] tables. Each grows by itself, so that no job waits while an index of millions is
//! moved to a larger place, and only one small table exists twice meanwhile. Generated ids go to the table of the
//! moment in which they were made: jobs that are enqueued one after the other are looked up one after the other, so
//! the table in use stays in the processor's cache. Other ids go to the table that further bits of their hash choose.
//! Measured in `docs/decisions/0012-index-of-ids.md`.

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::{HashTable, hash_table};

use crate::ids::{JobId, made_at};
use crate::jobs::table::list::Slot;

/// Number of tables: enough that even at fifty million jobs a single table grows within a fraction of a millisecond
/// (`docs/decisions/0012-index-of-ids.md`).
const SHARDS: usize = 4096;

#[derive(Debug)]
pub(crate) struct IdIndex {
    shards: Box<[HashTable<IdEntry>]>,
    len: usize,
    pairs: PairHasher,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct IdEntry {
    hash: u32,
    slot: Slot,
}

/// Generated ids whose milliseconds fall into the same interval of this length share a table: a second fills 250
/// tables, and the one in use stays small.
const NEIGHBOURS_MS: u64 = 4;

/// Half of an id's hash, and its shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    hash: u32,
    shard: usize,
}

impl Default for IdIndex {
    fn default() -> IdIndex {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        let hasher = RandomState::new();
        IdIndex { shards, len: 0, pairs: PairHasher::keyed_by(&hasher), hasher }
    }
}

impl IdIndex {
    pub fn len(&self) -> usize {
        self.len
    }

    /// The slot with this id; `is` tells whether a slot really has it.
    #[inline]
    pub fn find(&self, id: &JobId, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.find_at(self.place(id), is)
    }

    /// As [`IdIndex::find`], for an id that belongs there.
    #[inline]
    pub fn find_at(&self, Place { hash, shard }: Place, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        let found = self.shards[shard].find(spread(hash), |entry| entry.hash == hash && is(entry.slot));
        found.map(|entry| entry.slot)
    }

    /// Adds an id, that belongs there, and is not there.
    #[inline]
    pub fn insert_at(&mut self, Place { hash, shard }: Place, slot: Slot) {
        self.len += 1;
        self.shards[shard].insert_unique(spread(hash), IdEntry { hash, slot }, |entry| spread(entry.hash));
    }

    /// Adds an id, unless it is there; `is` tells whether a slot really has it.
    pub fn insert_new(&mut self, id: &JobId, slot: Slot, is: impl Fn(Slot) -> bool) -> bool {
        let Place { hash, shard } = self.place(id);
        let same = |entry: &IdEntry| entry.hash == hash && is(entry.slot);
        match self.shards[shard].entry(spread(hash), same, |entry| spread(entry.hash)) {
            hash_table::Entry::Occupied(_) => false,
            hash_table::Entry::Vacant(place) => {
                place.insert(IdEntry { hash, slot });
                self.len += 1;
                true
            }
        }
    }

    /// Removes an id that is there.
    pub fn remove(&mut self, id: &JobId, slot: Slot) {
        let Place { hash, shard } = self.place(id);
        let Ok(entry) = self.shards[shard].find_entry(spread(hash), |entry| entry.slot == slot) else {
            panic!("job {id} is not in the index of ids");
        };
        entry.remove();
        self.len -= 1;
    }

    /// Where an id belongs.
    #[inline]
    pub fn place(&self, id: &JobId) -> Place {
        match id.bytes() {
            Ok(bytes) => {
                let neighbours = made_at(bytes) / NEIGHBOURS_MS;
                Place { hash: self.pairs.hash(bytes), shard: neighbours as usize % SHARDS }
            }
            // Half of the hash is kept: more than four billion ids never fit in memory, so the other would find
            // nothing more.
            Err(text) => {
                let mut hasher = self.hasher.build_hasher();
                hasher.write(text);
                let hash = hasher.finish();
                Place { hash: (hash >> 32) as u32, shard: hash as usize % SHARDS }
            }
        }
    }
}

/// Pair-multiply-shift (Thorup, section 3.5 of <https://arxiv.org/abs/1504.06804>): any two
/// ids collide, over the choice of the random keys, as seldom as two random numbers. Cheaper than SipHash
/// (`docs/decisions/0012-index-of-ids.md`).
#[derive(Clone, Copy, Debug)]
struct PairHasher {
    keys: [u64; 5],
}

impl PairHasher {
    fn keyed_by(dice: &RandomState) -> PairHasher {
        PairHasher { keys: std::array::from_fn(|nth| dice.hash_one(nth)) }
    }

    fn hash(&self, bytes: &[u8; 16]) -> u32 {
        let bits = u128::from_le_bytes(*bytes);
        let word = |nth: u32| u64::from((bits >> (32 * nth)) as u32);
        let [a, b, c, d, e] = self.keys;
        let pair = |one: u64, other: u64| one.wrapping_mul(other);
        let first = pair(a.wrapping_add(word(1)), b.wrapping_add(word(0)));
        let second = pair(c.wrapping_add(word(3)), d.wrapping_add(word(2)));
        (first.wrapping_add(second).wrapping_add(e) >> 32) as u32
    }
}

/// Spreads 32 bits over the 64 of which the table uses the lowest and the highest (Fibonacci hashing).
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids that differ in few bits, as those of one moment do, or as somebody might choose them.
    #[test]
    fn ids_that_are_alike_collide_as_seldom_as_numbers_that_are_drawn() {
        const IDS: u128 = 1 << 16;
        for seed in 0..4 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let hasher = PairHasher { keys: std::array::from_fn(|_| dice.u64(..)) };
            for shift in [0, 16, 32, 60, 64, 96, 112] {
                let hashes = (0..IDS).map(|number| hasher.hash(&(number << shift).to_le_bytes()));
                let different: std::collections::HashSet<_> = hashes.collect();
                // Among this many random numbers, one run in two has a collision.
                assert!(different.len() + 16 >= IDS as usize, "{} with seed {seed}", different.len());
            }
        }
    }
}
