//! Files that say to be huge: refused by name and size before anything is allocated.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use beaver_actors::api::handler::Handlers;
use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::{Ending, Engine, FailCause};
use beaver_actors::ids::Timestamp;
use beaver_actors::internals::wal::format::SEGMENT_BYTES_MAX;
use beaver_actors::tools::doctor::Doctor;
use beaver_actors::tools::doctor::report::{Diagnosis, SegmentState};

use crate::harness::{enqueue, job, on_system};

const TEBIBYTE: u64 = 1 << 40;

async fn engine(options: &EngineOptions) -> Result<Engine, Ending> {
    let engine = Engine::start(options.clone(), Handlers::new());
    engine.ready().await.map(|()| engine)
}

fn options(dir: &Path) -> EngineOptions {
    let mut options = EngineOptions::in_dir(dir.join("data"));
    options.segment_bytes = 64 << 10;
    options.snapshot_at_stop = false;
    options
}

fn last(dir: &Path, end: &str) -> PathBuf {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == end)).max().unwrap()
}

fn stretch(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn a_segment_of_a_tebibyte_is_refused_by_name_and_size_and_quarantined_by_a_repair() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    on_system(|| async move {
        options.snapshot_at_stop = true;
        let beaver = engine(&options).await.unwrap();
        let id = enqueue(&beaver, job("mail")).await;
        assert_eq!(beaver.stop(None).await, Ending::Clean);
        let segment = last(&options.wal_dir, "wal");
        stretch(&segment, TEBIBYTE);

        let refused = engine(&options).await.err();
        let Some(Ending::Failed { cause: FailCause::Damaged, message }) = &refused else {
            panic!("{refused:?}")
        };
        let told = format!("{}: the file has {TEBIBYTE} bytes", segment.display());
        assert!(message.contains(&told) && message.contains(&SEGMENT_BYTES_MAX.to_string()), "{message}");

        stretch(&segment, SEGMENT_BYTES_MAX + 1);
        let doctor = Doctor::on_disk(options.clone()).unwrap();
        let report = doctor.examine().unwrap();
        let state = &report.segments.last().unwrap().state;
        assert!(
            matches!(state, SegmentState::Damaged { problem, .. } if problem.contains("the file has")),
            "{report}"
        );
        let Diagnosis::Damaged { plan, .. } = &report.verdict else { panic!("{report}") };
        let repaired = doctor.apply(plan, Timestamp(1_767_225_600_000)).unwrap();
        drop(doctor);
        let original = File::open(repaired.quarantine.join(segment.file_name().unwrap())).unwrap();
        let original = original.metadata().unwrap();
        assert_eq!(original.len(), SEGMENT_BYTES_MAX + 1, "the original is kept");
        assert!(
            original.blocks() * 512 <= 2 << 20,
            "its holes are still holes: {} blocks",
            original.blocks()
        );
        let beaver = engine(&options).await.unwrap();
        assert_eq!(beaver.job(id.clone()).await.unwrap().id, id, "the snapshot holds it");
        assert_eq!(beaver.stop(None).await, Ending::Clean);
    });
}

#[test]
fn a_snapshot_and_a_note_of_a_tebibyte_cost_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    on_system(|| async move {
        options.snapshot_at_stop = true;
        let beaver = engine(&options).await.unwrap();
        enqueue(&beaver, job("mail")).await;
        assert_eq!(beaver.stop(None).await, Ending::Clean);
        let snapshot = last(&options.snapshot_dir, "snap");
        stretch(&snapshot, TEBIBYTE);
        let note = options.data_dir.join("store-id");
        stretch(&note, TEBIBYTE);
        let report = Doctor::on_disk(options.clone()).unwrap().examine().unwrap();
        let text = report.to_string();
        assert!(text.contains(&format!("{}: everything up to event", snapshot.display())), "{text}");
        assert!(text.contains(&format!("{TEBIBYTE} bytes, CORRUPTED")), "{text}");
        assert!(text.contains("store-id: it names no store"), "{text}");
    });
}
