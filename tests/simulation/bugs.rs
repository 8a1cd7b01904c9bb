//! The simulation is tested itself: with a deliberate bug in the engine, some seed must fail.

use std::cell::Cell;
use std::panic::catch_unwind;

use beaver_actors::testing::{Bug, plant};

use crate::world::run;

/// A bug that is not noticed within this many seeds is not noticed.
const SEEDS: u64 = 30;

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread is no news: it is what the bug is there for.
pub fn is_expected_to_fail() -> bool {
    SILENT.get()
}

/// How this seed fails with the bug, if it does.
fn failure(bug: Bug, seed: u64) -> Option<String> {
    super::hush();
    SILENT.set(true);
    let ran = catch_unwind(|| {
        let _planted = plant(bug);
        run(seed)
    });
    SILENT.set(false);
    let panic = ran.err()?;
    Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "without a message".to_owned()))
}

/// Asserts that one of the first seeds fails, and in one of these ways. Without the bug none of them does: they are
/// among those that the other tests run.
#[track_caller]
fn is_noticed(bug: Bug, ways: &[&str]) {
    let noticed = (0..SEEDS).find_map(|seed| Some((seed, failure(bug, seed)?)));
    let (seed, told) = noticed.unwrap_or_else(|| panic!("{bug:?} went unnoticed in {SEEDS} seeds"));
    println!("{bug:?}, seed {seed}: {}", told.chars().take(200).collect::<String>());
    assert!(ways.iter().any(|way| told.contains(way)), "{bug:?}, seed {seed}: {told}");
}

/// Row 58: events are missing that were told to the outside, or that snapshot and later segments build upon.
#[test]
fn an_acknowledgement_before_fsync_is_noticed() {
    is_noticed(Bug::AckBeforeFsync, &["lost: ", "not everything has ended", "changes the state"]);
}

/// Row 58.
#[test]
fn a_directory_that_is_not_synced_is_noticed() {
    is_noticed(Bug::NoDirectorySync, &["lost: ", "not everything has ended", "changes the state"]);
}

/// Row 58.
#[test]
fn cutting_the_log_at_any_error_is_noticed() {
    is_noticed(Bug::TruncateOnAnyError, &["is passed over"]);
}

/// Row 58.
#[test]
fn reports_under_stale_tokens_are_noticed() {
    let ways =
        ["another attempt's result", "the FAIL of a stranger was taken", "and is taken away", "was refused"];
    is_noticed(Bug::NoTokenCheck, &ways);
}

/// Row 58.
#[test]
fn a_recycled_segment_without_a_salt_is_noticed() {
    is_noticed(Bug::RecycledWithoutSalt, &["has a torn tail", "not everything has ended"]);
}

/// Row 58.
#[test]
fn a_log_that_is_deleted_too_early_is_noticed() {
    is_noticed(Bug::LogDeletedTooEarly, &["it does not start"]);
}

/// Row 57.
#[test]
fn the_order_of_a_hash_map_is_noticed() {
    let ways = ["sums up to", "the log gives another state", "changes the state"];
    is_noticed(Bug::HashMapOrder, &ways);
}
