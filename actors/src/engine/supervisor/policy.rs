//! The restart policy: one `match` over which child has ended and how often lately.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::ChildId;

/// The first restart waits this long; each further one within [`INTENSITY_WINDOW`] twice as long.
const BACKOFF: Duration = Duration::from_millis(50);
/// No restart waits longer.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Restarts of one child that are tolerated within [`INTENSITY_WINDOW`].
const INTENSITY: usize = 5;
/// See [`INTENSITY`].
pub(super) const INTENSITY_WINDOW: Duration = Duration::from_secs(10);

/// What the supervisor does about a child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RestartDecision {
    RestartAfter(Duration),
    Escalate,
    FailStop,
}

/// The restart policy: `crashes` counts this child's ends within the window, this one included.
pub(super) fn verdict(child: ChildId, crashes: usize) -> RestartDecision {
    match child {
        ChildId::Wal | ChildId::Manager => RestartDecision::FailStop,
        ChildId::Worker(_) | ChildId::Snapshot if crashes > INTENSITY => RestartDecision::Escalate,
        ChildId::Worker(_) | ChildId::Snapshot => {
            let doublings = u32::try_from(crashes).unwrap_or(u32::MAX).saturating_sub(1).min(16);
            RestartDecision::RestartAfter((BACKOFF * 2_u32.pow(doublings)).min(BACKOFF_MAX))
        }
    }
}

/// How often a child has been started, and when it ended lately.
#[derive(Default)]
pub(super) struct ChildHistory {
    pub generation: u64,
    ends: VecDeque<Duration>,
}

impl ChildHistory {
    /// Notes an end and returns how many there were within the window, this one included.
    pub fn ended(&mut self, now: Duration) -> usize {
        self.ends.push_back(now);
        while self.ends.front().is_some_and(|end| now.saturating_sub(*end) > INTENSITY_WINDOW) {
            self.ends.pop_front();
        }
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::WorkerId;

    #[test]
    fn only_workers_and_snapshots_are_restarted_with_growing_pauses_until_it_is_too_often() {
        let worker = ChildId::Worker(WorkerId(3));
        let pauses: Vec<_> = (1..=INTENSITY).map(|crashes| verdict(worker, crashes)).collect();
        let expected =
            [50, 100, 200, 400, 800].map(|ms| RestartDecision::RestartAfter(Duration::from_millis(ms)));
        assert_eq!(pauses, expected);
        assert_eq!(verdict(worker, INTENSITY + 1), RestartDecision::Escalate);
        assert_eq!(verdict(ChildId::Snapshot, 1), expected[0]);
        assert_eq!(verdict(ChildId::Wal, 1), RestartDecision::FailStop);
        assert_eq!(verdict(ChildId::Manager, 1), RestartDecision::FailStop);
        assert_eq!(worker.to_string(), "supervisor/worker[3]");
    }
}
