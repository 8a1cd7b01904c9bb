//! Kind `exec`: runs a program.
//!
//! | payload | meaning |
//! |---|---|
//! | `command` | program and arguments, a list; no shell looks at it |
//! | `stdin` | text for its standard input (none: nothing to read) |
//! | `env` | its environment, an object of strings |
//! | `cwd` | the directory it runs in (none: the server's) |
//!
//! The environment starts clean: `env`, and `BEAVER_JOB_ID`, `BEAVER_ATTEMPT`, `BEAVER_TOKEN`, `BEAVER_STORE`
//! (see `mark.rs`), nothing of the server's own. Without `env.PATH` the program is looked for along the
//! server's `PATH`, but has none itself.
//!
//! Exit code 0 is success. The result, kept in any case: `exit_code` or `signal`, `stdout` and `stderr` (the
//! first and the last 64 KiB of each, as UTF-8), `stdout_bytes`, `stderr_bytes`, `duration_ms`.
//!
//! **The program's process group ends with the job.** What it left in the background is killed when it
//! has ended itself, on a stop (SIGTERM, grace, SIGKILL), and when the server dies: then by a [`watcher`] at
//! once, and by [`orphans`] at the next boot if the watcher died too.
//!
//! | file | story |
//! |---|---|
//! | `payload`, `variables`, `program` | what is to run: read, checked, found |
//! | `run`, `process`, `group` | the program from its start to the end of its group |
//! | `capture`, `report` | what it wrote, and what is kept of it |
//! | `mark` | how a program is known as one of this data directory |
//! | `watcher`, `watcher_link`, `orphans` | ending what a dead server left |

mod payload;
mod variables;

mod program;

mod capture;
mod group;
mod report;
mod run;

mod mark;
pub(crate) mod orphans;
mod process;
pub(crate) mod watcher;
mod watcher_link;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::{HandlerFuture, JobError, JobHandler, JobRun};
use tokio::process::Command;

use mark::ProgramMark;
pub(crate) use mark::STORE_FILE;
use payload::ExecPayload;
use watcher_link::{WatcherLink, WatcherProgram};

/// After SIGKILL: for the kernel to end a large program, and for our own work.
const GRACE_EXTRA: Duration = Duration::from_secs(2);

/// Runs the program that a payload names, as the user of this server.
pub(crate) struct ExecHandler {
    stop_grace: Duration,
    mark: ProgramMark,
    link: Arc<WatcherLink>,
}

impl ExecHandler {
    /// A handler whose programs belong to that data directory; it is created if missing.
    ///
    /// The watcher is this very program, started as `exec-watcher` before the first job.
    ///
    /// # Errors
    /// The data directory's identity cannot be read or created, or there is no `/proc`.
    pub(crate) fn new(data_dir: &Path, stop_grace: Duration) -> io::Result<ExecHandler> {
        let mark = ProgramMark::of_this_server(data_dir)?;
        Ok(ExecHandler::with_watcher(WatcherProgram::this_one(), mark, stop_grace))
    }

    fn with_watcher(watcher: WatcherProgram, mark: ProgramMark, stop_grace: Duration) -> ExecHandler {
        let link = Arc::new(WatcherLink::new(watcher, mark.clone()));
        ExecHandler { stop_grace, mark, link }
    }
}

impl JobHandler for ExecHandler {
    fn run(&self, job: JobRun) -> HandlerFuture {
        let (stop_grace, link, mark) = (self.stop_grace, Arc::clone(&self.link), self.mark.to_string());
        Box::pin(async move {
            let (command, stdin) = prepare(&job, &mark)?;
            let program = command.as_std().get_program().to_owned();
            match run::run(command, stdin, job.stop, stop_grace, link).await {
                Ok(finished) => finished.into_outcome(),
                Err(error) => Err(JobError::new(format!("program {}: {error}", program.display()))),
            }
        })
    }

    fn grace(&self) -> Option<Duration> {
        Some(self.stop_grace + run::DRAIN + GRACE_EXTRA)
    }
}

/// The command of a job, and what it is fed.
fn prepare(job: &JobRun, mark: &str) -> Result<(Command, Option<String>), JobError> {
    let wanted = ExecPayload::read(&job.payload)?;
    let (name, arguments) = wanted.command.split_first().expect("a payload without a program was refused");
    let directory = program::directory(wanted.cwd.as_deref().unwrap_or(Path::new(".")))?;
    let program = program::find(name, wanted.env.get("PATH").map(OsStr::new), &directory)?;

    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env_clear().envs(&wanted.env);
    command.env(variables::JOB_ID, job.id.to_string());
    command.env(variables::ATTEMPT, job.attempt.to_string());
    command.env(variables::TOKEN, job.token.to_string());
    command.env(mark::VARIABLE, mark);
    Ok((command, wanted.stdin))
}
