//! The pending jobs in line: first by priority, then first in, first out.
//!
//! A *lane* holds the pending jobs of one queue, kind and priority in the order in which they joined. The heads
//! of a kind's lanes are sorted, so that a local worker's next job is found without looking at the others, however
//! many jobs of kinds that nobody handles are waiting too; and so are the heads of a queue's lanes, for remote
//! workers. Lanes of a paused queue are not among those of their kinds.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::job::Job;
use super::list::{Links, List, Slot};
use super::names::{KindKey, QueueKey};
use crate::ids::{Lsn, Priority};

type LaneKey = (QueueKey, KindKey, Priority);
type LaneNumber = u32;

/// A job's place in line. Those that were promoted together stand in the order in which they were accepted.
type Place = (Lsn, Lsn);

/// Where a lane stands among the others of its kind: by priority, then by its head's place in line.
type Rank = (Reverse<Priority>, Place, LaneNumber);

/// The place in line of a pending job.
pub(crate) fn place(job: &Job) -> Place {
    (job.order, job.number)
}

#[derive(Debug, Default)]
pub(crate) struct Ready {
    lanes: Vec<Lane>,
    numbers: HashMap<LaneKey, LaneNumber>,
    kinds: Vec<Line>,
    queues: Vec<Line>,
    paused: Vec<bool>,
    /// Most jobs go to the lane of the one before.
    last: LaneNumber,
}

#[derive(Debug)]
struct Lane {
    key: LaneKey,
    list: List,
    /// The rank under which the lane is in the `heads` of its kind and of its queue; none while it is empty.
    rank: Option<Rank>,
}

/// The lanes of one kind, or of one queue.
#[derive(Debug, Default)]
struct Line {
    heads: BTreeSet<Rank>,
    len: u64,
}

impl Ready {
    /// Adds a job at its place in line: at the end, unless it was there before others came (a requeued job).
    pub fn insert<'a>(&mut self, links: &mut [Links], job: impl Fn(Slot) -> &'a Job, slot: Slot) {
        let this = job(slot);
        let number = self.lane_of(this);
        let lane = &mut self.lanes[number as usize];
        let at_the_end = lane.list.tail().is_none_or(|tail| place(job(tail)) <= place(this));
        if at_the_end {
            lane.list.push_back(links, slot);
        } else {
            // Requeued jobs are old, so their place is near the head.
            let before = lane.list.iter(links).take_while(|&other| place(job(other)) <= place(this)).last();
            lane.list.insert_after(links, before, slot);
        }
        self.kinds[this.kind.0 as usize].len += 1;
        self.queues[this.queue.0 as usize].len += 1;
        self.rank_again(number, job);
    }

    /// Takes a job out, wherever in line it is.
    pub fn remove<'a>(&mut self, links: &mut [Links], job: impl Fn(Slot) -> &'a Job, slot: Slot) {
        let this = job(slot);
        let number = self.lane_of(this);
        self.lanes[number as usize].list.remove(links, slot);
        self.kinds[this.kind.0 as usize].len -= 1;
        self.queues[this.queue.0 as usize].len -= 1;
        self.rank_again(number, job);
    }

    /// The job that is first in line among those of `kinds`.
    pub fn first(&self, kinds: &[KindKey]) -> Option<Slot> {
        let best = kinds.iter().filter_map(|kind| self.kinds.get(kind.0 as usize)?.heads.first()).min()?;
        self.lanes[best.2 as usize].list.head()
    }

    /// The job that is first in line in a queue, unless that is paused.
    pub fn first_in(&self, queue: QueueKey) -> Option<Slot> {
        let number = queue.0 as usize;
        let best = self.queues.get(number).filter(|_| !self.paused[number])?.heads.first()?;
        self.lanes[best.2 as usize].list.head()
    }

    /// The heads of a queue's lanes, paused or not.
    pub fn heads_in(&self, queue: QueueKey) -> impl Iterator<Item = Slot> {
        let heads = self.queues.get(queue.0 as usize).into_iter().flat_map(|line| &line.heads);
        heads.filter_map(|rank| self.lanes[rank.2 as usize].list.head())
    }

    /// The pending jobs of a queue, lane by lane.
    pub fn iter_in<'a>(&'a self, links: &'a [Links], queue: QueueKey) -> impl Iterator<Item = Slot> + 'a {
        let heads = self.queues.get(queue.0 as usize).into_iter().flat_map(|line| &line.heads);
        heads.flat_map(move |rank| self.lanes[rank.2 as usize].list.iter(links))
    }

    /// Takes a queue's jobs out of reach, or back.
    pub fn set_paused(&mut self, queue: QueueKey, paused: bool) {
        let number = queue.0 as usize;
        self.make_room(queue, None);
        if std::mem::replace(&mut self.paused[number], paused) == paused {
            return;
        }
        for rank in &self.queues[number].heads {
            let kind = &mut self.kinds[self.lanes[rank.2 as usize].key.1.0 as usize];
            match paused {
                true => kind.heads.remove(rank),
                false => kind.heads.insert(*rank),
            };
        }
    }

    /// How many jobs of `kind` are pending.
    pub fn len_of(&self, kind: KindKey) -> u64 {
        self.kinds.get(kind.0 as usize).map_or(0, |kind| kind.len)
    }

    /// The pending jobs, lane by lane, in line.
    pub fn iter<'a>(&'a self, links: &'a [Links]) -> impl Iterator<Item = (usize, Slot)> + 'a {
        self.lanes
            .iter()
            .enumerate()
            .flat_map(move |(number, lane)| lane.list.iter(links).map(move |slot| (number, slot)))
    }

    /// Whether every lane is ranked by its head, for `check()`.
    pub fn ranks_agree<'a>(&self, job: impl Fn(Slot) -> &'a Job) -> bool {
        let lanes_agree = self.lanes.iter().enumerate().all(|(number, lane)| {
            let (queue, kind) = (lane.key.0.0 as usize, lane.key.1.0 as usize);
            let rank =
                lane.list.head().map(|head| (Reverse(lane.key.2), place(job(head)), number as LaneNumber));
            lane.rank == rank
                && rank.is_none_or(|rank| {
                    self.queues[queue].heads.contains(&rank)
                        && self.kinds[kind].heads.contains(&rank) != self.paused[queue]
                })
        });
        let heads = |lines: &[Line]| lines.iter().map(|line| line.heads.len()).sum::<usize>();
        let ranked = |lane: &&Lane| lane.rank.is_some();
        let reachable = |lane: &&Lane| lane.rank.is_some() && !self.paused[lane.key.0.0 as usize];
        lanes_agree
            && heads(&self.queues) == self.lanes.iter().filter(ranked).count()
            && heads(&self.kinds) == self.lanes.iter().filter(reachable).count()
    }

    fn lane_of(&mut self, job: &Job) -> LaneNumber {
        let key = (job.queue, job.kind, job.priority);
        if self.lanes.get(self.last as usize).is_some_and(|lane| lane.key == key) {
            return self.last;
        }
        if let Some(number) = self.numbers.get(&key) {
            self.last = *number;
            return *number;
        }
        let number = LaneNumber::try_from(self.lanes.len()).expect("fewer than 2^32 lanes fit in memory");
        self.lanes.push(Lane { key, list: List::EMPTY, rank: None });
        self.numbers.insert(key, number);
        self.make_room(job.queue, Some(job.kind));
        number
    }

    fn make_room(&mut self, queue: QueueKey, kind: Option<KindKey>) {
        let queues = self.queues.len().max(queue.0 as usize + 1);
        self.queues.resize_with(queues, Line::default);
        self.paused.resize(queues, false);
        if let Some(kind) = kind {
            self.kinds.resize_with(self.kinds.len().max(kind.0 as usize + 1), Line::default);
        }
    }

    fn rank_again<'a>(&mut self, number: LaneNumber, job: impl Fn(Slot) -> &'a Job) {
        let lane = &mut self.lanes[number as usize];
        let rank = lane.list.head().map(|head| (Reverse(lane.key.2), place(job(head)), number));
        if rank == lane.rank {
            return;
        }
        let (queue, kind) = (lane.key.0.0 as usize, lane.key.1.0 as usize);
        let old = std::mem::replace(&mut lane.rank, rank);
        let of_kind = (!self.paused[queue]).then(|| &mut self.kinds[kind].heads);
        for heads in of_kind.into_iter().chain([&mut self.queues[queue].heads]) {
            if let Some(old) = &old {
                heads.remove(old);
            }
            if let Some(new) = rank {
                heads.insert(new);
            }
        }
    }
}
