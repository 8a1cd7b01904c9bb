//! The doctor: says what is damaged and what would be lost, and repairs without losing more than it said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use beaver_actors::api::options::EngineOptions;
use beaver_actors::ids::{JobId, Seq, Timestamp};
use beaver_actors::internals::wal::format::{BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES};
use beaver_actors::internals::wal::{Group, codec};
use beaver_actors::jobs::{Command, Event, EventKind, Status};
use beaver_actors::testing::{SimStorage, StepEngine};
use beaver_actors::tools::doctor::report::RepairStep;
use beaver_actors::tools::doctor::report::{Diagnosis, Loss, Report, SegmentState, SnapshotState};
use beaver_actors::tools::doctor::{Doctor, DoctorError};

const WAL: &str = "/data/wal";
pub(crate) const SNAPSHOTS: &str = "/data/snapshots";
const QUARANTINE: &str = "/data/quarantine";
pub(crate) const NOW: Timestamp = Timestamp(1_767_225_600_000);

/// Four segments (the first three sealed) with two jobs each; those of the first are completed.
pub(crate) fn engine() -> StepEngine {
    let mut beaver = StepEngine::on(SimStorage::new());
    for part in 0..4 {
        for job in ["a", "b"] {
            let mut spec = StepEngine::spec("mail");
            spec.id = Some(JobId::parse(&format!("{job}-{part}")).unwrap());
            beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
            beaver.sync();
        }
        if part == 0 {
            for job in ["a-0", "b-0"] {
                beaver.dispatch_and_ack(&JobId::parse(job).unwrap());
            }
        }
        if part < 3 {
            beaver.log().rotate(NOW).unwrap();
        }
    }
    // a-1 is done in the last segment, b-1 runs.
    beaver.dispatch_and_ack(&JobId::parse("a-1").unwrap());
    beaver.dispatch(0).unwrap();
    beaver.sync();
    beaver
}

/// What is left of it when it has taken a snapshot, has got this many jobs, and has taken another one, whose file is
/// damaged; and that file.
pub(crate) fn stopped_with_a_damaged_newest_snapshot(jobs: usize) -> (SimStorage, PathBuf) {
    let mut beaver = engine();
    beaver.snapshot().unwrap();
    for _ in 0..jobs {
        beaver.enqueue("mail");
        beaver.sync();
    }
    beaver.snapshot().unwrap();
    let disk = stopped(beaver);
    let newest = disk.paths(SNAPSHOTS).pop().unwrap();
    disk.tamper(&newest, |bytes| bytes[100] ^= 1);
    (disk, newest)
}

/// What is left of it when the power goes.
pub(crate) fn stopped(mut beaver: StepEngine) -> SimStorage {
    beaver.log().mark(NOW);
    beaver.sync();
    beaver.storage.fork()
}

pub(crate) fn options() -> EngineOptions {
    let mut options = EngineOptions::in_dir("/data");
    options.segment_bytes = 64 << 10;
    options
}

pub(crate) fn examine(disk: &SimStorage) -> Report {
    doctor(disk).examine().unwrap()
}

pub(crate) fn doctor(disk: &SimStorage) -> Doctor {
    Doctor::on(Arc::new(disk.clone()), options(), fastrand::Rng::with_seed(7)).unwrap()
}

pub(crate) fn boot(disk: &SimStorage) -> StepEngine {
    StepEngine::with(disk.clone(), options(), 2).unwrap_or_else(|error| panic!("{error}\n{}", examine(disk)))
}

/// Repairs what must be damaged; returns what it said would be lost.
pub(crate) fn repair(disk: &SimStorage) -> (Loss, Vec<RepairStep>) {
    let doctor = doctor(disk);
    let report = doctor.examine().unwrap();
    let Diagnosis::Damaged { loss, plan, .. } = &report.verdict else { panic!("{report}") };
    let repaired = doctor.apply(plan, NOW).unwrap();
    assert_eq!(repaired.steps, plan.steps);
    (*loss, repaired.steps)
}

pub(crate) fn files(disk: &SimStorage) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = [WAL, SNAPSHOTS].into_iter().flat_map(|dir| disk.paths(dir));
    let published = all.filter(|path| path.extension().is_some_and(|end| end != "partial"));
    published.map(|path| (path.clone(), disk.bytes(path))).collect()
}

/// Asserts that every file that is not as it was is in quarantine as it was.
pub(crate) fn assert_originals_are_kept(
    disk: &SimStorage,
    before: &BTreeMap<PathBuf, Vec<u8>>,
    context: &str,
) {
    let now = files(disk);
    let kept: Vec<_> =
        disk.paths(QUARANTINE).into_iter().map(|path| (path.clone(), disk.bytes(path))).collect();
    for (path, bytes) in before.iter().filter(|(path, bytes)| now.get(*path) != Some(bytes)) {
        let name = path.file_name();
        let is_kept = kept.iter().any(|(kept, original)| kept.file_name() == name && original == bytes);
        assert!(is_kept, "{context}: {} is neither there nor in quarantine", path.display());
    }
}

fn batches(bytes: &[u8]) -> Vec<(usize, BatchHeader)> {
    let salt = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
    let mut found = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some((header, _)) = bytes.get(at..).and_then(|rest| BatchHeader::decode(rest, salt).ok()) {
        found.push((at, header));
        at += BATCH_HEADER_BYTES + header.payload_len as usize;
    }
    found
}

pub(crate) fn segments(disk: &SimStorage) -> Vec<PathBuf> {
    disk.paths(WAL).into_iter().filter(|path| path.extension().unwrap() == "wal").collect()
}

pub(crate) fn flip_batch(disk: &SimStorage, segment: &Path, nth: usize) {
    disk.tamper(segment, |bytes| {
        let (start, _) = batches(bytes)[nth];
        bytes[start + BATCH_HEADER_BYTES + 2] ^= 0x10;
    });
}

pub(crate) fn ids(beaver: &StepEngine) -> Vec<String> {
    beaver.image().into_iter().map(|job| job.id.to_string()).collect()
}

fn status(beaver: &StepEngine, id: &str) -> Option<Status> {
    beaver.status_of(&JobId::parse(id).unwrap())
}

#[test]
fn a_healthy_directory_is_healthy_and_examining_changes_nothing() {
    let mut beaver = engine();
    beaver.snapshot().unwrap();
    let disk = stopped(beaver);
    let before = disk.paths("/");
    let report = examine(&disk);
    assert!(matches!(report.verdict, Diagnosis::Healthy), "{report}");
    assert!(!report.verdict.is_damage());
    let states: Vec<_> = report.segments.iter().map(|segment| segment.state.clone()).collect();
    use SegmentState::{Sealed, Whole};
    assert_eq!(states, [Sealed, Sealed, Sealed, Sealed, Whole], "{report}");
    assert_eq!(report.segments[0].from, Some(Seq(1)));
    assert_eq!(report.segments[0].to, Some(Seq(7)));
    assert_eq!(report.segments[3].to, Some(Seq(16)));
    assert_eq!((report.snapshots.len(), report.snapshots[0].jobs), (1, 8));
    assert_eq!(report.snapshots[0].state, SnapshotState::Whole);
    let text = report.to_string();
    assert!(text.contains("0000000001.wal: events 1..7, ") && text.contains(": whole, sealed\n"), "{text}");
    assert!(text.contains("everything up to event 16, ") && text.ends_with("\nhealthy"), "{text}");
    assert_eq!(disk.paths("/"), before);
}

/// Row 5.
#[test]
fn a_torn_tail_is_healthy_after_a_crash() {
    let mut beaver = engine();
    beaver.enqueue("mail");
    let disk = beaver.storage.fork();
    let last = segments(&disk).pop().unwrap();
    let (start, header) = *batches(&disk.bytes(&last)).last().unwrap();
    let end = start + BATCH_HEADER_BYTES + header.payload_len as usize;
    disk.tamper(&last, |bytes| bytes[end - 3..end].fill(0));
    let before = files(&disk);
    let report = examine(&disk);
    let Diagnosis::HealthyAfterCrash { torn_bytes } = report.verdict else { panic!("{report}") };
    assert_eq!(torn_bytes as usize, end - 3 - start);
    let text = report.to_string();
    assert!(text.contains(&format!("torn tail at byte {start}, {torn_bytes} bytes, never synced")), "{text}");
    assert!(text.contains(&format!(
        "the next start will move {torn_bytes} bytes to quarantine that were never synced: they were acknowledged to nobody"
    )));
    assert_eq!(files(&disk), before);
    assert_eq!(boot(&disk).recovery.torn_bytes, torn_bytes);
}

/// Row 20: named to the byte, and what is lost is said in numbers that come true.
#[test]
fn a_flipped_bit_in_a_sealed_segment_costs_what_the_report_says() {
    let disk = stopped(engine());
    let second = &segments(&disk)[1];
    flip_batch(&disk, second, 1);
    let (start, _) = batches(&disk.bytes(second))[1];
    let before = files(&disk);
    let report = examine(&disk);
    let text = report.to_string();
    assert!(text.contains(&format!("DAMAGED at byte {start}: payload checksum")), "{text}");
    assert!(text.contains("; event 9 cannot be read"), "{text}");
    assert!(
        text.contains("would lose 8 events, that is events 9..16: 5 jobs would be gone and 1 set back"),
        "{text}"
    );
    assert_eq!(files(&disk), before, "examining changes nothing");

    let (loss, steps) = repair(&disk);
    let expected = Loss {
        kept_through: Seq(8),
        known_through: Seq(16),
        events: 8,
        events_unreadable: 1,
        jobs_kept: 3,
        jobs_kept_unfinished: 1,
        // b-1 was running, and its acceptance is what cannot be read.
        jobs_lost: 5,
        jobs_savable: 4,
        jobs_set_back: 1,
    };
    assert_eq!(loss, expected, "{text}");
    let [
        RepairStep::Move { path: newest },
        RepairStep::Move { .. },
        RepairStep::Cut { path: cut, len },
        RepairStep::Move { path: last },
    ] = &steps[..]
    else {
        panic!("{steps:?}")
    };
    assert_eq!((newest, cut, *len), (&segments_of(&before)[3], second, start as u64));
    assert_eq!(last, Path::new("/data/witness"), "it would miss what is cut");
    assert_originals_are_kept(&disk, &before, "a flipped bit");
    let beaver = boot(&disk);
    assert_eq!(ids(&beaver), ["a-0", "b-0", "a-1"]);
    assert_eq!(status(&beaver, "a-0"), Some(Status::Completed));
    assert_eq!(status(&beaver, "a-1"), Some(Status::Pending), "set back: it had completed");
}

fn segments_of(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
    files.keys().filter(|path| path.starts_with(WAL)).cloned().collect()
}

/// Rows 20 to 26: any one file is damaged or gone, and what the doctor says of a start is true, a repair boots with
/// what it promised, and every original is kept.
#[test]
fn after_any_accident_a_repair_boots_with_exactly_what_was_promised() {
    type Accident = (&'static str, fn(&SimStorage, &Path));
    let accidents: [Accident; 9] = [
        ("first batch", |disk, path| flip_batch(disk, path, 0)),
        ("second batch", |disk, path| flip_batch(disk, path, 1)),
        ("header", |disk, path| disk.tamper(path, |bytes| bytes[20] ^= 1)),
        ("emptied", |disk, path| disk.tamper(path, Vec::clear)),
        ("cut", |disk, path| disk.tamper(path, |bytes| bytes.truncate(200))),
        ("zeros", |disk, path| disk.tamper(path, |bytes| bytes[128..].fill(0))),
        ("not a segment", |disk, path| disk.put(path, vec![b'?'; 500])),
        ("deleted", |disk, path| disk.delete(path)),
        ("renamed", |disk, path| {
            let bytes = disk.bytes(path);
            disk.delete(path);
            disk.put("/data/wal/0000000009.wal", bytes);
        }),
    ];
    let (mut repaired, mut hopeless) = (0, 0);
    for with_snapshot in [false, true] {
        let mut beaver = engine();
        if with_snapshot {
            beaver.snapshot().unwrap();
            beaver.enqueue("mail");
            beaver.sync();
        }
        let disk = stopped(beaver);
        let all = segments(&disk);
        let last = all.last();
        for (what, accident) in accidents {
            for segment in all.clone() {
                if what.contains("batch") && batches(&disk.bytes(&segment)).len() < 3 {
                    continue;
                }
                let disk = disk.fork();
                accident(&disk, &segment);
                let context = format!("{what} {} snapshot: {with_snapshot}", segment.display());
                let before = files(&disk);
                let report = examine(&disk);
                let starts = StepEngine::with(disk.fork(), options(), 2).is_ok();
                match report.verdict {
                    Diagnosis::Damaged { .. } => {
                        assert!(!starts, "{context}: {report}");
                        let (loss, _) = repair(&disk);
                        assert_originals_are_kept(&disk, &before, &context);
                        assert!(!examine(&disk).findings.iter().any(|finding| finding.contains("missing")));
                        let beaver = boot(&disk);
                        assert_eq!(beaver.table().counts().total(), loss.jobs_kept, "{context}");
                        assert_eq!(
                            beaver.table().counts().unfinished(),
                            loss.jobs_kept_unfinished,
                            "{context}"
                        );
                        repaired += 1;
                    }
                    Diagnosis::Hopeless { .. } => {
                        assert!(!starts && !with_snapshot, "{context}: {report}");
                        hopeless += 1;
                    }
                    // Nothing but the last segment proves what was in it.
                    _ => assert!(starts && (with_snapshot || Some(&segment) == last), "{context}: {report}"),
                }
                assert_eq!(
                    files(&disk) == before,
                    !matches!(report.verdict, Diagnosis::Damaged { .. }),
                    "{context}"
                );
            }
        }
    }
    assert!(repaired > 40 && hopeless > 3, "{repaired} repaired, {hopeless} hopeless");
}

/// Row 27.
#[test]
fn a_corrupted_newest_snapshot_costs_nothing_and_is_no_reason_to_repair() {
    let (disk, newest) = stopped_with_a_damaged_newest_snapshot(1);
    let report = examine(&disk);
    let Diagnosis::Spared { files, torn_bytes: 0 } = &report.verdict else { panic!("{report}") };
    assert_eq!(files, std::slice::from_ref(&newest));
    assert!(report.verdict.is_damage());
    assert!(report.to_string().contains("CORRUPTED: page of jobs: checksum"), "{report}");
    assert!(report.to_string().contains("nothing is lost"), "{report}");
    assert_eq!(boot(&disk).table().counts().total(), 9);
}

/// Row 27: the newest snapshot and the log behind the one before are both damaged.
#[test]
fn an_older_snapshot_and_the_log_behind_it_are_used_as_far_as_they_go() {
    let (disk, newest) = stopped_with_a_damaged_newest_snapshot(3);
    let holds = segments(&disk).into_iter().rev().nth(1).unwrap();
    flip_batch(&disk, &holds, 1);
    let before = files(&disk);
    let (loss, steps) = repair(&disk);
    assert_eq!((loss.kept_through, loss.known_through, loss.events), (Seq(17), Seq(19), 2));
    assert_eq!((loss.jobs_kept, loss.jobs_lost, loss.events_unreadable), (9, 1, 1));
    assert!(steps.contains(&RepairStep::Move { path: newest }), "{steps:?}");
    assert_originals_are_kept(&disk, &before, "snapshot and log");
    assert_eq!(boot(&disk).table().counts().total(), 9);
}

/// Row 28.
#[test]
fn a_log_that_is_gone_is_begun_anew_behind_a_snapshot_and_given_up_without_one() {
    let mut beaver = engine();
    beaver.snapshot().unwrap();
    let image = ids(&beaver);
    let disk = stopped(beaver);
    disk.paths(WAL).into_iter().for_each(|path| disk.delete(path));
    let (loss, steps) = repair(&disk);
    assert_eq!((loss.events, loss.jobs_kept), (0, 8));
    assert!(matches!(&steps[..], [RepairStep::Begin { first: Seq(17), .. }]), "{steps:?}");
    let mut beaver = boot(&disk);
    assert_eq!(ids(&beaver), image);
    // It goes on as if nothing had been: new work, a snapshot, a crash.
    beaver.enqueue("mail");
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image().len(), 9);

    let disk = stopped(engine());
    disk.paths(WAL).into_iter().for_each(|path| disk.delete(path));
    let report = examine(&disk);
    let Diagnosis::Hopeless { refusal, reason } = &report.verdict else { panic!("{report}") };
    assert!(refusal.contains("the log is gone") && reason.contains("restore a backup"), "{report}");
}

/// Row 27: from the future, seen from the log.
#[test]
fn a_snapshot_that_is_ahead_of_the_log_is_gone_on_from() {
    let mut beaver = engine();
    beaver.snapshot().unwrap();
    let image = ids(&beaver);
    let disk = stopped(beaver);
    segments(&disk)[3..].iter().for_each(|segment| disk.delete(segment));
    let before = files(&disk);
    let (loss, steps) = repair(&disk);
    assert_eq!((loss.kept_through, loss.events, loss.jobs_kept), (Seq(16), 0, 8));
    assert!(matches!(steps.last(), Some(RepairStep::Begin { first: Seq(17), .. })), "{steps:?}");
    assert_originals_are_kept(&disk, &before, "ahead");
    assert_eq!(ids(&boot(&disk)), image);
}

/// Row 57: events that the state does not bear out are not believed, nor are those behind them.
#[test]
fn an_event_that_does_not_fit_the_state_is_where_a_repair_ends() {
    let mut beaver = engine();
    let mut first = beaver.table().last().next();
    let job = JobId::parse("nobody").unwrap();
    for kind in [EventKind::Cancel { job }, beaver.history[1].1.kind.clone()] {
        let mut bytes = Vec::new();
        codec::encode(&Event { at: NOW, job_seq: Seq::ZERO, kind }, &mut bytes);
        beaver.log().append(&[Group { first, count: 1, bytes }], NOW).1.unwrap();
        beaver.sync();
        first = first.next();
    }
    let kept = beaver.image().len() as u64;
    let disk = stopped(beaver);
    let before = files(&disk);
    let report = examine(&disk);
    assert!(report.to_string().contains("there is no job nobody"), "{report}");
    let (loss, _) = repair(&disk);
    assert_eq!((loss.kept_through, loss.known_through, loss.jobs_kept), (Seq(16), Seq(18), kept));
    assert_originals_are_kept(&disk, &before, "misfit");
    assert_eq!(boot(&disk).image().len() as u64, kept);
}

/// Row 24.
#[test]
fn segments_of_another_store_and_files_that_are_not_ours_are_told_apart() {
    let mut stranger = StepEngine::with(SimStorage::new(), options(), 99).unwrap();
    stranger.enqueue("mail");
    stranger.log().rotate(NOW).unwrap();
    let disk = stopped(engine());
    let third = segments(&disk)[2].clone();
    disk.put(&third, stranger.storage.bytes(segments(&stranger.storage)[1].clone()));
    disk.put("/data/wal/notes.txt", b"mine".to_vec());
    disk.put("/data/snapshots/00000000000000000500.snap.partial", vec![1; 9]);
    let report = examine(&disk);
    assert!(matches!(report.segments[2].state, SegmentState::Foreign { .. }), "{report}");
    assert_eq!(report.foreign, [Path::new("/data/wal/notes.txt")]);
    assert!(report.unfinished.iter().any(|path| path.ends_with("00000000000000000500.snap.partial")));
    let before = files(&disk);
    let (loss, _) = repair(&disk);
    assert_eq!((loss.kept_through, loss.known_through), (Seq(9), Seq(16)));
    assert_originals_are_kept(&disk, &before, "foreign");
    assert_eq!(disk.bytes("/data/wal/notes.txt"), b"mine");
    assert_eq!(boot(&disk).table().counts().total(), 4);
}

/// Row 30.
#[test]
fn what_a_newer_beaver_wrote_is_never_repaired_away() {
    let mut beaver = engine();
    let mut bytes = Vec::new();
    codec::encode(&beaver.history[0].1, &mut bytes);
    bytes[0] = 77;
    let first = beaver.table().last().next();
    beaver.log().append(&[Group { first, count: 1, bytes }], NOW).1.unwrap();
    beaver.sync();
    let disk = stopped(beaver);
    let report = examine(&disk);
    let Diagnosis::Hopeless { reason, .. } = &report.verdict else { panic!("{report}") };
    assert!(reason.contains("run that one"), "{report}");
    assert!(matches!(report.segments[3].state, SegmentState::Newer { .. }), "{report}");

    let mut beaver = engine();
    beaver.snapshot().unwrap();
    let disk = stopped(beaver);
    disk.tamper(disk.paths(SNAPSHOTS).remove(0), |bytes| {
        bytes[8..12].copy_from_slice(&4_u32.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&crc);
    });
    let report = examine(&disk);
    assert!(matches!(report.verdict, Diagnosis::Hopeless { .. }), "{report}");
    assert_eq!(report.snapshots[0].state, SnapshotState::OtherVersion { found: 4, expected: 1 });
}

#[test]
fn an_empty_directory_has_nothing_and_a_live_one_is_left_alone() {
    let beaver = engine();
    let options = beaver.options.clone();
    let nothing = Doctor::on(Arc::new(SimStorage::new()), options.clone(), fastrand::Rng::with_seed(7)).err();
    assert!(matches!(nothing, Some(DoctorError::NotFound { .. })), "{nothing:?}");
    let locked = Doctor::on(Arc::new(beaver.storage.clone()), options, fastrand::Rng::with_seed(7)).err();
    assert!(
        matches!(&locked, Some(DoctorError::Locked(text)) if text.contains("another beaver")),
        "{locked:?}"
    );
}

#[test]
fn a_second_repair_keeps_the_originals_of_the_first() {
    let disk = stopped(engine());
    let second = segments(&disk)[1].clone();
    let original = disk.bytes(&second);
    flip_batch(&disk, &second, 1);
    let damaged = disk.bytes(&second);
    assert_ne!(original, damaged);
    repair(&disk);
    let cut = disk.bytes(&second);
    flip_batch(&disk, &second, 0);
    // Nothing proves this batch but its successor, which is gone: put it back as a seal would.
    disk.put("/data/wal/0000000003.wal", b"?".to_vec());
    let before = files(&disk);
    repair(&disk);
    assert_originals_are_kept(&disk, &before, "second repair");
    let kept: Vec<_> = disk.paths(QUARANTINE).into_iter().map(|path| disk.bytes(path)).collect();
    assert!(kept.contains(&damaged), "the first repair's original is still there");
    assert_ne!(cut, damaged);
}
