//! Snapshots: an image of the whole state at a position of the log, so that the log before it may go.
//!
//! Reading order: [`mod@format`] (the file), [`fold`] (previous image + log = next image), [`store`] (the directory:
//! publish, load, fall back, retain), [`actor`] (when it happens).
//!
//! An image is never copied out of the living table. It is folded, job by job, from the image before it and the
//! sealed part of the log, in the background; so the queue does not stop for it, and every snapshot proves that
//! the log alone rebuilds the state.

pub mod actor;
mod fields;
pub mod fold;
pub mod format;
pub mod store;

use std::io;
use std::path::{Path, PathBuf};

/// Something is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is none; fine at the first boot.
    #[error("{}: there is no snapshot", dir.display())]
    NotFound {
        /// Where it should be.
        dir: PathBuf,
    },
    /// Its bytes are not what was written.
    #[error("{}: {problem} at byte {offset}", path.display())]
    Corrupted {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was expected and what was found.
        problem: String,
    },
    /// Another version of beaver wrote it.
    #[error("{}: schema version {found}, but this beaver reads those up to {expected}", path.display())]
    IncompatibleVersion {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this version reads.
        expected: u32,
    },
    /// The storage reported an error.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What came back.
        source: io::Error,
    },
    /// The log could not be read, or does not fit the image.
    #[error("the log does not continue the snapshot: {0}")]
    Log(String),
}

impl SnapshotError {
    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
        let path = path.to_owned();
        move |source| SnapshotError::Io { path, action, source }
    }

    fn corrupted(path: &Path, offset: u64, problem: impl Into<String>) -> SnapshotError {
        SnapshotError::Corrupted { path: path.to_owned(), offset, problem: problem.into() }
    }
}
