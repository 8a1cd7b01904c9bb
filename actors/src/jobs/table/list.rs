//! Lists threaded through the job slots: joining and leaving cost a few writes and no memory.
//!
//! A slot is in at most one list at a time: a lane of pending jobs, or the finished jobs of one status.

use crate::jobs::table::slots::Slots;

/// Number of a job's slot in the table.
pub(crate) type Slot = u32;

const NONE: Slot = Slot::MAX;

/// A slot's neighbours in the list that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    prev: Slot,
    next: Slot,
}

impl Links {
    pub const LOOSE: Links = Links { prev: NONE, next: NONE };
}

/// Ends and length of one list; the links are in the slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: Slot,
    tail: Slot,
    len: u64,
}

impl Default for List {
    fn default() -> List {
        List::EMPTY
    }
}

impl List {
    pub const EMPTY: List = List { head: NONE, tail: NONE, len: 0 };

    pub fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    pub fn head(&self) -> Option<Slot> {
        (self.head != NONE).then_some(self.head)
    }

    #[inline]
    pub fn tail(&self) -> Option<Slot> {
        (self.tail != NONE).then_some(self.tail)
    }

    /// Whether a slot is in this list, which is in it or in none.
    #[inline]
    pub fn has(&self, links: &Slots<Links>, slot: Slot) -> bool {
        links[slot as usize] != Links::LOOSE || self.head == slot
    }

    #[inline]
    pub fn push_back(&mut self, links: &mut Slots<Links>, slot: Slot) {
        self.insert_after(links, self.tail(), slot);
    }

    /// Inserts `slot` behind `before`, or at the head for `None`.
    #[inline]
    pub fn insert_after(&mut self, links: &mut Slots<Links>, before: Option<Slot>, slot: Slot) {
        let prev = before.unwrap_or(NONE);
        let next = match before {
            Some(before) => links[before as usize].next,
            None => self.head,
        };
        links[slot as usize] = Links { prev, next };
        match prev {
            NONE => self.head = slot,
            _ => links[prev as usize].next = slot,
        }
        match next {
            NONE => self.tail = slot,
            _ => links[next as usize].prev = slot,
        }
        self.len += 1;
    }

    #[inline]
    pub fn remove(&mut self, links: &mut Slots<Links>, slot: Slot) {
        let Links { prev, next } = std::mem::replace(&mut links[slot as usize], Links::LOOSE);
        match prev {
            NONE => self.head = next,
            _ => links[prev as usize].next = next,
        }
        match next {
            NONE => self.tail = prev,
            _ => links[next as usize].prev = prev,
        }
        self.len -= 1;
    }

    /// The slots from head to tail. Stops after `len` steps, so that a broken list cannot trap `check()`.
    pub fn iter<'a>(&self, links: &'a Slots<Links>) -> impl Iterator<Item = Slot> + use<'a> {
        let mut at = self.head;
        let mut left = self.len;
        std::iter::from_fn(move || {
            if at == NONE || left == 0 {
                return None;
            }
            let slot = at;
            at = links[slot as usize].next;
            left -= 1;
            Some(slot)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_order_through_every_way_in_and_out() {
        let mut links = (0..8).map(|_| Links::LOOSE).collect();
        let mut list = List::EMPTY;
        for slot in [1, 2, 3] {
            list.push_back(&mut links, slot);
        }
        list.insert_after(&mut links, None, 0);
        list.insert_after(&mut links, Some(2), 5);
        assert_eq!(list.iter(&links).collect::<Vec<_>>(), [0, 1, 2, 5, 3]);
        for slot in [0, 5, 3] {
            list.remove(&mut links, slot);
        }
        assert_eq!(list.iter(&links).collect::<Vec<_>>(), [1, 2]);
        list.remove(&mut links, 1);
        list.remove(&mut links, 2);
        assert_eq!((list.head(), list.tail(), list.len()), (None, None, 0));
    }
}
