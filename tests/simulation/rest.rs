//! What a run leaves on its disk, started once more: as it is, after a power cut, and damaged.
//!
//! Everything has ended and was told to somebody, so every start must find the same, on every disk: nothing is in
//! anybody's hands, and nothing is waiting to be synced that matters. Damage is got over or refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use beaver_actors::engine::FailCause;
use beaver_actors::internals::jobs::record::JobRecord;
use beaver_actors::jobs::Status;
use beaver_actors::testing::{SimStorage, StepEngine};

use crate::server;

/// Flipped bits that one run's log is tried with.
const FLIPS: usize = 2;
/// So far from the log's end they are at most, where they meet what only the log holds.
const FLIPPED_BYTES: usize = 4_096;
/// What a mark takes, which proves that what is before it was durable.
const MARK_BYTES: usize = 52;

/// Holds the disk of a run against what clients were told at its end.
///
/// # Panics
/// They do not agree.
pub fn judge(seed: u64, disk: &SimStorage, ends: &BTreeMap<String, Status>) {
    let mut dice = fastrand::Rng::with_seed(seed.rotate_left(32));
    let boot = |disk: SimStorage| StepEngine::with(disk, server::options(), seed);
    let start = |disk: SimStorage| boot(disk).map(|engine| engine.image());
    let killed =
        boot(disk.fork()).unwrap_or_else(|error| panic!("seed {seed}: it does not start again: {error}"));
    let torn = killed.recovery.torn_bytes;
    assert_eq!(torn, 0, "seed {seed}: a log that was written in peace has a torn tail");
    let whole = killed.image();
    agree(seed, &whole, ends);

    let cut = disk.fork();
    cut.cut_power();
    assert!(start(cut).as_ref() == Ok(&whole), "seed {seed}: a power cut at the end changes the state");

    // Without the newest snapshot, there is the one before and the log since; and then the log is damaged, too.
    let damaged = disk.fork();
    if let Some(newest) = newest(disk, "snap") {
        flip(&damaged, &newest, 0, &mut dice);
        let name = newest.display();
        match start(damaged.fork()) {
            Ok(image) => assert!(image == whole, "seed {seed}: without {name}, the log gives another state"),
            Err(error) => panic!("seed {seed}: without {name}, it does not start: {error}"),
        }
    }
    let last = newest(disk, "wal").expect("there is a log");
    let bytes = disk.bytes(&last);
    let used = used(&bytes);
    if used + MARK_BYTES > bytes.len() {
        // No room for a mark: the end of this log may pass for torn.
        return;
    }
    for _ in 0..FLIPS {
        let damaged = damaged.fork();
        let at = flip(&damaged, &last, used.saturating_sub(FLIPPED_BYTES), &mut dice);
        let name = last.display();
        match start(damaged) {
            Ok(image) => assert!(image == whole, "seed {seed}: damage at byte {at} of {name} is passed over"),
            Err(error) => assert_eq!(error.cause, FailCause::Damaged, "seed {seed}: {error}"),
        }
    }
}

/// Every job is there as its client saw it, and its result is of its last attempt: no other held its lease.
fn agree(seed: u64, whole: &[JobRecord], ends: &BTreeMap<String, Status>) {
    let found: BTreeMap<String, Status> =
        whole.iter().map(|job| (job.id.to_string(), job.life.state.status())).collect();
    assert_eq!(&found, ends, "seed {seed}: the disk holds what clients did not see");
    for job in whole.iter().filter(|job| job.life.state.status() == Status::Completed) {
        let of = job.life.result.as_ref().and_then(|result| result.text.here()?.read::<u32>().ok());
        // An ACK brings no result.
        let may_be_remote = job.profile.queue.as_str() != "default";
        if may_be_remote && job.life.result.is_none() {
            continue;
        }
        let attempt = job.life.attempt.0;
        assert_eq!(
            of,
            Some(attempt),
            "seed {seed}: job {} has another attempt's result under its token",
            job.id
        );
    }
}

fn newest(disk: &SimStorage, ending: &str) -> Option<PathBuf> {
    disk.paths("/data").into_iter().rfind(|path| path.extension().is_some_and(|end| end == ending))
}

/// Turns a bit over where the file holds anything, not before `first`; returns the byte.
fn flip(disk: &SimStorage, path: &Path, first: usize, dice: &mut fastrand::Rng) -> usize {
    let at = dice.usize(first..used(&disk.bytes(path)));
    disk.tamper(path, |bytes| bytes[at] ^= 1 << (at % 8));
    at
}

fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}
