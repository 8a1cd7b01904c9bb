//! Two engines that share only the log's directory, or only that of the snapshots, keep out of each other's way.

use std::path::Path;

use beaver_actors::api::handler::Handlers;
use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::{Ending, Engine, FailCause};
use beaver_actors::testing::{SimStorage, StepEngine};
use beaver_actors::tools::doctor::{Doctor, DoctorError};

use crate::harness::{enqueue, job, on_system};

fn options(data_dir: &str) -> EngineOptions {
    let mut options = EngineOptions::in_dir(data_dir);
    options.segment_bytes = 64 << 10;
    options
}

/// What the second of two engines on one disk is told.
fn refusal(disk: &SimStorage, second: EngineOptions) -> String {
    let error = StepEngine::with(disk.clone(), second, 2).err().expect("it is refused");
    assert_eq!(error.cause, FailCause::Locked, "{error}");
    error.message
}

#[test]
fn two_data_directories_cannot_share_a_log_or_snapshots_at_a_time() {
    let disk = SimStorage::new();
    let first = StepEngine::with(disk.clone(), options("/one"), 1).unwrap();
    let before = disk.paths("/");

    let mut second = options("/two");
    second.wal_dir = first.options.wal_dir.clone();
    let told = refusal(&disk, second.clone());
    assert!(told.contains("/one/wal: another beaver") && told.contains("wal_path of its own"), "{told}");

    let mut other = options("/three");
    other.snapshot_dir = first.options.snapshot_dir.clone();
    let told = refusal(&disk, other);
    assert!(told.contains("/one/snapshots: ") && told.contains("snapshot_path of its own"), "{told}");
    assert_eq!(disk.paths("/"), before, "nothing was changed");

    // The first one's end frees them, and a refusal holds nothing.
    drop(first);
    drop(StepEngine::with(disk.fork(), second, 2).expect("nobody else is there"));
    StepEngine::with(disk, options("/one"), 3).unwrap();
}

#[test]
fn one_engine_may_keep_its_log_in_its_data_directory_by_whatever_name() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    let mut options = EngineOptions::in_dir(&data);
    options.wal_dir = link;
    on_system(|| async move {
        for _ in 0..2 {
            let engine = Engine::start(options.clone(), Handlers::new());
            engine.ready().await.unwrap();
            enqueue(&engine, job("mail")).await;
            assert_eq!(engine.stop(None).await, Ending::Clean);
        }
        let doctor = Doctor::on_disk(options).unwrap();
        let report = doctor.examine().unwrap();
        assert!(!report.verdict.is_damage() && report.foreign.is_empty(), "{report}");
    });
}

#[test]
fn on_a_real_disk_an_engine_and_the_doctor_respect_the_lock_of_a_shared_log() {
    let dir = tempfile::tempdir().unwrap();
    let first = EngineOptions::in_dir(dir.path().join("one"));
    let mut second = EngineOptions::in_dir(dir.path().join("two"));
    second.wal_dir = first.wal_dir.clone();
    on_system(|| async move {
        let engine = Engine::start(first.clone(), Handlers::new());
        engine.ready().await.unwrap();
        enqueue(&engine, job("mail")).await;
        let refused = Engine::start(second.clone(), Handlers::new()).ready().await;
        let Err(Ending::Failed { cause: FailCause::Locked, message }) = refused else {
            panic!("{refused:?}")
        };
        let wal = first.wal_dir.display().to_string();
        assert!(message.starts_with(&wal) && message.contains("wal_path of its own"), "{message}");
        let locked = Doctor::on_disk(second.clone()).err();
        assert!(matches!(&locked, Some(DoctorError::Locked(text)) if text.contains(&wal)), "{locked:?}");

        assert_eq!(engine.stop(None).await, Ending::Clean);
        let report = Doctor::on_disk(first.clone()).unwrap().examine().unwrap();
        assert!(!report.verdict.is_damage() && report.foreign.is_empty(), "{report}");
        let engine = Engine::start(first.clone(), Handlers::new());
        engine.ready().await.unwrap();
        assert_eq!(engine.stop(None).await, Ending::Clean);
    });
}

/// Somebody who puts a lost log back must not find a directory in its place.
#[test]
fn a_refused_start_and_an_examination_make_no_directory_where_the_log_was() {
    let dir = tempfile::tempdir().unwrap();
    let options = EngineOptions::in_dir(dir.path().join("data"));
    on_system(|| async move {
        let engine = Engine::start(options.clone(), Handlers::new());
        engine.ready().await.unwrap();
        enqueue(&engine, job("mail")).await;
        assert_eq!(engine.stop(None).await, Ending::Clean);
        std::fs::remove_dir_all(&options.wal_dir).unwrap();
        let refused = Engine::start(options.clone(), Handlers::new()).ready().await;
        assert!(matches!(&refused, Err(Ending::Failed { cause: FailCause::Damaged, .. })), "{refused:?}");
        Doctor::on_disk(options.clone()).unwrap().examine().unwrap();
        assert!(!Path::exists(&options.wal_dir));
    });
}
