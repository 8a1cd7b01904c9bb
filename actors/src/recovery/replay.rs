//! Bringing a table up to date with the log at boot.
//!
//! A short log is read and applied batch by batch. A long one is read and checked on one thread while another decodes
//! and applies: the first waits for the kernel and the memory, the second for the processor. The bytes of the log go from
//! one to the other, in buffers that come back. Decoded events would be more bytes, and would be freed by another
//! thread than the one that allocated them, which is expensive (`docs/decisions/0016-replay-from-bytes.md`).

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle, scope};

use crate::base::threads;
use crate::ids::Seq;
use crate::jobs::JobTable;
use crate::storage::Storage;
use crate::wal::WalError;
use crate::wal::batch::Batch;
use crate::wal::codec::Decoder;
use crate::wal::format::{BatchHeader, SegmentHeader};
use crate::wal::index::LogIndex;
use crate::wal::recovery::{LogScan, ReplayFrom, Visitor, misfit, recover};

/// A log with more events than this is worth a second thread.
const ALONE_MAX: u64 = 10_000;
/// Bytes that are handed over at a time, about: few enough for the nearer caches.
const STRETCH_BYTES: usize = 128 << 10;
/// Stretches that the reading thread may be ahead.
const STRETCHES_AHEAD: usize = 4;
/// A buffer that comes back keeps at most this much memory; few batches are longer.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Reads the log behind `known.covered`, notes in `index` where its events are, and applies them to `table`.
///
/// Returns what was found, and how many events were applied.
///
/// # Errors
/// As [`recover`]; the table must not be used then.
pub fn replay(
    storage: &dyn Storage,
    dir: &Path,
    known: ReplayFrom,
    index: &LogIndex,
    table: &mut JobTable,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Option<LogScan>, u64), WalError> {
    let before = table.last();
    let found = scope(|scope| {
        let applying = Applying { table, decoder: Decoder::leaving_payloads(), covered: known.covered };
        let mut replay =
            Replay { scope, index, events: 0, is_alone: false, applier: Applier::Here(applying) };
        let found = recover(storage, dir, known, &mut replay, progress);
        match replay.applier {
            Applier::Here(_) | Applier::Gone => found,
            Applier::There(mut ahead) => {
                let sent = ahead.send();
                drop(ahead.to);
                // What does not fit explains why reading was given up.
                ahead.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                sent?;
                found
            }
        }
    })?;
    Ok((found, table.last().0 - before.0))
}

struct Replay<'scope, 'env, 'table> {
    scope: &'scope Scope<'scope, 'env>,
    index: &'table LogIndex,
    events: u64,
    /// There is no second thread.
    is_alone: bool,
    applier: Applier<'scope, 'table>,
}

/// Where events are applied: on the reading thread or on one of its own.
enum Applier<'scope, 'table> {
    Here(Applying<'table>),
    There(Ahead<'scope>),
    /// Only while it changes.
    Gone,
}

/// A thread that applies, and what it will get next.
struct Ahead<'scope> {
    to: SyncSender<Stretch>,
    /// Where buffers come back.
    back: Receiver<Stretch>,
    thread: ScopedJoinHandle<'scope, Result<(), WalError>>,
    next: Stretch,
}

/// Batches of one segment that follow each other.
#[derive(Default)]
struct Stretch {
    path: PathBuf,
    /// Their headers, and where each begins in the segment.
    batches: Vec<(BatchHeader, u64)>,
    /// The payloads of its batches, one behind the other.
    bytes: Vec<u8>,
}

impl Stretch {
    fn add(&mut self, path: &Path, batch: Batch<'_>) {
        if self.batches.is_empty() {
            path.clone_into(&mut self.path);
        }
        self.batches.push((batch.header, batch.offset));
        self.bytes.extend_from_slice(batch.payload);
    }

    fn clear(&mut self) {
        self.batches.clear();
        self.bytes.clear();
        // One huge batch does not make it huge for ever.
        self.bytes.shrink_to(BUFFER_BYTES_MAX);
    }
}

impl Ahead<'_> {
    fn add(&mut self, path: &Path, batch: Batch<'_>) -> Result<(), WalError> {
        if self.next.path != path {
            self.send()?;
        }
        self.next.add(path, batch);
        if self.next.bytes.len() >= STRETCH_BYTES {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), WalError> {
        let next = self.back.try_recv().unwrap_or_default();
        let stretch = std::mem::replace(&mut self.next, next);
        // The other end goes when something does not fit; it says what.
        self.to
            .send(stretch)
            .map_err(|unsent| misfit(&unsent.0.path, "an earlier event does not fit".to_owned()))
    }
}

impl<'scope, 'table: 'scope> Visitor for Replay<'scope, '_, 'table> {
    fn segment(&mut self, header: &SegmentHeader) {
        self.index.begin(header);
    }

    fn batch(&mut self, path: &Path, batch: Batch<'_>, _: Seq) -> Result<(), WalError> {
        self.index.note(batch.offset, batch.header.first, std::iter::once(batch.payload));
        if self.events > ALONE_MAX && !self.is_alone && matches!(self.applier, Applier::Here(_)) {
            self.go_on_beside();
        }
        self.events += u64::from(batch.header.count);
        match &mut self.applier {
            Applier::Here(applying) => applying.apply(path, batch),
            Applier::There(ahead) => ahead.add(path, batch),
            Applier::Gone => Ok(()),
        }
    }
}

impl<'scope, 'table: 'scope> Replay<'scope, '_, 'table> {
    fn go_on_beside(&mut self) {
        // The table goes there when the thread is there.
        let (hand_over, table) = channel::<Applying<'table>>();
        let (to, from) = sync_channel(STRETCHES_AHEAD);
        let (give, back) = channel();
        let apply = move || table.recv().map_or(Ok(()), |applying| applying.apply_all(&from, &give));
        let started = threads::builder().and_then(|builder| builder.spawn_scoped(self.scope, apply));
        let Ok(thread) = started else {
            // The system has none to give.
            self.is_alone = true;
            return;
        };
        let Applier::Here(applying) = std::mem::replace(&mut self.applier, Applier::Gone) else { return };
        // It waits for it.
        let _ = hand_over.send(applying);
        self.applier = Applier::There(Ahead { to, back, thread, next: Stretch::default() });
    }
}

/// Who has the table.
struct Applying<'table> {
    table: &'table mut JobTable,
    decoder: Decoder,
    covered: Seq,
}

impl Applying<'_> {
    fn apply(&mut self, path: &Path, batch: Batch<'_>) -> Result<(), WalError> {
        let mut rest = batch.payload;
        let mut seq = batch.header.first;
        for _ in 0..batch.header.count {
            let applied = self.decoder.decode_for(&mut rest, |event| match seq > self.covered {
                true => self.table.apply(seq, event),
                false => Ok(()),
            });
            let applied = applied.map_err(|error| batch.unreadable_event(path, seq, &error))?;
            applied.map_err(|error| misfit(path, error.to_string()))?;
            if let Some(emptied) = self.table.take_emptied() {
                self.decoder.give_back(emptied);
            }
            seq = seq.next();
        }
        if !rest.is_empty() {
            return Err(batch.surplus(path, rest));
        }
        // All of this can be read again.
        self.table.leave_payloads(self.table.last(), 0);
        Ok(())
    }

    fn apply_all(mut self, from: &Receiver<Stretch>, back: &Sender<Stretch>) -> Result<(), WalError> {
        for mut stretch in from {
            let mut rest = stretch.bytes.as_slice();
            for &(header, offset) in &stretch.batches {
                let (payload, behind) = rest.split_at(header.payload_len as usize);
                rest = behind;
                self.apply(&stretch.path, Batch { header, offset, payload })?;
            }
            stretch.clear();
            // Nobody wants it any more when all has been read.
            let _ = back.send(stretch);
        }
        Ok(())
    }
}
