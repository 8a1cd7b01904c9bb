//! The queue at a glance.

use crate::api::status::{EngineStatus, LogStatus, QueueStatus, SnapshotStatus, WaitingKind, WorkersStatus};
use crate::engine::manager::JobManagerActor;
use crate::ids::Timestamp;
use crate::snapshot::format::ImageHeader;
use crate::snapshot::store::SnapshotInfo;

impl JobManagerActor {
    pub(super) fn status(&self, now: Timestamp) -> EngineStatus {
        let up = self.workers.iter().flatten().count();
        let idle = self.workers.iter().flatten().filter(|worker| worker.busy.is_none()).count();
        EngineStatus {
            jobs: self.table.counts(),
            queues: QueueStatus::all(&self.table, now),
            totals: self.table.totals(),
            waiting_for_worker: WaitingKind::all(&self.table),
            workers: WorkersStatus {
                count: self.settings.worker_count,
                busy: up - idle,
                idle,
                restarts: self.settings.metrics.restarts_worker.get(),
                kinds: self.settings.kinds.clone(),
            },
            log: LogStatus {
                seq: self.table.last(),
                durable_seq: self.durable,
                accepts_jobs: self.room.accepts_jobs,
            },
            snapshot: self.settings.snapshot,
            recovery: self.settings.recovery,
        }
    }
}

impl From<SnapshotInfo> for SnapshotStatus {
    fn from(info: SnapshotInfo) -> SnapshotStatus {
        let ImageHeader { last, taken_at, .. } = info.header;
        SnapshotStatus { seq: last, taken_at, bytes: info.bytes, jobs: info.jobs }
    }
}
