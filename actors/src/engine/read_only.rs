//! The data of a stopped queue, opened to be looked at: questions are answered from memory, and nothing else is done.
//!
//! There is no actor: nothing changes, so nobody has to own the state. Nothing is due either: a lease that has run out
//! stays as the disk has it until a server starts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::outcome::EngineError;
use crate::api::requests::QueuePage;
use crate::api::status::{
    EngineStatus, LogStatus, NamesShown, QueueStatus, RecoveryStatus, SnapshotStatus, WorkersStatus,
};
use crate::base::clock::Clock;
use crate::ids::JobId;
use crate::jobs::filter::ListRoom;
use crate::jobs::{Filter, JobTable, JobView, Rejection, Status};
use crate::recovery::boot::{Locks, ReadOnly};
use crate::recovery::payload_store::StoredPayloads;

/// A state that is only looked at. Its locks are held until it is dropped.
pub(crate) struct ReadOnlyState {
    table: Mutex<JobTable>,
    payload_store: Arc<StoredPayloads>,
    snapshot: Option<SnapshotStatus>,
    recovery: RecoveryStatus,
    clock: Arc<dyn Clock>,
    /// Only held; in a mutex, as what a lock is made of need not be shared between threads.
    _locks: Mutex<Locks>,
}

impl ReadOnlyState {
    pub fn new(opened: ReadOnly, clock: Arc<dyn Clock>) -> ReadOnlyState {
        let ReadOnly { table, payload_store, snapshot, status, locks } = opened;
        ReadOnlyState {
            table: Mutex::new(table),
            payload_store,
            snapshot: snapshot.map(Into::into),
            recovery: status,
            clock,
            _locks: Mutex::new(locks),
        }
    }

    fn table(&self) -> MutexGuard<'_, JobTable> {
        // Looking at it leaves nothing half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn job(&self, job: JobId) -> Result<JobView, EngineError> {
        let found = self.table().whole_view(&job, &*self.payload_store);
        found.ok_or_else(|| Rejection::NotFound { job }.into())
    }

    pub fn list(&self, status: Status, filter: &Filter, limit: usize) -> Vec<JobView> {
        let table = self.table();
        let mut members = table.members(&[status], filter, usize::MAX);
        let mut room = ListRoom::of_jobs(limit);
        table.examine_whole(&mut members, &[status], filter, usize::MAX, &mut room, &*self.payload_store)
    }

    pub fn queues(&self, page: &QueuePage) -> Vec<QueueStatus> {
        let table = self.table();
        QueueStatus::page(&table, page, table.time_by(self.clock.now()))
    }

    pub fn status(&self, queues_max: usize) -> EngineStatus {
        let table = self.table();
        let now = table.time_by(self.clock.now());
        let NamesShown { queues, waiting_for_worker, left_out } = NamesShown::of(&table, now, queues_max);
        EngineStatus {
            jobs: table.counts(),
            queues,
            totals: table.totals(),
            waiting_for_worker,
            left_out,
            workers: WorkersStatus { count: 0, busy: 0, idle: 0, restarts: 0, kinds: Vec::new() },
            log: LogStatus {
                seq: table.last(),
                durable_seq: table.last(),
                accepts_jobs: true,
                refusal: None,
            },
            snapshot: self.snapshot,
            clock: table.clock().into(),
            recovery: self.recovery,
        }
    }
}
