//! The mark of a clean stop that cannot be written is told, and costs nothing.

use beaver_actors::api::handler::Handlers;
use beaver_actors::engine::{Ending, FailCause};
use beaver_actors::internals::wal::WalError;
use beaver_actors::testing::{Call, Fault, SimStorage, StepEngine};

use crate::harness::{enqueue, job, on_system, options, ready};

#[test]
fn a_log_whose_closing_mark_cannot_be_written_says_so_and_holds_everything() {
    for fault in Fault::ALL {
        let mut beaver = StepEngine::on(SimStorage::new());
        beaver.enqueue("mail");
        beaver.sync();
        beaver.enqueue("mail");
        let image = beaver.image();
        let storage = beaver.storage.clone();
        storage.fail_call_of(Call::Write, storage.calls_of(Call::Write) + 1, fault);
        let closed = beaver.try_close();
        let Err(WalError::Io { path, action, .. }) = &closed else { panic!("{fault:?}: {closed:?}") };
        assert!(path.starts_with("/data/wal") && action.contains("mark of a clean stop"), "{closed:?}");
        assert!(action.contains("everything before it is on disk"), "{closed:?}");
        storage.cut_power();
        beaver.boot().unwrap();
        assert_eq!(beaver.image(), image, "{fault:?}");
    }
}

#[test]
fn a_closing_mark_that_cannot_be_synced_is_told_as_such() {
    let mut beaver = StepEngine::on(SimStorage::new());
    beaver.enqueue("mail");
    let image = beaver.image();
    let storage = beaver.storage.clone();
    // The first sync is that of the events.
    storage.fail_call_of(Call::Sync, storage.calls_of(Call::Sync) + 2, Fault::Eio);
    let told = beaver.try_close().unwrap_err().to_string();
    assert!(told.contains("mark of a clean stop") && told.contains("is on disk"), "{told}");
    storage.cut_power();
    beaver.boot().unwrap();
    assert_eq!(beaver.image(), image);
}

#[test]
fn an_engine_whose_log_has_no_closing_mark_does_not_call_its_end_clean() {
    on_system(|| async {
        let disk = SimStorage::new();
        let mut options = options();
        (options.worker_count, options.snapshot_at_stop) = (0, false);
        let engine = ready(&disk, options.clone(), Handlers::new()).await;
        // The next write is that of the job; all that follow are marks.
        let writes = disk.calls_of(Call::Write);
        (2..20).for_each(|nth| disk.fail_call_of(Call::Write, writes + nth, Fault::Eio));
        let id = enqueue(&engine, job("mail")).await;
        let ending = engine.stop(None).await;
        let Ending::Failed { cause: FailCause::Storage, message } = &ending else { panic!("{ending:?}") };
        assert!(message.contains("mark of a clean stop") && message.contains("is on disk"), "{message}");
        disk.cut_power();
        let engine = ready(&disk, options, Handlers::new()).await;
        assert_eq!(engine.job(id.clone()).await.unwrap().id, id);
        assert_eq!(engine.stop(None).await, Ending::Clean);
    });
}
