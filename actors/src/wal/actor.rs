//! WalActor: gathers what was sent while the disk was busy, writes it at once, syncs it once, says so.
//!
//! It has an Arbiter, and so a thread, of its own, because it blocks on the disk. While it does, the next batch
//! gathers in its mailbox: the slower the disk, the larger the batches; no timer adds latency.
//!
//! What was measured and left out (`cargo bench --bench log`; two cores of an EPYC, ext4, in the same run):
//! - One call that writes and syncs (`RWF_DSYNC`, `O_DSYNC`) takes as long as two, within 2 %.
//! - `O_DIRECT` takes 12 to 15 % less time up to 16 KiB, 8 to 36 % less at 160 KiB, and at 1 MiB half the processor time.
//!   But nothing of the log is in the page cache then, and payloads are read back from it.
//! - A second batch on its way while the first is synced: two threads sync a quarter to a half more often than one, but
//!   each batch takes longer, and in front of them the processor is the limit, not the disk.
//! - A parked thread instead of a mailbox: the same (50 µs to there and back on an idle machine that has to wake a
//!   sleeping core for each way; 8 to 15 µs on a busy one).

use std::any::Any;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Recipient, SpawnHandle};

use super::writer::LogWriter;
use super::{Group, WalError};
use crate::clock::Clock;
use crate::engine::FailCause;
use crate::failpoint;
use crate::guard::{ExitGuard, gives_signs_of_life};
use crate::ids::Lsn;
use crate::messages::{Append, CloseLog, Confirmed, End, LogFailed, Prune, Seal, Subscribe};
use crate::metrics::Metrics;
use crate::options::Durability;

/// After so long without a write, the log leaves a mark of what is durable.
const MARK_AFTER: Duration = Duration::from_millis(5);
/// How often it is tried again when the disk is full.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// An fdatasync that takes longer is worth a warning.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// A buffer that has grown larger is not used again: one huge request must not hold memory for ever.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// What a WalActor is made of.
pub struct WalSettings {
    /// When to sync.
    pub durability: Durability,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Hears when the log fails.
    pub failed: Recipient<LogFailed>,
}

/// The actor around the [`LogWriter`].
pub struct WalActor {
    /// None after it was closed or has failed: nothing is written any more.
    writer: Option<LogWriter>,
    settings: WalSettings,
    /// Hears what may be told.
    subscriber: Option<Recipient<Confirmed>>,
    gathered: Vec<Group>,
    /// Takes the buffers back of what was gathered.
    emptied: Option<mpsc::SyncSender<Vec<u8>>>,
    flush_is_due: bool,
    mark: Option<SpawnHandle>,
    sync_is_due: bool,
    full: bool,
    looking_for_space: bool,
    /// The data directory's lock: dropped after the writer, so that nobody else writes before this one is gone,
    /// and before the guard, so that who hears of the end finds the directory free.
    _lock: Box<dyn Any + Send>,
    _guard: ExitGuard,
}

impl WalActor {
    /// Around a writer that has just begun its segment.
    #[must_use]
    pub fn new(
        mut writer: LogWriter,
        settings: WalSettings,
        lock: Box<dyn Any + Send>,
        guard: ExitGuard,
    ) -> WalActor {
        if settings.durability == Durability::Always {
            writer.sync_along();
        }
        WalActor {
            writer: Some(writer),
            settings,
            subscriber: None,
            gathered: Vec::new(),
            emptied: None,
            flush_is_due: false,
            mark: None,
            sync_is_due: false,
            full: false,
            looking_for_space: false,
            _lock: lock,
            _guard: guard,
        }
    }

    /// Writes all that has gathered and, if the setting asks for it, syncs; then says what may be told.
    fn flush(&mut self, ctx: &mut Context<WalActor>) {
        self.flush_is_due = false;
        failpoint::pass("wal.flush").expect("this point is for panics and pauses");
        let now = self.settings.clock.now();
        let Some(writer) = &mut self.writer else { return };
        let events: u64 = self.gathered.iter().map(|group| u64::from(group.count)).sum();
        let bytes: usize = self.gathered.iter().map(|group| group.bytes.len()).sum();
        let started = self.settings.clock.ticks();
        let (written, result) = writer.append(&self.gathered, now);
        let is_durable = events > 0 && writer.durable() == writer.last();
        self.give_back(written);
        self.full = match result {
            Ok(()) => false,
            Err(WalError::Full { path }) => {
                if !self.full {
                    tracing::error!(path = %path.display(), "the log's disk is full: nothing is confirmed until there is space");
                }
                ctx.run_later(RETRY_AFTER, |wal, ctx| wal.flush(ctx));
                true
            }
            Err(error) => return self.fail(&error),
        };
        if is_durable {
            self.note_sync(started);
        }
        self.settings.metrics.log_bytes.add(bytes as u64);
        if events > 0 {
            self.settings.metrics.log_batch_events.observe(events);
        }
        match self.settings.durability {
            Durability::Always => {
                if let Err(error) = self.sync() {
                    return self.fail(&error);
                }
            }
            Durability::Interval(period) if !self.sync_is_due => {
                self.sync_is_due = true;
                ctx.run_later(period, |wal, ctx| wal.sync_later(ctx));
            }
            Durability::Interval(_) | Durability::Never => {}
        }
        self.confirm(ctx);
        self.mark_later(ctx);
    }

    /// Sends the buffers of the first groups, which are written, back to be filled again.
    fn give_back(&mut self, written: usize) {
        for Group { mut bytes, .. } in self.gathered.drain(..written) {
            bytes.clear();
            if let Some(emptied) = &self.emptied
                && bytes.capacity() <= KEPT_BYTES_MAX
            {
                // There may be enough of them.
                let _ = emptied.try_send(bytes);
            }
        }
    }

    fn sync(&mut self) -> Result<(), WalError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if writer.durable() == writer.last() {
            return Ok(());
        }
        let started = self.settings.clock.ticks();
        writer.sync()?;
        self.note_sync(started);
        Ok(())
    }

    /// Counts a sync that has just ended.
    fn note_sync(&self, started: Duration) {
        let took = self.settings.clock.ticks().saturating_sub(started);
        self.settings.metrics.log_fsync.observe_micros(took);
        if took > SLOW_SYNC {
            tracing::warn!(
                milliseconds = took.as_secs_f64() * 1e3,
                "the log's disk is slow: one sync took this long"
            );
        }
    }

    fn sync_later(&mut self, ctx: &mut Context<WalActor>) {
        self.sync_is_due = false;
        match self.sync() {
            Ok(()) => self.confirm(ctx),
            Err(error) => self.fail(&error),
        }
    }

    fn confirm(&mut self, ctx: &mut Context<WalActor>) {
        let Some(writer) = &mut self.writer else { return };
        let room = writer.room();
        if !room.accepts_jobs && !self.looking_for_space {
            self.looking_for_space = true;
            // Space may come back without anybody writing: look again.
            ctx.run_later(RETRY_AFTER, |wal, ctx| wal.look_for_space(ctx));
        }
        let through = match self.settings.durability {
            Durability::Always => writer.durable(),
            Durability::Interval(_) | Durability::Never => writer.last(),
        };
        if let Some(subscriber) = &self.subscriber {
            subscriber.do_send(Confirmed { through, durable: writer.durable(), room });
        }
    }

    fn look_for_space(&mut self, ctx: &mut Context<WalActor>) {
        self.looking_for_space = false;
        if let Some(writer) = &mut self.writer {
            writer.retry_spare();
            self.confirm(ctx);
        }
    }

    fn mark_later(&mut self, ctx: &mut Context<WalActor>) {
        if self.mark.is_none() {
            self.mark = Some(ctx.run_later(MARK_AFTER, |wal, _| {
                wal.mark = None;
                let now = wal.settings.clock.now();
                if let Some(writer) = &mut wal.writer {
                    writer.mark(now);
                }
            }));
        }
    }

    fn fail(&mut self, error: &WalError) {
        let cause = match error.is_damage() {
            true => FailCause::Damaged,
            false => FailCause::Storage,
        };
        // The writer is dropped, so that no later message can append behind the failed write.
        self.writer = None;
        self.settings.failed.do_send(LogFailed { message: error.to_string(), cause });
    }
}

impl Actor for WalActor {
    type Context = Context<WalActor>;
}

impl Handler<Subscribe> for WalActor {
    type Result = ();

    fn handle(&mut self, Subscribe(subscriber): Subscribe, ctx: &mut Context<WalActor>) {
        self.subscriber = Some(subscriber);
        // Tells it how much room there is.
        self.confirm(ctx);
    }
}

/// Write what has gathered: queued behind everything that is in the mailbox already.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Flush;

impl Handler<Append> for WalActor {
    type Result = ();

    fn handle(&mut self, append: Append, ctx: &mut Context<WalActor>) {
        self.gathered.push(append.group);
        self.emptied = Some(append.emptied);
        if !self.flush_is_due && !self.full {
            self.flush_is_due = true;
            ctx.notify(Flush);
        }
    }
}

impl Handler<Flush> for WalActor {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Context<WalActor>) {
        self.flush(ctx);
    }
}

impl Handler<Seal> for WalActor {
    type Result = Option<Lsn>;

    fn handle(&mut self, _: Seal, ctx: &mut Context<WalActor>) -> Option<Lsn> {
        let now = self.settings.clock.now();
        match self.writer.as_mut()?.rotate(now) {
            Ok(sealed) => {
                self.confirm(ctx);
                Some(sealed)
            }
            Err(WalError::Full { .. }) => None,
            Err(error) => {
                self.fail(&error);
                None
            }
        }
    }
}

impl Handler<Prune> for WalActor {
    type Result = ();

    fn handle(&mut self, prune: Prune, ctx: &mut Context<WalActor>) {
        let Some(writer) = &mut self.writer else { return };
        match writer.delete_through(prune.through) {
            Ok(0) => {}
            Ok(deleted) => {
                tracing::debug!(deleted, through = prune.through.0, "old segments deleted");
                writer.retry_spare();
                self.confirm(ctx);
            }
            Err(error) => tracing::warn!(%error, "old segments were not deleted"),
        }
    }
}

impl Handler<CloseLog> for WalActor {
    type Result = ();

    fn handle(&mut self, close: CloseLog, ctx: &mut Context<WalActor>) {
        self.flush(ctx);
        let now = self.settings.clock.now();
        let Some(writer) = self.writer.take() else { return };
        match writer.close(now) {
            Ok(_) => {
                let _ = close.done.send(());
            }
            Err(error) => self.fail(&error),
        }
    }
}

impl Handler<End> for WalActor {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<WalActor>) {
        use actix::ActorContext;
        ctx.stop();
    }
}

gives_signs_of_life!(WalActor);
