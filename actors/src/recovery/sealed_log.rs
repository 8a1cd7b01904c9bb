//! The sealed part of the log, as the fold of a snapshot reads it.

use std::path::Path;

use crate::ids::Seq;
use crate::snapshot::SnapshotError;
use crate::snapshot::taking::Visit;
use crate::storage::Storage;
use crate::wal::WalError;
use crate::wal::recovery::{EachEvent, replay_sealed};

/// Hands every event of the sealed log behind the first position, up to the second, to the visitor.
///
/// # Errors
/// The log is damaged, the storage reported an error, or the visitor did.
pub fn read_sealed_log(
    storage: &dyn Storage,
    dir: &Path,
    after: Seq,
    through: Seq,
    visit: &mut Visit<'_>,
) -> Result<(), SnapshotError> {
    let mut visit = |seq, event, _: &_| visit(seq, event);
    replay_sealed(storage, dir, after, through, &mut EachEvent(&mut visit)).map_err(|error| match error {
        WalError::Io { path, action, source } => SnapshotError::Io { path, action, source },
        other => SnapshotError::Log(other.to_string()),
    })
}
