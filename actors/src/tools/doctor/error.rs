//! Why there is no report, or no repair.

use std::io;
use std::path::{Path, PathBuf};

use crate::snapshot::SnapshotError;
use crate::wal::WalError;

/// Why there is no report, or no repair.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// There is no data.
    #[error("{}: there is neither a log nor a snapshot", dir.display())]
    NotFound {
        /// Where it should be.
        dir: PathBuf,
    },
    /// A server is running on it.
    #[error("{0}")]
    Locked(String),
    /// The storage reported an error.
    #[error("{0}")]
    Storage(String),
    /// Everything was done and the directory is refused all the same. The originals are all there.
    #[error("still refused after the repair: {refusal}; the originals are in {}", quarantine.display())]
    Failed {
        /// Where the originals are.
        quarantine: PathBuf,
        /// Why a start would still refuse.
        refusal: String,
    },
}

impl DoctorError {
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> DoctorError {
        let path = path.to_owned();
        move |error| DoctorError::Storage(format!("{}: cannot {action}: {error}", path.display()))
    }
}

impl From<WalError> for DoctorError {
    fn from(error: WalError) -> DoctorError {
        DoctorError::Storage(error.to_string())
    }
}

impl From<SnapshotError> for DoctorError {
    fn from(error: SnapshotError) -> DoctorError {
        DoctorError::Storage(error.to_string())
    }
}
