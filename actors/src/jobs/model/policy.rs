//! The numbers that `decide` uses: defaults for what a producer leaves out, retries, retention, limits.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::KindName;

/// The timeout of an attempt that may run for ever: a hundred years, so that it can be added to any moment.
pub const NO_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The longest pause after attempts that could not begin, in milliseconds.
pub const POSTPONE_MS_MAX: u64 = 60_000;

/// Rules about jobs that an operator can set.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Longest run of one attempt when the job does not say (`task_timeout`).
    pub timeout: Duration,
    /// How many more runs a failed job gets when it does not say.
    pub max_retry: u32,
    /// Kinds whose jobs get something else where they do not say.
    pub by_kind: BTreeMap<KindName, RunLimits>,
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
    /// How many queues there may be at once.
    pub queues_max: usize,
    /// How many kinds jobs may have at once.
    pub kinds_max: usize,
    /// A queue without jobs that is not paused is forgotten when no job came into it for this long.
    pub queue_idle_timeout: Duration,
    /// How long completed jobs, and their ids, are remembered.
    pub completed: Retention,
    /// How long dead jobs are kept.
    pub dead: Retention,
    /// How long cancelled jobs are kept.
    pub cancelled: Retention,
}

/// What a job gets that does not say how long and how often it may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// Longest run of one attempt; [`NO_TIMEOUT`] for no limit.
    pub timeout: Duration,
    /// How many more runs after a failed one.
    pub max_retry: u32,
}

/// How many finished jobs of one status are kept, and for how long. The limit that is reached first applies.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// At most this many.
    pub count: u64,
    /// At most this old.
    pub age: Duration,
}

/// The pauses between a job's attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Backoff {
    /// As the server is set: [`Policy::retry_backoff`], doubling up to [`Policy::retry_backoff_max`].
    #[default]
    Server,
    /// After the first failure 15 s, after the n-th (n - 1)⁴ + 15 s, and up to 29 n seconds more by the dice: what
    /// workers of the work protocol expect; 25 retries take about three weeks.
    Quartic,
    /// The same pause before every retry.
    Fixed {
        /// Pause before every retry, in milliseconds.
        delay_ms: u64,
    },
    /// A pause that doubles with each failure.
    Exponential {
        /// After the first failure, in milliseconds.
        first_ms: u64,
        /// Never more than this, in milliseconds.
        max_ms: u64,
        /// How much of a pause the dice decide, in percent: 0 makes it exact, 100 draws from nothing to all of it.
        jitter_percent: u8,
    },
}

impl Backoff {
    /// The longest pause that follows a job's `failed`-th failure, in milliseconds, where the server's own is at most
    /// `server_max_ms`.
    #[must_use]
    pub fn longest_ms(self, failed: u32, server_max_ms: u64) -> u64 {
        match self {
            Backoff::Server => server_max_ms,
            Backoff::Quartic => {
                let count = u64::from(failed.saturating_sub(1));
                let seconds = count.saturating_pow(4).saturating_add(15 + 29 * (count + 1));
                seconds.saturating_mul(1_000)
            }
            Backoff::Fixed { delay_ms } => delay_ms,
            Backoff::Exponential { max_ms, .. } => max_ms,
        }
    }

    /// Whether the job leaves it to the server.
    #[must_use]
    pub fn is_server(&self) -> bool {
        *self == Backoff::Server
    }
}

impl Default for Policy {
    fn default() -> Policy {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Policy {
            timeout: Duration::from_secs(30),
            max_retry: 3,
            by_kind: BTreeMap::new(),
            retry_backoff: Duration::from_secs(1),
            retry_backoff_max: Duration::from_secs(10 * 60),
            lease_margin: Duration::from_secs(10),
            payload_bytes_max: 1 << 20,
            jobs_max: 50_000_000,
            queues_max: 150_000,
            kinds_max: 150_000,
            queue_idle_timeout: Duration::from_secs(60 * 60),
            completed: Retention { count: 100_000, age: DAY },
            dead: Retention { count: 1_000_000, age: 180 * DAY },
            cancelled: Retention { count: 100_000, age: DAY },
        }
    }
}

impl Policy {
    /// What a job of this kind gets where it does not say.
    #[must_use]
    pub fn limits_of(&self, kind: &KindName) -> RunLimits {
        let of_all = RunLimits { timeout: self.timeout, max_retry: self.max_retry };
        self.by_kind.get(kind).copied().unwrap_or(of_all)
    }

    /// Milliseconds to wait after a job's `failed`-th failure (from 1) before it runs again.
    ///
    /// The server's own back-off is exponential with "equal jitter": half of the delay is fixed, the other half is
    /// drawn, so that jobs which failed together do not come back together
    /// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
    #[must_use]
    pub fn retry_delay_ms(&self, backoff: Backoff, failed: u32, dice: &mut fastrand::Rng) -> u64 {
        let before = failed.saturating_sub(1);
        match backoff {
            Backoff::Server => {
                let full = doubled(millis(self.retry_backoff), before, millis(self.retry_backoff_max));
                jittered(full, 50, dice)
            }
            Backoff::Quartic => {
                let count = u64::from(before);
                let seconds = count.saturating_pow(4).saturating_add(15);
                let more = dice.u64(0..30) * (count + 1);
                seconds.saturating_add(more).saturating_mul(1_000)
            }
            Backoff::Fixed { delay_ms } => delay_ms,
            Backoff::Exponential { first_ms, max_ms, jitter_percent } => {
                jittered(doubled(first_ms, before, max_ms), jitter_percent, dice)
            }
        }
    }
}

fn doubled(first_ms: u64, times: u32, max_ms: u64) -> u64 {
    first_ms.saturating_mul(1 << times.min(40)).min(max_ms)
}

fn jittered(delay_ms: u64, percent: u8, dice: &mut fastrand::Rng) -> u64 {
    let drawn = (u128::from(delay_ms) * u128::from(percent.min(100)) / 100) as u64;
    delay_ms - drawn + dice.u64(0..=drawn)
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
                let delay = policy.retry_delay_ms(Backoff::Server, attempt, &mut dice);
                assert!((full / 2..=full).contains(&delay), "attempt {attempt}: {delay} ms");
            }
        }
    }

    #[test]
    fn the_work_protocols_pauses_grow_with_the_fourth_power() {
        let policy = Policy::default();
        let mut dice = fastrand::Rng::with_seed(2);
        for (failed, least, most) in [(1, 15, 44), (2, 16, 74), (3, 31, 118), (25, 331_791, 332_516)] {
            for _ in 0..100 {
                let delay = policy.retry_delay_ms(Backoff::Quartic, failed, &mut dice);
                assert!((least * 1_000..=most * 1_000).contains(&delay), "failure {failed}: {delay} ms");
            }
        }
        assert!(policy.retry_delay_ms(Backoff::Quartic, u32::MAX, &mut dice) > 1 << 60);
    }

    #[test]
    fn a_jobs_own_pauses_are_kept_to() {
        let policy = Policy::default();
        let mut dice = fastrand::Rng::with_seed(3);
        let fixed = Backoff::Fixed { delay_ms: 250 };
        assert_eq!(policy.retry_delay_ms(fixed, 9, &mut dice), 250);
        let exact = Backoff::Exponential { first_ms: 100, max_ms: 1_000, jitter_percent: 0 };
        let delays = [1, 2, 4, 5, 99].map(|failed| policy.retry_delay_ms(exact, failed, &mut dice));
        assert_eq!(delays, [100, 200, 800, 1_000, 1_000]);
        let drawn = Backoff::Exponential { first_ms: 100, max_ms: 1_000, jitter_percent: 20 };
        for _ in 0..100 {
            assert!((80..=100).contains(&policy.retry_delay_ms(drawn, 1, &mut dice)));
        }
    }
}
