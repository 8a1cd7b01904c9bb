//! What is known of each queue, beside the jobs in it: that it exists, and whether it is paused.
//!
//! A queue exists from its first job on until it is removed, even while it is empty; one that stays empty is removed by the
//! server itself.

use serde::Serialize;

use crate::base::bytes::{Take, put_text, put_uint};
use crate::ids::{QueueName, Seq, Timestamp};
use crate::jobs::counts::Counts;
use crate::jobs::event::EventKind;
use crate::jobs::intern::{Interner, QueueKey};
use crate::jobs::sections::section::Section;
use crate::jobs::table::digest;

/// A queue by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRecord {
    /// The name that producers and workers call it by.
    pub name: QueueName,
    /// Whether nobody gets jobs of it.
    pub paused: bool,
}

/// A queue at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueView {
    /// The name that producers and workers call it by.
    pub queue: QueueName,
    /// Whether nobody gets jobs of it.
    pub paused: bool,
    /// Since when the oldest of its pending jobs waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_at: Option<Timestamp>,
    /// Its jobs in each status.
    pub jobs: Counts,
}

/// All queues that have a name here, by numbers that last as long as the queue exists or a job is in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    names: Interner<QueueName>,
    states: Vec<QueueState>,
    /// The sum over those that are paused.
    digest: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueState {
    /// Whether it is there even without a job.
    pub exists: bool,
    pub paused: bool,
    /// Stands for the name in the digest.
    pub digest: u64,
}

impl Section for Queues {
    const ID: u64 = 1;
    const VERSION: u64 = 1;

    #[inline]
    fn apply(&mut self, _: (Seq, Timestamp), kind: &EventKind) {
        match kind {
            EventKind::Enqueue(new) => self.exists(&new.profile.queue),
            EventKind::Move { queue, .. } => self.exists(queue),
            EventKind::SetPaused { queue, paused } => self.set_paused(queue, *paused),
            EventKind::RemoveQueue { queue } => {
                self.set_paused(queue, false);
                let key = self.intern(queue);
                self.get_mut(key).exists = false;
            }
            _ => {}
        }
    }

    #[inline]
    fn digest(&self) -> u64 {
        self.digest
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let records = self.records();
        put_uint(out, records.len() as u64);
        for QueueRecord { name, paused } in &records {
            put_text(out, name.as_str());
            out.push(u8::from(*paused));
        }
    }

    fn decode(take: &mut Take<'_>) -> Result<Queues, String> {
        let short = || "the section of queues ends too early".to_owned();
        let mut queues = Queues::default();
        for _ in 0..take.uint().ok_or_else(short)? {
            let name = take.text().ok_or_else(short)?;
            let name = QueueName::parse(name).map_err(|error| error.to_string())?;
            let paused = match take.byte().ok_or_else(short)? {
                0 => false,
                1 => true,
                other => return Err(format!("queue {name} is neither paused nor not: {other}")),
            };
            queues.exists(&name);
            queues.set_paused(&name, paused);
        }
        Ok(queues)
    }
}

impl PartialEq for Queues {
    /// Whether the same would be written.
    fn eq(&self, other: &Queues) -> bool {
        self.records() == other.records()
    }
}

impl Eq for Queues {}

impl Queues {
    #[inline]
    fn exists(&mut self, name: &QueueName) {
        let key = self.intern(name);
        self.get_mut(key).exists = true;
    }

    fn set_paused(&mut self, name: &QueueName, paused: bool) {
        let key = self.intern(name);
        let state = self.get_mut(key);
        if std::mem::replace(&mut state.paused, paused) == paused {
            return;
        }
        state.exists |= paused;
        let part = digest::of_paused(state.digest);
        self.digest = match paused {
            true => self.digest.wrapping_add(part),
            false => self.digest.wrapping_sub(part),
        };
    }

    #[inline]
    pub fn intern(&mut self, name: &QueueName) -> QueueKey {
        let before = self.names.len();
        let number = self.names.intern(name);
        if self.names.len() > before {
            let state = QueueState { exists: false, paused: false, digest: digest::of_text(name.as_str()) };
            match self.states.get_mut(number as usize) {
                Some(free) => *free = state,
                None => self.states.push(state),
            }
        }
        QueueKey(number)
    }

    /// Takes the names from those that do not exist and that `is_used` does not know; calls `released` with each.
    pub fn release_unused(&mut self, is_used: impl Fn(QueueKey) -> bool, mut released: impl FnMut(QueueKey)) {
        for (number, state) in self.states.iter().enumerate() {
            let key = QueueKey(number as u32);
            if !state.exists && !is_used(key) {
                self.names.release(key.0);
                released(key);
            }
        }
    }

    pub fn find(&self, name: &QueueName) -> Option<QueueKey> {
        self.names.find(name).map(QueueKey)
    }

    pub fn name(&self, key: QueueKey) -> &QueueName {
        self.names.name(key.0)
    }

    /// How many names there are, of queues that exist and of removed ones that still have a job.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// No queue has this number, or a larger one.
    pub fn end(&self) -> QueueKey {
        QueueKey(self.states.len() as u32)
    }

    #[inline]
    pub fn get(&self, key: QueueKey) -> &QueueState {
        &self.states[key.0 as usize]
    }

    #[inline]
    fn get_mut(&mut self, key: QueueKey) -> &mut QueueState {
        &mut self.states[key.0 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (QueueKey, &QueueName, &QueueState)> {
        self.names.iter().map(|(number, name)| (QueueKey(number), name, &self.states[number as usize]))
    }

    /// The sum as it should be, for `check()`.
    pub fn digest_by_definition(&self) -> u64 {
        let paused = self.states.iter().filter(|state| state.paused);
        paused.fold(0, |sum, state| sum.wrapping_add(digest::of_paused(state.digest)))
    }

    /// The queues that exist, by name.
    pub fn records(&self) -> Vec<QueueRecord> {
        let existing = self.iter().filter(|(_, _, state)| state.exists);
        let mut records: Vec<_> = existing
            .map(|(_, name, state)| QueueRecord { name: name.clone(), paused: state.paused })
            .collect();
        records.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        records
    }
}
