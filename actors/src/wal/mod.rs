//! The write-ahead log: every event, in order, on disk before anybody hears of it.
//!
//! Reading order: [`codec`] (an event as bytes), [`mod@format`] (headers), [`reader`] (one segment), [`recovery`] (the
//! whole log at boot), [`writer`] (appending), `engine::log` (the actor around the writer). Beside these: [`batch`] (one as it
//! was read), [`tail_scan`] (what is behind the place where reading stopped), [`index`] (where an event is), [`witness`]
//! (a second proof of how far the log got), `next_segment` and `maintenance` (what is done about segments before and after
//! their time).
//!
//! # Promises
//! - After [`writer::LogWriter::sync`] returned a position, every event up to it survives any crash.
//! - A batch is there as a whole or not at all.
//! - What was durable and cannot be read is reported, never skipped; nothing is deleted.
//!
//! # Byte layout (little endian)
//! The directory holds segments `0000000001.wal`, `0000000002.wal`, ... without gaps; older ones go when a snapshot
//! covers them. A segment is created under a `.partial` name, made durable, and renamed. It is preallocated, so what
//! was not written reads as zeros; the first part of it is zeros that were written (`next_segment` tells why), and small
//! batches go on in the next segment where they end. It is never written again after its successor exists.
//!
//! ```text
//! segment header, 128 bytes
//!    0  8  magic "BVRLOG\r\n"
//!    8  4  least format version that can read it (1)
//!   12  4  salt: random, seeds every checksum of the segment, so that stale bytes never pass for new ones
//!   16 16  store id: random, the same in every file of a data directory
//!   32  8  segment number, as in the file's name
//!   40  8  first position: of the first event in it
//!   48  8  predecessor's number, 0 for none
//!   56  8  predecessor's length: what is behind it there does not count
//!   64  8  predecessor's last position
//!   72  4  predecessor's last chain value
//!   76  8  created at, ms since 1970
//!   84  4  timeline, 88  4  term: of the state when it was created; copies, the state says what counts
//!   92 32  zeros
//!  124  4  crc32 of the 124 bytes before
//!
//! batch: header of 56 bytes, then its payload; the next batch follows directly
//!    0  4  magic "BVL1"
//!    4  4  payload length
//!    8  8  first position
//!   16  8  durable position that was known when this was written
//!   24  8  written at, ms since 1970
//!   32  4  number of events; control records do not count
//!   36  4  chain: the previous batch's header crc (the segment header's for the first)
//!   40  4  crc32 of the payload, seeded with the salt
//!   44  4  term in which it was written
//!   48  1  kind: 1 events, 2 a mark (only carries the durable position), 3 a seal, 4 control (records without a position)
//!   49  3  zeros
//!   52  4  header crc: crc32 of the 52 bytes before, seeded with the salt
//! ```
//!
//! The payload is records, one behind the other, as [`codec`] writes them. Events have a position each. Control records
//! have none: they are for a log that several machines share, whose votes differ from one to the next while positions must
//! not. They stand in a batch of their own kind or among events, also in a batch without any.
//!
//! A log is shortened by a new segment alone: its header says where its predecessor ends, and what is behind it there
//! does not count any more. What is kept of a batch that is cut in the middle is written again as the first batch of the
//! new segment.
//!
//! # What recovery does with what it finds
//!
//! | found | means | done |
//! |---|---|---|
//! | zeros up to the end of the last segment | it ended there | continue |
//! | an invalid batch in the last segment, and no durable position seen anywhere reaches it | torn tail | copy to `quarantine/`, cut, report |
//! | the same, but a durable position reaches it | damage | refuse |
//! | an invalid batch in a segment that has a successor, before the length that the successor names | damage | refuse |
//! | a seal in the last segment | its successor is gone | refuse |
//! | a segment missing, doubled, renamed, or of another store | damage | refuse |
//! | an event of unknown type or version | another version of beaver wrote it | refuse |
//! | an event that the witness proves, and that is not there | damage | refuse |
//! | a last segment without any event that was proven durable | a start without work | replaced, under its number, by the new segment |
//! | valid batches that were not proven durable | perhaps only in the page cache | appended again to a new segment, synced before serving |
//!
//! Durable positions are seen in batch headers (also in those that still parse behind the invalid one), in the
//! snapshot's position, in a successor's header, and in the [`witness`], a file beside the log. A seal is written behind a
//! segment's end once its successor is published; it does not count as part of the segment. A mark is written when the log
//! falls idle and when it is closed, so that the proof seldom lags behind. It is perhaps not durable itself: one behind the
//! last proven events does not count as part of the segment when the next one is begun.

pub mod batch;
pub mod codec;
pub mod format;
pub mod index;
mod maintenance;
mod next_segment;
pub mod reader;
pub mod recovery;
pub mod tail_scan;
pub mod witness;
pub mod writer;

use std::io;
use std::path::{Path, PathBuf};

use crate::ids::Seq;
use crate::storage::OUTDATED;

/// Something is wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// Durable data cannot be read as it was written. Nothing was changed.
    #[error("{}: {problem} at byte {offset}", path.display())]
    Damaged {
        /// The segment that holds it.
        path: PathBuf,
        /// Where in the file reading stopped.
        offset: u64,
        /// What was expected and what was found.
        problem: String,
    },
    /// The segments do not belong together: one is missing, doubled, or from elsewhere. Nothing was changed.
    #[error("{}: {problem}", path.display())]
    Misplaced {
        /// The file or directory.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// Another version of beaver wrote this. Nothing was changed.
    #[error("{}: {problem}: another version of beaver wrote it, run that one", path.display())]
    Newer {
        /// The segment that another version wrote.
        path: PathBuf,
        /// The version or the type that this one does not know.
        problem: String,
    },
    /// It was written before the first release, in a format that nobody reads any more. Nothing was changed.
    #[error("{}: {OUTDATED}", path.display())]
    Outdated {
        /// The segment in that format.
        path: PathBuf,
    },
    /// The storage reported an error.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as an infinitive: "sync".
        action: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// The segment that is written to has lost its name: the next start would not find it.
    #[error(
        "{}: the server's log is not there any more: somebody moved or removed it, or its directory, while the server was \
         running. Nothing more is accepted; put it back where it was, and start again",
        path.display()
    )]
    Vanished {
        /// Where it was.
        path: PathBuf,
    },
    /// The disk is full. Nothing was written; it may be tried again.
    #[error("{}: the disk is full", path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// A sync failed before. Nothing is written any more until the log was recovered from disk
    /// (why: <https://www.usenix.org/system/files/atc20-rebello.pdf>).
    #[error("the log is poisoned: a sync failed, and what the disk holds is unknown until a restart")]
    Poisoned,
    /// A valid event does not fit the state, which only a bug or damage that hit two places can cause.
    #[error("{}: {problem}", path.display())]
    Misfit {
        /// The segment that the event is in.
        path: PathBuf,
        /// Which event, and why.
        problem: String,
    },
}

impl WalError {
    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> WalError {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WalError::Full { path },
            _ => WalError::Io { path, action, source },
        }
    }

    /// Whether durable data is damaged, missing or foreign, as opposed to a disk that does not work now.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(
            self,
            WalError::Io { .. } | WalError::Full { .. } | WalError::Vanished { .. } | WalError::Poisoned
        )
    }
}

/// Events of one or more requests, encoded, that must reach the disk together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Position of the first event.
    pub first: Seq,
    /// How many events `bytes` holds.
    pub count: u32,
    /// The events, one after the other, as [`codec::encode`] writes them.
    pub bytes: Vec<u8>,
}

impl Group {
    /// Position of the last event.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count) - 1)
    }
}
