//! The log's second witness: what it proves is missed, and it never proves what a crash may take.

use std::path::PathBuf;

use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::FailCause;
use beaver_actors::ids::Timestamp;
use beaver_actors::internals::storage::Storage;
use beaver_actors::jobs::Status;
use beaver_actors::testing::{Call, Fault, Kept, SimStorage, StepEngine};

use crate::doctor::repair;

const WAL: &str = "/data/wal";
const WITNESS: &str = "/data/witness";

/// A log in two segments, idle, whose last events are proven by the witness and by the page that holds them.
fn idle() -> StepEngine {
    let mut beaver = StepEngine::on(SimStorage::new());
    beaver.enqueue("mail");
    beaver.snapshot().unwrap();
    for _ in 0..3 {
        beaver.enqueue("mail");
        beaver.sync();
    }
    beaver.log().mark(Timestamp(1));
    beaver
}

fn last_segment(disk: &SimStorage) -> PathBuf {
    let mut segments = disk.paths(WAL).into_iter();
    segments.rfind(|path| path.extension().is_some_and(|extension| extension == "wal")).unwrap()
}

/// Where the bytes end that were written.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

fn boot(disk: &SimStorage) -> Result<StepEngine, String> {
    let options = StepEngine::on(SimStorage::new()).options;
    StepEngine::with(disk.fork(), options, 1).map_err(|error| {
        assert_eq!(error.cause, FailCause::Damaged, "{error}");
        error.to_string()
    })
}

/// Row 64: the last page of the log is gone, and with it what it said about itself.
#[test]
fn a_log_that_has_lost_its_end_is_refused_however_it_was_lost() {
    let older = {
        let mut beaver = StepEngine::on(SimStorage::new());
        beaver.enqueue("mail");
        beaver.snapshot().unwrap();
        beaver.enqueue("mail");
        beaver.sync();
        beaver.storage.bytes(last_segment(&beaver.storage))
    };
    type Loss = fn(&SimStorage, &[u8]);
    let losses: [(&str, Loss); 6] = [
        ("zeros over the last page", |disk, _| {
            disk.tamper(last_segment(disk), |bytes| {
                let end = used(bytes);
                bytes[end.saturating_sub(4096).max(128)..end].fill(0);
            });
        }),
        ("garbage over the last page", |disk, _| {
            disk.tamper(last_segment(disk), |bytes| {
                let end = used(bytes);
                bytes[end.saturating_sub(4096).max(128)..end].fill(0xa5);
            });
        }),
        ("the file is cut", |disk, _| disk.tamper(last_segment(disk), |bytes| bytes.truncate(200))),
        ("an older copy of the segment", |disk, older| {
            disk.tamper(last_segment(disk), |bytes| *bytes = older.to_vec());
        }),
        ("zeros over all that was used", |disk, _| {
            disk.tamper(last_segment(disk), |bytes| bytes[128..].fill(0));
        }),
        ("the segment is gone", |disk, _| disk.remove(&last_segment(disk)).unwrap()),
    ];
    for is_power_cut in [false, true] {
        for (what, lose) in losses {
            let beaver = idle();
            let disk = beaver.storage.fork();
            if is_power_cut {
                disk.cut_power();
                // It was written back by then.
                disk.put(WITNESS, beaver.storage.bytes(WITNESS));
            }
            assert!(boot(&disk).is_ok(), "{what}: it is whole before");
            lose(&disk, &older);
            let refused = boot(&disk).err().unwrap_or_else(|| panic!("{what}: accepted"));
            assert!(refused.contains(".wal"), "{what}: {refused}");
            // The doctor counts what is missing, and after its repair the rest serves again.
            let (loss, _) = repair(&disk);
            assert!(loss.events > 0, "{what}: {loss:?}");
            assert!(boot(&disk).is_ok(), "{what}");
        }
    }
}

/// What was written and not synced is there as long as the kernel runs, and may be gone after a power cut.
#[test]
fn what_was_only_written_is_missed_after_a_kill_and_not_after_a_power_cut() {
    let mut beaver = idle();
    let job = beaver.enqueue("mail");
    beaver.log().testify();
    let (killed, cut) = (beaver.storage.fork(), beaver.storage.fork());
    assert_eq!(boot(&killed).unwrap().status_of(&job), Some(Status::Pending));
    killed.tamper(last_segment(&killed), |bytes| {
        let end = used(bytes);
        bytes[end - 60..end].fill(0);
    });
    let refused = boot(&killed).err().expect("it was written");
    assert!(refused.contains("since the machine was started"), "{refused}");
    cut.cut_power();
    cut.put(WITNESS, beaver.storage.bytes(WITNESS));
    assert_eq!(boot(&cut).unwrap().status_of(&job), None);
}

/// After a failed sync nobody knows what the disk has of what was not synced before.
#[test]
fn a_log_that_is_poisoned_takes_back_what_was_not_synced() {
    let mut beaver = idle();
    let job = beaver.enqueue("mail");
    beaver.log().testify();
    let disk = beaver.storage.clone();
    disk.fail_call_of(Call::Sync, disk.calls_of(Call::Sync) + 1, Fault::Eio);
    beaver.log().sync().unwrap_err();
    // The kernel has given the pages up: it shows what the disk has.
    let (killed, cut) = (beaver.storage.fork(), beaver.storage.fork());
    cut.cut_power();
    assert_eq!(cut.bytes(WITNESS), killed.bytes(WITNESS), "it is synced");
    killed.put(last_segment(&killed), cut.bytes(last_segment(&cut)));
    assert_eq!(boot(&killed).unwrap().status_of(&job), None);
}

#[test]
fn a_directory_without_a_witness_or_with_a_torn_one_starts_and_has_one_then() {
    let beaver = idle();
    for is_torn in [false, true] {
        let disk = beaver.storage.fork();
        match is_torn {
            true => disk.tamper(WITNESS, |bytes| bytes.fill(0xa5)),
            false => disk.delete(WITNESS),
        }
        let mut after = StepEngine::with(disk.clone(), beaver.options.clone(), 1).unwrap();
        after.close();
        disk.tamper(last_segment(&disk), |bytes| bytes[128..].fill(0));
        assert!(boot(&disk).is_err(), "the new one has been asked");
    }
}

/// It is evidence, not data: a bad sector under it is no reason to refuse what is whole.
#[test]
fn a_witness_that_cannot_be_read_keeps_nobody_from_starting() {
    let beaver = idle();
    let start = |disk: &SimStorage| StepEngine::with(disk.clone(), beaver.options.clone(), 1);
    let whole = beaver.storage.fork();
    let first = whole.calls_of(Call::Read) + 1;
    start(&whole).unwrap();
    for read in first..=whole.calls_of(Call::Read) {
        let disk = beaver.storage.fork();
        disk.fail_call_of(Call::Read, read, Fault::Eio);
        if let Err(refused) = start(&disk) {
            assert!(!refused.message.contains(WITNESS), "{refused}");
        }
    }
}

#[test]
fn the_witness_of_another_store_is_refused() {
    let beaver = idle();
    let other = StepEngine::with(SimStorage::new(), beaver.options.clone(), 2).unwrap();
    let disk = beaver.storage.fork();
    disk.put(WITNESS, other.storage.bytes(WITNESS));
    let refused = boot(&disk).err().expect("it is of another log");
    assert!(refused.contains("its witness to store"), "{refused}");
}

/// Boots after a power cut at each moment on the tape, of which the witness has survived and nothing else that was not
/// synced, but for a few of the changes of names or all of them.
fn survives_alone(disk: &SimStorage, options: &EngineOptions) {
    for frame in disk.take_tape() {
        if !frame.disk.paths("/data").contains(&WITNESS.into()) {
            continue;
        }
        for names in 0..=frame.disk.unsynced().1 {
            let cut = frame.disk.fork();
            cut.cut_power_keeping(&Kept { names, ..Kept::default() });
            cut.put(WITNESS, frame.disk.bytes(WITNESS));
            if let Err(refused) = StepEngine::with(cut, options.clone(), 1) {
                panic!("call {}, {names} names kept: {refused}", frame.calls);
            }
        }
    }
}

#[test]
fn the_witness_never_proves_what_a_start_has_not_published() {
    let mut before = idle();
    // Nothing proves it yet: the start appends it again.
    before.enqueue("mail");
    let disk = before.storage.fork();
    disk.kill_process();
    disk.start_tape();
    StepEngine::with(disk.clone(), before.options.clone(), 1).unwrap();
    survives_alone(&disk, &before.options);
}

#[test]
fn the_witness_never_proves_what_a_power_cut_may_take_whenever_it_is_written() {
    let disk = SimStorage::new();
    let options = StepEngine::on(SimStorage::new()).options;
    disk.start_tape();
    let mut beaver = StepEngine::with(disk.clone(), options.clone(), 1).unwrap();
    for _ in 0..2 {
        beaver.enqueue("mail");
        beaver.log().testify();
        beaver.enqueue("mail");
        beaver.log().mark(Timestamp(1));
        beaver.sync();
        beaver.log().testify();
        beaver.enqueue("mail");
        beaver.snapshot().unwrap();
        beaver.log().mark(Timestamp(1));
    }
    beaver.enqueue("mail");
    beaver.close();
    survives_alone(&disk, &options);
}
