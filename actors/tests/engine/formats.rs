//! Formats outlive code: data directories that earlier versions wrote must open for ever.
//!
//! A fixture is made once, by `BEAVER_MAKE_FIXTURES=1 cargo test -p beaver-actors formats`, and never again:
//! a version that writes something else gets a fixture of its own beside the old one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use beaver_actors::ids::{Holder, JobId, Priority, QueueName, RemoteName};
use beaver_actors::jobs::sections::queues::Totals;
use beaver_actors::jobs::{
    Backoff, Command, Exhausted, Failure, FailureKind, JobSpec, JobView, Payload, PayloadRef, Start, Status,
};
use beaver_actors::testing::{SimStorage, StepEngine};

fn fixture(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version)
}

fn id(name: &str, half: u32) -> JobId {
    format!("{name}-{half}").parse().unwrap()
}

fn queue(name: &str) -> QueueName {
    QueueName::parse(name).unwrap()
}

/// Makes the fixture of today's version: every event, and jobs in every state, in a snapshot of two layers and in the
/// log behind it.
fn make() -> StepEngine {
    let mut options = StepEngine::on(SimStorage::new()).options;
    options.segment_bytes = 4 << 10;
    options.policy.cancelled.count = 1;
    options.layering.changes_from_bytes = 0;
    let mut beaver = StepEngine::with(SimStorage::new(), options, 42).unwrap();
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
    for name in ["completed", "retrying", "dead", "dropped", "requeued", "interrupted"] {
        let exhausted = if name == "dropped" { Exhausted::Drop } else { Exhausted::Dead };
        let max_retry = if name == "retrying" { Some(2) } else { Some(0) };
        let backoff = Backoff::Exponential { first_ms: 1_000_000, max_ms: 9_000_000, jitter_percent: 20 };
        let spec = JobSpec { exhausted, max_retry, backoff, ..plain(name) };
        do_it(beaver, Command::Enqueue(Box::new(spec)));
        let (job, token) = beaver.dispatch(1).unwrap();
        let result = Some(Payload::parse("[1]").unwrap());
        let command = match name {
            "completed" => Command::Ack { job, token, result },
            "requeued" => Command::Requeue { job, token, failure: failure("gone"), counts: false },
            "interrupted" => Command::Extend { job, token, by_ms: 5 },
            _ => Command::Fail { job, token, failure: failure("no"), result },
        };
        do_it(beaver, command);
        if name == "requeued" {
            // Out of the way of the next one.
            do_it(beaver, Command::Move { job: id(name, half), queue: queue("moved") });
            if half == 0 {
                do_it(beaver, Command::Pause { queue: queue("moved") });
            }
        }
    }
    if half == 1 {
        do_it(beaver, Command::Resume { queue: queue("calls") });
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
        do_it(beaver, Command::Pause { queue: queue("calls") });
    }
}

/// The directory of a fixture, on a disk; made before, if it is not there and somebody asks for it.
fn disk_of(version: &str) -> SimStorage {
    let root = fixture(version);
    if std::env::var_os("BEAVER_MAKE_FIXTURES").is_some() && !root.exists() {
        let beaver = make();
        for path in beaver.storage.paths("/data") {
            if path.extension().is_some_and(|end| end == "partial") {
                continue;
            }
            let to = root.join(path.strip_prefix("/data").unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            let mut bytes = beaver.storage.bytes(&path);
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
            std::fs::write(to, bytes).unwrap();
        }
    }
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

fn queues(beaver: &StepEngine) -> Vec<(String, bool)> {
    let queues = beaver.overview().queues.into_iter();
    queues.map(|queue| (queue.name.to_string(), queue.paused)).collect()
}

fn view(beaver: &StepEngine, name: &str, half: u32) -> JobView<PayloadRef> {
    beaver.table().view(&id(name, half)).unwrap_or_else(|| panic!("{name}-{half} is not there"))
}

#[test]
fn a_data_directory_of_version_1_opens_with_every_job_in_its_state() {
    let mut beaver = StepEngine::on(disk_of("v1"));
    assert!(beaver.recovery.snapshot_jobs > 0 && beaver.recovery.events > 0);
    let expected = [
        ("completed", Status::Completed, 0),
        ("retrying", Status::Retrying, 1),
        ("dead", Status::Dead, 1),
        ("cancelled", Status::Cancelled, 0),
        ("scheduled", Status::Scheduled, 0),
        ("pending", Status::Pending, 1),
    ];
    let check = |beaver: &StepEngine| {
        for half in 0..2 {
            for (name, status, failed) in expected {
                let view = view(beaver, name, half);
                assert_eq!((view.status, view.failed), (status, failed), "{name}-{half}");
                assert_eq!((view.backoff, view.exhausted), (Backoff::Server, Exhausted::Dead));
            }
        }
        assert_eq!(beaver.table().counts().total(), 14);
        assert_eq!(queues(beaver), [("default".to_owned(), false)], "it exists, as it has jobs");
    };
    check(&beaver);
    // The same when today's version has written it: what it worked out is kept.
    let image = beaver.image();
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.recovery.events, 0);
    assert_eq!(beaver.image(), image);
    check(&beaver);
}

/// What a directory gives that was made by [`make`], or by what that was in version 2.
fn assert_every_job_is_in_its_state(beaver: &StepEngine) {
    assert!(beaver.recovery.snapshot_jobs > 0 && beaver.recovery.events > 0);
    let expected = [
        ("completed", "default", Status::Completed, 0),
        ("retrying", "default", Status::Retrying, 1),
        ("dead", "default", Status::Dead, 1),
        ("requeued", "moved", Status::Pending, 0),
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
        assert_eq!(held.worker, Some(Holder::Remote(RemoteName::parse("ada").unwrap())));
        assert_eq!((held.backoff, held.backtrace_lines), (Backoff::Quartic, 12));
        assert_eq!(held.custom.unwrap().as_str(), r#"{"locale":"fr"}"#);
        let retrying = view(beaver, "retrying", half);
        assert_eq!(
            retrying.backoff,
            Backoff::Exponential { first_ms: 1_000_000, max_ms: 9_000_000, jitter_percent: 20 }
        );
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
    assert_eq!(beaver.overview().totals, Totals { processed: 12, failed: 10 });
}

#[test]
fn a_data_directory_of_version_2_opens_with_every_job_and_queue_in_its_state() {
    let mut beaver = StepEngine::on(disk_of("v2"));
    assert_every_job_is_in_its_state(&beaver);
    // The log alone, which has every event, gives the same.
    let disk = disk_of("v2");
    disk.paths("/data/snapshots").into_iter().for_each(|path| disk.delete(path));
    let replayed = StepEngine::on(disk);
    assert!(replayed.recovery.snapshot_jobs == 0 && replayed.recovery.events > beaver.recovery.events);
    assert_eq!((replayed.image(), replayed.overview()), (beaver.image(), beaver.overview()));
    // And so does what today's version makes of it.
    let image = beaver.image();
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
}

#[test]
fn a_data_directory_of_version_3_opens_with_layers_and_payloads_apart() {
    let disk = disk_of("v3");
    let beaver = StepEngine::on(disk.clone());
    assert_every_job_is_in_its_state(&beaver);
    for number in 0..2 {
        let of_letter = beaver.image().into_iter().find(|job| job.id == id("letter", number)).unwrap();
        let payload = of_letter.payload.here().unwrap();
        assert_eq!(payload.read::<String>().unwrap(), letter(number));
    }
    let layers = disk.paths("/data/snapshots");
    let is_upon = |path: &&PathBuf| path.to_string_lossy().contains('-');
    assert_eq!((layers.len(), layers.iter().filter(is_upon).count()), (2, 1), "{layers:?}");
}
