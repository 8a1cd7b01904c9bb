//! A list that grows without moving what is in it.
//!
//! A full `Vec` moves all its elements when it grows, which would stop the server for as long as that takes and need
//! memory for both copies. Here one more chunk is added instead (`docs/decisions/0014-table-grows-in-chunks.md`).

use std::ops::{Index, IndexMut};

/// Elements of a chunk: a power of two, so that finding one takes a shift and a mask.
const CHUNK: usize = 1 << 12;

/// The list. Elements are only added at its end.
#[derive(Clone, Debug)]
pub(crate) struct Slots<T> {
    /// Of [`CHUNK`] elements each, but for the last.
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Slots<T> {
    pub const fn new() -> Slots<T> {
        Slots { chunks: Vec::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn push(&mut self, element: T) {
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut().expect("there is one that is not full").push(element);
        self.len += 1;
    }

    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> Index<usize> for Slots<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl<T> IndexMut<usize> for Slots<T> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl<T> FromIterator<T> for Slots<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Slots<T> {
        let mut slots = Slots::new();
        elements.into_iter().for_each(|element| slots.push(element));
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_where_they_were_put_and_never_move() {
        let mut slots = Slots::new();
        slots.push(0);
        let first = &raw const slots[0];
        for number in 1..3 * CHUNK + 1 {
            slots.push(number);
        }
        assert_eq!(&raw const slots[0], first);
        assert_eq!(slots.len(), 3 * CHUNK + 1);
        assert!(slots.iter().copied().eq(0..slots.len()));
        assert!((0..slots.len()).all(|index| slots[index] == index && slots.get(index) == Some(&index)));
        assert_eq!(slots.get(slots.len()), None);
        slots[CHUNK] = 7;
        assert_eq!((slots[CHUNK - 1], slots[CHUNK], slots[CHUNK + 1]), (CHUNK - 1, 7, CHUNK + 1));
    }
}
