//! A data directory that is not as it was left: refused by name with nothing changed, or got over with nothing lost.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::files::{
    batches, durable_files, edit, event_batches, flip, segments, set_schema_version, snapshots, tear,
};
use crate::harness::{Place, wait};

const DAMAGED: i32 = 65;

/// A directory with twelve jobs of 20 kB in several sealed segments, left by a kill.
pub fn with_segments() -> Place {
    let place = Place::new();
    let server = place.start(&["--workers", "0", "--segment-bytes", "64KiB"]);
    let filler = "x".repeat(20_000);
    for number in 0..12 {
        server
            .enqueue([json!({"id": format!("job-{number}"), "kind": "noop", "payload": {"filler": filler}})]);
    }
    let last = segments(&place).pop().unwrap();
    wait("mark in the log", None, || {
        let bytes = fs::read(&last).unwrap();
        (batches(&bytes).last() != event_batches(&bytes).last()).then_some(())
    });
    server.kill9();
    assert!(segments(&place).len() >= 3);
    place
}

/// A directory with two snapshots and five completed jobs, left by clean stops.
fn with_snapshots() -> Place {
    let place = Place::new();
    for round in 0..2 {
        let server = place.start(&["--workers", "1"]);
        server.enqueue((0..5).map(|number| json!({"id": format!("job-{round}-{number}"), "kind": "noop"})));
        server.until_completed(5 * (round + 1));
        server.terminate();
    }
    assert_eq!(snapshots(&place).len(), 2);
    place
}

/// Asserts that a server refuses this directory, says what is wrong, and changes nothing.
#[track_caller]
fn refuses(place: &Place, texts: &[&str]) {
    let before = durable_files(place);
    for _ in 0..2 {
        place.run_to_its_end(&["--workers", "1"]).exits(DAMAGED).says(texts);
        assert_eq!(durable_files(place), before, "nothing was changed");
    }
    let offline = ["enqueue", "--offline", "--data-dir", "data", "--kind", "noop"];
    place.beaver(&offline).exits(DAMAGED).says(texts);
    assert_eq!(durable_files(place), before, "nothing was changed");
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_damaged_segment_is_refused_by_name_and_serves_again_once_it_is_put_back() {
    let place = with_segments();
    let all = segments(&place);
    let (first, last) = (&all[0], all.last().unwrap());
    type EventKind = fn(&mut Vec<u8>);
    let changes: [(&Path, EventKind); 11] = [
        // In a header: magic, salt, store, checksum.
        (first, |bytes| bytes[0] ^= 1),
        (first, |bytes| bytes[12] ^= 1),
        (last, |bytes| bytes[20] ^= 1),
        (last, |bytes| bytes[125] ^= 1),
        // In a payload.
        (first, |bytes| bytes[10_000] ^= 1),
        (last, |bytes| bytes[200] ^= 1),
        // Cut, emptied, overwritten.
        (first, |bytes| bytes.truncate(30_000)),
        (first, Vec::clear),
        (last, |bytes| bytes.truncate(100)),
        (last, |bytes| bytes.fill(b'?')),
        (first, |bytes| bytes[128..].fill(0)),
    ];
    for (path, change) in changes {
        let whole = fs::read(path).unwrap();
        edit(path, change);
        let before = durable_files(&place);
        place.run_to_its_end(&["--workers", "0"]).exits(DAMAGED).says(&[name(path), "nothing was changed"]);
        assert_eq!(durable_files(&place), before);
        fs::write(path, whole).unwrap();
    }
    let server = place.start(&["--workers", "1"]);
    server.until_completed(12);
}

#[test]
fn a_segment_that_is_missing_renamed_doubled_or_of_another_store_is_refused() {
    let place = with_segments();
    let all = segments(&place);
    let away = place.path("away");
    // Missing in the middle, at the beginning, at the end.
    for (missing, told) in [
        (&all[1], "segment 2 is missing"),
        (&all[0], "event 1 is needed"),
        (all.last().unwrap(), "is missing: this one was sealed"),
    ] {
        fs::rename(missing, &away).unwrap();
        refuses(&place, &[told]);
        fs::rename(&away, missing).unwrap();
    }
    let next = place.data(&format!("wal/{:010}.wal", all.len() + 1));
    fs::copy(&all[0], &next).unwrap();
    refuses(&place, &[name(&next), "was it renamed or copied?"]);
    let other = with_segments();
    fs::rename(&all[1], &away).unwrap();
    fs::remove_file(&next).unwrap();
    fs::copy(&segments(&other)[1], &all[1]).unwrap();
    refuses(&place, &[name(&all[1]), "belongs to store"]);
    fs::rename(&away, &all[1]).unwrap();
    place.start(&["--workers", "1"]).until_completed(12);
}

#[test]
fn a_log_that_is_gone_is_missed() {
    let place = with_segments();
    fs::rename(place.data("wal"), place.path("away")).unwrap();
    refuses(&place, &["the log is gone", "store-id"]);
    let place = with_snapshots();
    fs::remove_dir_all(place.data("wal")).unwrap();
    refuses(&place, &["the log is gone"]);
}

#[test]
fn files_that_are_not_ours_are_left_alone_unless_they_pose_as_segments() {
    let place = with_segments();
    let foreign = ["wal/notes.txt", "wal/0000000001.wal.bak", "wal/1.wal", "notes", "snapshots.old"];
    for file in foreign {
        fs::write(place.data(file), "mine").unwrap();
    }
    fs::create_dir(place.data("wal/sub")).unwrap();
    let server = place.start(&["--workers", "1"]);
    server.until_completed(12);
    server.terminate();
    for file in foreign {
        assert_eq!(fs::read_to_string(place.data(file)).unwrap(), "mine", "{file}");
    }
    let poses = place.data(&format!("wal/{:010}.wal", segments(&place).len() + 1));
    fs::write(&poses, "not a segment").unwrap();
    fs::remove_dir(place.data("wal/sub")).unwrap();
    refuses(&place, &[name(&poses)]);
}

#[test]
fn a_snapshot_of_another_schema_version_is_refused() {
    let place = with_snapshots();
    let newest = snapshots(&place).pop().unwrap();
    set_schema_version(&newest, 4);
    refuses(&place, &[name(&newest), "schema version 4, but this beaver reads 1"]);
}

#[test]
fn a_damaged_snapshot_is_got_over_with_the_one_before_and_the_log() {
    let place = with_snapshots();
    let newest = snapshots(&place).pop().unwrap();
    let whole = fs::read(&newest).unwrap();
    for (number, at) in [3, 20, 70, whole.len() - 10].into_iter().enumerate() {
        let newest = snapshots(&place).pop().unwrap();
        flip(&newest, at);
        let damaged = fs::read(&newest).unwrap();
        let server = place.start(&["--workers", "1"]);
        assert_eq!(server.count("completed"), 10, "round {number}");
        // One of the same name may be there from the round before; none is ever replaced.
        let quarantined: Vec<_> = crate::files::files(&place.data("quarantine"), "");
        assert_eq!(quarantined.len(), number + 1, "{quarantined:?}");
        let is_kept = quarantined.iter().any(|path| fs::read(path).unwrap() == damaged);
        assert!(is_kept, "round {number}: it was moved to quarantine, not deleted");
        server.terminate();
    }
    for cut in [0, 63, 100] {
        let newest = snapshots(&place).pop().unwrap();
        edit(&newest, |bytes| bytes.truncate(cut));
        let server = place.start(&["--workers", "1"]);
        assert_eq!(server.count("completed"), 10, "cut to {cut}");
        server.terminate();
    }
}

#[test]
fn without_any_whole_snapshot_the_log_is_enough_if_it_is_complete_and_else_it_is_refused() {
    let place = with_segments();
    place.start(&["--workers", "1"]).terminate();
    let only = snapshots(&place);
    assert_eq!(only.len(), 1);
    flip(&only[0], 70);
    place.start(&["--workers", "1"]).until_completed(12);

    // Behind the older of two snapshots, the log's beginning is gone.
    let place = with_snapshots();
    for snapshot in snapshots(&place) {
        flip(&snapshot, 70);
    }
    refuses(&place, &["event 1 is needed", "a snapshot is damaged"]);
}

/// Row 65: idle, and ended by `kill -9`: what was written is missed whether it was synced or not.
#[test]
fn a_flipped_byte_after_idle_time_and_a_kill_is_refused_with_every_setting_of_durability() {
    for durability in ["always", "interval", "never"] {
        let place = Place::new();
        let flags = ["--workers", "0", "--durability", durability];
        let server = place.start(&flags);
        server.enqueue((0..20).map(|number| json!({"id": format!("job-{number}"), "kind": "noop"})));
        let written = || witnessed(&place).is_some_and(|(_, written)| written >= 20).then_some(());
        wait("the witness", None, written);
        if durability != "never" {
            wait("the late sync", None, || witnessed(&place).filter(|(synced, _)| *synced >= 20));
        }
        server.kill9();
        let segment = segments(&place).pop().unwrap();
        let whole = fs::read(&segment).unwrap();
        let last = event_batches(&whole).pop().unwrap();
        for at in [last.start, last.start + 60, last.end - 1] {
            flip(&segment, at);
            refuses(&place, &[name(&segment), "cannot be read"]);
            fs::write(&segment, &whole).unwrap();
        }
        assert_eq!(place.start(&flags).count("pending"), 20, "{durability}");
    }
}

/// Row 65: what is said of an unfinished last write is true for the setting.
#[test]
fn of_an_unfinished_last_write_the_log_says_what_the_setting_allows() {
    for (durability, told) in [
        ("always", "answers come after the sync, so nothing in it was acknowledged"),
        ("interval", "it may hold what was accepted within sync_interval before a power cut"),
        ("never", "it may hold what was accepted before a power cut since the operating system synced last"),
    ] {
        let place = Place::new();
        let server = place.start(&["--workers", "0", "--durability", durability]);
        server.enqueue([json!({"kind": "noop"})]);
        server.kill9();
        tear(&segments(&place).pop().unwrap());
        place.start(&["--workers", "0", "--durability", durability]).terminate();
        let log = place.log();
        let warned = log.lines().find(|line| line.contains("moved to quarantine")).expect(&log);
        assert!(warned.contains(told), "{warned}");
        assert_eq!(warned.contains("acknowledged"), durability == "always", "{warned}");
    }
}

/// Up to which events the witness says that the log was synced and written: the larger of its two slots counts.
fn witnessed(place: &Place) -> Option<(u64, u64)> {
    let bytes = fs::read(place.data("witness")).ok()?;
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let slots = [0, 4096].map(|slot| Some((number(slot + 12)?, number(slot + 76)?, number(slot + 84)?)));
    slots.into_iter().flatten().max().map(|(_, synced, written)| (synced, written))
}
