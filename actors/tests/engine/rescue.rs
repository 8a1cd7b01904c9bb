//! What is on disk turns out to be damaged while the engine runs: the state is written out anew from memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::{Handlers, JobRun};
use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::{Ending, Engine, EngineError, FailCause};
use beaver_actors::ids::{JobId, Timestamp};
use beaver_actors::jobs::{
    Command, Failure, FailureKind, Filter, JobSpec, JobView, Payload, Rejection, Start, Status,
};
use beaver_actors::testing::{Call, Fault, Frame, SimStorage, StepEngine};
use tokio::sync::Notify;

use crate::harness::{Does, enqueue, job, kind, on_system, options, ready, until, when};

const WAL: &str = "/data/wal";
const SNAPSHOTS: &str = "/data/snapshots";
const QUARANTINE: &str = "/data/quarantine";

/// The text of a job that is too long to be kept in memory.
fn long(name: &str) -> Payload {
    Payload::from_value(&format!("{name} ").repeat(40)).unwrap()
}

fn letter(beaver: &mut StepEngine, name: &str, start: Start) -> JobId {
    let id = JobId::parse(name).unwrap();
    let spec = JobSpec { id: Some(id.clone()), payload: long(name), start, ..StepEngine::spec("mail") };
    beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
    id
}

/// An engine that keeps no long text in memory, with jobs in every state: in two snapshots, in sealed segments behind them,
/// and in the segment that is written.
fn lived() -> StepEngine {
    let mut options = StepEngine::on(SimStorage::new()).options;
    options.payload_memory_bytes = 0;
    let mut beaver = StepEngine::with(SimStorage::new(), options, 1).unwrap();
    for round in 0..4 {
        letter(&mut beaver, &format!("fails-{round}"), Start::Now);
        let (job, token) = beaver.dispatch(0).unwrap();
        let failure = Failure::new(FailureKind::Error, "broken ".repeat(30));
        beaver.execute(Command::Fail { job, token, failure, result: None }).unwrap();
        letter(&mut beaver, &format!("done-{round}"), Start::Now);
        let (job, token) = beaver.dispatch(0).unwrap();
        beaver.execute(Command::Ack { job, token, result: Some(long("result")) }).unwrap();
        letter(&mut beaver, &format!("withdrawn-{round}"), Start::Now);
        let job = JobId::parse(&format!("withdrawn-{round}")).unwrap();
        beaver.execute(Command::Cancel { job }).unwrap();
        letter(&mut beaver, &format!("held-{round}"), Start::Now);
        beaver.dispatch(1).unwrap();
        letter(&mut beaver, &format!("later-{round}"), Start::After(Duration::from_secs(3_600)));
        letter(&mut beaver, &format!("waits-{round}"), Start::At(Timestamp(0)));
        beaver.sync();
        match round {
            0 | 1 => drop(beaver.snapshot().unwrap()),
            2 => drop(beaver.log().rotate(Timestamp(1)).unwrap()),
            _ => {}
        }
        // The next round begins with its own job.
        let waits = JobId::parse(&format!("waits-{round}")).unwrap();
        let (job, _) = beaver.dispatch(2).unwrap();
        assert_eq!(job, waits);
        beaver.sync();
    }
    beaver
}

/// All jobs, by their ids.
fn views(beaver: &StepEngine) -> BTreeMap<String, JobView> {
    let ids = beaver.table().records().into_iter().map(|record| record.id);
    ids.map(|id| (id.to_string(), beaver.whole_view(&id))).collect()
}

/// Writes the state out anew; the jobs that lost their payload.
fn rescue(beaver: &mut StepEngine) -> Vec<String> {
    beaver.rescue().unwrap().iter().map(JobId::to_string).collect()
}

/// Every file that the state on disk is made of, but for the segment that is written.
fn files(disk: &SimStorage) -> Vec<PathBuf> {
    let mut segments: Vec<_> = disk.paths(WAL).into_iter().filter(|path| is(path, "wal")).collect();
    segments.pop();
    segments.extend(disk.paths(SNAPSHOTS).into_iter().filter(|path| is(path, "snap")));
    segments
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn flip(disk: &SimStorage, path: &Path, at: usize) {
    disk.tamper(path, |bytes| bytes[at] ^= 0x10);
}

fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// A start on what a kill leaves; leases of its own workers end by it, so those are not compared.
fn booted(disk: &SimStorage, options: &EngineOptions) -> Result<StepEngine, String> {
    let disk = disk.fork();
    disk.kill_process();
    StepEngine::with(disk, options.clone(), 2).map_err(|error| {
        assert_eq!(error.cause, FailCause::Damaged, "{error}");
        error.to_string()
    })
}

/// All that a start changes about a job is that what ran inside of the dead server does not run any more.
fn agree(before: &BTreeMap<String, JobView>, after: &BTreeMap<String, JobView>, what: &str) {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{what}");
    for (id, view) in before {
        let found = &after[id];
        assert_eq!((&view.payload, &view.result), (&found.payload, &found.result), "{what}: {id}");
        if view.status != Status::InFlight {
            assert_eq!((view.status, &view.errors), (found.status, &found.errors), "{what}: {id}");
        }
    }
}

/// Row 61: any file, at many places; all that is in memory is on disk again, and what is nowhere is told.
#[test]
fn damage_in_any_file_is_got_over_from_memory_and_a_text_that_is_nowhere_makes_its_job_dead() {
    let places = files(&lived().storage).into_iter().flat_map(|path| {
        let bytes = lived().storage.bytes(&path);
        let len = used(&bytes);
        let text = bytes.windows(8).position(|text| text == b" later-2");
        let places = [0, 9, 70, len / 3, len / 2, len - 60, len - 1].into_iter().chain(text);
        places.map(|at| (path.clone(), at)).collect::<Vec<_>>()
    });
    let mut with_losses = 0;
    for (path, at) in places {
        let what = format!("{} at {at}", path.display());
        let mut beaver = lived();
        let disk = beaver.storage.clone();
        let before = views(&beaver);
        flip(&disk, &path, at);
        let damaged = disk.bytes(&path);
        let lost = rescue(&mut beaver);
        with_losses += u32::from(!lost.is_empty());
        let after = views(&beaver);
        for (id, view) in &before {
            let found = &after[id];
            if lost.contains(id) {
                let failure = &found.errors.last().unwrap().failure;
                assert_eq!((found.status, failure.kind), (Status::Dead, FailureKind::PayloadLost), "{what}");
                assert_eq!(found.unreadable.len(), 1, "{what}: {found:?}");
            } else if found.unreadable.is_empty() {
                assert_eq!(view, found, "{what}");
            } else {
                // It has run, or runs: nobody needs it any more.
                let is_over = view.status.is_finished() || view.status == Status::InFlight;
                let is_of_failure = found.errors != view.errors;
                assert!(is_over || is_of_failure, "{what}: {found:?}");
            }
        }
        beaver.sync();
        // Of the next snapshots, too, though they are made of what is damaged no more.
        let again = booted(&disk, &beaver.options).unwrap_or_else(|error| panic!("{what}: {error}"));
        agree(&after, &views(&again), &what);
        letter(&mut beaver, "new-1", Start::Now);
        beaver.snapshot().unwrap();
        letter(&mut beaver, "new-2", Start::Now);
        beaver.snapshot().unwrap();
        let last = views(&beaver);
        let again = booted(&disk, &beaver.options).unwrap_or_else(|error| panic!("{what}: {error}"));
        agree(&last, &views(&again), &what);
        // A change that no reader minds is no damage: a byte of a seal, or of what is behind an end.
        let kept: Vec<_> = disk.paths(QUARANTINE).iter().map(|path| disk.bytes(path)).collect();
        let stays =
            disk.paths(WAL).iter().chain(&disk.paths(SNAPSHOTS)).any(|path| disk.bytes(path) == damaged);
        assert!(kept.contains(&damaged) || stays || path.starts_with(WAL), "{what}: the file is gone");
    }
    assert!(with_losses > 0, "some text was in one place only");
}

/// Row 61: without a whole file there is still memory.
#[test]
fn with_every_file_damaged_the_whole_table_is_saved() {
    let mut beaver = lived();
    let disk = beaver.storage.clone();
    for path in files(&disk) {
        let middle = used(&disk.bytes(&path)) / 2;
        flip(&disk, &path, middle);
    }
    let before = views(&beaver);
    assert!(booted(&disk, &beaver.options).is_err());
    let lost = rescue(&mut beaver);
    beaver.sync();
    let after = views(&booted(&disk, &beaver.options).unwrap());
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for id in &lost {
        assert_eq!(after[id].status, Status::Dead);
        assert!(before[id].status.can_be_killed());
    }
}

/// Row 61: the machine stops at any moment of it, and what was not synced is gone, or not.
#[test]
fn a_crash_in_the_middle_of_a_rescue_leaves_what_is_refused_as_before_or_starts_with_everything() {
    for path in files(&lived().storage) {
        let mut beaver = lived();
        let disk = beaver.storage.clone();
        let middle = used(&disk.bytes(&path)) / 2;
        flip(&disk, &path, middle);
        let is_refused = booted(&disk, &beaver.options).is_err();
        disk.start_tape();
        let lost = rescue(&mut beaver);
        let tape = disk.take_tape();
        let after = views(&beaver);
        let mut is_saved = false;
        for Frame { calls, disk, .. } in &tape {
            let what = format!("{} damaged, call {calls}", path.display());
            let cut = disk.fork();
            cut.cut_power();
            match booted(disk, &beaver.options) {
                Ok(again) => {
                    is_saved = true;
                    let mut found = views(&again);
                    let mut expected = after.clone();
                    // These are dead as soon as that is logged; until then, at their delivery.
                    for id in &lost {
                        found.remove(id).unwrap_or_else(|| panic!("{what}: {id} is gone"));
                        expected.remove(id);
                    }
                    for (id, view) in &expected {
                        let status = found.get(id).map(|found| found.status);
                        let is_same = status == Some(view.status) || view.status == Status::InFlight;
                        assert!(is_same, "{what}: {id} is {status:?}");
                    }
                }
                Err(error) => assert!(is_refused && !is_saved, "{what}: {error}"),
            }
            // A power cut may take the newest names, and with them the whole rescue; never a part of it.
            match booted(&cut, &beaver.options) {
                Ok(again) => assert_eq!(views(&again).len(), after.len(), "{what}, power cut"),
                Err(error) => assert!(is_refused, "{what}, power cut: {error}"),
            }
        }
        assert!(is_saved);
        let cut = disk.fork();
        cut.cut_power();
        assert_eq!(views(&booted(&cut, &beaver.options).unwrap()).len(), after.len());
    }
}

/// Row 61: a disk that fails meanwhile costs the attempt, and nothing else.
#[test]
fn a_rescue_that_fails_changes_nothing_and_the_next_one_succeeds() {
    let damaged = || {
        let beaver = lived();
        let path = files(&beaver.storage).remove(0);
        let middle = used(&beaver.storage.bytes(&path)) / 2;
        flip(&beaver.storage, &path, middle);
        beaver
    };
    let mut failed = 0;
    for call in [Call::Create, Call::Write, Call::Sync, Call::Rename, Call::Read] {
        for nth in 1.. {
            let mut beaver = damaged();
            let disk = beaver.storage.clone();
            let before = views(&beaver);
            let calls = disk.calls_of(call);
            disk.fail_call_of(call, calls + nth, Fault::Eio);
            let first = beaver.rescue();
            if disk.failed_calls() == 0 {
                break;
            }
            if let Err(error) = first {
                failed += 1;
                // The log itself: the process ends, and the next start is as if nothing had been tried.
                if error.to_string().contains("poisoned") || beaver.log().sync().is_err() {
                    continue;
                }
                beaver.rescue().unwrap_or_else(|error| panic!("{call:?} {nth}: {error}"));
            }
            beaver.sync();
            let again =
                booted(&disk, &beaver.options).unwrap_or_else(|error| panic!("{call:?} {nth}: {error}"));
            assert_eq!(views(&again).len(), before.len(), "{call:?} {nth}");
        }
    }
    assert!(failed > 0);
}

/// An engine with a job that runs until it is told, and some that wait; and that teller.
async fn busy(disk: &SimStorage, change: impl FnOnce(&mut EngineOptions)) -> (Engine, JobId, Arc<Notify>) {
    let finish = Arc::new(Notify::new());
    let told = finish.clone();
    let handler = move |_: JobRun| {
        let told = told.clone();
        async move {
            told.notified().await;
            Ok(None)
        }
    };
    let mut options = options();
    options.snapshot_interval = Duration::from_millis(50);
    change(&mut options);
    let engine = ready(disk, options, Handlers::new().with(kind("waits"), Does(handler, None))).await;
    let running = enqueue(&engine, job("waits")).await;
    when(&engine, &running, Status::InFlight).await;
    for _ in 0..20 {
        enqueue(&engine, job("later")).await;
    }
    (engine, running, finish)
}

/// Damages every snapshot and every segment that has a successor.
fn damage_all(disk: &SimStorage) {
    for path in files(disk) {
        // In their headers: it is met before anything is written.
        flip(disk, &path, 20);
    }
}

/// Row 61: the fold meets it; nobody has to do anything.
#[test]
fn damage_that_a_snapshot_meets_is_mended_and_service_resumes_by_itself() {
    on_system(|| async {
        let disk = SimStorage::new();
        let (engine, running, finish) = busy(&disk, |_| {}).await;
        until(&engine, async || engine.status().await.unwrap().snapshot.map(drop)).await;
        damage_all(&disk);
        let mut accepted = 21;
        let metrics = engine.metrics();
        let folded = async || engine.status().await.unwrap().snapshot.map(|snapshot| snapshot.seq);
        // Each makes something to fold, until a fold meets the damage. While it is mended they are refused, and not for good.
        while metrics.damage_met.get() == 0 {
            let before = folded().await;
            match engine.enqueue(vec![job("later")]).await {
                Ok(_) => accepted += 1,
                Err(error) => assert_eq!(error, EngineError::Rejected(Rejection::Damaged)),
            }
            let is_over = async || metrics.damage_met.get() > 0 || folded().await > before;
            until(&engine, async || is_over().await.then_some(())).await;
        }
        until(&engine, async || (metrics.rescues.get() > 0).then_some(())).await;
        until(&engine, async || engine.enqueue(vec![job("later")]).await.ok()).await;
        finish.notify_one();
        when(&engine, &running, Status::Completed).await;
        assert!(disk.paths(QUARANTINE).iter().any(|path| is(path, "snap")), "what was damaged is kept");
        assert_eq!(engine.stop(None).await, Ending::Clean);
        let again = ready(&disk, options(), Handlers::new()).await;
        assert_eq!(again.status().await.unwrap().jobs.total(), accepted + 1);
    });
}

/// Row 61: as long as it cannot be mended, new jobs are refused, what runs may end, and a stop says 65.
#[test]
fn while_it_cannot_be_mended_only_new_jobs_are_refused_and_the_end_is_told_as_damage() {
    for is_mended in [false, true] {
        on_system(move || async move {
            let disk = SimStorage::new();
            let (engine, running, finish) = busy(&disk, |_| {}).await;
            until(&engine, async || engine.status().await.unwrap().snapshot.map(drop)).await;
            damage_all(&disk);
            // The directory of snapshots takes no new file.
            disk.refuse_names(Some(SNAPSHOTS.into()));
            let refused = until(&engine, async || engine.enqueue(vec![job("later")]).await.err()).await;
            assert_eq!(refused, EngineError::Rejected(Rejection::Damaged));
            assert_eq!(engine.accepts_jobs(), Err(EngineError::Rejected(Rejection::Damaged)));
            finish.notify_one();
            when(&engine, &running, Status::Completed).await;
            if is_mended {
                disk.refuse_names(None);
                until(&engine, async || engine.enqueue(vec![job("later")]).await.ok()).await;
                assert_eq!(engine.stop(None).await, Ending::Clean);
                ready(&disk, options(), Handlers::new()).await;
                return;
            }
            let Ending::Failed { cause, message } = engine.stop(None).await else { panic!("it is damaged") };
            assert_eq!(cause, FailCause::Damaged);
            assert!(message.contains("could not be written out anew"), "{message}");
        });
    }
}

/// Row 61: a payload is read, and is not what was written.
#[test]
fn damage_that_the_reading_of_a_payload_meets_costs_that_job_and_saves_all_others() {
    on_system(|| async {
        let disk = SimStorage::new();
        let done = |_: JobRun| async { Ok(None) };
        let mut options = options();
        options.payload_memory_bytes = 0;
        let engine =
            ready(&disk, options.clone(), Handlers::new().with(kind("scroll"), Does(done, None))).await;
        let mut ids = Vec::new();
        for name in ["first", "second", "third"] {
            let start = Start::After(Duration::from_secs(3_600));
            ids.push(enqueue(&engine, JobSpec { payload: long(name), start, ..job("scroll") }).await);
        }
        let segment = disk.paths(WAL).into_iter().rfind(|path| is(path, "wal")).unwrap();
        disk.tamper(&segment, |bytes| {
            let at = bytes.windows(6).position(|text| text == b"second").unwrap();
            bytes[at] ^= 1;
        });
        // Who looks at it meets it.
        assert_eq!(engine.job(ids[1].clone()).await.unwrap().unreadable.len(), 1);
        until(&engine, async || (engine.metrics().rescues.get() == 1).then_some(())).await;
        let dead = when_dead(&engine, &ids[1]).await;
        assert_eq!(dead.errors[0].failure.kind, FailureKind::PayloadLost);
        assert_eq!(engine.metrics().payloads_lost.get(), 1);
        assert_eq!(engine.list(Status::Dead, Filter::default(), 9).await.unwrap().len(), 1);
        enqueue(&engine, job("later")).await;
        // To look at what is known to be lost is no new damage.
        engine.job(ids[1].clone()).await.unwrap();
        assert_eq!(engine.stop(None).await, Ending::Clean);
        assert_eq!(engine.metrics().rescues.get(), 1);
        let again = ready(&disk, options, Handlers::new()).await;
        for (id, name) in [(&ids[0], "first"), (&ids[2], "third")] {
            let view = again.job(id.clone()).await.unwrap();
            assert_eq!((view.status, view.payload), (Status::Scheduled, long(name)));
        }
        assert_eq!(again.job(ids[1].clone()).await.unwrap().status, Status::Dead);
    });
}

async fn when_dead(engine: &Engine, id: &JobId) -> JobView {
    until(engine, async || {
        let view = engine.job(id.clone()).await.unwrap();
        (view.status == Status::Dead).then_some(view)
    })
    .await
}
