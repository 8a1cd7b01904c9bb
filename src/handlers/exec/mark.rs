//! The mark that every program of an `exec` job carries in its environment, as `BEAVER_STORE`.
//!
//! It says which data directory the job belongs to and which server process started it:
//! `UUID.DEVICE.INODE@PID.START`. Both halves are needed to find leftovers without ever touching a stranger:
//! the first keeps servers of other data directories apart (device and inode too: a *copy* of a data
//! directory is another one), the second tells the children of a server that is gone from those of one that
//! works.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::process::Pid;

use super::process;

/// Name of the variable.
pub(super) const VARIABLE: &str = "BEAVER_STORE";
/// The same for a keeper, which is no program of a job: it is to be waited for, not to be ended.
pub(super) const KEEPER_VARIABLE: &str = "BEAVER_KEEPER";
/// File in the data directory that holds its random id.
pub(crate) const STORE_FILE: &str = "exec-id";
/// The kernel makes a new random id at every read.
const RANDOM_ID: &str = "/proc/sys/kernel/random/uuid";
/// Such an id has 36 characters, hexadecimal digits and hyphens.
const ID_LENGTH: usize = 36;

/// Which data directory, and which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProgramMark {
    pub(crate) store: StoreMark,
    pub(crate) server: ServerMark,
}

/// Identity of a data directory on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreMark(String);

/// A server process: its process id, told from later owners of the same id by its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerMark {
    pub(crate) pid: Pid,
    pub(crate) start_ticks: u64,
}

impl ProgramMark {
    /// The mark of what this process starts for that data directory.
    pub(crate) fn of_this_server(data_dir: &Path) -> io::Result<ProgramMark> {
        Ok(ProgramMark { store: StoreMark::open_or_create(data_dir)?, server: ServerMark::this()? })
    }

    /// Reads a mark; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<ProgramMark> {
        let (store, server) = text.rsplit_once('@')?;
        let (pid, start_ticks) = server.split_once('.')?;
        let server = ServerMark { pid: process::parse_pid(pid)?, start_ticks: start_ticks.parse().ok()? };
        Some(ProgramMark { store: StoreMark(store.to_owned()), server })
    }
}

impl fmt::Display for ProgramMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}.{}", self.store.0, self.server.pid, self.server.start_ticks)
    }
}

impl StoreMark {
    /// The identity of a data directory, `None` if it never got one.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Option<StoreMark>> {
        let path = data_dir.join(STORE_FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let id = text.trim_end();
        if id.len() != ID_LENGTH || !id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
            let message = format!("{}: not an id; delete the file if no job of it runs", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let metadata = fs::metadata(&path)?;
        Ok(Some(StoreMark(format!("{id}.{}.{}", metadata.dev(), metadata.ino()))))
    }

    /// As [`StoreMark::open`]; creates the directory and its identity if missing, durably.
    fn open_or_create(data_dir: &Path) -> io::Result<StoreMark> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
        if let Some(store) = StoreMark::open(data_dir)? {
            return Ok(store);
        }
        let mut file =
            tempfile::Builder::new().prefix("exec-id.").suffix(".partial").tempfile_in(data_dir)?;
        file.write_all(fs::read_to_string(RANDOM_ID)?.as_bytes())?;
        file.as_file().sync_all()?;
        // The first one wins: two servers that race must not end up with two identities.
        match file.persist_noclobber(data_dir.join(STORE_FILE)) {
            Ok(_) => File::open(data_dir)?.sync_all()?,
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(failed) => return Err(failed.error),
        }
        StoreMark::open(data_dir)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl ServerMark {
    fn this() -> io::Result<ServerMark> {
        let pid = rustix::process::getpid();
        Ok(ServerMark { pid, start_ticks: process::stat(pid)?.start_ticks })
    }

    /// False once the server has let go of its files, so surely by the time that another one holds its data
    /// directory.
    pub(crate) fn is_alive(self) -> bool {
        let pid = self.pid;
        if process::stat(pid).ok().is_none_or(|stat| stat.start_ticks != self.start_ticks) {
            return false;
        }
        // A killed process stays in the list until its parent has reaped it, but has no program any more. The
        // kernel takes the program away before the files and so before the lock on the data directory.
        match fs::read_link(format!("/proc/{pid}/exe")) {
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
            Ok(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_keeps_its_identity_and_a_copy_of_it_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let (original, copy) = (dir.path().join("original"), dir.path().join("copy"));
        assert_eq!(StoreMark::open(&original).unwrap(), None);
        let store = StoreMark::open_or_create(&original).unwrap();
        assert_eq!(StoreMark::open_or_create(&original).unwrap(), store);
        assert_eq!(fs::read_dir(&original).unwrap().count(), 1, "the partial file is gone");

        fs::create_dir(&copy).unwrap();
        fs::copy(original.join(STORE_FILE), copy.join(STORE_FILE)).unwrap();
        assert_ne!(StoreMark::open_or_create(&copy).unwrap(), store);
    }

    #[test]
    fn a_file_that_holds_no_id_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "short", &"x".repeat(ID_LENGTH)] {
            fs::write(dir.path().join(STORE_FILE), text).unwrap();
            let error = StoreMark::open_or_create(dir.path()).unwrap_err();
            assert!(error.to_string().contains("exec-id: not an id"), "{error}");
            assert_eq!(fs::read_to_string(dir.path().join(STORE_FILE)).unwrap(), text);
        }
    }

    #[test]
    fn a_mark_reads_back_as_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mark = ProgramMark::of_this_server(dir.path()).unwrap();
        assert_eq!(ProgramMark::parse(&mark.to_string()), Some(mark));
        for text in ["", "somebody's own value", "store@", "store@-5.7", "store@0.7", "store@5.x"] {
            assert_eq!(ProgramMark::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_server_is_alive_until_it_is_killed_even_if_nobody_has_reaped_it() {
        assert!(ServerMark::this().unwrap().is_alive());
        let mut child = std::process::Command::new("sleep").arg("300").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let start_ticks = process::stat(pid).unwrap().start_ticks;
        let server = ServerMark { pid, start_ticks };
        assert!(server.is_alive());
        assert!(!ServerMark { start_ticks: start_ticks + 1, ..server }.is_alive(), "a later owner of the id");

        let process = process::Process::open(pid).unwrap();
        child.kill().unwrap();
        assert!(process.ends_by(std::time::Instant::now() + std::time::Duration::from_secs(10)));
        assert!(!server.is_alive());
        child.wait().unwrap();
        assert!(!server.is_alive());
    }
}
