//! The interface to the disk. Log and snapshots touch files through [`Storage`] only, so that a test can put a disk
//! under them that loses power between any two calls.
//!
//! What survives a power cut: bytes of a file after its [`StoredFile::sync`], and names (a file created, renamed or
//! removed) after [`Storage::sync_dir`] of their directory. Everything else may survive, in part, or not.
//!
//! `disk`: the machine's; `held_dirs`: directories that are locked; `patient`: opened again and again where descriptors or memory are missing; `atomic_file`: files that appear whole or not at all; `contents`: all that a file holds;
//! [`reclaim`]: space is given back a piece at a time; [`sched`]: how soon a thread gets the processor; `lying`: a disk with
//! deliberate bugs, for tests.

mod atomic_file;
mod contents;
mod disk;
mod held_dirs;
#[cfg(feature = "testing")]
pub(crate) mod lying;
pub(crate) mod patient;
pub mod reclaim;
pub mod sched;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use self::atomic_file::{partial_of, publish, set_aside, unused, write_whole};
pub(crate) use self::contents::{is_zero, read_all, read_used, too_long};
pub use self::disk::DiskStorage;

/// What a user is told of a file whose format was given up before the first release.
pub(crate) const OUTDATED: &str = "a beaver from before the first release wrote it, in a format that is not read any \
                                   more: move the data directory away to start empty";

/// Which file it is, under any name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// The disk that it is on.
    pub device: u64,
    /// Its number there.
    pub number: u64,
}

/// The operations on files and directories that the engine needs.
///
/// Once a directory is [locked](Storage::lock), its paths mean this directory until the lock's guard is dropped, even if
/// somebody moves it away and puts another in its place.
pub trait Storage: Send + Sync + 'static {
    /// Creates a directory and its parents; one that exists is fine. Durable when it returns.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files and directories in a directory, sorted. A directory that does not exist has none.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates a file for reading and writing, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>>;

    /// Opens a file that exists for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>>;

    /// Opens a file that exists for reading. Until it is closed, nobody can [take it over](StoredFile::take_over).
    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn StoredFile>>;

    /// Gives a file another name; a file that had that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Durable after [`Storage::sync_dir`]; who has the file open still has its bytes.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The file that a name leads to now. [`io::ErrorKind::NotFound`] if it leads to none.
    fn identity(&self, path: &Path) -> io::Result<FileIdentity>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// A name of the directory that is the same for all names of it. It must exist.
    fn real_path(&self, dir: &Path) -> io::Result<PathBuf>;

    /// Takes the exclusive lock that this file stands for, until the guard is dropped. `None`: somebody holds it.
    /// [`io::ErrorKind::NotFound`] if there is no such directory.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>>;

    /// Takes the same lock together with others that only read, and makes nothing. `None`: somebody holds it exclusively.
    /// [`io::ErrorKind::NotFound`] if there is no such directory.
    fn lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>>;

    /// How many bytes the disk of a directory could still take.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// A random number that is another one after each start of the machine's kernel: as long as it is the same, everything
    /// that was written is there, synced or not.
    fn boot_id(&self) -> [u8; 16];

    /// The same disk for who may not wait, where this one waits for descriptors and memory.
    fn without_patience(&self) -> Option<Arc<dyn Storage>> {
        None
    }

    /// Does some work that nobody waits for.
    fn in_background(&self, work: Box<dyn FnOnce() + Send>);
}

/// A file that is open; dropping it closes it and syncs nothing.
pub trait StoredFile: Send + Sync {
    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes all of `parts`, one behind the other, as [`StoredFile::write_at`] would write them in one piece.
    fn write_parts_at(&mut self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.write_at(offset, &parts.concat())
    }

    /// Reads up to `bytes.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// A place behind which there are only zeros: what was allocated ahead and never written need not be read to know
    /// that. The file's length, where nobody can tell.
    fn used_len(&self) -> io::Result<u64> {
        self.len()
    }

    /// The file's length in bytes, what was allocated ahead included.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or lengthens it by zeros.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Reserves space up to `len`, which then reads as zeros: later writes there cannot run out of it.
    fn allocate(&mut self, len: u64) -> io::Result<()>;

    /// Which file it is.
    fn identity(&self) -> io::Result<FileIdentity>;

    /// Makes the file's bytes and length durable (fdatasync).
    fn sync(&mut self) -> io::Result<()>;

    /// Whether no process has the file [open to read](Storage::open_to_read), and no second name
    /// leads to it. Then, as long as this is open, nobody gets it open to read any more.
    fn take_over(&mut self) -> io::Result<bool>;
}
