//! What an append and the sync behind it promise when the disk fails at either, and buffers that are used again.

use beaver_actors::api::handler::Handlers;
use beaver_actors::engine::{Ending, EngineError, FailCause};
use beaver_actors::ids::Timestamp;
use beaver_actors::internals::wal::writer::LogWriter;
use beaver_actors::internals::wal::{Group, WalError, codec};
use beaver_actors::jobs::Status;
use beaver_actors::testing::{Call, Fault, SimStorage, StepEngine};

use crate::harness::{enqueue, job, on_system, options, ready};

const NOW: Timestamp = Timestamp(1);

/// An engine, and groups of one event that its log may append next.
fn with_groups(groups: usize) -> (StepEngine, Vec<Group>) {
    let mut beaver = StepEngine::on(SimStorage::new());
    // Any events will do that fit: those of another engine that begins with the same jobs.
    let mut other = StepEngine::on(SimStorage::new());
    for _ in 0..groups {
        other.enqueue("mail");
    }
    let next = beaver.log().last().next();
    let groups = other.history.iter().filter(|(seq, _)| *seq >= next).map(|(seq, event)| {
        let mut bytes = Vec::new();
        codec::encode(event, &mut bytes);
        Group { first: *seq, count: 1, bytes }
    });
    let groups = groups.collect();
    (beaver, groups)
}

fn is_poisoned(log: &mut LogWriter, group: &Group) -> bool {
    let (written, result) = log.append(std::slice::from_ref(group), NOW);
    written == 0 && matches!(result, Err(WalError::Poisoned)) && matches!(log.sync(), Err(WalError::Poisoned))
}

#[test]
fn one_sync_makes_all_that_was_appended_survive_a_power_cut() {
    let (mut beaver, groups) = with_groups(3);
    let syncs = beaver.storage.calls_of(Call::Sync);
    let (written, result) = beaver.log().append(&groups, NOW);
    assert!(result.is_ok() && written == 3);
    // What is only written is not called durable.
    assert!(beaver.log().durable() < groups[0].first);
    assert_eq!(beaver.log().sync().unwrap(), groups[2].last());
    assert_eq!(beaver.log().durable(), groups[2].last());
    // One for all of them.
    assert_eq!(beaver.storage.calls_of(Call::Sync), syncs + 1);
    let last = beaver.log().last();
    beaver.crash_keeping_only_synced_bytes();
    assert!(beaver.table().last() >= last);
    assert_eq!(beaver.table().counts().of(Status::Pending), 3);
}

#[test]
fn a_sync_that_fails_poisons_the_log_for_any_error() {
    for fault in [Fault::Eio, Fault::Enospc, Fault::FalseFailure] {
        let (mut beaver, groups) = with_groups(2);
        let (disk, durable) = (beaver.storage.clone(), beaver.log().durable());
        disk.fail_call_of(Call::Sync, disk.calls_of(Call::Sync) + 1, fault);
        beaver.log().append(&groups[..1], NOW).1.unwrap();
        let result = beaver.log().sync();
        assert!(matches!(&result, Err(WalError::Io { action: "sync", .. })), "{fault:?}: {result:?}");
        assert_eq!(beaver.log().durable(), durable, "{fault:?}");
        assert!(is_poisoned(beaver.log(), &groups[1]), "{fault:?}");
    }
}

#[test]
fn a_write_that_fails_is_final_unless_the_disk_is_full() {
    for fault in [Fault::Eio, Fault::Short, Fault::FalseFailure] {
        let (mut beaver, groups) = with_groups(1);
        let (disk, durable) = (beaver.storage.clone(), beaver.log().durable());
        let syncs = disk.calls_of(Call::Sync);
        disk.fail_call_of(Call::Write, disk.calls_of(Call::Write) + 1, fault);
        let (_, result) = beaver.log().append(&groups, NOW);
        assert!(matches!(&result, Err(WalError::Io { action: "write", .. })), "{fault:?}: {result:?}");
        assert!(is_poisoned(beaver.log(), &groups[0]), "{fault:?}");
        assert_eq!(beaver.log().durable(), durable, "{fault:?}");
        // What a failed write left behind is never synced: this is the witness, which takes back what was not.
        assert_eq!(disk.calls_of(Call::Sync), syncs + 1, "{fault:?}");
    }
    let (mut beaver, groups) = with_groups(1);
    let disk = beaver.storage.clone();
    disk.fail_call_of(Call::Write, disk.calls_of(Call::Write) + 1, Fault::Enospc);
    let (written, result) = beaver.log().append(&groups, NOW);
    assert!(written == 0 && matches!(&result, Err(WalError::Full { .. })), "{result:?}");
    let (written, result) = beaver.log().append(&groups, NOW);
    assert!(written == 1 && result.is_ok());
    assert_eq!(beaver.log().sync().unwrap(), groups[0].last());
}

#[test]
fn an_engine_answers_only_what_a_power_cut_leaves() {
    on_system(async || {
        let disk = SimStorage::new();
        let engine = ready(&disk, options(), Handlers::new()).await;
        let mut accepted = Vec::new();
        for _ in 0..20 {
            accepted.push(enqueue(&engine, job("mail")).await);
            // With the power cut at this moment, a copy of the disk boots to all that was answered.
            let after = disk.fork();
            after.cut_power();
            let after = StepEngine::with(after, options(), 1).unwrap();
            assert!(accepted.iter().all(|job| after.status_of(job) == Some(Status::Pending)));
        }
        assert!(engine.metrics().log_fsync.read().0.iter().sum::<u64>() >= 20);
        disk.fail_syncs(1);
        let unknown = engine.enqueue(vec![job("mail")]).await;
        assert!(matches!(unknown, Err(EngineError::Unknown)), "{unknown:?}");
        assert!(matches!(engine.stopped().await, Ending::Failed { cause: FailCause::Storage, .. }));
    });
}
