//! Snapshots as layers: only what changed is written, layers are put together, damage to one costs what the table in
//! `snapshot` says, and payloads are read from the layer that has them.

use std::path::PathBuf;
use std::time::Duration;

use beaver_actors::api::handler::Handlers;
use beaver_actors::api::options::Layering;
use beaver_actors::engine::{Ending, FailCause};
use beaver_actors::ids::Seq;
use beaver_actors::internals::snapshot::SnapshotError;
use beaver_actors::internals::snapshot::chain::LayerName;
use beaver_actors::jobs::{Command, Payload, Retention};
use beaver_actors::testing::{Call, SimStorage, StepEngine};

use super::harness::{enqueue, job, on_system, options, ready, until};
use super::snapshot::{jobs_of, random_step};

const SNAPSHOTS: &str = "/data/snapshots";

/// Every snapshot but the first tells only of changes.
fn layering() -> Layering {
    Layering {
        changes_from_bytes: 0,
        log_bytes: 64 << 10,
        layers_max: 3,
        checked_whole_bytes: 0,
        ..Layering::default()
    }
}

fn engine(layering: Layering) -> StepEngine {
    let mut options = StepEngine::on(SimStorage::new()).options;
    options.layering = layering;
    StepEngine::with(SimStorage::new(), options, 1).unwrap()
}

/// Accepts a job whose payload is not kept in memory after a restart.
fn add(beaver: &mut StepEngine, number: usize) {
    let mut spec = StepEngine::spec("mail");
    let text = format!(
        r#"{{"to":"customer-{number}@example.org","template":"order-confirmation","locale":"de-DE","order":{{"id":{number},"items":[{{"sku":"A-{number}","quantity":2}}],"total":"{number}.90"}}}}"#
    );
    spec.payload = Payload::parse(&text).unwrap();
    beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
}

/// Accepts a job whose payload hardly compresses: letters and digits to three quarters, like base64; all of ASCII that
/// can be seen, which is the densest of it, to five sixths.
fn add_noise(beaver: &mut StepEngine, bytes: usize, is_dense: bool, dice: &mut fastrand::Rng) {
    let text: String = std::iter::repeat_with(|| match is_dense {
        true => Some(dice.char(' '..='~')).filter(|letter| !['"', '\\'].contains(letter)).unwrap_or('x'),
        false => dice.alphanumeric(),
    })
    .take(bytes)
    .collect();
    let mut spec = StepEngine::spec("mail");
    spec.payload = Payload::from_value(&text).unwrap();
    beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
}

/// An engine whose jobs are replaced again and again, and how many bytes two segments of its log have.
fn churning() -> (StepEngine, u64) {
    let mut options = StepEngine::on(SimStorage::new()).options;
    options.layering = Layering { changes_from_bytes: 16 << 10, ..layering() };
    options.policy.completed = Retention { count: 0, age: Duration::ZERO };
    options.segment_bytes = 64 << 10;
    let segments = 2 * options.segment_bytes;
    (StepEngine::with(SimStorage::new(), options, 1).unwrap(), segments)
}

/// The same with 2,000 jobs that hardly compress, and the dice that their payloads come from.
fn churning_noise(is_dense: bool) -> (StepEngine, u64, fastrand::Rng) {
    let (mut beaver, segments) = churning();
    let mut dice = fastrand::Rng::with_seed(1);
    (0..2_000).for_each(|_| add_noise(&mut beaver, 1_000, is_dense, &mut dice));
    (beaver, segments, dice)
}

/// How many times as much as what is alive the disk holds beside two segments, which is twice at most.
#[track_caller]
fn by_what_is_alive(beaver: &StepEngine, used: u64, segments: u64) -> f64 {
    let live: u64 =
        beaver.table().records().iter().map(|job| job.content.payload.text_len() as u64 + 100).sum();
    assert!(used <= 2 * live + segments, "{used} bytes for {live} alive");
    used.saturating_sub(segments) as f64 / live as f64
}

fn finish_one(beaver: &mut StepEngine) {
    let (job, token) = beaver.dispatch(0).expect("a job is ready");
    beaver.ack(&job, token).unwrap();
}

fn layers(beaver: &StepEngine) -> Vec<LayerName> {
    let mut names = beaver.snapshots().list().unwrap();
    names.reverse();
    names
}

fn assert_holds_everything(beaver: &StepEngine, last: Seq, context: &str) {
    assert_eq!(jobs_of(beaver, last).unwrap(), beaver.image(), "{context}");
}

#[test]
fn a_chain_of_layers_gives_exactly_what_the_table_holds() {
    for seed in 0..40 {
        let mut options = StepEngine::on(SimStorage::new()).options;
        let few = Retention { count: 5, age: Duration::from_secs(120) };
        (options.policy.completed, options.policy.dead, options.policy.cancelled) = (few, few, few);
        options.layering = layering();
        options.layering.log_bytes = 8 << 10;
        let mut beaver = StepEngine::with(SimStorage::new(), options, seed).unwrap();
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut held = Vec::new();
        for round in 0..10 {
            for _ in 0..50 {
                random_step(&mut beaver, &mut dice, &mut held);
            }
            let info = beaver.snapshot().unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
            assert_holds_everything(&beaver, info.header.last, &format!("seed {seed} round {round}"));
            assert_eq!(info.jobs, beaver.image().len() as u64, "seed {seed} round {round}");
            if dice.bool() {
                held.clear();
                let before: Vec<_> =
                    beaver.image().into_iter().map(|job| (job.id, job.content.payload)).collect();
                beaver.crash_keeping_only_synced_bytes();
                let after: Vec<_> =
                    beaver.image().into_iter().map(|job| (job.id, job.content.payload)).collect();
                assert_eq!(after, before, "seed {seed} round {round}");
            }
        }
    }
}

#[test]
fn only_what_changed_is_written() {
    let mut beaver = engine(layering());
    for number in 0..2_000 {
        add(&mut beaver, number);
    }
    // The log is longer than what goes into one layer.
    beaver.snapshot().unwrap();
    beaver.crash_keeping_only_synced_bytes();
    let before: Vec<_> = layers(&beaver);
    let files = |names: &[LayerName]| -> Vec<_> {
        names.iter().map(|name| beaver.storage.bytes(beaver.snapshots().path_of(*name))).collect()
    };
    let bytes = files(&before);
    finish_one(&mut beaver);
    add(&mut beaver, 9_999);
    let info = beaver.snapshot().unwrap();
    let newest = LayerName { last: info.header.last, parent: before.last().unwrap().last };
    assert_eq!(layers(&beaver).last(), Some(&newest));
    let written = beaver.storage.bytes(beaver.snapshots().path_of(newest)).len();
    assert!(written < 1_000, "{written} bytes for one job more and one that ended");
    let files = |names: &[LayerName]| -> Vec<_> {
        names.iter().map(|name| beaver.storage.bytes(beaver.snapshots().path_of(*name))).collect()
    };
    assert!(files(&before) == bytes, "what was there is as it was");
    assert_holds_everything(&beaver, info.header.last, "two changes");
}

#[test]
fn layers_that_are_put_together_give_the_same_and_hold_nothing_of_jobs_that_are_gone() {
    // A small state keeps the layers that it was made of until the next one is made.
    let mut beaver = engine(Layering { checked_whole_bytes: u64::MAX, ..layering() });
    beaver.options.policy.completed = Retention { count: 0, age: Duration::ZERO };
    beaver.boot().unwrap();
    for number in 0..600 {
        add(&mut beaver, number);
    }
    beaver.snapshot().unwrap();
    let size = |beaver: &StepEngine| -> usize {
        beaver.storage.paths(SNAPSHOTS).iter().map(|path| beaver.storage.bytes(path).len()).sum()
    };
    let full = size(&beaver);
    for _ in 0..12 {
        for _ in 0..45 {
            finish_one(&mut beaver);
        }
        beaver.advance(Duration::from_secs(1));
        let info = beaver.snapshot().unwrap();
        assert_holds_everything(&beaver, info.header.last, "in between");
        assert!(layers(&beaver).len() <= 2 * (layering().layers_max + 2), "{:?}", layers(&beaver));
    }
    // Put together as often as it takes to forget the first one.
    for number in 0..3 {
        add(&mut beaver, number);
        beaver.snapshot().unwrap();
    }
    let fulls = layers(&beaver).into_iter().filter(|name| name.is_full()).count();
    assert_eq!(fulls, 2, "the newest one and the one to fall back to: {:?}", layers(&beaver));
    assert!(size(&beaver) < full, "{} bytes are left of {full}, with 63 jobs of 600", size(&beaver));
    let image = beaver.image();
    assert_eq!(image.len(), 63);
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
}

/// A state of three layers, and log that reaches back to the second.
fn engine_with_layers() -> (StepEngine, [PathBuf; 3]) {
    let mut beaver = engine(Layering { log_bytes: 1 << 20, ..layering() });
    for number in 0..300 {
        add(&mut beaver, number);
    }
    for number in 0..3 {
        for _ in 0..2 {
            finish_one(&mut beaver);
            add(&mut beaver, 1_000 + number);
        }
        beaver.snapshot().unwrap();
    }
    add(&mut beaver, 2_000);
    beaver.sync();
    let paths = beaver.storage.paths(SNAPSHOTS).try_into().expect("three layers");
    (beaver, paths)
}

/// Where the pages of payloads of a layer are.
fn payload_bytes(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = 64;
    while let Some(magic) = bytes.get(at..at + 4).filter(|magic| magic.starts_with(b"BV") && magic[3] == b'1')
    {
        if magic == b"BVT1" {
            break;
        }
        let len = 24 + u32::from_le_bytes(bytes[at + 12..at + 16].try_into().unwrap()) as usize;
        if magic == b"BVP1" {
            found.push(at..at + len);
        }
        at += len;
    }
    found
}

#[test]
fn damage_to_the_newest_layer_costs_nothing_and_to_one_below_is_refused_by_name() {
    let (mut beaver, paths) = engine_with_layers();
    let image = beaver.image();
    let original = beaver.storage.fork();
    for (nth, path) in paths.iter().enumerate() {
        let bytes = original.bytes(path);
        let payloads = payload_bytes(&bytes);
        assert!(!payloads.is_empty(), "every layer has payloads");
        for at in (0..bytes.len()).step_by(if nth == 0 { 37 } else { 7 }) {
            let is_version = (8..12).contains(&at);
            if is_version || payloads.iter().any(|range| range.contains(&at)) {
                continue;
            }
            let context = format!("layer {nth} byte {at}");
            beaver.storage = original.fork();
            beaver.storage.tamper(path, |bytes| bytes[at] ^= 1);
            match beaver.boot() {
                Ok(()) => {
                    assert_eq!(nth, 2, "{context}");
                    assert_eq!(beaver.image(), image, "{context}");
                    assert_eq!(beaver.storage.paths("/data/quarantine").len(), 1, "{context}");
                }
                Err(error) => {
                    assert!(nth < 2, "{context}: {error}");
                    assert_eq!(error.cause, FailCause::Damaged, "{context}");
                    assert!(error.message.contains(&path.display().to_string()), "{context}: {error}");
                    assert!(error.message.contains("is needed"), "{context}: {error}");
                    assert_eq!(beaver.storage.paths(SNAPSHOTS), paths, "{context}: nothing was moved");
                }
            }
        }
    }
}

#[test]
fn a_layer_that_is_missing_is_missed_by_name() {
    let (mut beaver, [_, middle, newest]) = engine_with_layers();
    beaver.storage.delete(&middle);
    let error = beaver.boot().unwrap_err();
    assert_eq!(error.cause, FailCause::Damaged);
    let said = error.message.contains(&newest.display().to_string())
        && error.message.contains("the layers before it");
    assert!(said, "{error}");
}

#[test]
fn a_damaged_page_of_payloads_costs_its_jobs_and_says_which_file() {
    let (mut beaver, paths) = engine_with_layers();
    let image = beaver.image();
    let pages = payload_bytes(&beaver.storage.bytes(&paths[0]));
    beaver.storage.tamper(&paths[0], |bytes| bytes[pages[0].start + 40] ^= 1);
    // Nobody looks at payloads to start.
    beaver.boot().unwrap();
    let readable = |number: Seq| beaver.payload_of(number);
    let mut lost = 0;
    for job in image {
        match readable(job.enqueued_seq) {
            Ok(payload) => assert_eq!(Some(&payload), job.content.payload.here()),
            Err(error) => {
                lost += 1;
                assert!(error.to_string().contains(&paths[0].display().to_string()), "{error}");
            }
        }
    }
    assert!(lost > 100, "{lost} payloads are on that page");
}

#[test]
fn a_damaged_page_of_payloads_is_found_to_start_wherever_it_is_in_a_layer_that_is_checked_whole() {
    let whole = Layering { log_bytes: 64 << 20, checked_whole_bytes: 64 << 20, ..layering() };
    let mut beaver = engine(whole);
    for number in 0..120 {
        let mut spec = StepEngine::spec("mail");
        spec.payload = Payload::from_value(&number.to_string().repeat(15_000)).unwrap();
        beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
    }
    beaver.snapshot().unwrap();
    let (image, path) = (beaver.image(), beaver.snapshots().path_of(layers(&beaver)[0]));
    let original = beaver.storage.fork();
    let pages = payload_bytes(&original.bytes(&path));
    assert!(pages.len() > 32, "{} pages are checked by two threads", pages.len());
    for page in &pages {
        beaver.storage = original.fork();
        beaver.storage.tamper(&path, |bytes| bytes[page.end - 1] ^= 1);
        beaver.boot().unwrap();
        assert_eq!(beaver.storage.paths("/data/quarantine").len(), 1, "byte {}", page.end - 1);
        assert!(beaver.image() == image, "the log holds them too");
    }
}

#[test]
fn damage_to_what_was_put_together_leaves_the_layers_that_it_was_made_of() {
    let mut beaver = engine(Layering { log_bytes: 1 << 20, ..layering() });
    for number in 0..100 {
        add(&mut beaver, number);
    }
    beaver.snapshot().unwrap();
    for number in 0..100 {
        add(&mut beaver, number);
    }
    // It outweighs half of the first.
    let info = beaver.snapshot().unwrap();
    add(&mut beaver, 1);
    beaver.sync();
    let image = beaver.image();
    let full = LayerName::full(info.header.last);
    assert_eq!(layers(&beaver).len(), 3, "{:?}", layers(&beaver));
    assert!(layers(&beaver).contains(&full));
    let store = beaver.snapshots();
    let layer = store.open(full).unwrap();
    assert_eq!((layer.jobs_total(), layer.gone_total()), (200, 0));
    beaver.storage.tamper(store.path_of(full), |bytes| bytes[100] ^= 1);
    let lengths = payload_bytes(&beaver.storage.bytes(store.path_of(full)));
    let is_payload = lengths.iter().any(|range| range.contains(&100));
    if is_payload {
        beaver.storage.tamper(store.path_of(full), |bytes| bytes[20] ^= 1);
    }
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
    assert_eq!(beaver.storage.paths("/data/quarantine").len(), 1);
}

/// Jobs come and go: what is on disk is bounded by what is alive.
#[test]
fn disk_stays_within_twice_the_live_data_and_two_segments() {
    let (mut beaver, segments) = churning();
    for number in 0..1_000 {
        add(&mut beaver, number);
    }
    let mut most = 0.0_f64;
    for round in 0..60 {
        for number in 0..100 {
            add(&mut beaver, round * 100 + number);
            finish_one(&mut beaver);
        }
        beaver.advance(Duration::from_secs(1));
        beaver.snapshot().unwrap();
        let files = [SNAPSHOTS, "/data/wal"].into_iter().flat_map(|dir| beaver.storage.paths(dir));
        let used = files.map(|path| beaver.storage.bytes(path).len() as u64).sum();
        most = most.max(by_what_is_alive(&beaver, used, segments));
    }
    assert!(most > 0.1, "this test looks at what it means to: {most}");
}

#[test]
fn a_layer_whose_header_is_damaged_counts_with_its_bytes_on_the_disk() {
    let (mut beaver, _) = churning();
    beaver.options.layering.log_bytes = 1 << 20;
    let mut dice = fastrand::Rng::with_seed(1);
    (0..200).for_each(|_| add_noise(&mut beaver, 1_000, false, &mut dice));
    beaver.snapshot().unwrap();
    let oldest = layers(&beaver)[0];
    (0..150).for_each(|_| finish_one(&mut beaver));
    beaver.advance(Duration::from_secs(1));
    beaver.snapshot().unwrap();
    assert!(layers(&beaver).contains(&oldest), "all became a new layer, and this is what it falls back to");
    beaver.storage.tamper(beaver.snapshots().path_of(oldest), |bytes| bytes[20] ^= 1);
    add_noise(&mut beaver, 10, false, &mut dice);
    beaver.snapshot().unwrap();
    assert!(!layers(&beaver).contains(&oldest), "it is most of what the disk holds: {:?}", layers(&beaver));
}

#[test]
fn layers_that_cannot_be_put_together_for_lack_of_space_stay_and_leave_no_piece_of_a_new_one() {
    let mut beaver = engine(Layering { log_bytes: 1 << 20, ..layering() });
    let mut dice = fastrand::Rng::with_seed(1);
    (0..100).for_each(|_| add_noise(&mut beaver, 1_000, false, &mut dice));
    beaver.snapshot().unwrap();
    (0..100).for_each(|_| add_noise(&mut beaver, 1_000, false, &mut dice));
    beaver.sync();
    // Enough for what changed, which is as much as there was, but not for both together beside that.
    beaver.storage.set_capacity(Some(beaver.storage.used() + (140 << 10)));
    assert!(matches!(beaver.snapshot(), Err(SnapshotError::Io { .. })));
    assert_eq!(layers(&beaver).len(), 2, "{:?}", layers(&beaver));
    assert_eq!(beaver.storage.paths(SNAPSHOTS).len(), 2);
    beaver.storage.set_capacity(None);
    add(&mut beaver, 1);
    let info = beaver.snapshot().unwrap();
    assert!(layers(&beaver).contains(&LayerName::full(info.header.last)), "{:?}", layers(&beaver));
    assert_holds_everything(&beaver, info.header.last, "with space");
}

#[test]
fn a_layer_is_made_durable_while_it_grows() {
    let mut beaver = engine(layering());
    let mut dice = fastrand::Rng::with_seed(1);
    (0..64).for_each(|_| add_noise(&mut beaver, 128 << 10, false, &mut dice));
    let before = beaver.storage.calls_of(Call::Sync);
    let info = beaver.snapshot().unwrap();
    let syncs = beaver.storage.calls_of(Call::Sync) - before;
    assert!(info.bytes > 5 << 20, "{} bytes", info.bytes);
    // The log and a small layer take few of them.
    finish_one(&mut beaver);
    let before = beaver.storage.calls_of(Call::Sync);
    beaver.snapshot().unwrap();
    let few = beaver.storage.calls_of(Call::Sync) - before;
    let pieces = info.bytes >> 21;
    assert!(syncs >= few + pieces, "{syncs} syncs for {} bytes, {few} without them", info.bytes);
}

/// Also while layers are put together.
#[test]
fn payloads_that_hardly_compress_take_twice_the_live_data_and_two_segments_at_any_moment() {
    for is_dense in [false, true] {
        let (mut beaver, segments, mut dice) = churning_noise(is_dense);
        let mut most = 0.0_f64;
        for _ in 0..25 {
            let _ = beaver.storage.take_most_used();
            for _ in 0..100 {
                add_noise(&mut beaver, 1_000, is_dense, &mut dice);
                finish_one(&mut beaver);
            }
            beaver.advance(Duration::from_secs(1));
            beaver.snapshot().unwrap();
            most = most.max(by_what_is_alive(&beaver, beaver.storage.take_most_used(), segments));
        }
        assert!(most > 1.0, "layers were put together: {most}");
    }
}

/// What is alive becomes less and less, and the disk with it.
#[test]
fn payloads_that_hardly_compress_take_twice_the_live_data_and_two_segments_while_they_are_worked_off() {
    for is_dense in [false, true] {
        let (mut beaver, segments, _) = churning_noise(is_dense);
        beaver.snapshot().unwrap();
        beaver.snapshot().unwrap();
        for _ in 0..45 {
            let _ = beaver.storage.take_most_used();
            (0..30).for_each(|_| finish_one(&mut beaver));
            beaver.advance(Duration::from_secs(1));
            beaver.snapshot().unwrap();
            by_what_is_alive(&beaver, beaver.storage.take_most_used(), segments);
        }
    }
}

#[test]
fn layers_are_put_together_while_the_server_runs_and_payloads_are_read_from_them() {
    on_system(|| async {
        let disk = SimStorage::new();
        let mut options = options();
        options.snapshot_interval = Duration::from_millis(10);
        options.layering = layering();
        let letter = |number: usize| {
            let payload = Payload::from_value(&number.to_string().repeat(100)).unwrap();
            beaver_actors::jobs::JobSpec { payload, ..job("letter") }
        };
        let beaver = ready(&disk, options.clone(), Handlers::new()).await;
        let first = enqueue(&beaver, letter(1)).await;
        until(&beaver, async || {
            enqueue(&beaver, letter(2)).await;
            let names = beaver.metrics().snapshots.get();
            let fulls =
                disk.paths(SNAPSHOTS).iter().filter(|path| !path.to_string_lossy().contains('-')).count();
            (names > 3 && fulls > 1).then_some(())
        })
        .await;
        let found = beaver.job(first.clone()).await.unwrap();
        assert_eq!(found.payload, letter(1).payload);
        assert_eq!(beaver.stop(None).await, Ending::Clean);
        assert_eq!(beaver.metrics().snapshots_failed.get(), 0);
        let beaver = ready(&disk, options, Handlers::new()).await;
        let found = beaver.job(first).await.unwrap();
        assert_eq!(found.payload, letter(1).payload, "it is read from a layer");
        assert_eq!(beaver.stop(None).await, Ending::Clean);
    });
}
