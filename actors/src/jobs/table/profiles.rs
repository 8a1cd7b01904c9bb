//! What many jobs have in common, kept once: where a job waits, who runs it, how long, how often.
//!
//! A profile lives as long as a job has it, and somewhat longer, since the next job mostly has it too. Once as many have no
//! job as it takes to make a walk over all worth it, they are cleared; what else they named may go with them, see
//! [`JobTable::reclaim_names`](crate::jobs::table::JobTable).

use std::collections::HashMap;

use crate::ids::{KindName, Priority, QueueName};
use crate::jobs::intern::{KindKey, QueueKey};
use crate::jobs::model::job::Exhausted;
use crate::jobs::model::policy::Backoff;
use crate::jobs::model::profile::Profile;
use crate::jobs::table::lane::LaneNumber;
use crate::jobs::table::packed_job::ProfileId;

/// A [`Profile`] by the numbers of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JobProfile {
    pub queue: QueueKey,
    pub kind: KindKey,
    pub priority: Priority,
    pub exhausted: Exhausted,
    pub backoff: Backoff,
    pub timeout_ms: u64,
    pub max_retry: u32,
    pub backtrace_lines: u32,
}

impl JobProfile {
    /// A profile whose names have these numbers.
    #[inline]
    pub fn of(profile: &Profile, queue: QueueKey, kind: KindKey) -> JobProfile {
        let &Profile {
            queue: _,
            kind: _,
            priority,
            backoff,
            exhausted,
            timeout_ms,
            max_retry,
            backtrace_lines,
        } = profile;
        JobProfile { queue, kind, priority, exhausted, backoff, timeout_ms, max_retry, backtrace_lines }
    }

    /// The reverse of [`JobProfile::of`].
    pub fn named(&self, queue: &QueueName, kind: &KindName) -> Profile {
        let JobProfile {
            queue: _,
            kind: _,
            priority,
            exhausted,
            backoff,
            timeout_ms,
            max_retry,
            backtrace_lines,
        } = *self;
        let (queue, kind) = (queue.clone(), kind.clone());
        Profile { queue, kind, priority, backoff, exhausted, timeout_ms, max_retry, backtrace_lines }
    }
}

/// Profiles without jobs are kept up to this many, or half as many as there are with jobs.
const IDLE_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Profiles {
    entries: Vec<ProfileEntry>,
    numbers: HashMap<JobProfile, u32>,
    /// Numbers that no profile has now.
    free: Vec<u32>,
    /// Number of profiles that no job has any more.
    idle: usize,
    /// Most jobs have the profile of the one before; comparing is cheaper than hashing.
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct ProfileEntry {
    profile: JobProfile,
    lane: LaneNumber,
    jobs: u32,
    is_free: bool,
}

impl Profiles {
    /// The number of a profile for one more job; `lane` finds the line in which its jobs wait.
    #[inline]
    pub fn join(&mut self, profile: JobProfile, lane: impl FnOnce() -> LaneNumber) -> ProfileId {
        let is_last = self
            .entries
            .get(self.last as usize)
            .is_some_and(|entry| entry.profile == profile && !entry.is_free);
        if !is_last {
            self.last = match self.numbers.get(&profile) {
                Some(number) => *number,
                None => self.add(profile, lane()),
            };
        }
        let entry = &mut self.entries[self.last as usize];
        if entry.jobs == 0 {
            self.idle -= 1;
        }
        entry.jobs += 1;
        ProfileId(self.last)
    }

    /// One job less has it.
    #[inline]
    pub fn leave(&mut self, key: ProfileId) {
        let entry = &mut self.entries[key.0 as usize];
        entry.jobs -= 1;
        if entry.jobs == 0 {
            self.idle += 1;
        }
    }

    #[inline]
    pub fn get(&self, key: ProfileId) -> &JobProfile {
        &self.entries[key.0 as usize].profile
    }

    #[inline]
    pub fn lane(&self, key: ProfileId) -> LaneNumber {
        self.entries[key.0 as usize].lane
    }

    /// Whether enough of them have no job any more for a walk over all.
    #[inline]
    pub fn are_many_idle(&self) -> bool {
        self.idle >= IDLE_MAX && self.idle >= (self.entries.len() - self.free.len()) / 3
    }

    /// How many there are, those that no job has any more included.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Those that a job has, with the lane in which it would wait.
    pub fn in_use(&self) -> impl Iterator<Item = (&JobProfile, LaneNumber)> {
        let in_use = self.entries.iter().filter(|entry| entry.jobs > 0);
        in_use.map(|entry| (&entry.profile, entry.lane))
    }

    /// How many jobs have it, for `check()`.
    pub fn jobs(&self) -> impl Iterator<Item = (ProfileId, u32)> {
        self.entries.iter().enumerate().map(|(number, entry)| (ProfileId(number as u32), entry.jobs))
    }

    /// Adds a profile, without jobs yet.
    fn add(&mut self, profile: JobProfile, lane: LaneNumber) -> u32 {
        self.idle += 1;
        let entry = ProfileEntry { profile, lane, jobs: 0, is_free: false };
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = entry;
                number
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 profiles fit in memory")
            }
        };
        self.numbers.insert(profile, number);
        number
    }

    /// Forgets those that no job has any more.
    pub fn clear_idle(&mut self) {
        for (number, entry) in self.entries.iter_mut().enumerate() {
            if entry.jobs == 0 && !entry.is_free {
                entry.is_free = true;
                self.numbers.remove(&entry.profile);
                self.free.push(number as u32);
            }
        }
        self.idle = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(timeout_ms: u64) -> JobProfile {
        JobProfile {
            queue: QueueKey(0),
            kind: KindKey(0),
            priority: Priority::default(),
            exhausted: Exhausted::Dead,
            backoff: Backoff::Server,
            timeout_ms,
            max_retry: 3,
            backtrace_lines: 0,
        }
    }

    #[test]
    fn a_profile_that_no_job_has_any_more_makes_room_for_others() {
        let mut profiles = Profiles::default();
        let kept = profiles.join(profile(7), || 0);
        for timeout_ms in 100..100 + 10 * IDLE_MAX as u64 {
            if profiles.are_many_idle() {
                profiles.clear_idle();
            }
            let key = profiles.join(profile(timeout_ms), || 0);
            assert_eq!(profiles.get(key).timeout_ms, timeout_ms);
            profiles.leave(key);
        }
        assert!(profiles.entries.len() <= IDLE_MAX + 2, "{}", profiles.entries.len());
        assert_eq!(profiles.join(profile(7), || 0), kept);
        assert_eq!(profiles.get(kept).timeout_ms, 7);
    }
}
