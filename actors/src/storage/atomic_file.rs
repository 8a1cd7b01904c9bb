//! Files that appear whole or not at all, under a name that nothing had.

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::{Storage, is_zero};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

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

/// Moves a file to `quarantine`, under a name that nothing has there; durable when it returns. It is copied where the two are
/// on different disks.
pub(crate) fn set_aside(storage: &dyn Storage, from: &Path, quarantine: &Path) -> io::Result<PathBuf> {
    storage.create_dir(quarantine)?;
    let to = unused(storage, quarantine, &from.file_name().unwrap_or_default().to_string_lossy())?;
    match storage.rename(from, &to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy(storage, from, &to)?;
            storage.remove(from)?;
        }
        moved => {
            moved?;
            storage.sync_dir(quarantine)?;
        }
    }
    storage.sync_dir(from.parent().unwrap_or(Path::new(".")))?;
    Ok(to)
}

/// Copies a file, which appears whole or not at all; holes, and what else reads as zeros, become holes.
pub(crate) fn copy(storage: &dyn Storage, from: &Path, to: &Path) -> io::Result<()> {
    let partial = partial_of(to);
    let source = storage.open_to_read(from)?;
    let mut target = storage.create(&partial)?;
    let mut bytes = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = source.read_at(at, &mut bytes)?;
        if read == 0 {
            break;
        }
        if !is_zero(&bytes[..read]) {
            target.write_at(at, &bytes[..read])?;
        }
        at += read as u64;
    }
    target.set_len(at)?;
    target.sync()?;
    drop(target);
    publish(storage, &partial, to)
}

/// The name of a file that is not finished, or not needed any more. Files with such names are removed at boot.
pub(crate) fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}
