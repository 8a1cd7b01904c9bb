//! The pending jobs in line: first by priority, then first in, first out.
//!
//! A *lane* holds the pending jobs of one queue, kind and priority in the order in which they joined. The heads
//! of a kind's lanes are sorted, so that a local worker's next job is found without looking at the others, however
//! many jobs of kinds that nobody handles are waiting too; and so are the heads of a queue's lanes, for remote
//! workers. Lanes of a paused queue are not among those of their kinds.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::ids::Priority;
use crate::jobs::intern::{KindKey, QueueKey};
use crate::jobs::table::lane::{Lane, LaneKey, LaneNumber, LinePlace};
use crate::jobs::table::lane_heap::{LaneHeap, NOWHERE, Side};
use crate::jobs::table::list::{Links, List, Slot};
use crate::jobs::table::packed_job::PackedJob;
use crate::jobs::table::slots::Slots;

/// The place in line of a pending job.
pub(crate) fn place(job: &PackedJob) -> LinePlace {
    (job.line_seq, job.enqueued_seq)
}

#[derive(Debug, Default)]
pub(crate) struct Ready {
    lanes: Vec<Lane>,
    /// The lanes by what they are of; the others are free.
    numbers: HashMap<LaneKey, LaneNumber>,
    free: Vec<LaneNumber>,
    kinds: Vec<KindLanes>,
    queues: Vec<LaneHeap>,
    paused: Vec<bool>,
}

/// The lanes of one kind.
#[derive(Debug, Default)]
struct KindLanes {
    /// Those that are not empty, and whose queue is not paused.
    heap: LaneHeap,
}

impl Ready {
    /// Adds a job to a lane at its place in line: at the end, unless it was there before others came (a requeued job).
    pub fn insert<'a>(
        &mut self,
        links: &mut Slots<Links>,
        job: impl Fn(Slot) -> &'a PackedJob,
        number: LaneNumber,
        slot: Slot,
    ) {
        if self.append(links, &job, number, slot) {
            return;
        }
        let this = place(job(slot));
        let lane = &mut self.lanes[number as usize];
        // Requeued jobs are old, so their place is near the head.
        let before = lane.list.iter(links).take_while(|&other| place(job(other)) <= this).last();
        lane.list.insert_after(links, before, slot);
        self.count(number, 1);
        self.rank_again(number, job);
    }

    /// Adds a job to the end of a lane, unless its place is before the end: then false.
    #[inline]
    pub fn append<'a>(
        &mut self,
        links: &mut Slots<Links>,
        job: impl Fn(Slot) -> &'a PackedJob,
        number: LaneNumber,
        slot: Slot,
    ) -> bool {
        let lane = &mut self.lanes[number as usize];
        let tail = lane.list.tail();
        if tail.is_some_and(|tail| place(job(tail)) > place(job(slot))) {
            return false;
        }
        lane.list.push_back(links, slot);
        self.count(number, 1);
        if tail.is_none() {
            self.rank_again(number, job);
        }
        true
    }

    /// Empties every lane; the links are those of nobody then.
    pub fn clear(&mut self) {
        for lane in &mut self.lanes {
            (lane.list, lane.len, lane.rank, lane.at) = (List::EMPTY, 0, None, [NOWHERE; 2]);
        }
        self.kinds.iter_mut().for_each(|kind| *kind = KindLanes::default());
        self.queues.iter_mut().for_each(|heap| *heap = LaneHeap::default());
    }

    /// Takes a job out of its lane, from any place in it.
    pub fn remove<'a>(
        &mut self,
        links: &mut Slots<Links>,
        job: impl Fn(Slot) -> &'a PackedJob,
        number: LaneNumber,
        slot: Slot,
    ) {
        let lane = &mut self.lanes[number as usize];
        let was_head = lane.list.head() == Some(slot);
        lane.list.remove(links, slot);
        self.count(number, -1);
        if was_head {
            self.rank_again(number, job);
        }
    }

    /// The job that is first in line among those of `kinds`.
    pub fn first(&self, kinds: &[KindKey]) -> Option<Slot> {
        let rank = |lane: LaneNumber| self.lanes[lane as usize].rank;
        let firsts = kinds.iter().filter_map(|kind| self.kinds.get(kind.0 as usize)?.heap.first());
        // Ranks are looked at only where there is a choice.
        let best = firsts.reduce(|best, lane| if rank(lane) < rank(best) { lane } else { best })?;
        self.lanes[best as usize].list.head()
    }

    /// The job that is first in line in a queue, unless that is paused.
    pub fn first_in(&self, queue: QueueKey) -> Option<Slot> {
        let number = queue.0 as usize;
        let best = self.queues.get(number).filter(|_| !self.paused[number])?.first()?;
        self.lanes[best as usize].list.head()
    }

    /// The heads of a queue's lanes, paused or not, in no particular order.
    pub fn heads_in(&self, queue: QueueKey) -> impl Iterator<Item = Slot> {
        let lanes = self.queues.get(queue.0 as usize).map_or(&[][..], LaneHeap::all);
        lanes.iter().filter_map(|lane| self.lanes[*lane as usize].list.head())
    }

    /// The pending jobs of a queue, lane by lane.
    pub fn iter_in<'a>(
        &'a self,
        links: &'a Slots<Links>,
        queue: QueueKey,
    ) -> impl Iterator<Item = Slot> + 'a {
        let mut lanes = self.queues.get(queue.0 as usize).map_or(Vec::new(), |heap| heap.all().to_vec());
        lanes.sort_unstable_by_key(|lane| self.lanes[*lane as usize].rank);
        lanes.into_iter().flat_map(move |lane| self.lanes[lane as usize].list.iter(links))
    }

    /// Takes a queue's jobs out of reach, or back.
    pub fn set_paused(&mut self, queue: QueueKey, paused: bool) {
        let number = queue.0 as usize;
        self.make_room(queue, None);
        if std::mem::replace(&mut self.paused[number], paused) == paused {
            return;
        }
        for &lane in self.queues[number].all() {
            let kind = &mut self.kinds[self.lanes[lane as usize].key.1.0 as usize];
            match paused {
                true => kind.heap.remove(&mut self.lanes, Side::Kind, lane),
                false => kind.heap.reposition(&mut self.lanes, Side::Kind, lane),
            }
        }
    }

    /// How many jobs of `kind` are pending in queues that are not paused.
    pub fn len_of(&self, kind: KindKey) -> u64 {
        let lanes = self.kinds.get(kind.0 as usize).map_or(&[][..], |kind| kind.heap.all());
        lanes.iter().map(|lane| u64::from(self.lanes[*lane as usize].len)).sum()
    }

    /// The pending jobs, lane by lane, in line.
    pub fn iter<'a>(&'a self, links: &'a Slots<Links>) -> impl Iterator<Item = (usize, Slot)> + 'a {
        self.lanes
            .iter()
            .enumerate()
            .flat_map(move |(number, lane)| lane.list.iter(links).map(move |slot| (number, slot)))
    }

    /// Whether every lane is ranked by its head, for `check()`.
    pub fn ranks_agree<'a>(&self, job: impl Fn(Slot) -> &'a PackedJob) -> bool {
        let lanes_agree = self.lanes.iter().enumerate().all(|(number, lane)| {
            let (queue, kind) = (lane.key.0.0 as usize, lane.key.1.0 as usize);
            let is_at = |heap: &LaneHeap, side: Side| {
                heap.all().get(lane.at[side as usize] as usize) == Some(&(number as LaneNumber))
            };
            let rank = lane.list.head().map(|head| (Reverse(lane.key.2), place(job(head))));
            let is_in = rank.is_some();
            lane.rank == rank
                && is_at(&self.queues[queue], Side::Queue) == is_in
                && is_at(&self.kinds[kind].heap, Side::Kind) == (is_in && !self.paused[queue])
        });
        let is_heap = |heap: &LaneHeap| {
            let ranks: Vec<_> = heap.all().iter().map(|lane| self.lanes[*lane as usize].rank).collect();
            (1..ranks.len()).all(|at| ranks[(at - 1) / 2] <= ranks[at])
        };
        let of_kinds = || self.kinds.iter().map(|kind| &kind.heap);
        let in_queues: usize = self.queues.iter().map(|heap| heap.all().len()).sum();
        let in_kinds: usize = of_kinds().map(|heap| heap.all().len()).sum();
        let ranked = |lane: &&Lane| lane.rank.is_some();
        let reachable = |lane: &&Lane| lane.rank.is_some() && !self.paused[lane.key.0.0 as usize];
        lanes_agree
            && of_kinds().chain(&self.queues).all(is_heap)
            && in_queues == self.lanes.iter().filter(ranked).count()
            && in_kinds == self.lanes.iter().filter(reachable).count()
    }

    /// The lane of a queue, kind and priority.
    pub fn lane_of(&mut self, queue: QueueKey, kind: KindKey, priority: Priority) -> LaneNumber {
        let key = (queue, kind, priority);
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let lane = Lane { key, list: List::EMPTY, len: 0, rank: None, at: [NOWHERE; 2] };
        let number = match self.free.pop() {
            Some(number) => {
                self.lanes[number as usize] = lane;
                number
            }
            None => {
                self.lanes.push(lane);
                LaneNumber::try_from(self.lanes.len() - 1).expect("fewer than 2^32 lanes fit in memory")
            }
        };
        self.numbers.insert(key, number);
        self.make_room(queue, Some(kind));
        number
    }

    /// Frees the lanes that `is_used` does not know: they are empty.
    pub fn release_unused(&mut self, is_used: impl Fn(LaneNumber) -> bool) {
        let free = &mut self.free;
        self.numbers.retain(|_, number| {
            let stays = is_used(*number);
            if !stays {
                free.push(*number);
            }
            stays
        });
    }

    /// How many lanes there are, the empty ones included, and the free ones not.
    pub fn lanes(&self) -> usize {
        self.numbers.len()
    }

    /// No lane has this number, or a larger one.
    pub fn end(&self) -> LaneNumber {
        self.lanes.len() as LaneNumber
    }

    /// A queue that has no lane any more gives back what its lanes took.
    pub fn release_queue(&mut self, queue: QueueKey) {
        if let Some(heap) = self.queues.get_mut(queue.0 as usize) {
            *heap = LaneHeap::default();
        }
    }

    fn make_room(&mut self, queue: QueueKey, kind: Option<KindKey>) {
        let queues = self.queues.len().max(queue.0 as usize + 1);
        self.queues.resize_with(queues, LaneHeap::default);
        self.paused.resize(queues, false);
        if let Some(kind) = kind {
            self.kinds.resize_with(self.kinds.len().max(kind.0 as usize + 1), KindLanes::default);
        }
    }

    /// Adds `more`, which may be negative, to the number of jobs of a lane.
    #[inline]
    fn count(&mut self, number: LaneNumber, more: i32) {
        let len = &mut self.lanes[number as usize].len;
        *len = len.checked_add_signed(more).expect("a job that leaves a lane was counted in");
    }

    #[inline]
    fn rank_again<'a>(&mut self, number: LaneNumber, job: impl Fn(Slot) -> &'a PackedJob) {
        let lane = &mut self.lanes[number as usize];
        let rank = lane.list.head().map(|head| (Reverse(lane.key.2), place(job(head))));
        if rank == lane.rank {
            return;
        }
        lane.rank = rank;
        let (queue, kind) = (lane.key.0.0 as usize, lane.key.1.0 as usize);
        self.queues[queue].reposition(&mut self.lanes, Side::Queue, number);
        if !self.paused[queue] {
            self.kinds[kind].heap.reposition(&mut self.lanes, Side::Kind, number);
        }
    }
}
