//! Bringing a table up to date with the log at boot.
//!
//! A short log is read and applied batch by batch. A long one is read and decoded on one thread while another applies
//! what has been decoded: the two cost about the same, so replay takes little more than half of the time.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle, scope};

use crate::ids::Lsn;
use crate::jobs::{Event, JobTable};
use crate::storage::Storage;
use crate::wal::WalError;
use crate::wal::codec::Decoder;
use crate::wal::format::SegmentHeader;
use crate::wal::index::LogIndex;
use crate::wal::reader::{Batch, events};
use crate::wal::recovery::{Found, Known, Visitor, misfit, recover};

/// A log with more events than this is worth a second thread.
const ALONE_MAX: u64 = 10_000;
/// Events are handed over about so many at a time, and so many times ahead: memory for what is decoded is bounded.
const STRETCH: usize = 1_000;
const STRETCHES_AHEAD: usize = 4;

/// Reads the log behind `known.covered`, notes in `index` where its events are, and applies them to `table`.
///
/// Returns what was found, and how many events were applied.
///
/// # Errors
/// As [`recover`]; the table must not be used then.
pub fn replay(
    storage: &dyn Storage,
    dir: &Path,
    known: Known,
    index: &LogIndex,
    table: &mut JobTable,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Option<Found>, u64), WalError> {
    scope(|scope| {
        let mut replay = Replay { scope, index, events: 0, applier: Applier::Here(table) };
        let found = recover(storage, dir, known, &mut replay, progress);
        let Replay { events, applier, .. } = replay;
        match applier {
            Applier::Here(_) | Applier::Gone => Ok((found?, events)),
            Applier::There(mut ahead) => {
                let sent = ahead.send();
                drop(ahead.to);
                // What does not fit explains why reading was given up.
                ahead.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                sent?;
                Ok((found?, events))
            }
        }
    })
}

struct Replay<'scope, 'env, 'table> {
    scope: &'scope Scope<'scope, 'env>,
    index: &'table LogIndex,
    events: u64,
    applier: Applier<'scope, 'table>,
}

/// Who applies.
enum Applier<'scope, 'table> {
    Here(&'table mut JobTable),
    There(Ahead<'scope>),
    /// Only while it changes.
    Gone,
}

/// A thread that applies, and what it will get next.
struct Ahead<'scope> {
    to: SyncSender<Stretch>,
    thread: ScopedJoinHandle<'scope, Result<(), WalError>>,
    next: Stretch,
}

/// Events that follow each other, and the file of the last of them.
#[derive(Default)]
struct Stretch {
    path: PathBuf,
    events: Vec<(Lsn, Event)>,
}

impl Ahead<'_> {
    fn send(&mut self) -> Result<(), WalError> {
        let next = Stretch { path: self.next.path.clone(), events: Vec::with_capacity(STRETCH) };
        let stretch = std::mem::replace(&mut self.next, next);
        let path = stretch.path.clone();
        // The other end goes when something does not fit; it says what.
        self.to.send(stretch).map_err(|_| misfit(&path, "an earlier event does not fit".to_owned()))
    }
}

impl<'scope, 'table: 'scope> Visitor for Replay<'scope, '_, 'table> {
    fn segment(&mut self, header: &SegmentHeader) {
        self.index.begin(header);
    }

    fn batch(&mut self, path: &Path, batch: Batch<'_>, covered: Lsn) -> Result<(), WalError> {
        self.index.note(batch.offset, batch.header.first, std::iter::once(batch.payload));
        if self.events > ALONE_MAX && matches!(self.applier, Applier::Here(_)) {
            self.go_on_beside();
        }
        for event in events(path, batch, Decoder::leaving_payloads()) {
            let (lsn, event) = event?;
            if lsn <= covered {
                continue;
            }
            self.events += 1;
            match &mut self.applier {
                Applier::Here(table) => {
                    table.apply(lsn, event).map_err(|error| misfit(path, error.to_string()))?;
                }
                Applier::There(ahead) => {
                    ahead.next.events.push((lsn, event));
                    if ahead.next.events.len() >= STRETCH {
                        path.clone_into(&mut ahead.next.path);
                        ahead.send()?;
                    }
                }
                Applier::Gone => {}
            }
        }
        if let Applier::There(ahead) = &mut self.applier {
            path.clone_into(&mut ahead.next.path);
        }
        Ok(())
    }
}

impl<'scope, 'table: 'scope> Replay<'scope, '_, 'table> {
    fn go_on_beside(&mut self) {
        let Applier::Here(table) = std::mem::replace(&mut self.applier, Applier::Gone) else { return };
        let (to, from) = sync_channel(STRETCHES_AHEAD);
        let thread = self.scope.spawn(move || apply(table, &from));
        let next = Stretch { path: PathBuf::new(), events: Vec::with_capacity(STRETCH) };
        self.applier = Applier::There(Ahead { to, thread, next });
    }
}

fn apply(table: &mut JobTable, from: &Receiver<Stretch>) -> Result<(), WalError> {
    for Stretch { path, events } in from {
        for (lsn, event) in events {
            table.apply(lsn, event).map_err(|error| misfit(&path, error.to_string()))?;
        }
    }
    Ok(())
}
