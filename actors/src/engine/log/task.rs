//! The log's loop: writes in one batch what has gathered while the disk was busy, syncs it once, and reports it. It does
//! one thing after the other, so that nothing else touches the log meanwhile.
//!
//! While the disk is busy, the next batch gathers: the slower the disk, the larger the batches; no timer adds latency.
//! A short batch (see `pace`) is written and synced in place, on the thread that the log shares with
//! JobManagerActor; what comes in meanwhile gathers in the sockets. Anything else (large batches, slow disks, the change
//! of segments) is done on a [thread](super::thread) of the log's own, while JobManagerActor goes on.
//!
//! In place saves two thread switches per batch (`docs/decisions/0002-in-place-group-commit.md`).
//!
//! Tried and left out: a single call that writes and syncs, `O_DIRECT`, a second batch under way while the first is
//! synced, and a parked thread instead of a mailbox (`docs/decisions/0003-how-a-batch-is-written.md`).

use std::any::Any;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix::Recipient;

use crate::api::options::Durability;
use crate::api::outcome::FailCause;
use crate::base::clock::Clock;
use crate::base::failpoint;
use crate::base::metrics::Metrics;
use crate::engine::liveness::ExitGuard;
use crate::engine::log::inbox::{Gathered, LogInbox, LogRequest, Pruned};
use crate::engine::log::pace::SyncPace;
use crate::engine::log::thread::{Lendable, LogThread, Panicked, at_length};
use crate::engine::log::timers::{LogTimer, LogTimers};
use crate::engine::messages::{CloseLog, Confirmed, LogFailed, Prune, Seal, SetAside, Subscribe};
use crate::wal::writer::LogWriter;
use crate::wal::{Group, WalError};

/// After this long without a write, the log leaves a mark of what is durable.
const MARK_AFTER: Duration = Duration::from_millis(5);
/// A log that is never that long without a write is witnessed this often.
const TESTIFY_EVERY: Duration = Duration::from_secs(1);
/// How often it is tried again when the disk is full.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// An fdatasync that takes longer is worth a warning.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// What a WalActor is made of.
pub struct WalSettings {
    /// The operator's: when to sync, and so what may be confirmed.
    pub durability: Durability,
    /// For what segments and marks say of when they were written, and for how long a sync took.
    pub clock: Arc<dyn Clock>,
    /// Counts bytes, events of a batch, and syncs.
    pub metrics: Arc<Metrics>,
    /// Hears when the log fails.
    pub failed: Recipient<LogFailed>,
    /// Where everything that may take long is done; without one, all is done in place.
    pub thread: Option<LogThread>,
    /// Counts where it begins and ends to block in place, so that a slow disk does not pass for an actor that stands
    /// still. Odd meanwhile.
    pub blocks: Arc<AtomicU64>,
}

/// The writer, and what must not end before it.
pub(super) struct OpenLog {
    pub writer: LogWriter,
    pub ownership: Ownership,
}

/// What makes this the one owner of the log.
pub(super) struct Ownership {
    /// The data directory's lock: dropped after the writer, so that nobody else writes before this one is gone,
    /// and before the guard, so that the directory is free when the supervisor hears of the end.
    pub _lock: Box<dyn Any + Send>,
    pub _guard: ExitGuard,
}

/// The loop and all that it works with.
pub(super) struct LogTask {
    log: Lendable<OpenLog>,
    inbox: Rc<RefCell<LogInbox>>,
    settings: WalSettings,
    /// Hears what may be told.
    subscriber: Option<Recipient<Confirmed>>,
    /// Between writes: what the full disk did not take.
    batch: Gathered,
    timers: LogTimers,
    pace: SyncPace,
    /// Nothing is written until [`LogTimer::WriteAgain`].
    is_full: bool,
}

/// What the loop does next.
enum NextWork {
    /// Something that was asked for.
    Request(LogRequest),
    /// Something that it does by itself.
    Timer(LogTimer),
    /// Write what has gathered.
    Groups,
}

/// Why the loop ends.
enum LogEnd {
    /// Nobody is left that could send anything.
    Abandoned,
    /// It was asked to.
    Close(CloseLog),
    /// Nothing may be appended any more.
    Failed(WalError),
    /// The log's thread died, and with it the guard, which has told the supervisor.
    Panicked,
}

impl From<WalError> for LogEnd {
    fn from(error: WalError) -> LogEnd {
        LogEnd::Failed(error)
    }
}

impl From<Panicked> for LogEnd {
    fn from(_: Panicked) -> LogEnd {
        LogEnd::Panicked
    }
}

/// What became of groups that were to be written.
struct WriteOutcome {
    groups: Vec<Group>,
    /// How many of them are in the log.
    count: usize,
    /// An error other than [`WalError::Full`] is final.
    result: Result<(), WalError>,
    /// How long the sync took, if there was one.
    synced: Option<Duration>,
}

impl LogTask {
    pub fn new(log: OpenLog, inbox: Rc<RefCell<LogInbox>>, settings: WalSettings) -> LogTask {
        LogTask {
            log: Lendable::new(log),
            inbox,
            settings,
            subscriber: None,
            batch: Gathered::default(),
            timers: LogTimers::default(),
            pace: SyncPace::default(),
            is_full: false,
        }
    }

    /// Does what it is asked for until the log is closed or has failed. Ends when nobody is left that could ask, or the
    /// log's thread has died.
    pub async fn run(mut self) {
        let inbox = self.inbox.clone();
        let Err(end) = self.serve().await;
        // Held on to: as long as the supervisor has not ended this actor, nobody else may have the data directory.
        let Some(_ownership) = self.finish(end).await else { return };
        poll_fn(|_| inbox.borrow_mut().turn_away()).await;
    }

    async fn serve(&mut self) -> Result<Infallible, LogEnd> {
        loop {
            match self.next().await? {
                NextWork::Groups | NextWork::Timer(LogTimer::WriteAgain) => self.write().await?,
                NextWork::Timer(LogTimer::Sync) => self.sync().await?,
                NextWork::Timer(LogTimer::Mark) => {
                    self.log.writer.check_name()?;
                    self.log.writer.mark(self.settings.clock.now());
                    self.timers.cancel(LogTimer::Testify);
                }
                NextWork::Timer(LogTimer::Testify) => {
                    // Where nothing is synced, this is when it is noticed.
                    self.log.writer.check_name()?;
                    self.log.writer.testify();
                }
                NextWork::Timer(LogTimer::LookForSpace) => self.look_for_space(),
                NextWork::Request(LogRequest::Seal(seal)) => self.seal(seal).await?,
                NextWork::Request(LogRequest::Prune(prune, pruned)) => self.prune(prune, pruned),
                NextWork::Request(LogRequest::Pruned(pruned)) => self.note_pruned(&pruned),
                NextWork::Request(LogRequest::SetAside(SetAside { quarantine, done })) => {
                    // SnapshotActor may have died since it asked.
                    self.log.writer.set_aside_damaged(quarantine, move |moved| drop(done.send(moved)));
                }
                NextWork::Request(LogRequest::Subscribe(Subscribe(subscriber))) => {
                    self.subscriber = Some(subscriber);
                    // Tells it how much room there is.
                    self.confirm();
                }
                NextWork::Request(LogRequest::Close(close)) => {
                    self.write().await?;
                    return Err(LogEnd::Close(close));
                }
                NextWork::Request(LogRequest::Ping(ping)) => {
                    // The supervisor may have given up on it.
                    let _ = ping.send(());
                }
                #[cfg(feature = "testing")]
                NextWork::Request(LogRequest::Freeze(freeze)) => self.in_place(|_| freeze.stand_still()),
                #[cfg(feature = "testing")]
                NextWork::Request(LogRequest::Crash(crash)) => panic!("a test asked {} to crash", crash.0),
            }
        }
    }

    async fn next(&mut self) -> Result<NextWork, LogEnd> {
        poll_fn(|task| self.poll_next(task)).await
    }

    /// Groups come last: under load some have always gathered, and everything else would wait for ever.
    fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Result<NextWork, LogEnd>> {
        let mut inbox = self.inbox.borrow_mut();
        if let Some(request) = inbox.requests.pop_front() {
            return Poll::Ready(Ok(NextWork::Request(request)));
        }
        if let Poll::Ready(timer) = self.timers.poll_due(task) {
            return Poll::Ready(Ok(NextWork::Timer(timer)));
        }
        if !inbox.gathered.groups.is_empty() && !self.is_full {
            return Poll::Ready(Ok(NextWork::Groups));
        }
        if inbox.is_closed && self.timers.is_empty() {
            return Poll::Ready(Err(LogEnd::Abandoned));
        }
        Poll::Pending
    }

    /// Writes all that has gathered, behind what the full disk did not take, and syncs if the setting asks for it; then
    /// says what may be told.
    async fn write(&mut self) -> Result<(), LogEnd> {
        self.batch.take_in(&mut self.inbox.borrow_mut().gathered);
        let (bytes, events) = (self.batch.bytes(), self.batch.events());
        let groups = mem::take(&mut self.batch.groups);
        let (clock, syncs) = (self.settings.clock.clone(), self.settings.durability == Durability::Always);
        let write = move |log: &mut OpenLog| write(&mut log.writer, groups, syncs, &*clock);
        let outcome = if self.pace.is_short(bytes) && self.log.writer.fits(bytes) {
            self.in_place(write)
        } else {
            self.at_length(write).await?
        };
        self.batch.groups = outcome.groups;
        self.batch.give_back(outcome.count);
        self.note_sync(outcome.synced);
        self.note_full(outcome.result)?;
        // What the disk did not take is counted when it does.
        self.settings.metrics.log_bytes.add((bytes - self.batch.bytes()) as u64);
        let written = events - self.batch.events();
        if written > 0 {
            self.settings.metrics.log_batch_events.observe(written);
        }
        if let Durability::Interval(period) = self.settings.durability {
            self.timers.plan(LogTimer::Sync, period);
        }
        self.confirm();
        self.plan_proof();
        Ok(())
    }

    /// What has just been written or synced is soon told by the log itself, and by its witness.
    fn plan_proof(&mut self) {
        self.timers.put_off(LogTimer::Mark, MARK_AFTER);
        self.timers.plan(LogTimer::Testify, TESTIFY_EVERY);
    }

    /// A full disk is tried again; every other error is passed on.
    fn note_full(&mut self, written: Result<(), WalError>) -> Result<(), WalError> {
        let was_full = mem::replace(&mut self.is_full, false);
        let Err(error) = written else { return Ok(()) };
        let WalError::Full { path } = error else { return Err(error) };
        if !was_full {
            tracing::error!(path = %path.display(), "the log's disk is full: nothing is confirmed until there is space");
        }
        self.is_full = true;
        self.timers.plan(LogTimer::WriteAgain, RETRY_AFTER);
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), LogEnd> {
        let clock = self.settings.clock.clone();
        let synced = self.at_length(move |log| sync(&mut log.writer, &*clock)).await?;
        self.note_sync(synced?);
        self.confirm();
        self.plan_proof();
        Ok(())
    }

    /// Counts how long a sync took, if there was one.
    fn note_sync(&mut self, took: Option<Duration>) {
        let Some(took) = took else { return };
        self.settings.metrics.log_fsync.observe_micros(took);
        self.pace.note(took);
        if took > SLOW_SYNC {
            tracing::warn!(
                milliseconds = took.as_secs_f64() * 1e3,
                "the log's disk is slow: one sync took this long"
            );
        }
    }

    /// Tells the subscriber what is durable, or as durable as the setting asks for, and how much more the log can take.
    fn confirm(&mut self) {
        let writer = &mut self.log.writer;
        let (mut room, durable, last) = (writer.room(), writer.durable(), writer.last());
        if self.is_full {
            (room.accepts_jobs, room.is_stuck) = (false, true);
        }
        if !room.accepts_jobs {
            // Space may come back without anybody writing.
            self.timers.plan(LogTimer::LookForSpace, RETRY_AFTER);
        }
        let through = match self.settings.durability {
            Durability::Always => durable,
            Durability::Interval(_) | Durability::Never => last,
        };
        if let Some(subscriber) = &self.subscriber {
            subscriber.do_send(Confirmed { through, durable, room });
        }
    }

    fn look_for_space(&mut self) {
        self.log.writer.retry_next_segment();
        self.confirm();
    }

    /// Ends the current segment. Without space for another, that is answered: not now.
    async fn seal(&mut self, seal: Seal) -> Result<(), LogEnd> {
        let now = self.settings.clock.now();
        let sealed = match self.at_length(move |log| log.writer.rotate(now)).await? {
            Ok(sealed) => Some(sealed),
            Err(WalError::Full { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if sealed.is_some() {
            self.confirm();
        }
        // SnapshotActor may have died since it asked.
        let _ = seal.done.send(sealed);
        Ok(())
    }

    fn prune(&mut self, Prune { through }: Prune, pruned: Recipient<Pruned>) {
        // A closed mailbox means that the log has been closed in the meantime.
        self.log.writer.delete_through(through, move |deleted| pruned.do_send(Pruned { through, deleted }));
    }

    fn note_pruned(&mut self, Pruned { through, deleted }: &Pruned) {
        match deleted {
            Ok(0) => {}
            Ok(deleted) => {
                tracing::debug!(deleted, through = through.0, "old segments deleted");
                self.look_for_space();
            }
            Err(error) => tracing::warn!(%error, "old segments were not deleted"),
        }
    }

    /// Does something with the log that does not take long.
    fn in_place<T>(&mut self, work: impl FnOnce(&mut OpenLog) -> T) -> T {
        self.settings.blocks.fetch_add(1, Ordering::Relaxed);
        let done = work(&mut self.log);
        self.settings.blocks.fetch_add(1, Ordering::Relaxed);
        done
    }

    /// Does something with the log on its thread.
    async fn at_length<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut OpenLog) -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        self.log.lend(self.settings.thread.as_ref(), work).await
    }

    /// Lets go of the writer, so that nothing is appended behind a failed write or a mark of a clean stop; closes the
    /// log if that was asked for, and tells of a failure. What is left is to be held on to.
    async fn finish(self, end: LogEnd) -> Option<Ownership> {
        let ownership = match end {
            LogEnd::Abandoned | LogEnd::Panicked => return None,
            LogEnd::Failed(error) => {
                let OpenLog { writer, ownership } = self.log.into_inner();
                drop(writer);
                fail(&self.settings.failed, &error);
                ownership
            }
            LogEnd::Close(CloseLog { done }) => {
                let OpenLog { writer, ownership } = self.log.into_inner();
                let now = self.settings.clock.now();
                let close = move || (writer.close(now), ownership);
                // A panic has dropped the guard, which has told the supervisor.
                let (closed, ownership) = at_length(self.settings.thread.as_ref(), close).await.ok()?;
                match closed {
                    // The supervisor may have given up on it.
                    Ok(_) => drop(done.send(())),
                    Err(error) => fail(&self.settings.failed, &error),
                }
                ownership
            }
        };
        Some(ownership)
    }
}

fn fail(failed: &Recipient<LogFailed>, error: &WalError) {
    let cause = if error.is_damage() { FailCause::Damaged } else { FailCause::Storage };
    failed.do_send(LogFailed { message: error.to_string(), cause });
}

/// Writes groups and, if `syncs`, makes them durable.
fn write(writer: &mut LogWriter, groups: Vec<Group>, syncs: bool, clock: &dyn Clock) -> WriteOutcome {
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
    WriteOutcome { groups, count, result, synced }
}

/// Makes everything durable; says how long that took, if there was something to do.
fn sync(writer: &mut LogWriter, clock: &dyn Clock) -> Result<Option<Duration>, WalError> {
    if writer.durable() == writer.last() {
        return Ok(None);
    }
    let started = clock.ticks();
    writer.sync()?;
    Ok(Some(clock.ticks().saturating_sub(started)))
}
