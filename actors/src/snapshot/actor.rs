//! SnapshotActor: decides when a snapshot is taken, and takes it, on a thread of its own.
//!
//! The log is sealed, the sealed part is folded into the previous snapshot, the result is published, and only then
//! do segments go that no snapshot needs any more.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};

use super::SnapshotError;
use super::fold::Delta;
use super::store::{SnapshotInfo, SnapshotStore};
use crate::clock::Clock;
use crate::failpoint;
use crate::guard::ExitGuard;
use crate::ids::{Lsn, Timestamp};
use crate::jobs::Event;
use crate::messages::{End, Prune, Seal, SnapshotTaken, TakeSnapshot};
use crate::metrics::Metrics;

/// Hands every event of the sealed log behind the first position, up to the second, to the visitor.
pub type SealedLog = Arc<
    dyn Fn(Lsn, Lsn, &mut dyn FnMut(Lsn, Event) -> Result<(), String>) -> Result<(), String> + Send + Sync,
>;

/// What a SnapshotActor is made of; cloned for each of its lives.
#[derive(Clone)]
pub struct SnapshotSettings {
    /// Where snapshots are.
    pub store: SnapshotStore,
    /// Whose they are.
    pub store_id: [u8; 16],
    /// How often one is taken.
    pub interval: Duration,
    /// How many are kept.
    pub kept: usize,
    /// How old they may get.
    pub age_max: Duration,
    /// Reads the log.
    pub log: SealedLog,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Ends the current segment.
    pub seal: Recipient<Seal>,
    /// Deletes old ones.
    pub prune: Recipient<Prune>,
    /// Hears of every snapshot.
    pub taken: Recipient<SnapshotTaken>,
}

/// The actor.
pub struct SnapshotActor {
    settings: SnapshotSettings,
    _guard: ExitGuard,
}

impl SnapshotActor {
    /// One that takes its first snapshot after the interval.
    #[must_use]
    pub fn new(settings: SnapshotSettings, guard: ExitGuard) -> SnapshotActor {
        SnapshotActor { settings, _guard: guard }
    }

    /// Folds the log up to `sealed` into the newest snapshot, unless that holds it already.
    fn take(&self, sealed: Lsn) {
        failpoint::pass("snapshot.take").expect("this point is for panics");
        let started = self.settings.clock.ticks();
        let metrics = &self.settings.metrics;
        match self.settings.fold_through(sealed) {
            Ok(None) => {}
            Ok(Some(info)) => {
                let took = self.settings.clock.ticks().saturating_sub(started);
                metrics.snapshots.add(1);
                metrics.snapshot_bytes.set(info.bytes);
                metrics.snapshot_micros.set(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                tracing::info!(
                    actor = "supervisor/snapshot",
                    seq = info.header.last.0,
                    jobs = info.jobs,
                    bytes = info.bytes,
                    milliseconds = took.as_secs_f64() * 1e3,
                    "snapshot taken"
                );
                self.settings.taken.do_send(SnapshotTaken(info));
            }
            Err(error) => {
                metrics.snapshots_failed.add(1);
                tracing::error!(actor = "supervisor/snapshot", %error, "no snapshot taken; the log is kept and goes on");
            }
        }
    }
}

impl SnapshotSettings {
    fn fold_through(&self, sealed: Lsn) -> Result<Option<SnapshotInfo>, SnapshotError> {
        let now = self.clock.now();
        let newest = self.store.list()?.first().copied();
        if newest.unwrap_or(Lsn::ZERO) >= sealed {
            return Ok(None);
        }
        // A damaged one is passed over; the log reaches back to the one before it.
        let (base, base_at) = match newest {
            Some(newest) => self.usable_base(newest)?,
            None => (None, Timestamp(0)),
        };
        let mut delta = Delta::after(base.unwrap_or(Lsn::ZERO), base_at);
        let after = delta.last();
        let mut take = |lsn, event| delta.take(lsn, event).map_err(|misfit| misfit.to_string());
        (self.log)(after, sealed, &mut take).map_err(SnapshotError::Log)?;
        let info = self.store.write(base, delta, self.store_id, now)?;
        if let Some(through) = self.store.retain(self.kept, self.age_max, now)? {
            self.prune.do_send(Prune { through });
        }
        Ok(Some(info))
    }

    fn usable_base(&self, newest: Lsn) -> Result<(Option<Lsn>, Timestamp), SnapshotError> {
        let error = match self.store.open(newest).and_then(|mut reader| {
            let header = reader.header;
            while reader.next_chunk()?.is_some() {}
            Ok(header)
        }) {
            Ok(header) => return Ok((Some(header.last), header.last_at)),
            Err(error @ SnapshotError::Corrupted { .. }) => error,
            Err(error) => return Err(error),
        };
        let aside = self.store.set_aside(newest)?;
        tracing::error!(actor = "supervisor/snapshot", %error, aside = %aside.display(), "a snapshot is damaged and was set aside");
        match self.store.list()?.first() {
            Some(older) => self.usable_base(*older),
            None => Ok((None, Timestamp(0))),
        }
    }
}

impl Actor for SnapshotActor {
    type Context = Context<SnapshotActor>;

    fn started(&mut self, ctx: &mut Context<SnapshotActor>) {
        ctx.run_interval(self.settings.interval, |_, ctx| {
            let (done, _) = tokio::sync::oneshot::channel();
            ctx.notify(TakeSnapshot { done });
        });
    }
}

impl Handler<TakeSnapshot> for SnapshotActor {
    type Result = ();

    fn handle(&mut self, request: TakeSnapshot, ctx: &mut Context<SnapshotActor>) {
        let sealed = self.settings.seal.send(Seal).into_actor(self);
        ctx.wait(sealed.map(|sealed, actor, _| {
            // No answer: the log is closed, or has no space for another segment.
            if let Ok(Some(sealed)) = sealed {
                actor.take(sealed);
            }
            let _ = request.done.send(());
        }));
    }
}

impl Handler<End> for SnapshotActor {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<SnapshotActor>) {
        ctx.stop();
    }
}

#[cfg(feature = "testing")]
impl Handler<crate::messages::Crash> for SnapshotActor {
    type Result = ();

    fn handle(&mut self, crash: crate::messages::Crash, _: &mut Context<SnapshotActor>) {
        panic!("a test asked {} to crash", crash.0);
    }
}
