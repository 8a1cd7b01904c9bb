//! A repair that is cut off, or whose disk fails: done again, it ends where it would have ended.

use std::collections::HashSet;
use std::sync::Arc;

use beaver_actors::testing::{Call, Fault, Kept, SimStorage};
use beaver_actors::tools::doctor::report::{Diagnosis, Loss};
use beaver_actors::tools::doctor::{Doctor, DoctorError};

use crate::doctor::{
    NOW, assert_originals_are_kept, boot, engine, examine, files, flip_batch, ids, options, repair, segments,
    stopped, stopped_with_a_damaged_newest_snapshot,
};
use crate::doctor_names::swap;

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

    let (older, _) = stopped_with_a_damaged_newest_snapshot(2);
    flip_batch(&older, &segments(&older)[0], 1);

    let gap = stopped(engine());
    gap.delete(segments(&gap)[1].clone());

    let swapped = stopped(engine());
    let [_, second, third, last] = &segments(&swapped)[..] else { panic!("four segments") };
    flip_batch(&swapped, last, 1);
    swap(&swapped, second, third);
    vec![("cut", cut), ("begun", begun), ("older", older), ("gap", gap), ("swapped", swapped)]
}

/// What a repair does on one of these: calls until it is done or the machine stops.
fn try_to_repair(disk: &SimStorage) -> Result<(), DoctorError> {
    let doctor = Doctor::on(Arc::new(disk.clone()), options(), fastrand::Rng::with_seed(7))?;
    match doctor.examine()?.verdict {
        Diagnosis::Damaged { plan, .. } => doctor.apply(&plan, NOW).map(|_| ()),
        verdict => panic!("{verdict}"),
    }
}

/// Row 10, for repairs: cut off at every call, by a kill or by the power, with any part surviving of what was
/// not synced; done again, it ends where it would have ended, and no original is ever missing.
#[test]
fn a_repair_cut_off_at_any_call_is_done_again_and_ends_the_same() {
    let mut crashes = 0;
    for (what, original) in patients() {
        let before = files(&original);
        let whole = original.fork();
        let (loss, _) = repair(&whole);
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
                    // What the first try has moved away is still counted.
                    Diagnosis::Damaged { .. } => assert_eq!(repair(&disk).0, loss, "{context}"),
                    Diagnosis::Hopeless { reason, .. } => panic!("{context}: {reason}"),
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
            if let Diagnosis::Damaged { .. } = examine(&disk).verdict {
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

/// A repair of the first patient that stops when it has moved one segment of two.
fn half_repaired() -> (SimStorage, Loss) {
    let (_, original) = patients().remove(0);
    let Diagnosis::Damaged { loss, .. } = examine(&original).verdict else { panic!("it is damaged") };
    let disk = original.fork();
    disk.crash_at(disk.calls() + 1 + calls_until_the_first_removal(&original));
    try_to_repair(&disk).unwrap_err();
    disk.kill_process();
    assert_eq!(segments(&disk).len(), segments(&original).len() - 1);
    (disk, loss)
}

fn calls_until_the_first_removal(original: &SimStorage) -> u64 {
    let removals = original.calls_of(Call::Remove) + 1;
    (1..)
        .find(|calls| {
            let disk = original.fork();
            disk.crash_at(disk.calls() + calls + 1);
            let _ = try_to_repair(&disk);
            disk.calls_of(Call::Remove) == removals
        })
        .expect("it removes something")
}

#[test]
fn the_second_report_tells_what_a_repair_that_was_cut_off_has_moved_and_counts_it() {
    let (disk, loss) = half_repaired();
    let report = examine(&disk);
    let Diagnosis::Damaged { loss: second, .. } = &report.verdict else { panic!("{report}") };
    assert_eq!(*second, loss, "{report}");
    assert!(loss.jobs_lost > 0);
    let text = report.to_string();
    assert!(text.contains("a repair was cut off; what it has moved there (0000000004.wal)"), "{text}");

    repair(&disk);
    let report = examine(&disk);
    assert!(matches!(report.verdict, Diagnosis::Healthy | Diagnosis::HealthyAfterCrash { .. }), "{report}");
    assert!(!disk.paths("/data/quarantine").iter().any(|path| path.ends_with("unfinished")));
    assert!(report.findings.is_empty(), "{report}");
}

/// The positions of what was given up are other events by now.
#[test]
fn the_note_of_a_repair_is_not_believed_when_the_log_has_gone_on_since() {
    let (disk, _) = half_repaired();
    let note = disk.paths("/data/quarantine").into_iter().find(|path| path.ends_with("unfinished")).unwrap();
    let words = disk.bytes(&note);
    repair(&disk);
    disk.put(&note, words);
    let mut beaver = boot(&disk);
    for _ in 0..3 {
        for _ in 0..2 {
            beaver.enqueue("mail");
            beaver.sync();
        }
        beaver.log().rotate(NOW).unwrap();
    }
    let last = beaver.table().last();
    let disk = stopped(beaver);
    flip_batch(&disk, &segments(&disk)[2], 1);
    let report = examine(&disk);
    let Diagnosis::Damaged { loss, .. } = &report.verdict else { panic!("{report}") };
    assert_eq!(loss.known_through, last, "{report}");
    assert!(!report.findings.iter().any(|finding| finding.contains("cut off")), "{report}");
}

#[test]
fn the_same_dice_give_a_log_begun_anew_the_same_bytes() {
    let (_, begun) = patients().remove(1);
    let bytes = |seed| {
        let disk = begun.fork();
        let dice = fastrand::Rng::with_seed(seed);
        let doctor = Doctor::on(Arc::new(disk.clone()), options(), dice).unwrap();
        let Diagnosis::Damaged { plan, .. } = doctor.examine().unwrap().verdict else { panic!("damaged") };
        doctor.apply(&plan, NOW).unwrap();
        disk.bytes(&segments(&disk)[0])
    };
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2), "the salt is thrown");
}
