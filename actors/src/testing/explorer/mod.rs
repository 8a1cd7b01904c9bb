//! The crash explorer: plays a piece of work on a simulated disk, crashes it at every call, in every way that the
//! disk permits, and holds the engine to its word after each.
//!
//! After a crash, before anything is changed: what snapshot and log hold must be the events that were proposed, from
//! the first one on without a gap, at least up to the last one acknowledged, and never half of an operation (PRE,
//! DUR, PHA). Then it boots: the table must be what replaying those events from the beginning gives (DET), with the
//! leases of the dead process settled; a power cut right after must take nothing of that. Boot itself is crashed at
//! every call, and again, three deep. At last the queue is drained and the [`crate::tools::oracle`] asked.
//!
//! A call that only reads leaves the disk as it was: a crash at it is the same as at the next call that changes
//! something. Equal disks are recovered once.
//!
//! [`workload`]: what is played, and the account of it; `judge`: what is held against a disk after a crash; [`survey`]: damage
//! to a directory at rest.
//!
//! # Rows of the fault list (docs/faults.md), and their tests (in `tests/engine/`)
//!
//! | row | fault | test |
//! |---|---|---|
//! | 2, 3, 4, 7, 8, 9 | crash at every call; un-synced sectors and names in any subset | `explorer::after_a_crash_at_any_call_the_state_is_a_prefix_that_holds_whatever_was_acknowledged` |
//! | 5 | a torn last batch | `wal::a_last_batch_torn_at_any_byte_is_cut_and_kept_in_quarantine_and_nothing_else_is_lost` |
//! | 6 | garbage in un-synced sectors | as row 2; `wal::random_bytes_behind_the_last_durable_batch_are_a_torn_tail` |
//! | 10 | crashes during recovery, three deep | as row 2; `explorer::a_mark_that_only_the_page_cache_shows_is_not_missed_when_the_power_is_cut_during_boot` |
//! | 11, 14, 15, 16, 17 | EIO, ENOSPC, short writes, at any call | `explorer::an_error_from_any_call_to_the_disk_loses_nothing_that_was_acknowledged`; `explorer::an_error_from_any_call_of_boot_is_reported_and_the_next_boot_works`; `explorer::a_directory_that_cannot_be_synced_poisons_the_log`; `wal::a_failed_write_is_final_and_its_half_batch_is_a_torn_tail`; `wal::a_failed_sync_poisons_the_log_until_it_is_recovered_from_disk`; `wal::a_full_disk_refuses_the_batch_and_takes_it_when_space_returns`; `snapshot::a_snapshot_without_space_fails_alone_and_works_later` |
//! | 12, 13 | pages lost by a failed sync; a sync that works and says that it failed | as row 11: killed, booted, then the power is cut; `explorer::pages_that_a_failed_sync_gave_up_are_durable_after_the_next_boot`; `explorer::a_sync_that_worked_and_says_that_it_failed_leaves_one_job_when_it_is_asked_for_again` |
//! | 19 | a sync that takes 30 s | not here: a simulated disk on one thread has no time to take; see the simulation of the whole server |
//! | 20, 21, 22, 23 | flipped bits | `wal::every_flipped_bit_in_a_small_log_is_refused_or_harmless`; `wal::damage_before_later_data_is_refused_and_nothing_is_deleted`; `wal::a_flipped_bit_in_the_last_batch_of_a_closed_log_is_damage` |
//! | 24, 26 | files and sectors that are missing, doubled, swapped, foreign or old | `explorer::a_damaged_directory_is_refused_or_gives_the_same_state`; `wal::a_segment_that_is_missing_renamed_doubled_or_foreign_is_refused` |
//! | 25 | valid bytes of another segment | `wal::batches_of_another_segment_behind_the_end_are_never_applied` |
//! | 27, 28 | damaged snapshots | `snapshot::whatever_happens_to_the_newest_snapshot_the_one_before_and_the_log_give_the_same_state`; `snapshot::without_any_whole_snapshot_a_complete_log_rebuilds_and_an_incomplete_one_is_refused` |
//! | 29 | an old directory over a newer one | `explorer::an_old_directory_restored_over_a_newer_one_is_never_mixed_with_it`; a whole old directory in place of the newer one is a valid directory: nothing in it can tell |
//! | 30 | another version's log | `wal::an_event_of_unknown_type_is_refused_as_newer_and_the_file_untouched`, `formats` |
//! | 57, 58 | nondeterminism, deliberate bugs | `bugs` |

mod judge;
pub mod survey;
pub mod workload;

use std::fmt;

pub use judge::Judge;

use crate::storage::Storage;
use crate::testing::explorer::workload::{options, play};
use crate::testing::{Fault, Kept, SimStorage, times};
use crate::wal::witness::WITNESS_FILE;

/// Up to this number of un-synced sectors and lengths, every subset is tried.
const ALL_SUBSETS_MAX: usize = 5;

/// How much is explored.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Where its dice begin.
    pub seed: u64,
    /// Samples where there are too many subsets.
    pub samples: usize,
    /// The recovery of one crash in this number is crashed itself.
    pub deep_every: u64,
    /// One call in this number is made to fail.
    pub fail_every: u64,
    /// This number of findings is enough to know that something is wrong.
    pub findings_max: usize,
}

impl Effort {
    /// What fits into a test, as many [times](crate::testing::times) as is asked for.
    #[must_use]
    pub fn from_env(seed: u64) -> Effort {
        let times = times().max(1);
        let samples = usize::try_from(2 * times).unwrap_or(usize::MAX);
        Effort {
            seed,
            samples,
            deep_every: (1_000 / times).max(1),
            fail_every: (14 / times).max(1),
            findings_max: 20,
        }
    }
}

/// What was explored, and what was found.
#[derive(Clone, Debug, Default)]
pub struct ExplorerReport {
    /// Gives the same work and the same accidents again.
    pub seed: u64,
    /// Operations of the work.
    pub operations: u64,
    /// Calls to the disk that they took.
    pub calls: u64,
    /// Disks after a crash; several can be equal.
    pub crashes: u64,
    /// Recoveries, each judged.
    pub recoveries: u64,
    /// By how many crashes before it: a recovery was the first, the second, ... on its disk.
    pub depths: [u64; 4],
    /// Jobs acknowledged, over all recoveries.
    pub acknowledged: u64,
    /// Of those, lost.
    pub lost: u64,
    /// Jobs run more than once, each time under a new token.
    pub duplicated: u64,
    /// What must not be, in words.
    pub findings: Vec<String>,
}

impl fmt::Display for ExplorerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExplorerReport { seed, operations, calls, crashes, recoveries, depths, .. } = self;
        let ExplorerReport { acknowledged, lost, duplicated, findings, .. } = self;
        write!(
            f,
            "seed {seed}: {operations} operations in {calls} calls; {crashes} crashes, {recoveries} recoveries \
             (by depth {depths:?}); jobs: {acknowledged} acknowledged, {lost} lost, {duplicated} duplicated; \
             {} findings",
            findings.len()
        )?;
        findings.iter().take(10).try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

/// Crashes the work at every call, in every way that is permitted, and recovers.
#[must_use]
pub fn explore(effort: Effort) -> ExplorerReport {
    let storage = SimStorage::new();
    storage.start_tape();
    let (story, engine) = play(&storage, effort.seed);
    let tape = storage.take_tape();
    drop(engine);
    let mut judge = Judge::new(effort);
    judge.report.operations = story.operations;
    judge.report.calls = tape.last().map_or(0, |frame| frame.calls);
    judge.report.findings.extend(story.findings.iter().cloned());
    if judge.has_enough() {
        return judge.report;
    }
    for frame in tape {
        let acked = story.acked_after(frame.calls);
        for (what, disk) in judge.crashes(&frame.disk) {
            judge.visit(&disk, &story, acked, 0, &format!("after call {} {what}", frame.calls));
            if judge.has_enough() {
                return judge.report;
            }
        }
    }
    judge.report
}

/// Makes a call of the work fail, one run after the other, in each way; then the process ends, or the power.
#[must_use]
pub fn fail_every_call(effort: Effort) -> ExplorerReport {
    let storage = SimStorage::new();
    let (whole, engine) = play(&storage, effort.seed);
    let calls = storage.calls();
    drop(engine);
    let mut judge = Judge::new(effort);
    (judge.report.operations, judge.report.calls) = (whole.operations, calls);
    let first = effort.seed % effort.fail_every + 1;
    for call in (first..=calls).step_by(usize::try_from(effort.fail_every).unwrap_or(1)) {
        for fault in Fault::ALL {
            let storage = SimStorage::new();
            storage.fail_call(call, fault);
            let (story, engine) = play(&storage, effort.seed);
            // Before the engine is dropped, which gives space back: a process that is killed does not.
            let left = storage.fork();
            drop(engine);
            judge.report.findings.extend(story.findings.iter().cloned());
            let acked = story.acked_after(u64::MAX);
            let label = format!("{fault:?} at call {call}");
            judge.visit(&left, &story, acked, 3, &format!("{label}, killed"));
            let (items, names) = left.unsynced();
            for kept in some(items.len(), names, &mut judge.dice, 1) {
                let cut = left.fork();
                cut.cut_power_keeping(&kept);
                judge.visit(&cut, &story, acked, 3, &format!("{label}, then {kept:?}"));
            }
            if judge.has_enough() {
                return judge.report;
            }
        }
    }
    judge.report
}

impl Judge {
    /// Every disk that a crash may leave of this one: by a kill, by a power cut with every subset of what is not
    /// synced where there are few, with samples where there are many, and with garbage. The log's witness survives beside every other subset.
    fn crashes(&mut self, disk: &SimStorage) -> Vec<(String, SimStorage)> {
        // The witness is evidence and hardly ever synced: with each of its parts there would be eight times the subsets, and
        // with dice no two disks would be equal. It survives beside every other one; its tests tear it.
        let of_witness = disk.unsynced_of(&options().data_dir.join(WITNESS_FILE));
        let items = of_witness.iter().filter(|is_of_it| !**is_of_it).count();
        let (_, names) = disk.unsynced();
        let mut left = vec![("killed".to_owned(), disk.fork())];
        let mut ways = match items <= ALL_SUBSETS_MAX {
            true => subsets(items, names),
            false => some(items, names, &mut self.dice, self.effort.samples),
        };
        if items > 0 {
            let garbage = some(items, names, &mut self.dice, self.effort.samples.div_ceil(2));
            ways.extend(garbage.into_iter().map(|kept| Kept { garbage: Some(self.effort.seed), ..kept }));
        }
        for mut kept in ways {
            let has_witness = kept.items.iter().filter(|survives| **survives).count() % 2 == 0;
            let mut others = kept.items.into_iter();
            let survives = |is_of_witness: &bool| match is_of_witness {
                true => has_witness,
                false => others.next().unwrap_or(false),
            };
            kept.items = of_witness.iter().map(survives).collect();
            let cut = disk.fork();
            cut.cut_power_keeping(&kept);
            left.push((format!("{kept:?}"), cut));
        }
        self.report.crashes += left.len() as u64;
        left
    }
}

/// Every subset of `items` items, with every prefix of the `names` changes of names.
fn subsets(items: usize, names: usize) -> Vec<Kept> {
    let subset = |mask: usize| (0..items).map(|nth| mask >> nth & 1 == 1).collect::<Vec<_>>();
    let masks = 0..1_usize << items;
    masks
        .flat_map(|mask| (0..=names).map(move |names| Kept { items: subset(mask), names, garbage: None }))
        .collect()
}

/// Nothing, everything, and samples between.
fn some(items: usize, names: usize, dice: &mut fastrand::Rng, samples: usize) -> Vec<Kept> {
    let mut ways = vec![Kept::default(), Kept { items: vec![true; items], names, garbage: None }];
    ways.extend((0..samples).map(|_| Kept {
        items: (0..items).map(|_| dice.bool()).collect(),
        names: dice.usize(0..=names),
        garbage: None,
    }));
    ways
}

/// Whether a directory of a disk has a file with such an end.
fn has_file(disk: &SimStorage, dir: &std::path::Path, end: &str) -> bool {
    disk.list(dir).is_ok_and(|names| names.iter().any(|name| name.ends_with(end)))
}
