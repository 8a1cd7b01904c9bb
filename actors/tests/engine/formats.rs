//! Formats outlive code: data directories that earlier versions wrote open for ever. Format 1 is frozen.
//!
//! The fixtures are never made again. What this version writes for the same story is compared with them byte for byte: a
//! difference is a new format, which gets a version or a type of its own, a reader for the old one, and a fixture beside the
//! old one. `BEAVER_MAKE_FIXTURES=DIRECTORY cargo test -p beaver-actors --features testing formats` writes what it writes there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use beaver_actors::base::clock::Clock as _;
use beaver_actors::engine::FailCause;
use beaver_actors::ids::{Holder, JobId, Priority, QueueName, RemoteName, Seq, Timestamp};
use beaver_actors::internals::jobs::event::EventType;
use beaver_actors::internals::jobs::sections::totals::Totals;
use beaver_actors::internals::wal::codec::Decoder;
use beaver_actors::internals::wal::reader::{SegmentReader, events};
use beaver_actors::jobs::{
    Backoff, Command, Event, EventKind, Exhausted, Failure, FailureKind, JobSpec, JobView, Payload,
    PayloadRef, Start, Status,
};
use beaver_actors::testing::{SimStorage, StepEngine};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1").join(name)
}

fn id(name: &str, half: u32) -> JobId {
    format!("{name}-{half}").parse().unwrap()
}

fn queue(name: &str) -> QueueName {
    QueueName::parse(name).unwrap()
}

/// Makes the fixture that has every event, and jobs in every state, in a snapshot of two layers and in the log behind
/// it.
fn make() -> StepEngine {
    let mut options = StepEngine::on(SimStorage::new()).options;
    options.segment_bytes = 4 << 10;
    options.policy.cancelled.count = 1;
    options.layering.changes_from_bytes = 0;
    let mut beaver = StepEngine::with(SimStorage::new(), options, 42).unwrap();
    make_clock_steps(&mut beaver);
    for half in 0..2 {
        make_half(&mut beaver, half);
        if half == 0 {
            for number in 0..2 {
                let payload = Payload::from_value(&letter(number)).unwrap();
                let spec = JobSpec { id: Some(id("letter", number)), payload, ..StepEngine::spec("letter") };
                beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
                beaver.snapshot().unwrap();
            }
        }
    }
    beaver.sync();
    beaver
}

/// The clock was ahead, and doubted, and set back.
fn make_clock_steps(beaver: &mut StepEngine) {
    let right = beaver.clock.now();
    beaver.clock.set_wall(right.plus_ms(400 * 24 * 60 * 60 * 1_000));
    let expected = right;
    beaver.execute(Command::SetClock { expected, is_synchronised: false }).unwrap();
    beaver.execute(Command::TrustClock).unwrap();
    beaver.clock.set_wall(right);
    beaver.execute(Command::SetClock { expected, is_synchronised: true }).unwrap();
}

/// What is not kept in memory.
fn letter(number: u32) -> String {
    format!("number {number} of many letters that are longer than what is kept in memory. ").repeat(3)
}

fn make_half(beaver: &mut StepEngine, half: u32) {
    let plain = |name: &str| JobSpec { id: Some(id(name, half)), ..StepEngine::spec("mail") };
    let call = |name: &str| JobSpec { queue: queue("calls"), ..plain(name) };
    let first = Priority::new(9).unwrap();
    let do_it = |beaver: &mut StepEngine, command| beaver.execute(command).unwrap().expect("an event");
    let failure = |message| {
        let failure = Failure::new(FailureKind::Error, message).of_type("IOError");
        failure.with_backtrace(["work.rb:7".to_owned(), "run.rb:1".to_owned()])
    };
    for name in ["forgotten", "cancelled"] {
        do_it(beaver, Command::Enqueue(Box::new(plain(name))));
        do_it(beaver, Command::Cancel { job: id(name, half) });
        beaver.clock.advance(Duration::from_secs(1));
    }
    do_it(beaver, Command::Forget);
    // What a local worker does.
    for name in ["completed", "retrying", "dead", "dropped", "requeued", "postponed", "lost", "interrupted"] {
        let exhausted = if name == "dropped" { Exhausted::Drop } else { Exhausted::Dead };
        let max_retry = if name == "retrying" { Some(2) } else { Some(0) };
        let backoff = Backoff::Exponential { first_ms: 1_000_000, max_ms: 9_000_000, jitter_percent: 20 };
        let spec = JobSpec { exhausted, max_retry, backoff, ..plain(name) };
        do_it(beaver, Command::Enqueue(Box::new(spec)));
        let (job, token) = beaver.dispatch(1).unwrap();
        let result = Some(Payload::parse("[1]").unwrap());
        let command = match name {
            "completed" => Command::Ack { job, token, result },
            "requeued" => {
                Command::Requeue { job, token, failure: failure("gone"), counts: false, fences: false }
            }
            "postponed" => Command::Postpone { job, token, failure: failure("no descriptor is left") },
            "lost" => {
                Command::LosePayload { job, token: Some(token), failure: failure("the checksum is wrong") }
            }
            "interrupted" => Command::Extend { job, token, by_ms: 5 },
            _ => Command::Fail { job, token, failure: failure("no"), result },
        };
        do_it(beaver, command);
        if name == "postponed" {
            do_it(beaver, Command::Move { job: id(name, half), queue: queue("moved") });
        }
        if name == "requeued" {
            // Out of the way of the next one.
            do_it(beaver, Command::Move { job: id(name, half), queue: queue("moved") });
            if half == 0 {
                do_it(beaver, Command::SetPaused { queue: queue("moved"), paused: true });
            }
        }
    }
    if half == 1 {
        // Its attempt has a word to say when it has been cancelled already.
        do_it(beaver, Command::Enqueue(Box::new(plain("stopped"))));
        let (job, token) = beaver.dispatch(1).unwrap();
        do_it(beaver, Command::Cancel { job: job.clone() });
        let result = Payload::parse("[2]").unwrap();
        do_it(beaver, Command::Output { job, token, result });
        do_it(beaver, Command::SetPaused { queue: queue("calls"), paused: false });
    }
    // What a remote worker does.
    let timed_out = JobSpec { timeout: Some(Duration::from_secs(1)), priority: first, ..call("timed-out") };
    let timed_out = JobSpec { backoff: Backoff::Fixed { delay_ms: 9_000_000 }, ..timed_out };
    do_it(beaver, Command::Enqueue(Box::new(timed_out)));
    let (job, token) = beaver.reserve(&["calls"], "ada").unwrap().unwrap();
    let late = Failure::new(FailureKind::Timeout, "late").of_type("ReservationExpired");
    do_it(beaver, Command::Fail { job, token, failure: late, result: None });
    let custom = Some(Payload::parse(r#"{"locale":"fr"}"#).unwrap());
    let held = JobSpec { timeout: Some(Duration::from_secs(3_600)), priority: first, ..call("held") };
    let held = JobSpec { custom, backtrace_lines: 12, backoff: Backoff::Quartic, ..held };
    do_it(beaver, Command::Enqueue(Box::new(held)));
    beaver.reserve(&["calls"], "ada").unwrap().unwrap();
    let next = JobSpec { follows_running: true, payload: Payload::parse("[3]").unwrap(), ..call("held") };
    do_it(beaver, Command::Enqueue(Box::new(next)));
    do_it(beaver, Command::SpareLeases { away_ms: 60_000 });
    // What an operator does.
    let later = Start::After(Duration::from_secs(86_400));
    for name in ["killed", "hurried", "discarded", "scheduled", "promoted"] {
        let start = match name {
            "promoted" => Start::After(Duration::from_secs(1)),
            _ => later,
        };
        do_it(beaver, Command::Enqueue(Box::new(JobSpec { start, ..call(name) })));
    }
    do_it(beaver, Command::Kill { job: id("killed", half) });
    do_it(beaver, Command::RunNow { job: id("hurried", half) });
    do_it(beaver, Command::Discard { job: id("discarded", half) });
    beaver.clock.advance(Duration::from_secs(1));
    do_it(beaver, Command::Promote);
    if half == 0 {
        do_it(beaver, Command::Enqueue(Box::new(JobSpec { queue: queue("gone"), ..plain("elsewhere") })));
        do_it(beaver, Command::Discard { job: id("elsewhere", half) });
        do_it(beaver, Command::RemoveQueue { queue: queue("gone") });
        do_it(beaver, Command::SetPaused { queue: queue("calls"), paused: true });
    }
}

/// Makes the fixture that fuzzing begins with: its whole log, with a snapshot of one layer in the middle.
fn make_small() -> StepEngine {
    let mut options = StepEngine::on(SimStorage::new()).options;
    options.segment_bytes = 4 << 10;
    let mut beaver = StepEngine::with(SimStorage::new(), options, 42).unwrap();
    for half in 0..2 {
        for name in ["completed", "retrying", "dead", "cancelled", "scheduled", "pending"] {
            let mut spec = JobSpec { id: Some(id(name, half)), ..StepEngine::spec("mail") };
            match name {
                "dead" => spec.max_retry = Some(0),
                "scheduled" => spec.start = Start::After(Duration::from_secs(86_400)),
                _ => {}
            }
            beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
            match name {
                "completed" => beaver.dispatch_and_ack(&id(name, half)),
                "retrying" | "dead" => {
                    let (job, token) = beaver.dispatch(0).unwrap();
                    beaver.fail(&job, token).unwrap();
                }
                "cancelled" => drop(beaver.execute(Command::Cancel { job: id(name, half) }).unwrap()),
                "pending" => {
                    beaver.dispatch(3).unwrap();
                    beaver.enqueue("foreign");
                }
                _ => {}
            }
        }
        if half == 0 {
            beaver.snapshot().unwrap();
        }
    }
    beaver.sync();
    beaver
}

/// The files of a directory, by their names in it, without what is only room for more.
fn files_of(beaver: &StepEngine) -> BTreeMap<PathBuf, Vec<u8>> {
    let storage = &beaver.storage;
    let paths = storage.paths("/data").into_iter();
    let whole = paths.filter(|path| path.extension().is_none_or(|end| end != "partial"));
    whole
        .map(|path| {
            let mut bytes = storage.bytes(&path);
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
            (path.strip_prefix("/data").unwrap().to_owned(), bytes)
        })
        .collect()
}

#[test]
fn what_is_written_today_is_what_the_fixtures_have() {
    for (name, beaver) in [("all", make()), ("small", make_small())] {
        let written = files_of(&beaver);
        if let Some(dir) = std::env::var_os("BEAVER_MAKE_FIXTURES") {
            for (path, bytes) in &written {
                let to = Path::new(&dir).join(name).join(path);
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::write(to, bytes).unwrap();
            }
        }
        let disk = disk_of(name);
        let kept = disk.paths("/data").into_iter().map(|path| {
            let bytes = disk.bytes(&path);
            (path.strip_prefix("/data").unwrap().to_owned(), bytes)
        });
        let kept: BTreeMap<_, _> = kept.collect();
        assert_eq!(written.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>(), "{name}: names");
        for (path, bytes) in &written {
            let differs = bytes.iter().zip(&kept[path]).position(|(new, old)| new != old);
            let is_same = differs.is_none() && bytes.len() == kept[path].len();
            assert!(
                is_same,
                "{name}/{}: {} bytes and not {}, other ones from {differs:?} on: format 1 is frozen; a change needs a \
                 version or a type of its own, and a reader for what is there (see docs/formats.md)",
                path.display(),
                bytes.len(),
                kept[path].len()
            );
        }
    }
}

/// The directory of a fixture, on a disk.
pub(crate) fn disk_of(name: &str) -> SimStorage {
    let root = fixture(name);
    let storage = SimStorage::new();
    for dir in ["wal", "snapshots", "."] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap().flatten() {
            if entry.path().is_file() {
                let to = Path::new("/data").join(dir).join(entry.file_name());
                let to: PathBuf = to.components().filter(|part| part.as_os_str() != ".").collect();
                storage.put(to, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    storage
}

/// Events of every kind, as the fixture and its start have written them.
pub(crate) fn every_event() -> Vec<Event> {
    let started = StepEngine::on(SimStorage::new());
    let path = started.storage.paths("/data/wal").remove(0);
    let mut reader = SegmentReader::open(&started.storage, &path).unwrap();
    let mut found = Vec::new();
    while let Ok(batch) = reader.next_batch() {
        let mut decoder = Decoder::default();
        found.extend(events(&path, batch, &mut decoder).map(|event| event.unwrap().1));
    }
    let mut known = BTreeSet::new();
    let beaver = make();
    // Due only at every 256th event.
    let digest = EventKind::Digest { digest: 7 };
    found.push(Event { at: Timestamp(1), job_seq: Seq::ZERO, kind: digest });
    found.extend(beaver.history.into_iter().map(|(_, event)| event));
    // Two of a kind differ enough.
    found.retain(|event| {
        known.insert((event.kind.name(), known.iter().any(|(name, _)| *name == event.kind.name())))
    });
    found
}

#[test]
fn fuzzing_begins_with_events_of_every_kind() {
    let found: BTreeSet<_> = every_event().iter().map(|event| event.kind.name()).collect();
    let missing: Vec<_> =
        EventType::ALL.iter().map(|kind| kind.name()).filter(|name| !found.contains(name)).collect();
    assert!(missing.is_empty(), "no {missing:?}");
}

fn queues(beaver: &StepEngine) -> Vec<(String, bool)> {
    let queues = beaver.overview().queues.into_iter();
    queues.map(|queue| (queue.name.to_string(), queue.paused)).collect()
}

fn view(beaver: &StepEngine, name: &str, half: u32) -> JobView<PayloadRef> {
    beaver.table().view(&id(name, half)).unwrap_or_else(|| panic!("{name}-{half} is not there"))
}

/// What a directory gives that was made by [`make`].
fn assert_every_job_is_in_its_state(beaver: &StepEngine) {
    assert!(beaver.recovery.snapshot_jobs > 0 && beaver.recovery.events > 0);
    let expected = [
        ("completed", "default", Status::Completed, 0),
        ("retrying", "default", Status::Retrying, 1),
        ("dead", "default", Status::Dead, 1),
        ("requeued", "moved", Status::Pending, 0),
        ("postponed", "moved", Status::Pending, 0),
        ("lost", "default", Status::Dead, 1),
        ("interrupted", "default", Status::Dead, 1),
        ("timed-out", "calls", Status::Retrying, 1),
        ("held", "calls", Status::InFlight, 0),
        ("killed", "calls", Status::Dead, 0),
        ("hurried", "calls", Status::Pending, 0),
        ("scheduled", "calls", Status::Scheduled, 0),
        ("promoted", "calls", Status::Pending, 0),
    ];
    for half in 0..2 {
        for (name, queue, status, failed) in expected {
            let view = view(beaver, name, half);
            let found = (view.queue.as_str(), view.status, view.failed);
            assert_eq!(found, (queue, status, failed), "{name}-{half}");
        }
        for name in ["forgotten", "discarded", "elsewhere"] {
            assert_eq!(beaver.status_of(&id(name, half)), None, "{name}-{half}");
        }
        let held = view(beaver, "held", half);
        assert!(held.is_followed);
        assert_eq!(held.worker, Some(Holder::Remote(RemoteName::parse("ada").unwrap())));
        assert_eq!((held.backoff, held.backtrace_lines), (Backoff::Quartic, 12));
        assert_eq!(held.custom.unwrap().as_str(), r#"{"locale":"fr"}"#);
        let retrying = view(beaver, "retrying", half);
        assert_eq!(
            retrying.backoff,
            Backoff::Exponential { first_ms: 1_000_000, max_ms: 9_000_000, jitter_percent: 20 }
        );
        let counted =
            |name| view(beaver, name, half).errors.iter().map(|error| error.counted).collect::<Vec<_>>();
        assert_eq!([counted("requeued"), counted("postponed"), counted("lost")], [[false], [false], [true]]);
        let error = &retrying.errors[0];
        assert_eq!((&*error.failure.errtype, error.failure.backtrace.len()), ("IOError", 2));
        assert_eq!(error.next_at, retrying.run_at);
    }
    // One cancelled job was kept at a time.
    assert_eq!([0, 1].map(|half| beaver.status_of(&id("cancelled", half))), [None, Some(Status::Cancelled)]);
    let dropped = view(beaver, "dropped", 1);
    assert_eq!((dropped.status, dropped.exhausted), (Status::Cancelled, Exhausted::Drop));
    let expected = [("calls", false), ("default", false), ("moved", true)];
    assert_eq!(queues(beaver), expected.map(|(name, paused)| (name.to_owned(), paused)));
    // Boot itself has ended the two local leases, as dead: their jobs had no retry.
    assert_eq!(beaver.recovery.interrupted, 2);
    assert_eq!(beaver.overview().totals, Totals { processed: 14, failed: 12 });
}

#[test]
fn the_fixture_opens_with_every_job_in_its_state() {
    let disk = disk_of("all");
    let mut beaver = StepEngine::on(disk.clone());
    assert_every_job_is_in_its_state(&beaver);
    for number in 0..2 {
        let of_letter = beaver.image().into_iter().find(|job| job.id == id("letter", number)).unwrap();
        let payload = of_letter.content.payload.here().unwrap();
        assert_eq!(payload.read::<String>().unwrap(), letter(number));
    }
    let layers = disk.paths("/data/snapshots");
    let is_upon = |path: &&PathBuf| path.to_string_lossy().contains('-');
    assert_eq!((layers.len(), layers.iter().filter(is_upon).count()), (2, 1), "{layers:?}");
    // And so does what today's version makes of it.
    let image = beaver.image();
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
}

#[test]
fn the_small_fixture_opens_the_same_from_its_snapshot_and_from_its_log_alone() {
    let beaver = StepEngine::on(disk_of("small"));
    assert!(beaver.recovery.snapshot_jobs > 0 && beaver.recovery.events > 0);
    let expected = [
        ("completed", Status::Completed, 0),
        ("retrying", Status::Retrying, 1),
        ("dead", Status::Dead, 1),
        ("cancelled", Status::Cancelled, 0),
        ("scheduled", Status::Scheduled, 0),
        ("pending", Status::Pending, 1),
    ];
    for half in 0..2 {
        for (name, status, failed) in expected {
            let view = view(&beaver, name, half);
            assert_eq!((view.status, view.failed), (status, failed), "{name}-{half}");
        }
    }
    assert_eq!(beaver.table().counts().total(), 14);
    // The log alone, which has every event, gives the same.
    let disk = disk_of("small");
    disk.paths("/data/snapshots").into_iter().for_each(|path| disk.delete(path));
    let replayed = StepEngine::on(disk);
    assert!(replayed.recovery.snapshot_jobs == 0 && replayed.recovery.events > beaver.recovery.events);
    assert_eq!((replayed.image(), replayed.overview()), (beaver.image(), beaver.overview()));
}

/// Row 30: what another version wrote is left alone.
#[test]
fn a_snapshot_of_another_schema_version_is_refused_in_words_and_the_directory_untouched() {
    for version in [0_u32, 2, u32::MAX] {
        let disk = disk_of("small");
        let snapshot = disk.paths("/data/snapshots").remove(0);
        disk.tamper(&snapshot, |bytes| {
            bytes[8..12].copy_from_slice(&version.to_le_bytes());
            let crc = crc32fast::hash(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        });
        assert_refused_untouched(&disk, &format!("schema version {version}, but this beaver reads"));
    }
}

/// Row 30.
#[test]
fn a_log_of_another_format_version_is_refused_in_words_and_the_directory_untouched() {
    for version in [0_u32, 2, u32::MAX] {
        let disk = disk_of("small");
        for segment in disk.paths("/data/wal") {
            disk.tamper(&segment, |bytes| {
                bytes[8..12].copy_from_slice(&version.to_le_bytes());
                let crc = crc32fast::hash(&bytes[..124]);
                bytes[124..128].copy_from_slice(&crc.to_le_bytes());
            });
        }
        assert_refused_untouched(
            &disk,
            &format!("format version {version}, but this beaver reads those up to 1"),
        );
    }
}

/// Row 30: what was written before the first release has another magic.
#[test]
fn files_from_before_the_first_release_are_refused_in_words_and_the_directory_untouched() {
    let disk = disk_of("small");
    for segment in disk.paths("/data/wal") {
        disk.tamper(&segment, |bytes| bytes[..8].copy_from_slice(b"BVRWAL\r\n"));
    }
    assert_refused_untouched(&disk, "from before the first release");
    let disk = disk_of("small");
    let snapshot = disk.paths("/data/snapshots").remove(0);
    disk.tamper(&snapshot, |bytes| bytes[..8].copy_from_slice(b"BVRSNAP\n"));
    assert_refused_untouched(&disk, "from before the first release");
}

fn assert_refused_untouched(disk: &SimStorage, words: &str) {
    let files = || disk.paths("/data").into_iter().map(|path| (disk.bytes(&path), path)).collect::<Vec<_>>();
    let (before, options) = (files(), StepEngine::on(SimStorage::new()).options);
    let error = StepEngine::with(disk.clone(), options, 1).err().expect("it is not for this beaver");
    assert_eq!(error.cause, FailCause::Damaged, "{error}");
    let says = |words: &str| error.message.contains(words);
    assert!(says(words), "{error}");
    assert!(before == files(), "it was changed");
}
