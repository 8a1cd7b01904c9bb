//! A number that sums up the whole state: equal states have equal ones, and a change costs one subtraction and
//! one addition.
//!
//! It is logged every [`EVERY`] events. When replay comes by with another number, `apply` is not what it was when
//! the log was written (another version, a bug, damage that passed every checksum), and boot refuses.

use super::job::{Job, JobState};
use crate::ids::Holder;

/// One event in so many says what the state sums up to.
pub const EVERY: u64 = 4096;

const OF_A_JOB: u64 = 0x6265_6176_6572;
const OF_A_PAUSED_QUEUE: u64 = 0x7061_7573_6564;
/// Set in what stands for a remote holder, so that none is taken for a local one.
const REMOTE: u64 = 1 << 63;

/// What one job adds to the sum: everything about it that events change. `queue` stands for its queue.
pub(crate) fn of(job: &Job, queue: u64) -> u64 {
    let (status, fields) = match &job.state {
        JobState::Pending { .. } => (0, [job.order.0, 0, 0]),
        JobState::Scheduled { run_at } => (1, [run_at.0, 0, 0]),
        JobState::InFlight(lease) => {
            let holder = match &lease.holder {
                Holder::Local(worker) => u64::from(worker.0),
                Holder::Remote(worker) => of_text(worker.as_str()) | REMOTE,
            };
            (2, [lease.token.0, lease.deadline.0, holder])
        }
        JobState::Retrying { retry_at } => (3, [retry_at.0, 0, 0]),
        JobState::Completed(finish) => (4, [finish.lsn.0, finish.at.0, 0]),
        JobState::Dead(finish) => (5, [finish.lsn.0, finish.at.0, 0]),
        JobState::Cancelled(finish) => (6, [finish.lsn.0, finish.at.0, 0]),
    };
    // Both counts stay small, so they share a part.
    let failures =
        job.rare.as_ref().map_or(0, |rare| (rare.failures.len() as u64) << 32 | u64::from(rare.failed));
    let attempt = u64::from(job.attempt.0);
    let parts = [job.number.0, attempt, failures, queue, status, fields[0], fields[1], fields[2]];
    parts.into_iter().fold(OF_A_JOB, |sum, part| mix(sum ^ part))
}

/// What a paused queue adds; one that is not paused adds nothing.
pub(crate) fn of_paused(queue: u64) -> u64 {
    mix(queue ^ OF_A_PAUSED_QUEUE)
}

/// A number that stands for a text.
pub(crate) fn of_text(text: &str) -> u64 {
    let start = text.len() as u64;
    text.as_bytes().chunks(8).fold(start, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(sum ^ u64::from_le_bytes(word))
    })
}

/// The finaliser of splitmix64, which spreads every bit over all others
/// (<https://doi.org/10.1145/2660193.2660195>). Part of the log's format: it never changes.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
