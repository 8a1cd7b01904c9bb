//! The log's writer: held by WalActor and used in place, or lent to the log's own thread.
//!
//! Only one of them has it, with all that must not end before it. While the thread has it, WalActor looks at no message.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};

use crate::base::clock::Clock;
use crate::base::failpoint;
use crate::engine::liveness::ExitGuard;
use crate::engine::log::actor::WalActor;
use crate::wal::writer::LogWriter;
use crate::wal::{Group, WalError};

/// A batch of so many bytes at most is written and synced in place: those of about 200 jobs that come one by one.
const SHORT_BYTES_MAX: usize = 32 << 10;
/// As long as syncs usually take no longer than this.
const SHORT_SYNC_MAX: Duration = Duration::from_millis(2);

pub(super) type PutOff = Box<dyn FnOnce(&mut WalActor, &mut Context<WalActor>)>;

/// What goes to the log's thread and comes back: whatever must not end before that one is done with it.
pub(super) struct Held {
    /// None after it was closed or has failed: nothing is written any more.
    pub writer: Option<LogWriter>,
    /// The data directory's lock: dropped after the writer, so that nobody else writes before this one is gone,
    /// and before the guard, so that who hears of the end finds the directory free.
    pub _lock: Box<dyn Any + Send>,
    pub _guard: ExitGuard,
}

/// What became of groups that were to be written.
pub(super) struct Written {
    pub groups: Vec<Group>,
    /// How many of them are in the log.
    pub count: usize,
    /// An error other than [`WalError::Full`] is final.
    pub result: Result<(), WalError>,
    /// How long the sync took, if there was one.
    pub synced: Option<Duration>,
}

impl WalActor {
    pub(super) fn writer(&mut self) -> Option<&mut LogWriter> {
        self.held.as_mut()?.writer.as_mut()
    }

    /// Does something with the writer that does not take long.
    pub(super) fn in_place<T>(&mut self, work: impl FnOnce(&mut Option<LogWriter>) -> T) -> Option<T> {
        self.settings.blocks.fetch_add(1, Ordering::Relaxed);
        let done = self.held.as_mut().map(|held| work(&mut held.writer));
        self.settings.blocks.fetch_add(1, Ordering::Relaxed);
        done
    }

    /// Does something now, or as soon as the writer is back.
    ///
    /// An actor that waits looks at no message; but of what it does by itself (timers, messages to itself), one more
    /// may have its turn before the wait begins.
    pub(super) fn with_writer(
        &mut self,
        ctx: &mut Context<WalActor>,
        work: impl FnOnce(&mut WalActor, &mut Context<WalActor>) + 'static,
    ) {
        match self.held {
            Some(_) => work(self, ctx),
            None => self.put_off.push_back(Box::new(work)),
        }
    }

    /// Does something with the writer on the log's thread as soon as it is here, and then something with what came of
    /// it. No message is looked at in between.
    pub(super) fn at_length<T: Send + 'static>(
        &mut self,
        ctx: &mut Context<WalActor>,
        work: impl FnOnce(&mut Option<LogWriter>) -> T + Send + 'static,
        then: impl FnOnce(&mut WalActor, T, &mut Context<WalActor>) + 'static,
    ) {
        let Some(mut held) = self.held.take() else {
            return self.with_writer(ctx, move |wal, ctx| wal.at_length(ctx, work, then));
        };
        let Some(thread) = &self.settings.thread else {
            let done = work(&mut held.writer);
            self.held = Some(held);
            return then(self, done, ctx);
        };
        let done = thread.run(move || {
            let done = work(&mut held.writer);
            (held, done)
        });
        ctx.wait(done.into_actor(self).map(|done, wal, ctx| match done {
            Ok((held, done)) => {
                wal.held = Some(held);
                then(wal, done, ctx);
                while wal.held.is_some()
                    && let Some(work) = wal.put_off.pop_front()
                {
                    work(wal, ctx);
                }
            }
            // It panicked; the guard that it held has told the supervisor.
            Err(_) => ctx.stop(),
        }));
    }

    /// Whether writing so many bytes and a sync are worth no change of threads.
    pub(super) fn is_short(&mut self, bytes: usize) -> bool {
        bytes <= SHORT_BYTES_MAX
            && self.usual_sync <= SHORT_SYNC_MAX
            && self.writer().is_some_and(|writer| writer.fits(bytes))
    }
}

/// Writes groups and, if it shall, makes them durable.
pub(super) fn write(writer: &mut LogWriter, groups: Vec<Group>, syncs: bool, clock: &dyn Clock) -> Written {
    failpoint::pass("wal.flush").expect("this point is for panics and pauses");
    let (count, appended) = writer.append(&groups, clock.now());
    let (result, synced) = match appended {
        Err(error) if !matches!(error, WalError::Full { .. }) => (Err(error), None),
        appended if !syncs => (appended, None),
        // What there was no space for does not keep the others waiting.
        appended => match sync(writer, clock) {
            Ok(took) => (appended, took),
            Err(error) => (Err(error), None),
        },
    };
    Written { groups, count, result, synced }
}

/// Makes everything durable; says how long that took, if there was something to do.
pub(super) fn sync(writer: &mut LogWriter, clock: &dyn Clock) -> Result<Option<Duration>, WalError> {
    if writer.durable() == writer.last() {
        return Ok(None);
    }
    let started = clock.ticks();
    writer.sync()?;
    Ok(Some(clock.ticks().saturating_sub(started)))
}
