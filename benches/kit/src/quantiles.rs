//! Many durations in a few numbers.

use std::time::Duration;

/// At least one duration, sorted.
pub struct Sorted(Vec<Duration>);

impl Sorted {
    /// # Panics
    /// If there is none.
    pub fn of(mut all: Vec<Duration>) -> Sorted {
        assert!(!all.is_empty(), "nothing was measured");
        all.sort_unstable();
        Sorted(all)
    }

    /// The quantile `share` (0.99 for the 99th percentile) in microseconds: the smallest duration that this share of
    /// all of them does not exceed.
    pub fn micros(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1].as_secs_f64() * 1e6
    }
}
