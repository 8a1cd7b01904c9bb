//! A number that sums up the whole state: equal states have equal ones, and a change costs one subtraction and
//! one addition.
//!
//! It is logged every [`EVERY`] events. When replay comes by with another number, `apply` is not what it was when
//! the log was written (another version, a bug, damage that passed every checksum), and boot refuses.

use crate::ids::{Epoch, Holder};
use crate::jobs::table::packed_job::{IndexedAs, PackedJob};

/// One event in this number carries the digest of the state.
pub const EVERY: u64 = 256;

const OF_A_PAUSED_QUEUE: u64 = 0x7061_7573_6564;
/// Set in what stands for a remote holder, so that none is taken for a local one.
const REMOTE: u64 = 1 << 63;

/// What one job adds to the sum: everything about it that events change. `queue` stands for its queue.
#[inline]
pub(crate) fn of(job: &PackedJob, queue: u64) -> u64 {
    let status = job.status() as u64;
    let (one, other, holder) = match job.indexed_as() {
        IndexedAs::Line => (job.line_seq.0, 0, 0),
        IndexedAs::Leased(lease) => {
            let holder = match &lease.holder {
                Holder::Local(worker) => u64::from(worker.0),
                Holder::Remote(worker) => of_text(worker.as_str()) | REMOTE,
            };
            (lease.token.seq.0 ^ of_epoch(lease.token.epoch), lease.deadline.0, holder)
        }
        IndexedAs::Waiting(due) => (due.0, 0, 0),
        IndexedAs::Finished(finish) => (finish.seq.0, finish.at.0, 0),
    };
    let rare = job.rare();
    let rest = rare.map_or(0, |rare| {
        let failures = (rare.failures.len() as u64) << 32 | u64::from(rare.failed);
        failures | u64::from(rare.successor.is_some()) << 63
    });
    let attempt = u64::from(job.attempt().0) << 8 | status;
    // Independent of each other, so that the processor can do them at the same time.
    let sum = fold(job.enqueued_seq.0, one, 0) ^ fold(attempt, rest, 1) ^ fold(queue, other, 2);
    mix(if holder == 0 { sum } else { sum ^ fold(holder, status, 3) })
}

/// Two numbers into one: the halves of their product, after a constant of their own has been added to either so that
/// zeros count (as in wyhash, <https://github.com/wangyi-fudan/wyhash>). Part of the log's format, as [`mix`] is.
#[inline]
fn fold(one: u64, other: u64, nth: usize) -> u64 {
    /// Fractions of the square roots of the first eight primes.
    const SALTS: [u64; 8] = [
        0x6a09_e667_f3bc_c908,
        0xbb67_ae85_84ca_a73b,
        0x3c6e_f372_fe94_f82b,
        0xa54f_f53a_5f1d_36f1,
        0x510e_527f_ade6_82d1,
        0x9b05_688c_2b3e_6c1f,
        0x1f83_d9ab_fb41_bd6b,
        0x5be0_cd19_137e_2179,
    ];
    let one = u128::from(one.wrapping_add(SALTS[2 * nth]));
    let other = u128::from(other.wrapping_add(SALTS[2 * nth + 1]));
    let product = one * other;
    (product as u64) ^ ((product >> 64) as u64)
}

/// A start of the server as a number.
#[inline]
fn of_epoch(epoch: Epoch) -> u64 {
    (u64::from(epoch.timeline.0) << 32 | u64::from(epoch.term.0)).rotate_left(17)
}

/// What the term adds that the state is in.
pub(crate) fn of_term(epoch: Epoch) -> u64 {
    mix(of_epoch(epoch))
}

/// What the totals of attempts add.
#[inline]
pub(crate) fn of_totals(processed: u64, failed: u64) -> u64 {
    fold(processed, failed, 3)
}

/// What the record of the clock adds.
pub(crate) fn of_clock(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |sum, number| mix(sum ^ number))
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
#[inline]
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
