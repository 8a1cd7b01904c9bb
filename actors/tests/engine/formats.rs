//! Formats outlive code: data directories that earlier versions wrote must open for ever.
//!
//! A fixture is made once, by `BEAVER_MAKE_FIXTURES=1 cargo test -p beaver-actors formats`, and never again:
//! a version that writes something else gets a fixture of its own beside the old one.

use std::path::{Path, PathBuf};

use beaver_actors::jobs::{Command, Status};
use beaver_actors::testing::{SimStorage, StepEngine};

fn fixture(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version)
}

/// Jobs in every state, in a snapshot and in the log behind it.
fn make() -> StepEngine {
    let mut options = StepEngine::on(SimStorage::new()).options;
    options.segment_bytes = 4 << 10;
    let mut beaver = StepEngine::with(SimStorage::new(), options, 42).unwrap();
    for half in 0..2 {
        for name in ["completed", "retrying", "dead", "cancelled", "scheduled", "pending"] {
            let mut spec = StepEngine::spec("mail");
            spec.id = Some(format!("{name}-{half}").parse().unwrap());
            match name {
                "dead" => spec.max_retry = Some(0),
                "scheduled" => {
                    spec.start = beaver_actors::jobs::Start::After(std::time::Duration::from_secs(86_400));
                }
                _ => {}
            }
            beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
            let job = format!("{name}-{half}").parse().unwrap();
            match name {
                "completed" => beaver.dispatch_and_ack(&job),
                "retrying" | "dead" => {
                    let (job, token) = beaver.dispatch(0).unwrap();
                    beaver.fail(&job, token).unwrap();
                }
                "cancelled" => drop(beaver.execute(Command::Cancel { job }).unwrap()),
                _ => {}
            }
            if name == "pending" {
                beaver.dispatch(3).unwrap();
                beaver.enqueue("foreign");
            }
        }
        if half == 0 {
            beaver.snapshot().unwrap();
        }
    }
    beaver.sync();
    beaver
}

#[test]
fn a_data_directory_of_version_1_opens_with_every_job_in_its_state() {
    let root = fixture("v1");
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
    let beaver = StepEngine::on(storage);
    assert!(beaver.recovery.snapshot_jobs > 0 && beaver.recovery.events > 0);
    let expected = [
        ("completed", Status::Completed),
        ("retrying", Status::Retrying),
        ("dead", Status::Dead),
        ("cancelled", Status::Cancelled),
        ("scheduled", Status::Scheduled),
        ("pending", Status::Pending),
    ];
    for half in 0..2 {
        for (name, status) in expected {
            let job = format!("{name}-{half}").parse().unwrap();
            assert_eq!(beaver.status_of(&job), Some(status), "{name}-{half}");
        }
    }
    assert_eq!(beaver.table().counts().total(), 14);
}
