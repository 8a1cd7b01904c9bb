//! Frees the space of files that are no longer needed, a piece at a time, so that the log's sync does not wait for it.
//!
//! A file system that tells its disk which space is free (ext4 mounted with `discard`) delays every sync meanwhile, of
//! every file. So a file is truncated from its end in small pieces, each made durable by itself
//! (`docs/decisions/0007-in-pieces.md`).
//!
//! A process that has a removed file open can still read it; a truncated one it cannot. So a file first loses its name,
//! durably: nobody finds it any more, not even after a crash. It is cut when nobody reads it (see
//! [`StoredFile::take_over`]).

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::{Storage, StoredFile, partial_of};

/// Bytes that are freed at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// Added to the name of a file that is no longer used; `.partial` follows, so that boot removes the file.
const RETIRED: &str = "old";

/// Takes a file's name away, or removes it if that fails. Durable after a sync of its directory;
/// [`free_retired`] does the rest.
///
/// # Errors
/// It could not be removed either.
pub fn retire(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    // A full disk may have no space for a name that is longer.
    storage.rename(path, &retired(path)).or_else(|_| storage.remove(path))
}

/// Frees the space of the retired files in a directory. A file that is still being read stays until the next call.
///
/// # Errors
/// The storage reported an error; the next call does the rest.
pub fn free_retired(storage: &dyn Storage, dir: &Path) -> io::Result<()> {
    let ending = retired(Path::new("")).to_string_lossy().into_owned();
    let names = storage.list(dir)?;
    let mut paths = names.iter().filter(|name| name.ends_with(&ending)).map(|name| dir.join(name)).peekable();
    if paths.peek().is_some() {
        // A file that has been cut must not come back under its old name.
        storage.sync_dir(dir)?;
    }
    for path in paths {
        let mut file = storage.open(&path)?;
        match file.take_over() {
            Ok(true) => cut(&mut *file, 0)?,
            Ok(false) => continue,
            // There are no locks here, so nobody can tell who reads it.
            Err(_) => {}
        }
        storage.remove(&path)?;
    }
    Ok(())
}

/// Cuts a file off at `len`, piece by piece, if it is longer. Durable when it returns.
///
/// # Errors
/// The storage reported an error. The file's length may then be anything between the old one and `len`.
pub fn cut(file: &mut dyn StoredFile, len: u64) -> io::Result<()> {
    let mut now = file.len()?;
    while now > len {
        now = now.saturating_sub(PIECE_BYTES).max(len);
        file.set_len(now)?;
        file.sync()?;
    }
    Ok(())
}

fn retired(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(RETIRED);
    partial_of(Path::new(&name))
}
