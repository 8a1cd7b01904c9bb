//! Queue and kind names as small numbers: a job holds eight bytes instead of two strings.
//!
//! The numbers mean something only inside one table; on disk there are names.

use std::collections::HashMap;
use std::hash::Hash;

/// Number of a queue's name in one [`Interner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct QueueKey(pub u32);

/// Number of a kind's name in one [`Interner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KindKey(pub u32);

/// Gives every name that it sees a number, in the order of their first appearance.
#[derive(Clone, Debug)]
pub(crate) struct Interner<N> {
    names: Vec<N>,
    numbers: HashMap<N, u32>,
    /// Most names are the same as the one before; comparing is cheaper than hashing.
    last: u32,
}

impl<N: Clone + Eq + Hash> Interner<N> {
    pub fn new() -> Interner<N> {
        Interner { names: Vec::new(), numbers: HashMap::new(), last: 0 }
    }

    #[inline]
    pub fn intern(&mut self, name: &N) -> u32 {
        if self.names.get(self.last as usize) == Some(name) {
            return self.last;
        }
        if let Some(number) = self.numbers.get(name) {
            self.last = *number;
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer than 2^32 names fit in memory");
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }

    pub fn find(&self, name: &N) -> Option<u32> {
        match self.names.get(self.last as usize) == Some(name) {
            true => Some(self.last),
            false => self.numbers.get(name).copied(),
        }
    }

    pub fn name(&self, number: u32) -> &N {
        &self.names[number as usize]
    }

    pub fn all(&self) -> &[N] {
        &self.names
    }
}
