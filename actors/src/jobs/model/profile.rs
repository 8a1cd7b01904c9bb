//! What many jobs have in common: where they wait, what runs them, how long and how often.

use crate::ids::{KindName, Priority, QueueName};
use crate::jobs::model::job::Exhausted;
use crate::jobs::model::policy::Backoff;

/// What many jobs have in common. Travels whole: from the producer's request into the event, into memory (where jobs
/// share it), and onto the pages of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// The line it waits in.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: KindName,
    /// 0 to 9, 9 first.
    pub priority: Priority,
    /// The pauses between its attempts.
    pub backoff: Backoff,
    /// What becomes of it when all attempts have failed.
    pub exhausted: Exhausted,
    /// Longest run of one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// How many more runs after a failed one.
    pub max_retry: u32,
    /// How many lines of a backtrace its producer would like to see; a hint for workers.
    pub backtrace_lines: u32,
}
