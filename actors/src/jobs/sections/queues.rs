//! What is known of each queue, beside the jobs in it: that it exists, whether it is paused, how many jobs it has.
//!
//! A queue exists from its first job on until it is removed, even while it is empty.

use serde::{Deserialize, Serialize};

use crate::ids::{QueueName, Timestamp};
use crate::jobs::counts::Counts;
use crate::jobs::event::EventKind;
use crate::jobs::intern::{Interner, QueueKey};
use crate::jobs::model::job::Status;
use crate::jobs::table::digest;

/// Names of queues take memory until the next start, even of those that were removed.
pub const QUEUES_MAX: usize = 100_000;

/// A queue as it is written to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRecord {
    /// Its name.
    pub name: QueueName,
    /// Whether nobody gets jobs of it.
    pub paused: bool,
}

/// How many attempts have ended since the queue was created; those that nobody reported on do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// All of them.
    pub processed: u64,
    /// Those that failed.
    pub failed: u64,
}

impl Totals {
    /// Counts an attempt that `change` ends, if it ends one.
    pub(crate) fn take(&mut self, change: &EventKind) {
        let failed = match change {
            EventKind::Ack { .. } => 0,
            EventKind::Retry { .. }
            | EventKind::Timeout { .. }
            | EventKind::Dead { .. }
            | EventKind::Drop { .. } => 1,
            _ => return,
        };
        self.processed += 1;
        self.failed += failed;
    }
}

/// What an image holds beside the jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Every queue that exists, by name.
    pub queues: Vec<QueueRecord>,
    /// Since ever.
    pub totals: Totals,
}

/// A queue at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueView {
    /// Its name.
    pub queue: QueueName,
    /// Whether nobody gets jobs of it.
    pub paused: bool,
    /// Since when the oldest of its pending jobs waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_at: Option<Timestamp>,
    /// Its jobs in each status.
    pub jobs: Counts,
}

#[derive(Debug)]
pub(crate) struct Queues {
    names: Interner<QueueName>,
    states: Vec<QueueState>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueState {
    pub exists: bool,
    pub paused: bool,
    pub counts: Counts,
    /// Stands for the name in the digest.
    pub digest: u64,
}

impl QueueState {
    /// One that was removed is there again as soon as a job waits in it, be it one that was scheduled before.
    pub fn is_there(&self) -> bool {
        self.exists || self.counts.of(Status::Pending) > 0
    }
}

impl Queues {
    pub fn new() -> Queues {
        Queues { names: Interner::new(), states: Vec::new() }
    }

    #[inline]
    pub fn intern(&mut self, name: &QueueName) -> QueueKey {
        let number = self.names.intern(name);
        if self.states.len() <= number as usize {
            let digest = digest::of_text(name.as_str());
            self.states.push(QueueState { exists: false, paused: false, counts: Counts::default(), digest });
        }
        QueueKey(number)
    }

    pub fn find(&self, name: &QueueName) -> Option<QueueKey> {
        self.names.find(name).map(QueueKey)
    }

    pub fn name(&self, key: QueueKey) -> &QueueName {
        self.names.name(key.0)
    }

    pub fn len(&self) -> usize {
        self.states.len()
    }

    #[inline]
    pub fn get(&self, key: QueueKey) -> &QueueState {
        &self.states[key.0 as usize]
    }

    #[inline]
    pub fn get_mut(&mut self, key: QueueKey) -> &mut QueueState {
        &mut self.states[key.0 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (QueueKey, &QueueName, &QueueState)> {
        let all = self.names.all().iter().zip(&self.states).enumerate();
        all.map(|(number, (name, state))| (QueueKey(number as u32), name, state))
    }

    /// What of the queues is written to an image.
    pub fn records(&self) -> Vec<QueueRecord> {
        let existing = self.iter().filter(|(_, _, state)| state.exists);
        let mut records: Vec<_> = existing
            .map(|(_, name, state)| QueueRecord { name: name.clone(), paused: state.paused })
            .collect();
        records.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        records
    }
}
