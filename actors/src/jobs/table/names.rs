//! Names of queues and kinds that nothing has any more, and queues that nobody uses.
//!
//! Names come with jobs. What a job has (profile, lane, kind, queue) is given back some time after its last job has gone, by a
//! walk over all; walks come so seldom that a name pays for a few steps of them. A queue exists beyond its jobs, until an
//! event removes it. Nothing of this is state: numbers of names mean something only here.

use crate::ids::{QueueName, Timestamp};
use crate::jobs::intern::{KindKey, QueueKey};
use crate::jobs::model::policy::millis;
use crate::jobs::table::JobTable;

/// A queue without jobs, and when a job came into it last.
pub type UnusedQueue = (Timestamp, QueueName);

impl JobTable {
    /// Gives back what no job has any more, if that much of it has gathered that a walk over all is worth it.
    #[inline]
    pub(super) fn reclaim_names_if_many(&mut self) {
        if self.profiles.are_many_idle() {
            self.reclaim_names();
        }
    }

    /// Gives back what no job has any more, but for queues that exist and kinds that local workers handle.
    pub fn reclaim_names(&mut self) {
        self.profiles.clear_idle();
        let kinds_end = self.kinds.iter().map(|(number, _)| number as usize + 1).max().unwrap_or(0);
        let mut kinds = vec![false; kinds_end];
        let mut queues = vec![false; self.sections.queues.end().0 as usize];
        let mut lanes = vec![false; self.ready.end() as usize];
        for (profile, lane) in self.profiles.in_use() {
            kinds[profile.kind.0 as usize] = true;
            queues[profile.queue.0 as usize] = true;
            lanes[lane as usize] = true;
        }
        self.handled.iter().for_each(|kind| kinds[kind.0 as usize] = true);
        self.ready.release_unused(|lane| lanes[lane as usize]);
        for (number, _) in kinds.iter().enumerate().filter(|(_, is_used)| !**is_used) {
            self.kinds.release(number as u32);
        }
        let ready = &mut self.ready;
        let release = |queue: QueueKey| ready.release_queue(queue);
        self.sections.queues.release_unused(|queue| queues[queue.0 as usize], release);
        self.removed_queues = 0;
    }

    /// A queue was removed: its name is given back, soon.
    pub(super) fn queue_was_removed(&mut self) {
        self.removed_queues += 1;
        if self.removed_queues > self.sections.queues.len() / 4 {
            self.reclaim_names();
        }
    }

    /// A job came into a queue.
    #[inline]
    pub(super) fn queue_was_used(&mut self, queue: QueueKey, at: Timestamp) {
        self.queue_used_at[queue.0 as usize] = at;
    }

    /// Makes room for what is kept of a queue.
    pub(super) fn make_room_for_queue(&mut self, queue: QueueKey) {
        let queues = self.queue_counts.len().max(queue.0 as usize + 1);
        self.queue_counts.resize_with(queues, Default::default);
        self.queue_used_at.resize(queues, self.last_at);
    }

    /// Queues that exist, have no job in any status, are not paused, and got no job for this long, in milliseconds: at most
    /// `max`, those that got none for the longest time first.
    #[must_use]
    pub fn unused_queues(&self, now: Timestamp, idle_ms: u64, max: usize) -> Vec<UnusedQueue> {
        let queues = self.sections.queues.iter().filter(|(key, ..)| self.is_unused(*key, now, idle_ms));
        let mut unused: Vec<_> = queues.map(|(key, name, _)| (self.queue_used_at(key), name)).collect();
        if unused.len() > max {
            unused.select_nth_unstable(max);
            unused.truncate(max);
        }
        unused.sort_unstable();
        unused.into_iter().map(|(used_at, name)| (used_at, name.clone())).collect()
    }

    /// How long a queue may be unused before it is forgotten, in milliseconds.
    #[must_use]
    pub fn queue_idle_ms(&self) -> u64 {
        millis(self.policy.queue_idle_timeout)
    }

    /// Whether nobody would miss a queue: see [`JobTable::unused_queues`].
    pub(in crate::jobs) fn is_unused(&self, key: QueueKey, now: Timestamp, idle_ms: u64) -> bool {
        let state = self.sections.queues.get(key);
        let is_empty = || self.counts_of_queue(key).total() == 0;
        state.exists && !state.paused && is_empty() && self.queue_used_at(key).plus_ms(idle_ms) <= now
    }

    /// When a job came into it last; of one that came from an image, the last moment of that.
    fn queue_used_at(&self, key: QueueKey) -> Timestamp {
        self.queue_used_at.get(key.0 as usize).copied().unwrap_or(self.restored_at)
    }

    /// How many names of queues and of kinds are held.
    #[must_use]
    #[inline]
    pub fn names(&self) -> NameCounts {
        let (queues, kinds) = (self.sections.queues.len(), self.kinds.len() - self.handled.len());
        NameCounts { queues, kinds, profiles: self.profiles.len(), lanes: self.ready.lanes() }
    }

    pub(super) fn kind_is_handled(&self, kind: KindKey) -> bool {
        self.handled.contains(&kind)
    }
}

/// How many names there are, and what is kept by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameCounts {
    /// Queues, with those that were removed and still have a job.
    pub queues: usize,
    /// Kinds that a job has, or had a while ago, but for those that local workers handle.
    pub kinds: usize,
    /// Different combinations of what jobs can have in common.
    pub profiles: usize,
    /// Different combinations of queue, kind and priority.
    pub lanes: usize,
}
