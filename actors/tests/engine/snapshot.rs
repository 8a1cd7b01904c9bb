//! Snapshots: the fold gives what the table holds, and no accident to a snapshot loses a job.

use std::time::Duration;

use beaver_actors::engine::FailCause;
use beaver_actors::ids::{JobId, Seq, Timestamp};
use beaver_actors::internals::jobs::record::JobRecord;
use beaver_actors::internals::snapshot::SnapshotError;
use beaver_actors::internals::snapshot::texts::TextPages;
use beaver_actors::jobs::{Command, Payload, Retention, Start, Status};
use beaver_actors::testing::{Call, Fault, SimStorage, StepEngine};

const SNAPSHOTS: &str = "/data/snapshots";

/// The jobs of the snapshot at a position, with their texts.
pub(crate) fn jobs_of(beaver: &StepEngine, last: Seq) -> Result<Vec<JobRecord>, SnapshotError> {
    let state = beaver.snapshots().open_state(last)?;
    let payloads = TextPages::new(state.layers().to_vec());
    let mut pages = state.into_pages();
    let mut jobs = Vec::new();
    while let Some(records) = pages.next_records()? {
        jobs.extend(records);
    }
    for job in &mut jobs {
        job.fill(|text| payloads.find(text).map(|found| Some(found.expect("a layer has it"))))?;
    }
    Ok(jobs)
}

/// Does something at random, with ids that come back, so that every kind of event meets every kind of job.
pub(crate) fn random_step(
    beaver: &mut StepEngine,
    dice: &mut fastrand::Rng,
    held: &mut Vec<(JobId, beaver_actors::ids::Token)>,
) {
    match dice.u32(0..10) {
        0..=3 => {
            let mut spec = StepEngine::spec("mail");
            spec.id = Some(JobId::parse(&format!("job-{}", dice.u32(0..60))).unwrap());
            spec.max_retry = Some(dice.u32(0..3));
            // Some are kept in memory, others are not.
            spec.payload = Payload::from_value(&"x".repeat(dice.usize(0..200))).unwrap();
            spec.start = Start::After(Duration::from_secs(dice.u64(0..20) * u64::from(dice.bool())));
            spec.custom = dice.bool().then(|| Payload::from_value(&"y".repeat(dice.usize(0..200))).unwrap());
            spec.follows_running = dice.bool();
            beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
        }
        4..=5 => held.extend(beaver.dispatch(dice.u32(0..4))),
        6..=7 if !held.is_empty() => {
            let (job, token) = held.swap_remove(dice.usize(0..held.len()));
            // Its lease may have expired in the meantime.
            let _ = match dice.bool() {
                true => beaver.ack(&job, token),
                false => beaver.fail(&job, token),
            };
        }
        8 if !held.is_empty() && dice.bool() => {
            let (job, token) = held[dice.usize(0..held.len())].clone();
            let _ = beaver.execute(Command::Extend { job, token, by_ms: dice.u64(0..60_000) });
        }
        8 => {
            let job = JobId::parse(&format!("job-{}", dice.u32(0..60))).unwrap();
            let _ = beaver.execute(Command::Cancel { job });
        }
        _ => beaver.advance(Duration::from_millis(dice.u64(1..30_000))),
    }
}

#[test]
fn a_chain_of_folds_gives_exactly_what_the_table_holds() {
    for seed in 0..60 {
        let mut options = StepEngine::on(SimStorage::new()).options;
        let few = Retention { count: 5, age: Duration::from_secs(120) };
        (options.policy.completed, options.policy.dead, options.policy.cancelled) = (few, few, few);
        let mut beaver = StepEngine::with(SimStorage::new(), options, seed).unwrap();
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut held = Vec::new();
        for round in 0..6 {
            for _ in 0..80 {
                random_step(&mut beaver, &mut dice, &mut held);
            }
            let info = beaver.snapshot().unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
            let image = jobs_of(&beaver, info.header.last).unwrap();
            assert_eq!(image, beaver.image(), "seed {seed} round {round}");
            assert_eq!(info.jobs, image.len() as u64);
        }
        // And what boot makes of the last one, with the leases settled, is sound and complete.
        let ids: Vec<_> = beaver.image().into_iter().map(|job| job.id).collect();
        beaver.crash_keeping_only_synced_bytes();
        assert_eq!(beaver.image().into_iter().map(|job| job.id).collect::<Vec<_>>(), ids, "seed {seed}");
    }
}

#[test]
fn a_thousand_jobs_are_written_loaded_and_take_a_third_of_their_size() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let mut raw = 0;
    for number in 0..1_000 {
        let mut spec = StepEngine::spec("mail");
        let text = format!(
            r#"{{"to":"customer-{number}@example.org","template":"order-confirmation","locale":"de-DE","order":{{"id":{number},"items":[{{"sku":"A-{number}","quantity":2}}],"total":"{number}.90"}}}}"#
        );
        raw += text.len();
        spec.payload = Payload::parse(&text).unwrap();
        beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
    }
    let info = beaver.snapshot().unwrap();
    assert_eq!(info.jobs, 1_000);
    assert!(info.bytes < raw as u64 * 2 / 5, "{} bytes for {raw} bytes of payload alone", info.bytes);
    let image = beaver.image();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
    assert_eq!((beaver.recovery.snapshot_jobs, beaver.recovery.events), (1_000, 0));
}

#[test]
fn replay_skips_what_the_snapshot_has() {
    let mut beaver = StepEngine::on(SimStorage::new());
    beaver.enqueue("mail");
    beaver.enqueue("mail");
    beaver.snapshot().unwrap();
    beaver.enqueue("mail");
    beaver.sync();
    let image = beaver.image();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!((beaver.recovery.snapshot_jobs, beaver.recovery.events), (2, 1));
    assert_eq!(beaver.image(), image);
}

/// Two snapshots and a log that reaches back to the older one.
fn engine_with_two_snapshots() -> StepEngine {
    let mut beaver = StepEngine::on(SimStorage::new());
    for _ in 0..3 {
        let job = beaver.enqueue("mail");
        beaver.enqueue("mail");
        beaver.dispatch_and_ack(&job);
        let (job, token) = beaver.dispatch(0).unwrap();
        beaver.ack(&job, token).unwrap();
        beaver.snapshot().unwrap();
    }
    beaver.enqueue("mail");
    beaver.sync();
    beaver
}

type Accident = Box<dyn Fn(&mut Vec<u8>)>;

/// Row 27.
#[test]
fn whatever_happens_to_the_newest_snapshot_the_one_before_and_the_log_give_the_same_state() {
    let mut beaver = engine_with_two_snapshots();
    let [older, newest] = beaver.storage.paths(SNAPSHOTS).try_into().expect("two are kept");
    let image = beaver.image();
    let len = beaver.storage.bytes(&newest).len();
    let original = beaver.storage.fork();
    let mut accidents: Vec<Accident> = Vec::new();
    for bit in 0..len * 8 {
        // A flipped version is another error, which its own test is about.
        if !(8..12).contains(&(bit / 8)) {
            accidents.push(Box::new(move |bytes| bytes[bit / 8] ^= 1 << (bit % 8)));
        }
    }
    for cut in 0..len {
        accidents.push(Box::new(move |bytes| bytes.truncate(cut)));
    }
    accidents.push(Box::new(|bytes| bytes.push(0)));
    for (number, accident) in accidents.iter().enumerate() {
        beaver.storage = original.fork();
        beaver.storage.tamper(&newest, accident);
        beaver.boot().unwrap_or_else(|error| panic!("accident {number}: {error}"));
        assert_eq!(beaver.image(), image, "accident {number}");
        let left = beaver.storage.paths(SNAPSHOTS);
        assert_eq!(left, std::slice::from_ref(&older), "accident {number}: it was moved to quarantine");
        assert_eq!(beaver.storage.paths("/data/quarantine").len(), 1, "accident {number}");
    }
}

/// Row 27: one from the future is not believed.
#[test]
fn a_snapshot_that_was_renamed_is_not_used() {
    let mut beaver = engine_with_two_snapshots();
    let image = beaver.image();
    let [_, newest] = beaver.storage.paths(SNAPSHOTS).try_into().unwrap();
    let bytes = beaver.storage.bytes(&newest);
    beaver.storage.delete(&newest);
    beaver.storage.put(format!("{SNAPSHOTS}/00000000000000009999.snap"), bytes);
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
}

/// Row 28.
#[test]
fn without_any_whole_snapshot_a_complete_log_rebuilds_and_an_incomplete_one_is_refused() {
    let mut beaver = StepEngine::on(SimStorage::new());
    beaver.enqueue("mail");
    beaver.snapshot().unwrap();
    let image = beaver.image();
    let spoil = |beaver: &StepEngine| {
        for path in beaver.storage.paths(SNAPSHOTS) {
            beaver.storage.tamper(path, |bytes| bytes[30] ^= 1);
        }
    };
    spoil(&beaver);
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);

    let mut beaver = engine_with_two_snapshots();
    spoil(&beaver);
    let error = beaver.boot().unwrap_err();
    assert_eq!(error.cause, FailCause::Damaged);
    assert!(error.message.contains("event 1 is needed"), "{error}");
    assert_eq!(beaver.storage.paths(SNAPSHOTS).len(), 2, "nothing was moved");
}

#[test]
fn another_schema_version_is_refused_by_name_and_left_alone() {
    let mut beaver = engine_with_two_snapshots();
    let [_, newest] = beaver.storage.paths(SNAPSHOTS).try_into().unwrap();
    beaver.storage.tamper(&newest, |bytes| {
        bytes[8..12].copy_from_slice(&4_u32.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&crc);
    });
    let error = beaver.boot().unwrap_err();
    assert_eq!(error.cause, FailCause::Damaged);
    assert!(error.message.contains("schema version 4, but this beaver reads 1"), "{error}");
    assert_eq!(beaver.storage.paths(SNAPSHOTS).len(), 2);
}

#[test]
fn a_snapshot_of_another_store_is_refused() {
    let mut beaver = engine_with_two_snapshots();
    let mut options = beaver.options.clone();
    options.data_dir = "/data".into();
    let mut stranger = StepEngine::with(SimStorage::new(), options, 77).unwrap();
    for _ in 0..20 {
        stranger.enqueue("mail");
    }
    stranger.snapshot().unwrap();
    let path = stranger.storage.paths(SNAPSHOTS).remove(0);
    beaver.storage.put(&path, stranger.storage.bytes(&path));
    let error = beaver.boot().unwrap_err();
    assert_eq!(error.cause, FailCause::Damaged);
    assert!(error.message.contains("belongs to store"), "{error}");
}

#[test]
fn the_first_boot_finds_no_snapshot_and_says_so_by_type() {
    let beaver = StepEngine::on(SimStorage::new());
    assert!(!beaver.snapshots().exists().unwrap());
    let loaded = beaver.snapshots().load(|_, _, _| Ok(()));
    assert!(matches!(loaded, Err((SnapshotError::NotFound { .. }, _))));
}

/// Row 9: what a crash leaves of an unfinished snapshot is removed, and the log is still there.
#[test]
fn an_unfinished_snapshot_is_removed_at_boot_and_nothing_depends_on_it() {
    let mut beaver = engine_with_two_snapshots();
    let image = beaver.image();
    beaver.storage.put(format!("{SNAPSHOTS}/00000000000000000500.snap.partial"), vec![1; 100]);
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.storage.paths(SNAPSHOTS).len(), 2);
    assert_eq!(beaver.image(), image);
}

/// Row 17, for snapshots.
#[test]
fn a_snapshot_without_space_fails_alone_and_works_later() {
    let mut beaver = engine_with_two_snapshots();
    let mut dice = fastrand::Rng::with_seed(1);
    for _ in 0..8 {
        let mut spec = StepEngine::spec("mail");
        let noise: String = std::iter::repeat_with(|| dice.alphanumeric()).take(30 << 10).collect();
        spec.payload = Payload::from_value(&noise).unwrap();
        beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
    }
    beaver.storage.set_capacity(Some(beaver.storage.used() + (10 << 10)));
    assert!(matches!(beaver.snapshot(), Err(SnapshotError::Io { .. })));
    beaver.storage.set_capacity(None);
    beaver.enqueue("mail");
    beaver.snapshot().unwrap();
    let image = beaver.image();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
}

#[test]
fn an_error_of_the_disk_is_no_reason_to_give_a_snapshot_up() {
    let mut failed = 0;
    for call in [Call::Open, Call::Read, Call::Len] {
        for nth in 1..=30 {
            let mut beaver = StepEngine::on(SimStorage::new());
            beaver.options.snapshots_kept = 3;
            for _ in 0..3 {
                beaver.enqueue("mail");
                beaver.snapshot().unwrap();
            }
            beaver.enqueue("mail");
            let disk = beaver.storage.clone();
            let sealed = beaver.log().rotate(Timestamp(1)).unwrap();
            disk.fail_call_of(call, disk.calls_of(call) + nth, Fault::Eio);
            let _ = beaver.fold(sealed);
            failed += disk.failed_calls();
            assert!(disk.paths(SNAPSHOTS).len() >= 3, "the {nth}. {call:?} failed");
        }
    }
    assert!(failed > 20, "{failed}");
}

#[test]
fn snapshots_and_segments_go_when_nothing_needs_them_any_more() {
    let mut beaver = StepEngine::on(SimStorage::new());
    beaver.options.snapshots_kept = 3;
    for _ in 0..6 {
        beaver.enqueue("mail");
        beaver.snapshot().unwrap();
        beaver.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(beaver.storage.paths(SNAPSHOTS).len(), 3, "by count");
    beaver.options.snapshot_age_max = Duration::from_secs(1);
    beaver.enqueue("mail");
    beaver.snapshot().unwrap();
    assert_eq!(beaver.storage.paths(SNAPSHOTS).len(), 2, "by age, but never the two newest");
    let segments =
        beaver.storage.paths("/data/wal").into_iter().filter(|path| path.extension().unwrap() == "wal");
    assert_eq!(segments.count(), 2, "the one behind the older snapshot, and the open one");
    // The older one alone still gives everything.
    let image = beaver.image();
    let newest = beaver.storage.paths(SNAPSHOTS).pop().unwrap();
    beaver.storage.delete(newest);
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
    assert_eq!(beaver.table().counts().of(Status::Pending), 7);
}
