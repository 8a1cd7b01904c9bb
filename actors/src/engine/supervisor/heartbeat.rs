//! Whether the threads of the actors still turn.
//!
//! A panic is noticed by itself; an actor that never comes back from a call is not. So each thread is asked for a
//! sign of life now and then. A log that is slow is a slow disk, which is only reported: its callers wait or give
//! up by themselves, and nothing false is told. A manager or a thread of workers that stands still will not get
//! better: the engine ends, and recovers from disk at its next start.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, Recipient, WrapFuture};

use crate::api::outcome::FailCause;
use crate::engine::messages::Ping;
use crate::engine::supervisor::SupervisorActor;
use crate::ids::ChildId;

/// How often a sign of life is asked for. Long enough that an idle engine stays idle.
const PERIOD: Duration = Duration::from_secs(10);

impl SupervisorActor {
    /// Asks from now on.
    pub(super) fn watch_heartbeats(&mut self, patience: Duration, ctx: &mut Context<SupervisorActor>) {
        ctx.run_interval(PERIOD.min(patience), move |supervisor, ctx| {
            for (child, ping) in supervisor.pulses() {
                supervisor.ask(child, ping, patience, ctx);
            }
        });
    }

    /// How often the log has begun or ended to keep the manager waiting for the disk.
    fn log_blocks(&self) -> u64 {
        self.children.as_ref().map_or(0, |children| children.log_blocks.load(Ordering::Relaxed))
    }

    /// One child of each thread that must turn. SnapshotActor may fold for minutes.
    fn pulses(&self) -> Vec<(ChildId, Recipient<Ping>)> {
        let Some(children) = &self.children else { return Vec::new() };
        let worker = children.workers.first().map(|worker| worker.clone().recipient());
        let worker = worker.map(|worker| (ChildId::Worker(crate::ids::WorkerId(0)), worker));
        let manager = (ChildId::Manager, children.manager.clone().recipient());
        let wal = (ChildId::Wal, children.wal.clone().recipient());
        [wal, manager].into_iter().chain(worker).collect()
    }

    fn ask(
        &mut self,
        child: ChildId,
        ping: Recipient<Ping>,
        patience: Duration,
        ctx: &mut Context<SupervisorActor>,
    ) {
        let blocks_before = self.log_blocks();
        let answer = tokio::time::timeout(patience, ping.send(Ping)).into_actor(self);
        ctx.spawn(answer.map(move |answer, supervisor, ctx| {
            // A closed mailbox is somebody else's news.
            if answer.is_ok() || supervisor.stopping {
                return;
            }
            let seconds = patience.as_secs_f64();
            // It does now, or did after it was asked, and has had less time than it may take.
            let blocks = supervisor.log_blocks();
            let waits_for_disk = blocks % 2 == 1 || blocks != blocks_before;
            if child == ChildId::Wal || (child == ChildId::Manager && waits_for_disk) {
                tracing::warn!(actor = %child, seconds, "no sign of life: the disk is slow, or gone");
                return;
            }
            let message = format!("{child} stands still: no sign of life for {seconds} s");
            supervisor.fail_stop(FailCause::Crashed, message, ctx);
        }));
    }
}
