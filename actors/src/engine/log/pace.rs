//! How long the disk takes of late, and what follows from it for the next batch.

use std::time::Duration;

/// Up to this many bytes, those of about 200 jobs that come one by one, a batch is short.
const SHORT_BYTES_MAX: usize = 32 << 10;
/// While syncs usually take longer than this, no batch is short.
const SHORT_SYNC_MAX: Duration = Duration::from_millis(2);
/// The last sync makes up this part of what is usual: one in eight.
const USUAL_OF: u32 = 8;

/// How long syncs usually take: an average that the last ones dominate.
#[derive(Debug, Default)]
pub(super) struct SyncPace {
    usual: Duration,
}

impl SyncPace {
    /// Counts a sync.
    pub fn note(&mut self, took: Duration) {
        self.usual = (self.usual * (USUAL_OF - 1) + took) / USUAL_OF;
    }

    /// Whether a batch of this many bytes and its sync take less time than a change of threads is worth.
    pub fn is_short(&self, bytes: usize) -> bool {
        bytes <= SHORT_BYTES_MAX && self.usual <= SHORT_SYNC_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(100);

    #[test]
    fn a_small_batch_is_short_before_anything_is_known_about_the_disk() {
        let pace = SyncPace::default();
        assert!(pace.is_short(0) && pace.is_short(SHORT_BYTES_MAX));
        assert!(!pace.is_short(SHORT_BYTES_MAX + 1));
    }

    #[test]
    fn one_slow_sync_changes_nothing_unless_it_is_very_slow_and_fast_ones_make_up_for_it() {
        let mut pace = SyncPace::default();
        (0..100).for_each(|_| pace.note(FAST));
        pace.note(Duration::from_millis(15));
        assert!(pace.is_short(1));
        pace.note(Duration::from_millis(150));
        assert!(!pace.is_short(1));
        let fast_ones = (1..100).find(|_| {
            pace.note(FAST);
            pace.is_short(1)
        });
        assert_eq!(fast_ones, Some(18));
    }

    #[test]
    fn on_a_slow_disk_no_batch_is_short() {
        let mut pace = SyncPace::default();
        (0..100).for_each(|_| pace.note(SHORT_SYNC_MAX + Duration::from_micros(100)));
        assert!(!pace.is_short(0));
    }
}
