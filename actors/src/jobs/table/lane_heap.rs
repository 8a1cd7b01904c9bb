//! The lanes of one kind, or of one queue, with the one whose head is first in line on top: a binary heap.
//!
//! Each lane knows its place in the heap, so that a lane whose head changes moves at the cost of a few comparisons.
//! With one lane, which is the usual case, that is none.

use crate::jobs::table::lane::{Lane, LaneNumber};

/// Where a lane is that is in no heap.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Which of a lane's two heaps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Kind = 0,
    Queue = 1,
}

#[derive(Debug, Default)]
pub(crate) struct LaneHeap(Vec<LaneNumber>);

impl LaneHeap {
    /// The lane whose head is first in line.
    #[inline]
    pub fn first(&self) -> Option<LaneNumber> {
        self.0.first().copied()
    }

    /// Its lanes, the first one first, the others in no particular order.
    pub fn all(&self) -> &[LaneNumber] {
        &self.0
    }

    /// Brings a lane to where it belongs after its rank has changed; out, if it has none.
    #[inline]
    pub fn reposition(&mut self, lanes: &mut [Lane], side: Side, lane: LaneNumber) {
        let at = lanes[lane as usize].at[side as usize];
        match (at == NOWHERE, lanes[lane as usize].rank.is_some()) {
            (true, true) => {
                self.0.push(lane);
                self.up(lanes, side, self.0.len() - 1);
            }
            // The only lane is the first.
            (false, true) if self.0.len() == 1 => {}
            (false, true) => {
                let at = self.up(lanes, side, at as usize);
                self.down(lanes, side, at);
            }
            (false, false) => self.remove(lanes, side, lane),
            (true, false) => {}
        }
    }

    /// Takes a lane out, if it is in.
    pub fn remove(&mut self, lanes: &mut [Lane], side: Side, lane: LaneNumber) {
        let at = std::mem::replace(&mut lanes[lane as usize].at[side as usize], NOWHERE);
        if at == NOWHERE {
            return;
        }
        let at = at as usize;
        self.0.swap_remove(at);
        if at < self.0.len() {
            let at = self.up(lanes, side, at);
            self.down(lanes, side, at);
        }
    }

    fn up(&mut self, lanes: &mut [Lane], side: Side, mut at: usize) -> usize {
        while at > 0 {
            let parent = (at - 1) / 2;
            if lanes[self.0[parent] as usize].rank <= lanes[self.0[at] as usize].rank {
                break;
            }
            self.0.swap(parent, at);
            self.note(lanes, side, at);
            at = parent;
        }
        self.note(lanes, side, at);
        at
    }

    fn down(&mut self, lanes: &mut [Lane], side: Side, mut at: usize) {
        loop {
            let children = 2 * at + 1..(2 * at + 3).min(self.0.len());
            let Some(least) = children.min_by_key(|&child| lanes[self.0[child] as usize].rank) else { break };
            if lanes[self.0[at] as usize].rank <= lanes[self.0[least] as usize].rank {
                break;
            }
            self.0.swap(at, least);
            self.note(lanes, side, at);
            at = least;
        }
        self.note(lanes, side, at);
    }

    #[inline]
    fn note(&self, lanes: &mut [Lane], side: Side, at: usize) {
        lanes[self.0[at] as usize].at[side as usize] = at as u32;
    }
}
