//! Snapshots: an image of the whole state at a position of the log, so that the log before it may go.
//!
//! Reading order: [`mod@format`] and [`page`] (a file), [`layer`] (an open one), [`chain`] (which files make a state),
//! [`state`] and `merge` (the state that they make), [`fold`] (state + log = next layer), [`policy`] (what is written,
//! put together and kept), [`store`] (the directory: publish, load, fall back), [`compact`] (layers are put together),
//! [`rescue`] (a whole layer from memory, when what is on disk turns out to be damaged), `retention` (old ones go), [`texts`] (what is read from them later), [`taking`] and `engine::snapshot` (when it happens).
//!
//! Beside these: `writer` (a file from front to back), `scrub` (texts are read before somebody needs them), `plain` (a file as
//! a value, for tests).
//!
//! An image is never copied out of the living table. It is folded, job by job, from the image before it and the
//! sealed part of the log, in the background; so the queue does not stop for it, and every snapshot proves that
//! the log alone rebuilds the state.
//!
//! An image is one **layer** that holds everything, or that and layers upon it which tell only of what changed. A layer
//! has the long texts that came with its stretch of the log (payloads, results, failures), apart from the jobs: those are
//! read to start, texts are not. When layers are written, put together and given up is [one policy](policy::Layering). The
//! log stays since the older of the two newest layers.
//!
//! | damaged or missing | what happens at the next start |
//! |---|---|
//! | the newest layer | it is moved to quarantine; the state before it, and the log since then |
//! | one that holds everything, and layers that it was made of are there | it is moved to quarantine; those are used |
//! | any other one | nothing is changed, exit code 65: the log does not reach back to before it; the file is named |
//! | a page of texts, in a state under 32 MiB | as above |
//! | a page of texts, in a larger one | if the log still has them, they are read from there; else who wants one of its jobs is told which file is damaged; so is the log of the server, that reads all of them once in the background, and `beaver doctor` |
//! | all of them, with the whole log | they are moved to quarantine; the log rebuilds the state |
//!
//! While the engine runs, any of these is mended from memory instead: see [`rescue`].

pub mod chain;
pub mod compact;
pub mod fold;
pub mod format;
pub mod layer;
mod merge;
pub mod page;
#[cfg(feature = "testing")]
pub mod plain;
pub mod policy;
pub(crate) mod rescue;
mod retention;
pub(crate) mod scrub;
pub mod state;
pub mod store;
pub mod taking;
pub mod texts;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::OUTDATED;

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
    #[error("{}: schema version {found}, but this beaver reads {expected}: another version of beaver wrote it, run that one", path.display())]
    IncompatibleVersion {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this version reads.
        expected: u32,
    },
    /// It was written before the first release, in a format that nobody reads any more.
    #[error("{}: {OUTDATED}", path.display())]
    Outdated {
        /// The file.
        path: PathBuf,
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
    /// Whether what is on disk is not what was written, as opposed to a disk that does not work now.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(self, SnapshotError::Io { .. } | SnapshotError::NotFound { .. })
    }

    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
        let path = path.to_owned();
        move |source| SnapshotError::Io { path, action, source }
    }

    fn corrupted(path: &Path, offset: u64, problem: impl Into<String>) -> SnapshotError {
        SnapshotError::Corrupted { path: path.to_owned(), offset, problem: problem.into() }
    }
}
