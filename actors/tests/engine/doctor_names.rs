//! Segments that lost their names get them back: what a header tells is not thrown away for what the file is called.

use std::path::{Path, PathBuf};

use beaver_actors::testing::{SimStorage, StepEngine};
use beaver_actors::tools::doctor::report::{Diagnosis, SegmentState};

use crate::doctor::{
    NOW, assert_originals_are_kept, boot, doctor, engine, examine, files, flip_batch, ids, options, repair,
    segments, stopped,
};

fn rename(disk: &SimStorage, from: &Path, to: &Path) {
    let bytes = disk.bytes(from);
    disk.delete(from);
    disk.put(to, bytes);
}

pub(crate) fn swap(disk: &SimStorage, one: &Path, other: &Path) {
    let bytes = (disk.bytes(one), disk.bytes(other));
    disk.put(one, bytes.1);
    disk.put(other, bytes.0);
}

fn wal(number: u64) -> PathBuf {
    PathBuf::from(format!("/data/wal/{number:010}.wal"))
}

#[test]
fn a_renamed_segment_gets_its_name_back_and_nothing_is_lost() {
    type Accident = (&'static str, fn(&SimStorage));
    let accidents: [Accident; 7] = [
        ("the first", |disk| rename(disk, &wal(1), &wal(9))),
        ("one between", |disk| rename(disk, &wal(2), &wal(9))),
        ("the last", |disk| rename(disk, &wal(4), &wal(9))),
        ("two", |disk| {
            rename(disk, &wal(2), &wal(8));
            rename(disk, &wal(3), &wal(7));
        }),
        ("two swapped", |disk| swap(disk, &wal(2), &wal(3))),
        ("all moved up by one", |disk| (1..=4).rev().for_each(|nth| rename(disk, &wal(nth), &wal(nth + 1)))),
        ("its place taken by rubbish", |disk| {
            rename(disk, &wal(2), &wal(9));
            disk.put(wal(2), vec![b'?'; 500]);
        }),
    ];
    let whole = stopped(engine());
    let expected = ids(&boot(&whole.fork()));
    let names = segments(&whole);
    for (what, accident) in accidents {
        let disk = whole.fork();
        accident(&disk);
        let before = files(&disk);
        assert!(StepEngine::with(disk.fork(), options(), 2).is_err(), "{what}");
        let report = examine(&disk);
        assert!(
            report.segments.iter().any(|segment| matches!(segment.state, SegmentState::Renamed { .. })),
            "{what}: {report}"
        );
        let (loss, _) = repair(&disk);
        assert_eq!((loss.events, loss.jobs_lost, loss.jobs_kept), (0, 0, 8), "{what}: {report}");
        assert_originals_are_kept(&disk, &before, what);
        assert_eq!(segments(&disk), names, "{what}");
        assert!(matches!(examine(&disk).verdict, Diagnosis::Healthy), "{what}: {}", examine(&disk));
        assert_eq!(ids(&boot(&disk)), expected, "{what}");
    }
}

#[test]
fn the_report_of_a_repair_tells_which_name_became_which() {
    let disk = stopped(engine());
    rename(&disk, &wal(2), &wal(9));
    let doctor = doctor(&disk);
    let report = doctor.examine().unwrap();
    let Diagnosis::Damaged { plan, .. } = &report.verdict else { panic!("{report}") };
    let (from, to) = (wal(9).display().to_string(), wal(2).display().to_string());
    let steps: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, [format!("rename {from} to {to}")]);
    let told = doctor.apply(plan, NOW).unwrap().to_string();
    assert!(told.contains(&format!("renamed {from} to {to}")), "{told}");
}

/// A segment that is misnamed and damaged is saved up to where it can be read.
#[test]
fn a_renamed_segment_that_is_damaged_too_is_cut_under_its_own_name() {
    let disk = stopped(engine());
    let plain = disk.fork();
    flip_batch(&plain, &wal(2), 1);
    let (expected, _) = repair(&plain);
    flip_batch(&disk, &wal(2), 1);
    rename(&disk, &wal(2), &wal(9));
    let before = files(&disk);
    let report = examine(&disk);
    assert!(report.to_string().contains("DAMAGED at byte"), "{report}");
    assert!(report.to_string().contains("says that it is segment 2"), "{report}");
    let (loss, _) = repair(&disk);
    assert_eq!(loss, expected, "{report}");
    assert_originals_are_kept(&disk, &before, "renamed and damaged");
    assert_eq!(files(&disk), files(&plain));
    assert_eq!(ids(&boot(&disk)), ids(&boot(&plain)));
}

/// A copy beside the original is no loss and no gain.
#[test]
fn a_copy_under_another_name_is_moved_to_quarantine() {
    let disk = stopped(engine());
    let expected = ids(&boot(&disk.fork()));
    disk.put(wal(5), disk.bytes(wal(2)));
    let before = files(&disk);
    let (loss, _) = repair(&disk);
    assert_eq!((loss.events, loss.jobs_kept), (0, 8));
    assert_originals_are_kept(&disk, &before, "a copy");
    assert_eq!(ids(&boot(&disk)), expected);
}
