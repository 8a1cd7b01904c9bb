//! How a command ends: exit codes, and failures as they are told to people.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use beaver_actors::engine::{Ending, FailCause};

use crate::logging::{self, LogFormat};

/// Exit codes. They are part of the interface: scripts test them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was done.
    Ok = 0,
    /// It failed in a way that none of the others names: a port in use, a directory that is locked, a bug.
    Failure = 1,
    /// The command line or the configuration makes no sense.
    Usage = 2,
    /// There is no job with that id, or no log or snapshot to inspect.
    NotFound = 3,
    /// No server answers, or the connection broke off before it answered.
    NoServer = 4,
    /// The request was understood and refused, and nothing was done: a bad job, a full queue, a busy server.
    Rejected = 5,
    /// Durable data is damaged, missing or not ours. `EX_DATAERR` of `sysexits.h`.
    Damaged = 65,
    /// The storage reported an error. `EX_IOERR` of `sysexits.h`.
    Storage = 74,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl From<FailCause> for Exit {
    fn from(cause: FailCause) -> Exit {
        match cause {
            FailCause::Locked | FailCause::Crashed => Exit::Failure,
            FailCause::Absent => Exit::NoServer,
            FailCause::Damaged => Exit::Damaged,
            FailCause::Storage => Exit::Storage,
        }
    }
}

/// Why a command did not do what it was asked to: for people, with the code for programs.
#[derive(Debug)]
pub struct Failure {
    /// The code that the process ends with.
    pub exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure in words: a lowercase fragment without a dot.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hint: None }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Whoever read our output has seen enough, as in `beaver inspect wal | head`: the end, but not an error.
    #[must_use]
    pub fn reader_left() -> Failure {
        Failure::new(Exit::Ok, "")
    }

    /// Stdout could not be written.
    #[must_use]
    pub fn of_stdout(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::reader_left(),
            _ => Failure::new(Exit::Failure, format!("cannot write to stdout: {error}")),
        }
    }

    /// Nobody can be served at an address whose port this key sets; `port_choice` is what else it may be set to.
    #[must_use]
    pub fn of_listening(
        address: SocketAddr,
        error: &io::Error,
        port_key: &str,
        port_choice: &str,
    ) -> Failure {
        let flag = port_key.replace('_', "-");
        let port = format!("--{flag} (key {port_key})");
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => format!("choose another port with {port}; {port_choice}"),
            io::ErrorKind::AddrNotAvailable => {
                "--bind (key bind) must be an address of this machine".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 are for root; choose another with {port}")
            }
            _ => format!("see --bind (key bind) and {port}"),
        };
        Failure::new(Exit::Failure, format!("cannot listen on {address}: {error}")).hint(hint)
    }

    /// Tells it on stderr: as `error: ...` and `hint: ...`, or as a log event while the log is JSON lines.
    pub fn report(&self) {
        if self.exit == Exit::Ok {
            return;
        }
        if logging::format() == Some(LogFormat::Json) {
            tracing::error!(exit_code = self.exit as u8, hint = self.hint, "{}", self.message);
            return;
        }
        // A stderr that is gone is no reason to panic: the exit code still tells.
        let _ = writeln!(io::stderr(), "{self}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// What an engine's end means for the command that ran it.
///
/// # Errors
/// The engine failed.
pub fn from_ending(ending: Ending) -> Result<(), Failure> {
    match ending {
        Ending::Clean => Ok(()),
        Ending::Failed { cause, message } => {
            let failure = Failure::new(cause.into(), message);
            Err(match cause {
                FailCause::Locked => failure.hint("stop the other server, or choose another --data-dir"),
                FailCause::Damaged => {
                    failure.hint("`beaver doctor` says what is damaged and what would be lost without it")
                }
                FailCause::Absent | FailCause::Storage | FailCause::Crashed => failure,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_failed_engine_has_its_exit_code() {
        let code =
            |cause| from_ending(Ending::Failed { cause, message: "why".into() }).unwrap_err().exit as u8;
        assert_eq!(code(FailCause::Locked), 1);
        assert_eq!(code(FailCause::Crashed), 1);
        assert_eq!(code(FailCause::Damaged), 65);
        assert_eq!(code(FailCause::Storage), 74);
        assert!(from_ending(Ending::Clean).is_ok());
    }

    #[test]
    fn a_locked_directory_comes_with_the_way_out() {
        let ending = Ending::Failed { cause: FailCause::Locked, message: "d: another beaver".into() };
        let told = from_ending(ending).unwrap_err().to_string();
        assert_eq!(
            told,
            "error: d: another beaver\nhint: stop the other server, or choose another --data-dir"
        );
    }

    #[test]
    fn a_failure_is_told_with_its_way_out() {
        let failure = Failure::new(Exit::NoServer, "no server answers").hint("start one");
        assert_eq!(failure.to_string(), "error: no server answers\nhint: start one");
    }

    #[test]
    fn a_reader_that_left_is_no_error_but_a_full_disk_is() {
        assert_eq!(Failure::of_stdout(&io::ErrorKind::BrokenPipe.into()).exit, Exit::Ok);
        assert_eq!(Failure::of_stdout(&io::ErrorKind::StorageFull.into()).exit, Exit::Failure);
    }
}
