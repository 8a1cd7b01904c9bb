//! What the fuzz targets found worth keeping, replayed, and some thousand changes of it: bytes from a disk are never
//! a reason to panic, to allocate what is not there, or to lose a file.
//!
//! The changes follow from a seed, which is printed on failure; `BEAVER_FUZZ_SEED` sets another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use beaver_actors::engine::FailCause;
use beaver_actors::internals::snapshot::SnapshotError;
use beaver_actors::internals::snapshot::chain::LayerName;
use beaver_actors::internals::snapshot::plain::Plain;
use beaver_actors::internals::wal::codec;
use beaver_actors::jobs::Event;
use beaver_actors::testing::fuzz::{self, Target, image_of_page, mutate};
use beaver_actors::testing::{SimStorage, StepEngine};

use crate::formats;

/// Memory that a target may take, beside 64 times its input.
const MEMORY_KIB_MAX: u64 = 64 << 10;
/// Address space of the process that is measured: what is reserved without being touched counts, too.
const ADDRESS_SPACE_KIB: u64 = 1 << 20;
const CHILD: &str = "BEAVER_FUZZ_CHILD";

fn target(name: &str) -> Target {
    let (_, target) = fuzz::TARGETS.into_iter().find(|(other, _)| *other == name).expect(name);
    target
}

/// What a target begins with: whole files and events of the fixtures, each behind the byte of its mode, and some that
/// claim more than they hold.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let disks = [formats::disk_of("small"), formats::disk_of("all")];
    let files = |dir: &str| {
        let of =
            |disk: &SimStorage| disk.paths(dir).into_iter().map(|path| disk.bytes(&path)).collect::<Vec<_>>();
        disks.iter().flat_map(of).collect::<Vec<_>>()
    };
    let with_mode = |mode: u8, bytes: &[u8]| [&[mode], bytes].concat();
    // Overwrites each 4 bytes from an offset on, in the mode that mends checksums.
    let claims = |bytes: &[u8], from: usize, to: usize| {
        let at = |at: usize| {
            let mut bytes = with_mode(1, bytes);
            bytes[1 + at..5 + at].fill(0xff);
            bytes
        };
        (from..to).step_by(4).map(at).collect::<Vec<_>>()
    };
    match name {
        "batch" => {
            let files = files("/data/wal");
            let whole = files.iter().flat_map(|bytes| [with_mode(0, bytes), with_mode(1, bytes)]);
            // The fields of the second header, behind the segment's own.
            whole.chain(claims(&files[0], 128 + 4, 128 + 56)).collect()
        }
        "snapshot" => {
            let files = files("/data/snapshots");
            let whole = files.iter().flat_map(|bytes| [with_mode(0, bytes), with_mode(1, bytes)]);
            let page = |count: u8, longer: u8, last: u8, page: &[u8]| {
                [&[2, count, 0, longer, 1, last - 1], page].concat()
            };
            let jobs = [front(), job(1, 1), job(2, 1)].concat();
            let pages = [
                page(2, 0, 2, &jobs),
                page(2, 1, 2, &jobs),
                page(2, 255, 2, &jobs),
                page(3, 0, 3, &jobs),
                page(2, 0, 2, &jobs[..jobs.len() - 1]),
            ];
            let headers = [claims(&files[0], 8, 64), claims(&files[0], 64, 88)].concat();
            whole.chain(pages).chain(headers).collect()
        }
        "event" => {
            let with_body = |event: &Event| {
                let mut bytes = Vec::new();
                codec::encode(event, &mut bytes);
                with_mode(0, &bytes)
            };
            formats::every_event().iter().map(with_body).collect()
        }
        _ => Vec::new(),
    }
}

/// Makes what a target begins with anew, if it is not there and somebody asks for it, as the fixtures are.
fn make_corpus(name: &str, dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for (nth, seed) in seeds(name).into_iter().enumerate() {
        fs::write(dir.join(format!("seed-{nth:02}")), seed).unwrap();
    }
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    if std::env::var_os("BEAVER_MAKE_FIXTURES").is_some() && !dir.exists() {
        make_corpus(name, &dir);
    }
    let mut paths: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", dir.display());
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Says what was run when a panic goes by.
struct Shown<'a>(&'a str, String);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}: {}", self.0, self.1);
        }
    }
}

fn survives_changes(name: &str, changes: u64) {
    let (target, corpus) = (target(name), corpus(name));
    let seed = std::env::var("BEAVER_FUZZ_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    for number in 0..changes {
        let mut dice = fastrand::Rng::with_seed(seed ^ number << 32);
        let (input, other) = (&corpus[dice.usize(..corpus.len())].1, &corpus[dice.usize(..corpus.len())].1);
        let input = mutate(input, other, &mut dice);
        let _shown =
            Shown(name, format!("BEAVER_FUZZ_SEED={seed}, change {number}: {}", input.escape_ascii()));
        target(&input);
    }
}

/// Row 50.
#[test]
fn every_input_of_the_corpus_is_survived() {
    let (mut files, mut bytes) = (0, 0);
    for (name, target) in fuzz::TARGETS {
        for (path, input) in corpus(name) {
            let _shown = Shown(name, path.display().to_string());
            target(&input);
            (files, bytes) = (files + 1, bytes + input.len());
        }
    }
    assert!(files < 200 && bytes < 500_000, "{files} files, {bytes} bytes: minimise the corpus");
}

/// Row 21.
#[test]
fn changed_segments_are_read_or_refused() {
    survives_changes("batch", 4_000);
}

/// Row 50.
#[test]
fn changed_events_are_read_or_refused() {
    survives_changes("event", 8_000);
}

/// Row 27.
#[test]
fn changed_images_are_read_or_refused() {
    survives_changes("snapshot", 2_000);
}

/// Rows 20 to 28.
#[test]
fn a_changed_directory_is_refused_untouched_or_boots_sound_without_losing_a_file() {
    survives_changes("directory", 800);
}

fn jobs_of(image: Vec<u8>) -> Result<usize, SnapshotError> {
    let (storage, path) = (SimStorage::new(), Path::new("/0.snap"));
    storage.put(path, image);
    Ok(Plain::read(&storage, path)?.jobs.len())
}

/// The front of a page: one profile.
fn front() -> Vec<u8> {
    let profile = b"\x07default\x04mail\x05\0\0\x1e\x03\0";
    [&[1, profile.len() as u8], profile.as_slice()].concat()
}

/// One job as a page holds it, `step` behind the one before: pending, with a text for its id.
fn job(number: u32, step: u8) -> Vec<u8> {
    let id = format!("job-{number}");
    [&[0x10, step, 0, id.len() as u8], id.as_bytes(), b"\0\0\x02{}"].concat()
}

/// Row 27.
#[test]
fn a_page_may_be_full_once_but_no_job_follows_then() {
    let jobs: Vec<Vec<u8>> = (1..=10_000).map(|number| job(number, 1)).collect();
    let packed = |count: usize, last: u64, jobs: &[Vec<u8>]| {
        let raw = [front(), jobs.concat()].concat();
        let data = zstd::bulk::compress(&raw, 1).unwrap();
        image_of_page(count as u32, raw.len() as u32, (1, last - 1), &data)
    };
    let mut bytes = front().len();
    let full = 1 + jobs
        .iter()
        .take_while(|job| {
            bytes += job.len();
            // What a page aims at, and what its front may take beside that.
            bytes < (64 << 10) + 20
        })
        .count();
    assert!(full < jobs.len(), "{full} jobs do not fill a page");
    assert_eq!(jobs_of(packed(full, full as u64, &jobs[..full])).unwrap(), full);
    let error = jobs_of(packed(full + 1, full as u64 + 1, &jobs[..full + 1])).unwrap_err().to_string();
    assert!(error.contains("full"), "{error}");
    let doubled = jobs_of(packed(2, 1, &[job(1, 1), job(2, 0)])).unwrap_err().to_string();
    assert!(doubled.contains("comes after"), "{doubled}");
}

/// Row 21.
#[test]
fn a_segment_that_a_snapshot_covers_is_not_cut_where_its_successor_wrongly_says_that_it_ends() {
    let mut beaver = StepEngine::on(SimStorage::new());
    (0..3).for_each(|_| drop(beaver.enqueue("mail")));
    beaver.snapshot().unwrap();
    let (covered, successor) = ("/data/wal/0000000001.wal", "/data/wal/0000000002.wal");
    let storage = beaver.storage.clone();
    let before = storage.bytes(covered);
    let end = u64::from_le_bytes(storage.bytes(successor)[56..64].try_into().unwrap());
    for wrong in [0, 52, 128, end - 1, end + 1, u64::MAX >> 1, u64::MAX] {
        let disk = storage.fork();
        disk.tamper(successor, |bytes| {
            bytes[56..64].copy_from_slice(&wrong.to_le_bytes());
            let crc = crc32fast::hash(&bytes[..124]);
            bytes[124..128].copy_from_slice(&crc.to_le_bytes());
        });
        let refused = StepEngine::with(disk.clone(), beaver.options.clone(), 1).err().expect("it is damaged");
        assert_eq!(refused.cause, FailCause::Damaged, "{refused}");
        assert!(disk.bytes(covered) == before, "ends at {wrong} instead of {end}: it was changed");
    }
    let whole = StepEngine::with(storage.fork(), beaver.options.clone(), 1);
    assert!(whole.is_ok(), "as it was written, it boots");
}

/// Row 27.
#[test]
fn a_name_with_a_sign_in_front_of_its_number_is_not_a_snapshot() {
    let mut beaver = StepEngine::on(SimStorage::new());
    beaver.enqueue("mail");
    let last = beaver.snapshot().unwrap().header.last;
    let snapshot = beaver.snapshots().path_of(LayerName::full(last));
    let storage = beaver.storage.clone();
    let foreign = snapshot.with_file_name("+0000000000000000001.snap");
    storage.put(&foreign, storage.bytes(&snapshot));
    storage.tamper(&snapshot, |bytes| bytes[70] ^= 1);
    storage.kill_process();
    beaver.boot().expect("the log is whole, and the damaged snapshot is moved to quarantine once");
    assert!(storage.paths("/data/snapshots").contains(&foreign), "what is not ours stays");
}

/// Images that claim far more than they hold.
fn bombs() -> Vec<Vec<u8>> {
    let huge = [0x80, 0x80, 0x80, 0x80, 0x04];
    let page = [front(), job(1, 1)].concat();
    let of = |count, raw_len, page: &[u8]| {
        image_of_page(count, raw_len, (1, 0), &zstd::bulk::compress(page, 1).unwrap())
    };
    // Whose lengths and numbers are huge: of the profiles, of a text, of a rare part.
    let profiles = [&[1], huge.as_slice(), &page[2..]].concat();
    let many_profiles = [&huge, &page[1..]].concat();
    let text = [front(), [&[0x10, 1, 0], huge.as_slice()].concat()].concat();
    let rare = [front(), b"\x90\x01\0\x01a\0\0\x02{}\x01\0".to_vec(), huge.to_vec()].concat();
    let claims = [profiles, many_profiles, text, rare].map(|page| of(1, page.len() as u32, &page));
    let len = page.len() as u32;
    let mut bombs = vec![of(u32::MAX, len, &page), of(1, 1 << 30, &page), of(1, u32::MAX, &page)];
    bombs.extend(claims);
    bombs
}

/// A number of KiB that the kernel tells about this process.
fn memory_kib(what: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Row 50.
#[test]
fn no_input_takes_more_memory_than_its_size_explains() {
    const NAME: &str = "fuzz::no_input_takes_more_memory_than_its_size_explains";
    if std::env::var_os(CHILD).is_none() {
        // A process of its own, as other tests run beside this one, and a failed allocation ends it.
        let limited = format!("ulimit -v {ADDRESS_SPACE_KIB} && exec \"$0\" \"$@\"");
        let mut child = Command::new("sh");
        child.args(["-c", &limited]).arg(std::env::current_exe().unwrap()).args(["--exact", NAME]);
        let output = child.arg("--nocapture").env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
        return;
    }
    let bombs = bombs();
    for bomb in &bombs {
        assert!(jobs_of(bomb.clone()).is_err());
    }
    let bombs = bombs.into_iter().map(|bomb| ("snapshot", [&[0], bomb.as_slice()].concat()));
    let kept = fuzz::TARGETS
        .into_iter()
        .flat_map(|(name, _)| corpus(name).into_iter().map(move |(_, input)| (name, input)));
    for (name, input) in bombs.chain(kept) {
        // Forgets the highest mark so far.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory_kib("VmRSS");
        target(name)(&input);
        let taken = memory_kib("VmHWM").saturating_sub(before);
        let most = MEMORY_KIB_MAX + input.len() as u64 / 16;
        assert!(
            taken <= most,
            "target {name}: {taken} KiB for {} bytes: {}",
            input.len(),
            input.escape_ascii()
        );
    }
}
