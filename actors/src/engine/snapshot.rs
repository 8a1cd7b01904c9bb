//! SnapshotActor: decides when a snapshot is taken, and takes it, on a thread of its own.
//!
//! The log is sealed, the sealed part is folded into the next layer upon the previous snapshot, the result is published,
//! and only then are the segments removed that no snapshot needs any more. Between snapshots, layers are merged, a
//! few milliseconds at a time and within a limit of bytes per second.

use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::oneshot;

use crate::base::failpoint;
use crate::engine::liveness::ExitGuard;
use crate::engine::messages::{DamageMet, End, Seal, SnapshotTaken, TakeSnapshot};
use crate::engine::rescue::rescue;
use crate::engine::snapshot_settings::SnapshotSettings;
use crate::ids::Seq;
use crate::snapshot::SnapshotError;
use crate::snapshot::compact::{Compaction, CompactionStep};
use crate::snapshot::scrub::Scrub;

/// How often it checks whether the log has grown enough for a snapshot before its time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Delay after the start before the walk over stored payloads begins: a start has more urgent work.
const SCRUB_AFTER: Duration = Duration::from_secs(60);
/// Bytes that this walk reads per second: slow enough to cost next to nothing
/// (`docs/decisions/0017-payloads-confirmed-at-boot.md`).
const SCRUB_BYTES_PER_SECOND: u64 = 8 << 20;
/// Merging layers pauses after about this many bytes.
const TURN_BYTES: u64 = 1 << 20;

/// Takes one snapshot at a time, on the thread `beaver-snapshot`.
pub struct SnapshotActor {
    settings: SnapshotSettings,
    /// Layers that are being put together.
    compaction: Option<Compaction>,
    /// The walk through all payloads, while it goes on.
    scrub: Option<Scrub>,
    /// What is damaged on disk and not yet written out anew.
    damage: Option<String>,
    /// Bytes of the log when the last snapshot was taken.
    log_bytes: u64,
    _guard: ExitGuard,
}

impl SnapshotActor {
    /// One that takes its first snapshot after the interval.
    #[must_use]
    pub fn new(settings: SnapshotSettings, guard: ExitGuard) -> SnapshotActor {
        let log_bytes = settings.metrics.log_bytes.get();
        SnapshotActor { settings, compaction: None, scrub: None, damage: None, log_bytes, _guard: guard }
    }

    /// Folds the log up to `sealed` into the newest snapshot, unless that holds it already.
    fn take(&mut self, sealed: Seq, ctx: &mut Context<SnapshotActor>) {
        failpoint::pass("snapshot.take").expect("this point is for panics");
        let metrics = self.settings.metrics.clone();
        self.log_bytes = metrics.log_bytes.get();
        loop {
            let started = self.settings.clock.ticks();
            match self.settings.take_next(sealed) {
                Ok(None) => break,
                Ok(Some(info)) => {
                    let took = self.settings.clock.ticks().saturating_sub(started);
                    metrics.snapshots.add(1);
                    metrics.snapshot_bytes.set(info.bytes);
                    metrics.snapshot_micros.set(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                    tracing::info!(
                        actor = "supervisor/snapshot",
                        seq = info.header.last.0,
                        behind = info.header.parent.0,
                        jobs = info.jobs,
                        bytes = info.bytes,
                        milliseconds = took.as_secs_f64() * 1e3,
                        "snapshot taken"
                    );
                    self.settings.taken.do_send(SnapshotTaken(info));
                    self.let_go();
                }
                Err(error) => {
                    metrics.snapshots_failed.add(1);
                    if error.is_damage() {
                        self.damage = Some(error.to_string());
                        return;
                    }
                    tracing::error!(actor = "supervisor/snapshot", %error, "no snapshot taken; the log is kept and goes on");
                    return;
                }
            }
        }
        self.begin_compaction(ctx);
    }

    fn begin_compaction(&mut self, ctx: &mut Context<SnapshotActor>) {
        if self.compaction.is_some() {
            return;
        }
        match Compaction::begin_if_due(&self.settings.store, self.settings.clock.now()) {
            Ok(None) => {}
            Ok(Some(compaction)) => {
                self.compaction = Some(compaction);
                ctx.run_later(Duration::ZERO, SnapshotActor::compact);
            }
            Err(error) => self.compaction_failed(&error, ctx),
        }
    }

    /// One turn of putting layers together, and a pause after it as long as it takes to stay within the rate.
    fn compact(&mut self, ctx: &mut Context<SnapshotActor>) {
        let Some(mut compaction) = self.compaction.take() else { return };
        let mut bytes = 0;
        while bytes < TURN_BYTES {
            match compaction.step() {
                Ok(CompactionStep::More(more)) => bytes += more,
                Ok(CompactionStep::Published) => {
                    tracing::info!(actor = "supervisor/snapshot", "layers put together");
                    if let Err(error) = self.settings.show_and_retain() {
                        self.compaction_failed(&error, ctx);
                    }
                    self.let_go();
                    // The next may be due at once.
                    return self.begin_compaction(ctx);
                }
                Err(error) => return self.compaction_failed(&error, ctx),
            }
        }
        self.compaction = Some(compaction);
        let rate = self.settings.store.layering().bytes_per_second.max(1);
        ctx.run_later(Duration::from_secs_f64(bytes as f64 / rate as f64), SnapshotActor::compact);
    }

    /// Nothing is read here any more from layers that are gone, so that their space may be given back.
    fn let_go(&mut self) {
        let Some(scrub) = &mut self.scrub else { return };
        match self.settings.store.list() {
            Ok(names) => {
                scrub.keep(|path| names.iter().any(|name| self.settings.store.path_of(*name) == path))
            }
            Err(error) => tracing::warn!(actor = "supervisor/snapshot", %error, "layers not listed"),
        }
    }

    fn begin_scrub(&mut self, ctx: &mut Context<SnapshotActor>) {
        match self.settings.store.newest_without(&[]) {
            Ok(Some(state)) => {
                self.scrub = Some(Scrub::of(state.layers().to_vec()));
                self.scrub(ctx);
            }
            Ok(None) => {}
            Err(error) => self.found_damage(&error, ctx),
        }
    }

    /// Reads the next page and goes on later, until all have been read.
    fn scrub(&mut self, ctx: &mut Context<SnapshotActor>) {
        let Some(scrub) = &mut self.scrub else { return };
        let bytes = match scrub.step() {
            None => {
                self.scrub = None;
                return;
            }
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => {
                self.found_damage(&error, ctx);
                TURN_BYTES
            }
        };
        let pause = Duration::from_secs_f64(bytes as f64 / SCRUB_BYTES_PER_SECOND as f64);
        ctx.run_later(pause, SnapshotActor::scrub);
    }

    /// The walk through stored payloads has met something that it could not read.
    fn found_damage(&mut self, error: &SnapshotError, ctx: &mut Context<SnapshotActor>) {
        if error.is_damage() {
            self.settings.metrics.snapshots_damaged.add(1);
            return self.rescue_soon(error.to_string(), ctx);
        }
        tracing::error!(actor = "supervisor/snapshot", %error, "stored payloads cannot be read now");
    }

    fn rescue_soon(&mut self, problem: String, ctx: &mut Context<SnapshotActor>) {
        self.damage.get_or_insert(problem);
        take_soon(ctx);
    }

    /// Nothing else is done meanwhile. `done` is told when it has ended, one way or the other.
    fn rescue(&mut self, problem: String, done: oneshot::Sender<()>, ctx: &mut Context<SnapshotActor>) {
        (self.compaction, self.scrub) = (None, None);
        let rescue = rescue(self.settings.clone(), problem.clone()).into_actor(self);
        ctx.wait(rescue.map(move |rescued, actor, _| {
            actor.damage = rescued.is_err().then_some(problem);
            // Those that are taken by the clock are waited for by nobody.
            let _ = done.send(());
        }));
    }

    fn compaction_failed(&mut self, error: &SnapshotError, ctx: &mut Context<SnapshotActor>) {
        self.settings.metrics.snapshots_failed.add(1);
        if error.is_damage() {
            return self.rescue_soon(error.to_string(), ctx);
        }
        tracing::error!(actor = "supervisor/snapshot", %error, "layers not put together; they stay as they are");
    }
}

impl Actor for SnapshotActor {
    type Context = Context<SnapshotActor>;

    fn started(&mut self, ctx: &mut Context<SnapshotActor>) {
        ctx.run_interval(self.settings.interval, |_, ctx| take_soon(ctx));
        ctx.run_later(SCRUB_AFTER, SnapshotActor::begin_scrub);
        ctx.run_interval(LOOK_EVERY, |actor, ctx| {
            let log_bytes = actor.settings.metrics.log_bytes.get();
            // What is not in a snapshot yet takes up disk, and time at the next start.
            if actor.settings.store.layering().is_enough_log(log_bytes - actor.log_bytes) {
                actor.log_bytes = log_bytes;
                take_soon(ctx);
            }
        });
    }
}

/// Asks for one that nobody waits for.
fn take_soon(ctx: &mut Context<SnapshotActor>) {
    let (done, _) = oneshot::channel();
    ctx.notify(TakeSnapshot { done });
}

impl Handler<TakeSnapshot> for SnapshotActor {
    type Result = ();

    fn handle(&mut self, request: TakeSnapshot, ctx: &mut Context<SnapshotActor>) {
        if let Some(problem) = self.damage.clone() {
            return self.rescue(problem, request.done, ctx);
        }
        let (done, sealed) = oneshot::channel();
        self.settings.seal.do_send(Seal { done });
        ctx.wait(sealed.into_actor(self).map(|sealed, actor, ctx| {
            // No answer: the log is closed, or has no space for another segment.
            if let Ok(Some(sealed)) = sealed {
                actor.take(sealed, ctx);
            }
            if let Some(problem) = actor.damage.clone() {
                return actor.rescue(problem, request.done, ctx);
            }
            // Those that are taken by the clock are waited for by nobody.
            let _ = request.done.send(());
        }));
    }
}

impl Handler<DamageMet> for SnapshotActor {
    type Result = ();

    fn handle(&mut self, DamageMet(problem): DamageMet, ctx: &mut Context<SnapshotActor>) {
        self.rescue_soon(problem, ctx);
    }
}

impl Handler<End> for SnapshotActor {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<SnapshotActor>) {
        ctx.stop();
    }
}

#[cfg(feature = "testing")]
impl Handler<crate::engine::messages::Crash> for SnapshotActor {
    type Result = ();

    fn handle(&mut self, crash: crate::engine::messages::Crash, _: &mut Context<SnapshotActor>) {
        panic!("a test asked {} to crash", crash.0);
    }
}
