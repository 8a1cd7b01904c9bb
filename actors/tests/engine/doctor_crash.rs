//! A repair that is cut off, or whose disk fails: done again, it ends where it would have ended.

use std::collections::HashSet;
use std::sync::Arc;

use beaver_actors::doctor::report::Verdict;
use beaver_actors::doctor::{Doctor, DoctorError};
use beaver_actors::testing::{Fault, Kept, SimStorage};

use crate::doctor::{
    NOW, SNAPSHOTS, assert_originals_are_kept, boot, engine, examine, files, flip_batch, ids, options,
    repair, segments, stopped,
};

/// Disks that a repair has something different to do on, by what.
fn patients() -> Vec<(&'static str, SimStorage)> {
    let cut = stopped(engine());
    flip_batch(&cut, &segments(&cut)[1], 1);

    let mut beaver = engine();
    beaver.snapshot().unwrap();
    let begun = stopped(beaver);
    for segment in segments(&begun) {
        begun.tamper(segment, |bytes| bytes[20] ^= 1);
    }

    let mut beaver = engine();
    beaver.snapshot().unwrap();
    for _ in 0..2 {
        beaver.enqueue("mail");
        beaver.sync();
    }
    beaver.snapshot().unwrap();
    let older = stopped(beaver);
    older.tamper(older.paths(SNAPSHOTS).remove(1), |bytes| bytes[100] ^= 1);
    flip_batch(&older, &segments(&older)[0], 1);

    let gap = stopped(engine());
    gap.delete(segments(&gap)[1].clone());
    vec![("cut", cut), ("begun", begun), ("older", older), ("gap", gap)]
}

/// What a repair does on one of these: calls until it is done or the machine stops.
fn try_to_repair(disk: &SimStorage) -> Result<(), DoctorError> {
    let doctor = Doctor::on(Arc::new(disk.clone()), options())?;
    match doctor.examine()?.verdict {
        Verdict::Damaged { plan, .. } => doctor.apply(&plan, NOW).map(|_| ()),
        verdict => panic!("{verdict}"),
    }
}

/// Row 10, for repairs: cut off at every call, by a kill or by the power, with whatever survives of what was
/// not synced; done again, it ends where it would have ended, and no original is ever missing.
#[test]
fn a_repair_cut_off_at_any_call_is_done_again_and_ends_the_same() {
    let mut crashes = 0;
    for (what, original) in patients() {
        let before = files(&original);
        let whole = original.fork();
        repair(&whole);
        let expected = ids(&boot(&whole));
        assert!(!expected.is_empty());
        let mut seen = HashSet::new();
        for call in 1.. {
            let crashed = original.fork();
            crashed.crash_at(crashed.calls() + call);
            let done = try_to_repair(&crashed);
            if !crashed.has_stopped() {
                done.unwrap();
                break;
            }
            // A call that only reads leaves the disk as the one before.
            if !seen.insert(crashed.fingerprint()) {
                continue;
            }
            for seed in 0..6 {
                let disk = crashed.fork();
                let context = format!("{what}: crash at call {call}, seed {seed}");
                let mut dice = fastrand::Rng::with_seed(seed);
                match seed {
                    0 => disk.kill_process(),
                    1 => disk.cut_power(),
                    _ => {
                        let (items, names) = disk.unsynced();
                        let items = items.iter().map(|_| dice.bool()).collect();
                        let names = dice.usize(0..=names);
                        disk.cut_power_keeping(&Kept { items, names, ..Kept::default() });
                    }
                }
                crashes += 1;
                assert_originals_are_kept(&disk, &before, &context);
                match examine(&disk).verdict {
                    Verdict::Damaged { .. } => drop(repair(&disk)),
                    Verdict::Hopeless { reason, .. } => panic!("{context}: {reason}"),
                    _ => {}
                }
                assert_originals_are_kept(&disk, &before, &context);
                assert_eq!(ids(&boot(&disk)), expected, "{context}");
            }
        }
    }
    println!("{crashes} crashes of a repair");
    assert!(crashes > 400, "{crashes}");
}

/// Rows 14 and 16: a disk that fails in the middle of a repair, once, at any call.
#[test]
fn a_repair_whose_disk_fails_says_so_and_loses_nothing() {
    let (mut failures, mut shrugs) = (0, 0);
    for (what, original) in patients() {
        let before = files(&original);
        let whole = original.fork();
        let calls = whole.calls();
        try_to_repair(&whole).unwrap();
        let calls = whole.calls() - calls;
        let expected = ids(&boot(&whole));
        for call in 1..=calls {
            let disk = original.fork();
            disk.fail_call(disk.calls() + call, Fault::Eio);
            let done = try_to_repair(&disk);
            let context = format!("{what}: EIO at call {call}");
            assert_originals_are_kept(&disk, &before, &context);
            match done {
                // Only the length of a file that progress is shown of.
                Ok(()) => shrugs += 1,
                Err(DoctorError::Storage(text)) => {
                    assert!(text.contains("/data"), "{context}: {text}");
                    failures += 1;
                }
                Err(error) => panic!("{context}: {error}"),
            }
            disk.kill_process();
            if let Verdict::Damaged { .. } = examine(&disk).verdict {
                repair(&disk);
            }
            assert_originals_are_kept(&disk, &before, &context);
            assert_eq!(ids(&boot(&disk)), expected, "{context}");
        }
    }
    println!("{failures} failures of the disk in a repair, {shrugs} that made no difference");
    assert!(failures > 200 && shrugs < failures / 10, "{failures} failures, {shrugs} shrugs");
}

/// Row 17: there is no space for the originals, so nothing is touched.
#[test]
fn a_repair_without_space_for_the_originals_changes_nothing() {
    for (what, disk) in patients() {
        let before = files(&disk);
        disk.set_capacity(Some(disk.used() + 100));
        let refused = try_to_repair(&disk).unwrap_err();
        assert!(matches!(refused, DoctorError::Storage(_)), "{what}: {refused}");
        assert_eq!(files(&disk), before, "{what}");
        disk.set_capacity(None);
        repair(&disk);
        assert_originals_are_kept(&disk, &before, what);
    }
}
