//! Many durations in a few words.

use std::time::Duration;

/// Durations, sorted.
pub struct Sorted(Vec<Duration>);

impl Sorted {
    /// Of at least one.
    pub fn of(mut all: Vec<Duration>) -> Sorted {
        assert!(!all.is_empty(), "nothing was measured");
        all.sort_unstable();
        Sorted(all)
    }

    /// The smallest that so much of all do not exceed, in microseconds.
    pub fn micros(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1].as_secs_f64() * 1e6
    }
}
