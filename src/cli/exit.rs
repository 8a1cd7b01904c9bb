//! How a command ends: exit codes, and failures as they are told to people.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use beaver_actors::engine::{Ending, Engine, FailCause, Phase};

use crate::client::ClientError;
use crate::plain::plain_lines;
use crate::server::ServerError;
use crate::telemetry::logging::{self, LogFormat};
use crate::wire::answers::{OFFLINE, UNKNOWN};

/// Exit codes. They are part of the interface: scripts test them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
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
pub(crate) struct CliFailure {
    /// The code that the process ends with.
    pub(crate) exit: Exit,
    message: String,
    hint: Option<String>,
}

impl CliFailure {
    /// A failure in words: a lowercase fragment without a dot.
    #[must_use]
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> CliFailure {
        CliFailure { exit, message: message.into(), hint: None }
    }

    /// The command line or the configuration makes no sense; nobody was asked anything.
    #[must_use]
    pub(crate) fn usage(message: impl Into<String>) -> CliFailure {
        CliFailure::new(Exit::Usage, message)
    }

    /// Adds the way out.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> CliFailure {
        self.hint = Some(hint.into());
        self
    }

    /// The reader of our output has seen enough, as in `beaver inspect wal | head`: the end, but not an error.
    #[must_use]
    pub(crate) fn reader_left() -> CliFailure {
        CliFailure::new(Exit::Ok, "")
    }

    /// Stdout could not be written.
    #[must_use]
    pub(crate) fn of_stdout(error: &io::Error) -> CliFailure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliFailure::reader_left(),
            _ => CliFailure::new(Exit::Failure, format!("cannot write to stdout: {error}")),
        }
    }

    /// Tells it on stderr: as `error: ...` and `hint: ...`, or as a log event while the log is JSON lines.
    pub(crate) fn report(&self) {
        if self.exit == Exit::Ok {
            return;
        }
        if logging::format() == Some(LogFormat::Json) {
            tracing::error!(exit_code = self.exit as u8, hint = self.hint, "{}", self.message);
            return;
        }
        // A stderr that is gone is no reason to panic: the exit code still tells.
        let _ = writeln!(io::stderr(), "{}", plain_lines(&self.to_string()));
    }
}

impl From<ServerError> for CliFailure {
    fn from(error: ServerError) -> CliFailure {
        let failure = CliFailure::new(Exit::Failure, error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl fmt::Display for CliFailure {
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
pub(crate) fn from_ending(ending: Ending) -> Result<(), CliFailure> {
    match ending {
        Ending::Clean => Ok(()),
        Ending::Failed { cause, message } => {
            let failure = CliFailure::new(cause.into(), message);
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

/// What an answer that is not the hoped-for one means for a command.
pub(crate) fn refused(error: ClientError) -> CliFailure {
    let message = error.to_string();
    match error {
        ClientError::BadUrl(_) => CliFailure::usage(message)
            .hint("a server's address looks like http://127.0.0.1:9090 (--url, BEAVER_URL)"),
        ClientError::Unreachable { .. } => CliFailure::new(Exit::NoServer, message)
            .hint("start a server with `beaver run`; nothing was sent"),
        ClientError::Lost { .. } => CliFailure::new(Exit::NoServer, message),
        ClientError::Refused { code, .. } if code == OFFLINE => {
            CliFailure::new(Exit::NoServer, message).hint("start one with `beaver run`")
        }
        ClientError::Refused { status: 404, .. } => CliFailure::new(Exit::NotFound, message),
        ClientError::Refused { status: 500, .. } | ClientError::Protocol(_) => {
            CliFailure::new(Exit::Failure, message)
        }
        ClientError::Refused { .. } => CliFailure::new(Exit::Rejected, message),
    }
}

/// The same from an engine of this very process: if it died under the request, its end says more.
pub(crate) fn declined(engine: &Engine, error: ClientError) -> CliFailure {
    let message = error.to_string();
    match &error {
        ClientError::Refused { code, .. } if code == UNKNOWN => match &engine.phase() {
            Phase::Stopped(Ending::Failed { cause, message: why }) => {
                CliFailure::new((*cause).into(), format!("{message}: {why}"))
            }
            _ => CliFailure::new(Exit::Storage, message),
        },
        _ => refused(error),
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
        let failure = CliFailure::new(Exit::NoServer, "no server answers").hint("start one");
        assert_eq!(failure.to_string(), "error: no server answers\nhint: start one");
    }

    #[test]
    fn a_reader_that_left_is_no_error_but_a_full_disk_is() {
        assert_eq!(CliFailure::of_stdout(&io::ErrorKind::BrokenPipe.into()).exit, Exit::Ok);
        assert_eq!(CliFailure::of_stdout(&io::ErrorKind::StorageFull.into()).exit, Exit::Failure);
    }

    #[test]
    fn what_a_server_answers_has_its_exit_code() {
        let answered = |status| {
            refused(ClientError::Refused { status, code: "code".into(), message: "why".into() }).exit
        };
        assert_eq!(answered(404), Exit::NotFound);
        for status in [400, 409, 413, 429, 503, 507] {
            assert_eq!(answered(status), Exit::Rejected, "{status}");
        }
        assert_eq!(answered(500), Exit::Failure);
        assert_eq!(refused(ClientError::BadUrl("ftp://x".into())).exit, Exit::Usage);
    }
}
