//! The numbers that `decide` uses: defaults for what a producer leaves out, retries, retention, limits.

use std::time::Duration;

/// Rules of the queue that an operator can set.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Longest run of one attempt when the job does not say (`task_timeout`).
    pub timeout: Duration,
    /// How many more runs a failed job gets when it does not say.
    pub max_retry: u32,
    /// Delay before the first retry; doubles with every further one.
    pub retry_backoff: Duration,
    /// The delay before a retry never exceeds this.
    pub retry_backoff_max: Duration,
    /// How much longer than its timeout a job's lease lasts: time for the worker to stop it and to report.
    pub lease_margin: Duration,
    /// Largest payload of one job, in bytes of compact JSON.
    pub payload_bytes_max: usize,
    /// How many unfinished jobs there may be.
    pub jobs_max: u64,
    /// How long completed jobs, and their ids, are remembered.
    pub completed: Retention,
    /// How long dead jobs are kept.
    pub dead: Retention,
    /// How long cancelled jobs are kept.
    pub cancelled: Retention,
}

/// How many finished jobs of one status are kept, and for how long. Whichever is reached first counts.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// At most this many.
    pub count: u64,
    /// At most this old.
    pub age: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Policy {
            timeout: Duration::from_secs(30),
            max_retry: 3,
            retry_backoff: Duration::from_secs(1),
            retry_backoff_max: Duration::from_secs(10 * 60),
            lease_margin: Duration::from_secs(10),
            payload_bytes_max: 1 << 20,
            jobs_max: 50_000_000,
            completed: Retention { count: 100_000, age: DAY },
            dead: Retention { count: 1_000_000, age: 180 * DAY },
            cancelled: Retention { count: 100_000, age: DAY },
        }
    }
}

impl Policy {
    /// Milliseconds to wait before the run after failed attempt number `attempt`.
    ///
    /// Exponential with "equal jitter": half of the delay is fixed, the other half is drawn, so that jobs which
    /// failed together do not come back together
    /// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
    #[must_use]
    pub fn retry_delay_ms(&self, attempt: u32, dice: &mut fastrand::Rng) -> u64 {
        let doublings = attempt.saturating_sub(1).min(40);
        let delay =
            millis(self.retry_backoff).saturating_mul(1 << doublings).min(millis(self.retry_backoff_max));
        delay / 2 + dice.u64(0..=delay - delay / 2)
    }
}

/// A duration in milliseconds, as events store it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delays_double_up_to_the_cap_and_at_least_half_is_certain() {
        let policy = Policy::default();
        let mut dice = fastrand::Rng::with_seed(1);
        for (attempt, full) in [(1, 1_000), (2, 2_000), (5, 16_000), (30, 600_000), (u32::MAX, 600_000)] {
            for _ in 0..100 {
                let delay = policy.retry_delay_ms(attempt, &mut dice);
                assert!((full / 2..=full).contains(&delay), "attempt {attempt}: {delay} ms");
            }
        }
    }
}
