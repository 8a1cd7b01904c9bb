//! A server of a command's own: a child process that runs `beaver run` on a directory that nobody else uses.
//!
//! The directory has the server's data in `data` and its log in `server.log`; an error shows the end of that.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::exit::{CliFailure, Exit};
use super::job_view::Glance;
use crate::client::{Client, ClientError};
use crate::server::address_file::{self, url_of};

const READY_WITHIN: Duration = Duration::from_secs(15);
const DRAINED_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Lines of the server's log that are shown after a failure.
const TAIL_LINES: usize = 30;

/// A running `beaver run` that is ready. Dropping it kills the process.
pub(crate) struct ServerProcess {
    pub(crate) pid: u32,
    pub(crate) client: Client,
    child: Child,
}

/// A `beaver run` that was started and may not be ready yet. Dropping it kills the process.
pub(crate) struct StartingServer {
    data_dir: PathBuf,
    pid: u32,
    child: Child,
    since: Instant,
}

impl StartingServer {
    /// Starts a server in `dir`, with these flags besides its own.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn spawn(dir: &Path, flags: &[String]) -> Result<StartingServer, CliFailure> {
        let data_dir = data_dir(dir);
        // What a killed server left there would name a port that is not ours any more. Mostly there is none.
        let _ = fs::remove_file(address_file::path(&data_dir));
        let child = command(dir, flags)
            .and_then(|mut command| command.spawn())
            .map_err(|error| failed(format!("cannot start the server: {error}")))?;
        let pid = child.id().ok_or_else(|| failed("the server ended at once"))?;
        Ok(StartingServer { data_dir, pid, child, since: Instant::now() })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub(crate) async fn ready(mut self) -> Result<ServerProcess, CliFailure> {
        loop {
            if let Some(address) = address_file::read(&self.data_dir) {
                let client = Client::new(&url_of(address)).map_err(unanswered)?;
                if client.is_ready().await {
                    return Ok(ServerProcess { pid: self.pid, client, child: self.child });
                }
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(failed(format!("the server ended before it was ready ({status})")));
            }
            if self.since.elapsed() > READY_WITHIN {
                return Err(failed(format!("the server is not ready after {READY_WITHIN:?}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends it as a crash would, in the middle of its work.
    ///
    /// # Errors
    /// It had ended already.
    pub(crate) async fn kill_9(self) -> Result<(), CliFailure> {
        kill(self.child).await
    }
}

impl ServerProcess {
    /// How far it is.
    ///
    /// # Errors
    /// It does not answer, or in another shape.
    pub(crate) async fn glance(&self) -> Result<Glance, CliFailure> {
        Glance::read(&self.client.status().await.map_err(unanswered)?)
    }

    /// Ends it as a crash would: SIGKILL, no chance to write anything.
    ///
    /// # Errors
    /// It had ended already.
    pub(crate) async fn kill_9(self) -> Result<(), CliFailure> {
        kill(self.child).await
    }

    /// Ends it as an operator would, and waits for it.
    ///
    /// # Errors
    /// It does not end, or not with exit code 0.
    pub(crate) async fn drain(mut self) -> Result<(), CliFailure> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| failed("the server has no process id"))?;
        kill_process(pid, Signal::TERM)
            .map_err(|error| failed(format!("cannot stop the server: {error}")))?;
        let status = tokio::time::timeout(DRAINED_WITHIN, self.child.wait())
            .await
            .map_err(|_| failed(format!("the server has not stopped {DRAINED_WITHIN:?} after SIGTERM")))?
            .map_err(|error| failed(format!("cannot wait for the server: {error}")))?;
        match status.success() {
            true => Ok(()),
            false => Err(failed(format!("the server did not stop cleanly ({status})"))),
        }
    }
}

/// Shows the end of the server's log on stderr.
pub(crate) fn show_log_tail(dir: &Path) {
    let log = fs::read(log_path(dir)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    let mut stderr = io::stderr().lock();
    // A stderr that is gone hides the log; the failure is told by the exit code all the same.
    let _ = writeln!(stderr, "the end of the server's log:");
    for line in tail {
        let _ = writeln!(stderr, "  {line}");
    }
}

async fn kill(mut child: Child) -> Result<(), CliFailure> {
    if let Ok(Some(status)) = child.try_wait() {
        return Err(failed(format!("the server ended by itself ({status})")));
    }
    child.kill().await.map_err(|error| failed(format!("cannot kill the server: {error}")))
}

fn command(dir: &Path, flags: &[String]) -> io::Result<Command> {
    let log = File::options().create(true).append(true).open(log_path(dir))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--metrics-port", "0", "--faktory-port", "0", "--log-format", "json"]);
    // Failed jobs come back soon, so that it ends soon.
    command.args(["--retry-backoff", "20ms", "--retry-backoff-max", "200ms"]);
    command.args(flags);
    command.arg("--data-dir").arg(data_dir(dir));
    // Nobody's configuration but the caller's: no beaver.yaml of this directory, no variables.
    command.current_dir(dir);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BEAVER_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    Ok(command)
}

/// Where a server of ours keeps its data.
#[must_use]
pub(crate) fn data_dir(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// Where its log goes.
#[must_use]
pub(crate) fn log_path(dir: &Path) -> PathBuf {
    dir.join("server.log")
}

/// The command could not be carried through.
pub(crate) fn failed(message: impl Into<String>) -> CliFailure {
    CliFailure::new(Exit::Failure, message)
}

/// The server that the command itself started does not do what it was asked.
pub(crate) fn unanswered(error: ClientError) -> CliFailure {
    failed(format!("the command's own server: {error}"))
}
