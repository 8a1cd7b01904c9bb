//! WalActor: gathers what was sent while the disk was busy, writes it at once, syncs it once, says so.
//!
//! While the disk is busy, the next batch gathers: the slower the disk, the larger the batches; no timer adds
//! latency. A small batch on a fast disk is written and synced in place, on the thread that it shares with
//! JobManagerActor; what comes in meanwhile gathers in the sockets. Anything else (large batches, slow disks, the change of
//! segments) is done on a thread of its own, while JobManagerActor goes on.
//!
//! In place takes two changes of threads out of every batch. Jobs pushed one by one over the network, against a log
//! that does all on its own thread, in one run (`cargo bench --bench compare -- --before=PROGRAM push`, two cores of an
//! EPYC, fdatasync 0.1 ms): 1.2 times as many with 16 connections, 1.1 times with 128; whole lives of jobs in process
//! with 64 and 256 workers 1.6 and 1.3 times as many.
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
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::writer_loan::{Held, PutOff, Written, sync, write};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient, SpawnHandle};
use tokio::sync::oneshot;

use crate::api::options::Durability;
use crate::api::outcome::FailCause;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::engine::liveness::{ExitGuard, gives_signs_of_life};
use crate::engine::log::thread::LogThread;
use crate::engine::messages::{Append, CloseLog, Confirmed, End, LogFailed, Prune, Seal, Subscribe};
use crate::ids::Seq;
use crate::wal::writer::LogWriter;
use crate::wal::{Group, WalError};

/// After so long without a write, the log leaves a mark of what is durable.
const MARK_AFTER: Duration = Duration::from_millis(5);
/// How often it is tried again when the disk is full.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// An fdatasync that takes longer is worth a warning.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// How much of what is usual the last sync makes up: one in so many.
const USUAL_OF: u32 = 8;
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
    /// Where whatever may take long is done; without one, all is done in place.
    pub thread: Option<LogThread>,
    /// Counts where it begins and ends to block in place, so that a slow disk does not pass for an actor that stands
    /// still. Odd meanwhile.
    pub blocks: Arc<AtomicU64>,
}

/// The actor around the [`LogWriter`].
pub struct WalActor {
    /// None while its thread has it.
    pub(super) held: Option<Held>,
    /// What is done as soon as it is back.
    pub(super) put_off: VecDeque<PutOff>,
    pub(super) settings: WalSettings,
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
    /// How long syncs took of late, the last ones above all.
    pub(super) usual_sync: Duration,
}

impl WalActor {
    /// Around a writer that has just begun its segment.
    #[must_use]
    pub fn new(
        writer: LogWriter,
        settings: WalSettings,
        lock: Box<dyn Any + Send>,
        guard: ExitGuard,
    ) -> WalActor {
        WalActor {
            held: Some(Held { writer: Some(writer), _lock: lock, _guard: guard }),
            put_off: VecDeque::new(),
            settings,
            subscriber: None,
            gathered: Vec::new(),
            emptied: None,
            flush_is_due: false,
            mark: None,
            sync_is_due: false,
            full: false,
            looking_for_space: false,
            usual_sync: Duration::ZERO,
        }
    }

    /// Writes all that has gathered and, if the setting asks for it, syncs; then says what may be told.
    fn flush(&mut self, ctx: &mut Context<WalActor>) {
        self.with_writer(ctx, WalActor::flush_here);
    }

    fn flush_here(&mut self, ctx: &mut Context<WalActor>) {
        self.flush_is_due = false;
        let groups = std::mem::take(&mut self.gathered);
        let bytes = groups.iter().map(|group| group.bytes.len()).sum();
        let (clock, syncs) = (self.settings.clock.clone(), self.settings.durability == Durability::Always);
        let write = move |writer: &mut Option<LogWriter>| {
            writer.as_mut().map(|writer| write(writer, groups, syncs, &*clock))
        };
        match self.is_short(bytes) {
            true => {
                let written = self.in_place(write).flatten();
                self.written(written, ctx);
            }
            false => self.at_length(ctx, write, WalActor::written),
        }
    }

    fn written(&mut self, written: Option<Written>, ctx: &mut Context<WalActor>) {
        let Some(Written { groups, count, result, synced }) = written else { return };
        let events: u64 = groups.iter().map(|group| u64::from(group.count)).sum();
        let bytes: usize = groups.iter().map(|group| group.bytes.len()).sum();
        self.gathered = groups;
        self.give_back(count);
        if let Some(took) = synced {
            self.note_sync(took);
        }
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
        self.settings.metrics.log_bytes.add(bytes as u64);
        if events > 0 {
            self.settings.metrics.log_batch_events.observe(events);
        }
        if let Durability::Interval(period) = self.settings.durability
            && !self.sync_is_due
        {
            self.sync_is_due = true;
            ctx.run_later(period, |wal, ctx| wal.sync_later(ctx));
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

    /// Counts a sync that took so long.
    fn note_sync(&mut self, took: Duration) {
        self.settings.metrics.log_fsync.observe_micros(took);
        self.usual_sync = (self.usual_sync * (USUAL_OF - 1) + took) / USUAL_OF;
        if took > SLOW_SYNC {
            tracing::warn!(
                milliseconds = took.as_secs_f64() * 1e3,
                "the log's disk is slow: one sync took this long"
            );
        }
    }

    fn sync_later(&mut self, ctx: &mut Context<WalActor>) {
        self.sync_is_due = false;
        let clock = self.settings.clock.clone();
        let sync = move |writer: &mut Option<LogWriter>| writer.as_mut().map(|writer| sync(writer, &*clock));
        self.at_length(ctx, sync, |wal, synced, ctx| match synced {
            Some(Ok(took)) => {
                if let Some(took) = took {
                    wal.note_sync(took);
                }
                wal.confirm(ctx);
            }
            Some(Err(error)) => wal.fail(&error),
            None => {}
        });
    }

    fn confirm(&mut self, ctx: &mut Context<WalActor>) {
        let Some(writer) = self.writer() else { return };
        let (room, durable, last) = (writer.room(), writer.durable(), writer.last());
        if !room.accepts_jobs && !self.looking_for_space {
            self.looking_for_space = true;
            // Space may come back without anybody writing: look again.
            ctx.run_later(RETRY_AFTER, |wal, ctx| wal.with_writer(ctx, WalActor::look_for_space));
        }
        let through = match self.settings.durability {
            Durability::Always => durable,
            Durability::Interval(_) | Durability::Never => last,
        };
        if let Some(subscriber) = &self.subscriber {
            subscriber.do_send(Confirmed { through, durable, room });
        }
    }

    fn look_for_space(&mut self, ctx: &mut Context<WalActor>) {
        self.looking_for_space = false;
        if let Some(writer) = self.writer() {
            writer.retry_spare();
            self.confirm(ctx);
        }
    }

    fn mark_later(&mut self, ctx: &mut Context<WalActor>) {
        if self.mark.is_none() {
            self.mark = Some(ctx.run_later(MARK_AFTER, |wal, ctx| {
                wal.mark = None;
                wal.with_writer(ctx, |wal, _| {
                    let now = wal.settings.clock.now();
                    if let Some(writer) = wal.writer() {
                        writer.mark(now);
                    }
                });
            }));
        }
    }

    fn fail(&mut self, error: &WalError) {
        let cause = match error.is_damage() {
            true => FailCause::Damaged,
            false => FailCause::Storage,
        };
        // The writer is dropped, so that no later message can append behind the failed write.
        if let Some(held) = &mut self.held {
            held.writer = None;
        }
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
    type Result = ();

    fn handle(&mut self, seal: Seal, ctx: &mut Context<WalActor>) {
        let now = self.settings.clock.now();
        let rotate = move |writer: &mut Option<LogWriter>| writer.as_mut().map(|writer| writer.rotate(now));
        self.at_length(ctx, rotate, |wal, rotated, ctx| {
            let sealed = match rotated {
                Some(Ok(sealed)) => {
                    wal.confirm(ctx);
                    Some(sealed)
                }
                Some(Err(WalError::Full { .. })) | None => None,
                Some(Err(error)) => {
                    wal.fail(&error);
                    None
                }
            };
            // Whoever asked may have gone.
            let _ = seal.done.send(sealed);
        });
    }
}

impl Handler<Prune> for WalActor {
    type Result = ();

    fn handle(&mut self, Prune { through }: Prune, ctx: &mut Context<WalActor>) {
        let address = ctx.address();
        self.with_writer(ctx, move |wal, _| {
            if let Some(writer) = wal.writer() {
                // A closed mailbox means that the log has been closed in the meantime.
                writer.delete_through(through, move |deleted| address.do_send(Pruned { through, deleted }));
            }
        });
    }
}

/// What became of a [`Prune`].
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Pruned {
    through: Seq,
    deleted: Result<usize, WalError>,
}

impl Handler<Pruned> for WalActor {
    type Result = ();

    fn handle(&mut self, Pruned { through, deleted }: Pruned, ctx: &mut Context<WalActor>) {
        match deleted {
            Ok(0) => {}
            Ok(deleted) => {
                tracing::debug!(deleted, through = through.0, "old segments deleted");
                if let Some(writer) = self.writer() {
                    writer.retry_spare();
                }
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
        ctx.notify(Close(close.done));
    }
}

/// Close: queued behind the flush that may be on its way.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Close(oneshot::Sender<()>);

impl Handler<Close> for WalActor {
    type Result = ();

    fn handle(&mut self, Close(done): Close, ctx: &mut Context<WalActor>) {
        let now = self.settings.clock.now();
        let close = move |writer: &mut Option<LogWriter>| writer.take().map(|writer| writer.close(now));
        self.at_length(ctx, close, |wal, closed, _| match closed {
            Some(Ok(_)) => {
                let _ = done.send(());
            }
            Some(Err(error)) => wal.fail(&error),
            None => {}
        });
    }
}

impl Handler<End> for WalActor {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<WalActor>) {
        ctx.stop();
    }
}

gives_signs_of_life!(WalActor, |wal: &mut WalActor, freeze: crate::engine::messages::Freeze, _: &mut _| {
    wal.in_place(|_| freeze.stand_still());
});
