//! A number that sums up the whole state: equal states have equal ones, and a change costs one subtraction and
//! one addition.
//!
//! It is logged every [`EVERY`] events. When replay comes by with another number, `apply` is not what it was when
//! the log was written (another version, a bug, damage that passed every checksum), and boot refuses.

use super::job::{Job, JobState};

/// One event in so many says what the state sums up to.
pub const EVERY: u64 = 4096;

/// What one job adds to the sum: everything about it that events change.
pub(crate) fn of(job: &Job) -> u64 {
    let (status, fields) = match &job.state {
        JobState::Pending => (0, [job.order.0, 0, 0]),
        JobState::Scheduled { run_at } => (1, [run_at.0, 0, 0]),
        JobState::InFlight(lease) => (2, [lease.token.0, lease.deadline.0, u64::from(lease.worker.0)]),
        JobState::Retrying { retry_at } => (3, [retry_at.0, 0, 0]),
        JobState::Completed(finish) => (4, [finish.lsn.0, finish.at.0, 0]),
        JobState::Dead(finish) => (5, [finish.lsn.0, finish.at.0, 0]),
        JobState::Cancelled(finish) => (6, [finish.lsn.0, finish.at.0, 0]),
    };
    let failures = job.past.as_ref().map_or(0, |past| past.failures.len() as u64);
    let parts = [job.number.0, u64::from(job.attempt.0), failures, status, fields[0], fields[1], fields[2]];
    parts.into_iter().fold(0x6265_6176_6572, |sum, part| mix(sum ^ part))
}

/// The finaliser of splitmix64, which spreads every bit over all others
/// (<https://doi.org/10.1145/2660193.2660195>). Part of the log's format: it never changes.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
