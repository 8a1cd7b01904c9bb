//! The server at a glance, and whether there is something new to see.

use crate::api::status::{EngineStatus, LogStatus, NamesShown, SnapshotStatus, WorkersStatus};
use crate::engine::manager::ledger::Ledger;
use crate::engine::manager::pool::Pool;
use crate::engine::manager::settings::ManagerSettings;
use crate::ids::{Seq, Timestamp};
use crate::snapshot::format::ImageHeader;
use crate::snapshot::store::SnapshotInfo;

pub(super) fn status<A>(
    ledger: &Ledger,
    pool: &Pool<A>,
    settings: &ManagerSettings,
    durable_seq: Seq,
    snapshot: Option<SnapshotStatus>,
    queues_max: usize,
    now: Timestamp,
) -> EngineStatus {
    let table = &ledger.table;
    let NamesShown { queues, waiting_for_worker, left_out } = NamesShown::of(table, now, queues_max);
    EngineStatus {
        jobs: table.counts(),
        queues,
        totals: table.totals(),
        waiting_for_worker,
        left_out,
        workers: WorkersStatus {
            count: settings.worker_count,
            busy: pool.up_count() - pool.idle_count(),
            idle: pool.idle_count(),
            restarts: settings.metrics.restarts_worker.get(),
            kinds: settings.kinds.clone(),
        },
        log: {
            let refusal = ledger.admit(1, 0).err().map(|refusal| refusal.code());
            LogStatus { seq: table.last(), durable_seq, accepts_jobs: refusal.is_none(), refusal }
        },
        snapshot,
        clock: table.clock().into(),
        recovery: settings.recovery,
    }
}

/// Differs from one turn to the next only if there is something new to see.
#[derive(Default, PartialEq)]
pub(super) struct Visible {
    last: Seq,
    idle: usize,
    accepts_jobs: bool,
}

impl Visible {
    pub fn of<A>(ledger: &Ledger, pool: &Pool<A>) -> Visible {
        let accepts_jobs = ledger.room.accepts_jobs && !ledger.is_damaged;
        Visible { last: ledger.table.last(), idle: pool.idle_count(), accepts_jobs }
    }
}

impl From<SnapshotInfo> for SnapshotStatus {
    fn from(info: SnapshotInfo) -> SnapshotStatus {
        let ImageHeader { last, taken_at, .. } = info.header;
        SnapshotStatus { seq: last, taken_at, bytes: info.bytes, jobs: info.jobs }
    }
}
