//! Queue and kind names as small numbers: a job holds eight bytes instead of two strings.
//!
//! The numbers mean something only inside one table; on disk there are names. The number of a name that nothing has any
//! more is given to another one.

use std::collections::HashMap;
use std::hash::Hash;

/// Number of a queue's name in one [`Interner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct QueueKey(pub u32);

/// Number of a kind's name in one [`Interner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KindKey(pub u32);

/// Gives every name that it sees a number: the smallest ones first, and those that were given back before new ones.
#[derive(Clone, Debug)]
pub(crate) struct Interner<N> {
    /// By number; none for one that no name has now.
    names: Vec<Option<N>>,
    numbers: HashMap<N, u32>,
    free: Vec<u32>,
    /// Most names are the same as the one before; comparing is cheaper than hashing.
    last: u32,
}

impl<N> Default for Interner<N> {
    fn default() -> Interner<N> {
        Interner { names: Vec::new(), numbers: HashMap::new(), free: Vec::new(), last: 0 }
    }
}

impl<N: Clone + Eq + Hash> Interner<N> {
    #[inline]
    pub fn intern(&mut self, name: &N) -> u32 {
        if self.is_last(name) {
            return self.last;
        }
        if let Some(number) = self.numbers.get(name) {
            self.last = *number;
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.names.push(None);
            u32::try_from(self.names.len() - 1).expect("fewer than 2^32 names fit in memory")
        });
        self.names[number as usize] = Some(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }

    pub fn find(&self, name: &N) -> Option<u32> {
        match self.is_last(name) {
            true => Some(self.last),
            false => self.numbers.get(name).copied(),
        }
    }

    #[inline]
    fn is_last(&self, name: &N) -> bool {
        self.names.get(self.last as usize).is_some_and(|last| last.as_ref() == Some(name))
    }

    pub fn name(&self, number: u32) -> &N {
        self.names[number as usize].as_ref().expect("what has a number has a name")
    }

    /// Takes the name from its number, which the next new name gets.
    pub fn release(&mut self, number: u32) {
        if let Some(name) = self.names[number as usize].take() {
            self.numbers.remove(&name);
            self.free.push(number);
        }
    }

    /// How many names have a number.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Every name with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &N)> {
        self.names.iter().enumerate().filter_map(|(number, name)| Some((number as u32, name.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_name_that_is_gone_is_given_to_the_next_new_one() {
        let mut names = Interner::default();
        let numbers = ["a", "b", "c"].map(|name| names.intern(&name));
        assert_eq!(numbers, [0, 1, 2]);
        names.release(1);
        names.release(1);
        assert_eq!((names.find(&"b"), names.len()), (None, 2));
        assert_eq!((names.intern(&"c"), names.intern(&"d"), names.intern(&"b")), (2, 1, 3));
        assert_eq!(names.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["a", "d", "c", "b"]);
    }
}
