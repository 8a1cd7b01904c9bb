//! The crash explorer, run: every call, every subset, three deep; every call made to fail; every file damaged.

use std::time::Instant;

use beaver_actors::engine::FailCause;
use beaver_actors::ids::{JobId, Timestamp};
use beaver_actors::internals::wal::WalError;
use beaver_actors::jobs::{Command, Status};
use beaver_actors::testing::explorer::{Effort, explore, fail_every_call, survey};
use beaver_actors::testing::{Call, Fault, Kept, SimStorage, StepEngine, StepError};

const SEED: u64 = 1;

/// Rows 2, 3, 4, 6, 7, 8, 9 and 10.
#[test]
fn after_a_crash_at_any_call_the_state_is_a_prefix_that_holds_whatever_was_acknowledged() {
    let started = Instant::now();
    let report = explore(Effort::from_env(SEED));
    println!("crash explorer, {:.1} s: {report}", started.elapsed().as_secs_f64());
    assert!(report.findings.is_empty(), "{report}");
    assert!(report.operations >= 50 && report.depths.iter().all(|visits| *visits > 0), "{report}");
    assert!(report.acknowledged > 0 && report.lost == 0, "{report}");
}

/// Rows 11 to 17.
#[test]
fn an_error_from_any_call_to_the_disk_loses_nothing_that_was_acknowledged() {
    let started = Instant::now();
    let report = fail_every_call(Effort::from_env(SEED));
    println!("failing calls, {:.1} s: {report}", started.elapsed().as_secs_f64());
    assert!(report.findings.is_empty(), "{report}");
    assert!(report.recoveries > 100 && report.lost == 0, "{report}");
}

/// Rows 11 and 14 to 17, while it recovers from a torn tail: it says so, changes nothing for the worse, and works
/// the next time.
#[test]
fn an_error_from_any_call_of_boot_is_reported_and_the_next_boot_works() {
    let mut beaver = StepEngine::on(SimStorage::new());
    for _ in 0..2 {
        beaver.enqueue("mail");
        beaver.snapshot().unwrap();
    }
    beaver.enqueue("mail");
    beaver.sync();
    let image = beaver.image();
    beaver.storage.fail_writes(1);
    let half = beaver.execute(Command::Enqueue(Box::new(StepEngine::spec("mail"))));
    assert!(half.is_err());
    let left = beaver.storage.fork();
    let boot = |disk: &SimStorage| StepEngine::with(disk.clone(), beaver.options.clone(), 5);
    let counting = left.fork();
    assert!(boot(&counting).unwrap().recovery.torn_bytes > 0);
    let (first, last) = (left.calls() + 1, counting.calls());
    let mut refused = 0;
    for (call, fault) in (first..=last).flat_map(|call| Fault::ALL.map(|fault| (call, fault))) {
        let disk = left.fork();
        disk.fail_call(call, fault);
        match boot(&disk) {
            Ok(after) => assert_eq!(after.image(), image, "{fault:?} at call {call}"),
            Err(error) => {
                assert_eq!(error.cause, FailCause::Storage, "{fault:?} at call {call}: {error}");
                refused += 1;
            }
        }
        let cut = disk.fork();
        cut.cut_power();
        disk.kill_process();
        for disk in [cut, disk] {
            let again = boot(&disk).unwrap_or_else(|error| panic!("{fault:?} at call {call}: {error}"));
            assert_eq!(again.image(), image, "{fault:?} at call {call}");
        }
    }
    assert!(refused > 20, "only {refused} faults were noticed");
}

/// Row 13: the caller does not know, asks again under the same id, and there is one job.
#[test]
fn a_sync_that_worked_and_says_that_it_failed_leaves_one_job_when_it_is_asked_for_again() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let mut spec = StepEngine::spec("mail");
    spec.id = Some(JobId::parse("once").unwrap());
    beaver.execute(Command::Enqueue(Box::new(spec.clone()))).unwrap();
    let storage = beaver.storage.clone();
    storage.fail_call_of(Call::Sync, storage.calls_of(Call::Sync) + 1, Fault::FalseFailure);
    assert!(beaver.log().sync().is_err());
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.execute(Command::Enqueue(Box::new(spec))).unwrap(), None, "it is there already");
    assert_eq!(beaver.image().len(), 1);
}

/// Row 14: a segment whose name is perhaps not on the disk takes nothing.
#[test]
fn a_directory_that_cannot_be_synced_poisons_the_log() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let job = beaver.enqueue("mail");
    let storage = beaver.storage.clone();
    storage.fail_call_of(Call::SyncDir, storage.calls_of(Call::SyncDir) + 1, Fault::Eio);
    assert!(beaver.log().rotate(Timestamp(1)).is_err());
    assert!(matches!(beaver.log().sync(), Err(WalError::Poisoned)));
    let refused = beaver.execute(Command::Enqueue(Box::new(StepEngine::spec("mail"))));
    assert!(matches!(refused, Err(StepError::Log(WalError::Poisoned))));
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.status_of(&job), Some(Status::Pending));
}

/// The table in the explorer's head names tests that exist.
#[test]
fn every_test_that_the_table_of_faults_names_is_there() {
    let table = include_str!("../../src/testing/explorer/mod.rs");
    let sources = [
        ("explorer", include_str!("explorer.rs")),
        ("wal", include_str!("wal.rs")),
        ("snapshot", include_str!("snapshot.rs")),
    ];
    let mut named = 0;
    for line in table.lines().filter(|line| line.starts_with("//! |")) {
        for name in line.split('`').filter(|name| name.contains("::")) {
            let (module, test) = name.split_once("::").unwrap();
            let (_, source) = sources.iter().find(|(known, _)| *known == module).expect("a known module");
            assert!(source.contains(&format!("fn {test}()")), "{name} is not there");
            named += 1;
        }
    }
    assert!(named > 15, "only {named}");
}

/// Rows 24 and 26.
#[test]
fn a_damaged_directory_is_refused_or_gives_the_same_state() {
    let started = Instant::now();
    let (accidents, findings) = survey::closed(SEED).every_accident(&survey::closed(SEED + 1));
    println!(
        "damage, {:.1} s: {accidents} accidents, {} findings",
        started.elapsed().as_secs_f64(),
        findings.len()
    );
    assert!(findings.is_empty(), "{findings:#?}");
    assert!(accidents > 100);
}

/// Row 29: each file as it was earlier, among newer ones.
#[test]
fn an_old_directory_restored_over_a_newer_one_is_never_mixed_with_it() {
    let storage = SimStorage::new();
    let mut beaver = StepEngine::on(storage.clone());
    beaver.enqueue("mail");
    beaver.snapshot().unwrap();
    beaver.enqueue("mail");
    beaver.close();
    let old = storage.fork();
    beaver.boot().unwrap();
    for _ in 0..3 {
        beaver.enqueue("mail");
        beaver.snapshot().unwrap();
    }
    let image = beaver.image();
    beaver.close();
    let restored = storage.fork();
    for path in old.paths("/data") {
        restored.put(&path, old.bytes(&path));
    }
    match StepEngine::with(restored, beaver.options.clone(), 3) {
        Ok(after) => assert_eq!(after.image(), image, "the newer files are complete by themselves"),
        Err(error) => assert_eq!(error.cause, FailCause::Damaged, "{error}"),
    }
}

/// Row 12: what only the page cache showed is written again before anybody is told of it.
#[test]
fn pages_that_a_failed_sync_gave_up_are_durable_after_the_next_boot() {
    let mut beaver = StepEngine::on(SimStorage::new());
    beaver.enqueue("mail");
    beaver.sync();
    let shown = beaver.enqueue("mail");
    let storage = beaver.storage.clone();
    storage.fail_call_of(Call::Sync, storage.calls_of(Call::Sync) + 1, Fault::Eio);
    assert!(beaver.log().sync().is_err());
    beaver.crash_keeping_everything();
    let told = beaver.status_of(&shown);
    assert!(told.is_some(), "the page cache shows it");
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.status_of(&shown), told);
}

/// Row 10, found by the explorer: a mark is not synced, so the page cache may show one that the disk lacks. The next
/// segment must not say that it belongs to its predecessor.
#[test]
fn a_mark_that_only_the_page_cache_shows_is_not_missed_when_the_power_is_cut_during_boot() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let job = beaver.enqueue("mail");
    beaver.sync();
    beaver.log().mark(Timestamp(1));
    let killed = beaver.storage.fork();
    killed.start_tape();
    drop(StepEngine::with(killed.clone(), beaver.options.clone(), 2).unwrap());
    for frame in killed.take_tape() {
        frame.disk.cut_power();
        let after = StepEngine::with(frame.disk, beaver.options.clone(), 3)
            .unwrap_or_else(|error| panic!("after call {}: {error}", frame.calls));
        assert_eq!(after.status_of(&job), Some(Status::Pending), "after call {}", frame.calls);
    }
}

#[test]
fn a_failed_sync_leaves_the_disk_old_until_the_sector_is_written_again() {
    use beaver_actors::internals::storage::Storage;

    let storage = SimStorage::with_sectors(4);
    let path = std::path::Path::new("/file");
    let mut file = storage.create(path).unwrap();
    storage.sync_dir(std::path::Path::new("/")).unwrap();
    file.write_at(0, b"oldoldol").unwrap();
    file.sync().unwrap();
    file.write_at(0, b"newnewne").unwrap();
    storage.fail_syncs(1);
    assert!(file.sync().is_err());
    file.write_at(4, b"more").unwrap();
    file.sync().unwrap();
    assert_eq!(storage.bytes(path), b"newnmore", "the system sees what was written");
    storage.cut_power();
    assert_eq!(storage.bytes(path), b"oldomore", "the disk has what was written since");
}

#[test]
fn a_power_cut_leaves_any_subset_of_sectors_and_any_prefix_of_names() {
    use beaver_actors::internals::storage::Storage;

    let storage = SimStorage::with_sectors(4);
    let mut file = storage.create(std::path::Path::new("/d/a")).unwrap();
    file.write_at(0, b"aaaabbbb").unwrap();
    storage.rename(std::path::Path::new("/d/a"), std::path::Path::new("/d/b")).unwrap();
    let (items, names) = storage.unsynced();
    assert_eq!((items.len(), names), (3, 2), "two sectors and a length; a creation and a renaming");
    let left = |items: [bool; 3], names| {
        let cut = storage.fork();
        cut.cut_power_keeping(&Kept { items: items.into(), names, garbage: None });
        let paths = cut.paths("/");
        paths.first().map(|path| (path.display().to_string(), cut.bytes(path)))
    };
    assert_eq!(left([true; 3], 0), None);
    assert_eq!(left([true; 3], 1), Some(("/d/a".to_owned(), b"aaaabbbb".to_vec())));
    assert_eq!(left([false, true, true], 2), Some(("/d/b".to_owned(), b"\0\0\0\0bbbb".to_vec())));
    assert_eq!(left([true, true, false], 2), Some(("/d/b".to_owned(), Vec::new())));
}

#[test]
fn nothing_changes_after_the_call_at_which_the_machine_stops() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let storage = beaver.storage.clone();
    storage.crash_at(storage.calls() + 1);
    let before = storage.fork().fingerprint();
    let refused = beaver.execute(Command::Enqueue(Box::new(StepEngine::spec("mail"))));
    assert!(refused.is_err() && storage.has_stopped());
    assert_eq!(storage.fork().fingerprint(), before);
    beaver.crash_keeping_only_synced_bytes();
    beaver.enqueue("mail");
}
