//! One run of a program, from its start until nothing of it is left.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::{StopReason, StopSignal};
use beaver_actors::ids::JobId;
use rustix::io::Errno;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep_until, timeout};

use super::capture::Capture;
use super::keeper::{Heard, Keepers, ProgramOrder, RunningProgram};

/// When the program has ended but others that it started still hold its output: how long we go on reading before they
/// are told to end.
///
/// A program that exits does not close the pipe, so without a bound one forgotten background program would
/// hold a worker for ever.
pub(super) const DRAIN: Duration = Duration::from_millis(500);

/// What is left of a run.
pub(super) struct FinishedProgram {
    pub(crate) status: ExitStatus,
    /// Why it was told to stop, if it was.
    pub(crate) stopped: Option<StopReason>,
    pub(crate) stdout: Capture,
    pub(crate) stderr: Capture,
    /// From the start to the end of the program itself.
    pub(crate) duration: Duration,
}

/// Why there is no [`FinishedProgram`].
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// It never ran, and the reason may be its own.
    #[error("{0}")]
    NotStarted(#[source] io::Error),
    /// There are no pipes or no keeper for it, which has nothing to do with it.
    #[error("cannot be started now: {0}")]
    NoKeeper(#[source] io::Error),
    /// It was told to stop before it ran.
    #[error("stopped ({0}) while an earlier run of its job was ending")]
    StoppedBefore(StopReason),
    /// Somebody has killed its keeper, or the two do not understand each other.
    #[error("its keeper was killed, so how it ended is not known")]
    KeeperLost,
}

impl RunError {
    /// Whether the server lacked something, so that this was no attempt.
    pub(crate) fn is_shortage(&self) -> bool {
        match self {
            RunError::NotStarted(error) => is_shortage(error),
            RunError::NoKeeper(_) | RunError::StoppedBefore(_) => true,
            RunError::KeeperLost => false,
        }
    }
}

/// Whether a call has failed for lack of descriptors, processes or memory, which other jobs or other programs use.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM].contains(&errno))
}

/// Runs a program until it ends or must stop, and then ends everything that it started.
///
/// When `stop` fires: SIGTERM, and SIGKILL after the program's grace. The same for what is left when it has ended by
/// itself. Dropping the future kills all at once.
pub(super) async fn run(
    job: &JobId,
    program: &ProgramOrder,
    stdin: Option<String>,
    mut stop: StopSignal,
    keepers: &Arc<Keepers>,
) -> Result<FinishedProgram, RunError> {
    tokio::select! {
        biased;
        () = keepers.earlier_run_ended(job) => {}
        reason = stop.stopped() => return Err(RunError::StoppedBefore(reason)),
    }
    let started = Instant::now();
    let (ours, theirs) = pipes(stdin.is_some()).map_err(RunError::NoKeeper)?;
    let running = keepers.start(job, program, theirs).await.map_err(RunError::NoKeeper)?;

    let (mut stdout, mut stderr) = (Capture::default(), Capture::default());
    let end = {
        let mut output = pin!(async { tokio::join!(stdout.read(ours.stdout), stderr.read(ours.stderr)) });
        let end = tokio::select! {
            end = follow(running, &mut stop, output.as_mut()) => end?,
            never = feed(ours.stdin, stdin) => match never {},
        };
        if end.is_output_open {
            // Nobody is left who could write; a process elsewhere that was handed the pipe is not waited for.
            timeout(DRAIN, output).await.ok();
        }
        end
    };
    Ok(FinishedProgram {
        status: end.status,
        stopped: end.stopped,
        stdout,
        stderr,
        duration: end.at - started,
    })
}

/// Our ends of a program's pipes.
struct Pipes {
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

fn pipes(has_stdin: bool) -> io::Result<(Pipes, [OwnedFd; 3])> {
    let (stdin, their_stdin) = match has_stdin {
        true => {
            let (sender, receiver) = pipe::pipe()?;
            (Some(sender), receiver.into_blocking_fd()?)
        }
        false => (None, File::open("/dev/null")?.into()),
    };
    let (their_stdout, stdout) = pipe::pipe()?;
    let (their_stderr, stderr) = pipe::pipe()?;
    let theirs = [their_stdin, their_stdout.into_blocking_fd()?, their_stderr.into_blocking_fd()?];
    Ok((Pipes { stdin, stdout, stderr }, theirs))
}

/// How a program came to its end.
struct ProgramEnd {
    at: Instant,
    status: ExitStatus,
    stopped: Option<StopReason>,
    is_output_open: bool,
}

/// Follows a program until nothing of it is left.
async fn follow(
    mut program: RunningProgram,
    stop: &mut StopSignal,
    mut output: impl Future<Output = ((), ())> + Unpin,
) -> Result<ProgramEnd, RunError> {
    let (mut stopped, mut ended) = (None, None);
    // Whether those who hold the output may still write, whether a stop was heard, whether the keeper was told.
    let (mut is_output_open, mut has_heard, mut was_told) = (true, false, false);
    loop {
        let drain_until = match ended {
            Some((at, _)) if !was_told => Some(if is_output_open { at + DRAIN } else { at }),
            _ => None,
        };
        let is_told_to = tokio::select! {
            // What has ended was not stopped.
            biased;
            heard = program.next() => match heard {
                Ok(Heard::Ended(status)) => {
                    ended = Some((Instant::now(), status));
                    false
                }
                Ok(Heard::Gone { left }) => {
                    if left > 0 {
                        tracing::warn!(left, "a program has left processes of other users, which may not be ended");
                    }
                    let (at, status) = ended.ok_or(RunError::KeeperLost)?;
                    return Ok(ProgramEnd { at, status, stopped, is_output_open });
                }
                Ok(Heard::NotStarted { errno }) => {
                    return Err(RunError::NotStarted(io::Error::from_raw_os_error(errno)));
                }
                Ok(Heard::KeeperLost) | Err(_) => return Err(RunError::KeeperLost),
            },
            reason = stop.stopped(), if !has_heard => {
                has_heard = true;
                if ended.is_none() {
                    stopped = Some(reason);
                }
                true
            }
            () = sleep_until(drain_until.unwrap_or_else(Instant::now)), if drain_until.is_some() => true,
            _ = &mut output, if is_output_open => {
                is_output_open = false;
                false
            }
        };
        if is_told_to && !was_told {
            was_told = true;
            program.stop();
        }
    }
}

/// Writes the program's input and closes it. Never returns: input that nobody reads must not end or delay a
/// run.
async fn feed(pipe: Option<impl AsyncWrite + Unpin>, text: Option<String>) -> Infallible {
    if let Some((mut pipe, text)) = pipe.zip(text) {
        // A program need not read all of its input, or any: `head` does not either.
        pipe.write_all(text.as_bytes()).await.ok();
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 73.
    #[test]
    fn what_the_server_lacks_is_told_from_what_is_wrong_with_the_program() {
        let failed = |errno: Errno| RunError::NotStarted(errno.into());
        for errno in [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM] {
            assert!(failed(errno).is_shortage(), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::TOOBIG, Errno::NOEXEC, Errno::TXTBSY] {
            assert!(!failed(errno).is_shortage(), "{errno}");
        }
        assert!(RunError::NoKeeper(io::ErrorKind::NotFound.into()).is_shortage(), "no job can mend that");
        assert!(!RunError::KeeperLost.is_shortage(), "it may have run");
    }
}
