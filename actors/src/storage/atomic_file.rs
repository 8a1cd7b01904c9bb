//! Files that appear whole or not at all, under a name that nothing had.

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::Storage;

/// Creates a file that appears whole or not at all: `.partial`, sync, rename, sync of the directory.
pub(crate) fn write_whole(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = partial_of(path);
    let mut file = storage.create(&partial)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    drop(file);
    publish(storage, &partial, path)
}

/// Gives a synced file its final name, durably.
pub(crate) fn publish(storage: &dyn Storage, partial: &Path, path: &Path) -> io::Result<()> {
    storage.rename(partial, path)?;
    // Without this, the file system may keep the file and lose its name.
    storage.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// A path in `dir` that nothing has yet: a quarantined file must not replace an earlier one.
pub(crate) fn unused(storage: &dyn Storage, dir: &Path, name: &str) -> io::Result<PathBuf> {
    let taken = storage.list(dir)?;
    let mut free = name.to_owned();
    for number in 2_u32.. {
        if !taken.contains(&free) {
            break;
        }
        free = format!("{name}.{number}");
    }
    Ok(dir.join(free))
}

/// The name of a file that is not finished, or not needed any more. Files with such names are removed at boot.
pub(crate) fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}
