//! Data that is opened only to be looked at: what is told of it, who is kept out, and that nothing of it changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use beaver_actors::api::handler::Handlers;
use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::{Ending, Engine, EngineError, FailCause, Phase, QueueSet};
use beaver_actors::jobs::{Filter, Rejection, Status};
use beaver_actors::testing::SimStorage;

use crate::harness::{Does, enqueue, job, job_in, kind, on_system, queue, runs_until_stopped, when};

fn options(dir: &Path) -> EngineOptions {
    let mut options = EngineOptions::in_dir(dir);
    options.worker_count = 1;
    options
}

/// Every file and directory below, with its bytes and when it was last changed.
fn content(dir: &Path) -> BTreeMap<String, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let changed = path.metadata().unwrap().modified().unwrap();
        let bytes = match path.is_dir() {
            true => {
                found.append(&mut content(&path));
                Vec::new()
            }
            false => std::fs::read(&path).unwrap(),
        };
        found.insert(path.display().to_string(), (changed, bytes));
    }
    found
}

/// As a write that was cut off leaves it: bytes behind the last batch that are none.
fn tear(wal: &Path) {
    let segments = std::fs::read_dir(wal).unwrap().map(|entry| entry.unwrap().path());
    let newest = segments.filter(|path| path.extension().is_some_and(|it| it == "wal")).max().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.resize(bytes.len().max(used + 100), 0);
    bytes[used + 8..used + 100].fill(0xa5);
    std::fs::write(&newest, bytes).unwrap();
}

async fn look(options: &EngineOptions) -> Engine {
    let looking = Engine::open_read_only(options.clone());
    looking.ready().await.unwrap();
    looking
}

async fn refusal(engine: Engine) -> (FailCause, String) {
    match engine.ready().await {
        Err(Ending::Failed { cause, message }) => (cause, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_look_after_a_crash_tells_everything_and_leaves_every_byte_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    on_system(|| async move {
        let (runs, mut heard) = runs_until_stopped();
        let done = Does(|_| async { Ok(None) }, None);
        let handlers = Handlers::new().with(kind("mail"), done).with(kind("slow"), runs);
        let engine = Engine::start(options.clone(), handlers);
        engine.ready().await.unwrap();
        let mailed = enqueue(&engine, job("mail")).await;
        when(&engine, &mailed, Status::Completed).await;
        let slow = enqueue(&engine, job("slow")).await;
        assert_eq!(heard.recv().await, Some(None));
        for name in ["one", "two", "three"] {
            enqueue(&engine, job_in("others", name)).await;
        }
        let told = engine.status().await.unwrap();
        engine.abort().await;
        tear(&options.wal_dir);
        let before = content(&options.data_dir);

        let looking = look(&options).await;
        let status = looking.status().await.unwrap();
        assert_eq!((status.jobs, status.log.seq), (told.jobs, told.log.seq));
        assert_eq!(status.queues.len(), 2);
        // It ran when its server ended: the next server settles that, nobody who looks.
        assert_eq!(looking.job(slow).await.unwrap().status, Status::InFlight);
        assert_eq!(status.recovery.interrupted, 1);
        assert!(status.recovery.torn_bytes > 0, "{:?}", status.recovery);
        let others = Filter { queue: Some(queue("others")), ..Filter::default() };
        let names = async |limit| {
            let jobs = looking.list(Status::Pending, others.clone(), limit).await.unwrap();
            jobs.into_iter().map(|job| job.kind.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(2).await, ["one", "two"]);
        assert_eq!(names(9).await, ["one", "two", "three"]);
        assert_eq!(looking.stop(None).await, Ending::Clean);
        assert_eq!(looking.phase(), Phase::Stopped(Ending::Clean));
        let late = looking.status().await.unwrap_err();
        assert_eq!(late, EngineError::Rejected(Rejection::Stopping));
        assert!(content(&options.data_dir) == before, "something was changed");
    });
}

#[test]
fn whoever_only_looks_can_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    on_system(|| async move {
        let engine = Engine::start(options.clone(), Handlers::new());
        engine.ready().await.unwrap();
        let id = enqueue(&engine, job("mail")).await;
        engine.stop(None).await;
        let looking = look(&options).await;
        assert_eq!(looking.enqueue(vec![job("mail")]).await.unwrap_err(), EngineError::ReadOnly);
        assert_eq!(looking.cancel(id.clone()).await.unwrap_err(), EngineError::ReadOnly);
        assert_eq!(looking.pause(QueueSet::All).await.unwrap_err(), EngineError::ReadOnly);
        assert_eq!(looking.flush().await.unwrap_err(), EngineError::ReadOnly);
        assert_eq!(looking.job(id).await.unwrap().status, Status::Pending);
    });
}

#[test]
fn many_look_at_the_same_time_and_no_server_starts_meanwhile_nor_lets_them_in() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    on_system(|| async move {
        let engine = Engine::start(options.clone(), Handlers::new());
        engine.ready().await.unwrap();
        let (cause, message) = refusal(Engine::open_read_only(options.clone())).await;
        assert_eq!(cause, FailCause::Locked, "{message}");
        engine.stop(None).await;

        let (first, second) = (look(&options).await, look(&options).await);
        let (cause, message) = refusal(Engine::start(options.clone(), Handlers::new())).await;
        assert_eq!(cause, FailCause::Locked, "{message}");
        first.stop(None).await;
        second.stop(None).await;
        let engine = Engine::start(options.clone(), Handlers::new());
        engine.ready().await.unwrap();
        engine.stop(None).await;
    });
}

#[test]
fn where_there_is_no_data_a_look_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    let parent = dir.path().to_owned();
    std::fs::write(parent.join("letter.txt"), "dear").unwrap();
    let before = content(&parent);
    on_system(|| async move {
        for data_dir in [parent.clone(), parent.join("none")] {
            let (cause, message) = refusal(Engine::open_read_only(options(&data_dir))).await;
            assert_eq!(cause, FailCause::Absent);
            assert_eq!(message, format!("there is no data in {}", data_dir.display()));
        }
        assert!(content(&parent) == before);
    });
}

#[test]
fn a_lost_log_is_damage_and_not_an_empty_queue() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    on_system(|| async move {
        let engine = Engine::start(options.clone(), Handlers::new());
        engine.ready().await.unwrap();
        enqueue(&engine, job("mail")).await;
        engine.abort().await;
        std::fs::remove_dir_all(&options.wal_dir).unwrap();
        let (cause, message) = refusal(Engine::open_read_only(options.clone())).await;
        assert_eq!(cause, FailCause::Damaged, "{message}");
        assert!(!options.wal_dir.exists());
    });
}

#[test]
fn a_simulated_lock_is_shared_by_readers_as_a_real_one() {
    use beaver_actors::internals::storage::Storage;
    let disk = SimStorage::new();
    let path = Path::new("/data/lock");
    let readers = [0; 2].map(|_| disk.lock_shared(path).unwrap().expect("free"));
    assert!(disk.lock(path).unwrap().is_none());
    let [first, second] = readers;
    drop(first);
    assert!(disk.lock(path).unwrap().is_none());
    drop(second);
    let owner = disk.lock(path).unwrap().expect("free");
    assert!(disk.lock_shared(path).unwrap().is_none());
    drop(owner);
    assert!(disk.lock_shared(path).unwrap().is_some());
}
