//! What many jobs have in common, kept once: where a job waits, who runs it, how long, how often.
//!
//! A class lives as long as a job has it, and somewhat longer, since the next job mostly has it too.

use std::collections::HashMap;

use crate::ids::Priority;
use crate::jobs::intern::{KindKey, QueueKey};
use crate::jobs::model::job::Exhausted;
use crate::jobs::model::policy::Backoff;
use crate::jobs::table::lane::LaneNumber;

/// Number of a class in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClassKey(pub u32);

/// What jobs have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    pub queue: QueueKey,
    pub kind: KindKey,
    pub priority: Priority,
    pub exhausted: Exhausted,
    pub backoff: Backoff,
    pub timeout_ms: u64,
    pub max_retry: u32,
    pub backtrace_lines: u32,
}

/// Classes without jobs are kept up to this many.
const IDLE_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Classes {
    entries: Vec<Entry>,
    numbers: HashMap<Class, u32>,
    /// Numbers that no class has now.
    free: Vec<u32>,
    /// Classes without jobs.
    idle: usize,
    /// Most jobs have the class of the one before; comparing is cheaper than hashing.
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    class: Class,
    lane: LaneNumber,
    jobs: u32,
    is_free: bool,
}

impl Classes {
    /// The number of a class for one more job; `lane` finds the line in which its jobs wait.
    #[inline]
    pub fn join(&mut self, class: Class, lane: impl FnOnce() -> LaneNumber) -> ClassKey {
        let is_last =
            self.entries.get(self.last as usize).is_some_and(|entry| entry.class == class && !entry.is_free);
        if !is_last {
            self.last = match self.numbers.get(&class) {
                Some(number) => *number,
                None => self.add(class, lane()),
            };
        }
        let entry = &mut self.entries[self.last as usize];
        if entry.jobs == 0 {
            self.idle -= 1;
        }
        entry.jobs += 1;
        ClassKey(self.last)
    }

    /// One job less has it.
    #[inline]
    pub fn leave(&mut self, key: ClassKey) {
        let entry = &mut self.entries[key.0 as usize];
        entry.jobs -= 1;
        if entry.jobs == 0 {
            self.idle += 1;
        }
    }

    #[inline]
    pub fn get(&self, key: ClassKey) -> &Class {
        &self.entries[key.0 as usize].class
    }

    #[inline]
    pub fn lane(&self, key: ClassKey) -> LaneNumber {
        self.entries[key.0 as usize].lane
    }

    /// How many jobs have it, for `check()`.
    pub fn jobs(&self) -> impl Iterator<Item = (ClassKey, u32)> {
        self.entries.iter().enumerate().map(|(number, entry)| (ClassKey(number as u32), entry.jobs))
    }

    /// Adds a class, without jobs yet.
    fn add(&mut self, class: Class, lane: LaneNumber) -> u32 {
        if self.idle >= IDLE_MAX {
            self.clear_idle();
        }
        self.idle += 1;
        let entry = Entry { class, lane, jobs: 0, is_free: false };
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = entry;
                number
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 classes fit in memory")
            }
        };
        self.numbers.insert(class, number);
        number
    }

    fn clear_idle(&mut self) {
        for (number, entry) in self.entries.iter_mut().enumerate() {
            if entry.jobs == 0 && !entry.is_free {
                entry.is_free = true;
                self.numbers.remove(&entry.class);
                self.free.push(number as u32);
            }
        }
        self.idle = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(timeout_ms: u64) -> Class {
        Class {
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
    fn a_class_that_no_job_has_any_more_makes_room_for_others() {
        let mut classes = Classes::default();
        let kept = classes.join(class(7), || 0);
        for timeout_ms in 100..100 + 10 * IDLE_MAX as u64 {
            let key = classes.join(class(timeout_ms), || 0);
            assert_eq!(classes.get(key).timeout_ms, timeout_ms);
            classes.leave(key);
        }
        assert!(classes.entries.len() <= IDLE_MAX + 2, "{}", classes.entries.len());
        assert_eq!(classes.join(class(7), || 0), kept);
        assert_eq!(classes.get(kept).timeout_ms, 7);
    }
}
