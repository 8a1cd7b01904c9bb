//! Kind `exec`: runs a program.
//!
//! | payload | meaning |
//! |---|---|
//! | `command` | program and arguments, a list; no shell looks at it |
//! | `stdin` | text for its standard input (none: nothing to read) |
//! | `env` | variables of its environment, an object of strings |
//! | `cwd` | the directory it runs in (none: the server's); one that is missing is an error of the job that names it |
//!
//! The environment starts clean: `PATH`, `HOME`, `LANG`, `USER`, `SHELL`, `TZ` and what the operator has set
//! (see `environment.rs`); `env`, which comes before these; and `BEAVER_JOB_ID`, `BEAVER_ATTEMPT`, `BEAVER_TOKEN`,
//! `BEAVER_STORE` (see `mark.rs`). A program without a slash in its name is looked for along its own `PATH`.
//!
//! Exit code 0 is success. The result, kept in any case: `exit_code` or `signal`, `stdout` and `stderr` (the
//! first and the last 64 KiB of each, as UTF-8), `stdout_bytes`, `stderr_bytes`, `duration_ms`. A program that cannot be
//! started because the server has no descriptors, processes or memory left was no attempt.
//!
//! **Everything that a program starts ends with the job**: what it left in the background, in another process group or
//! in a session of its own. Each program runs under a [`keeper`], which ends all its descendants when it has ended
//! itself, on a stop, and when the server dies: SIGTERM, a grace, SIGKILL. The job ends, and its next attempt starts,
//! when nothing is left. If a keeper is killed, what its program started is found by a mark in its environment:
//! at once, and by [`orphans`] at the next boot. What another program starts on request (`at`, `systemd-run`, a
//! container) is no descendant.
//!
//! | file | story |
//! |---|---|
//! | `payload`, `variables`, `environment`, `program` | what is to run: read, checked, found |
//! | `run` | the program from its start until nothing is left of it |
//! | `capture`, `report` | what it wrote, and what is kept of it |
//! | `keeper` | the process that ends everything that a program started |
//! | `mark`, `orphans` | how a program without a keeper is known as one of this data directory, and ended |
//! | `process` | processes, held so that a signal never reaches a stranger |
//! | `children` | waiting for keepers, and for orphans where they become children of the server |

mod environment;
mod payload;
mod variables;

mod program;

mod capture;
mod report;
mod run;

pub(crate) mod children;
pub(crate) mod keeper;
mod mark;
pub(crate) mod orphans;
mod process;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::{HandlerFuture, JobError, JobHandler, JobRun};

use environment::Environment;
use keeper::{KeeperProgram, Keepers, ProgramOrder};
use mark::ProgramMark;
pub(crate) use mark::STORE_FILE;
use payload::ExecPayload;
use run::RunError;

/// After SIGKILL: for the kernel to end a large program, and for our own work.
const GRACE_EXTRA: Duration = Duration::from_secs(2);

/// Runs the program that a payload names, as the user of this server.
pub(crate) struct ExecHandler {
    stop_grace: Duration,
    environment: Arc<Environment>,
    mark: ProgramMark,
    keepers: Arc<Keepers>,
}

impl ExecHandler {
    /// A handler whose programs belong to that data directory; it is created if missing.
    ///
    /// Keepers are this very program, started as `exec-keeper`. Programs get the variables in `set` unless their job says
    /// otherwise, and may have this many file descriptors.
    ///
    /// # Errors
    /// The data directory's identity cannot be read or created, or there is no `/proc`.
    pub(crate) fn new(
        data_dir: &Path,
        stop_grace: Duration,
        set: &BTreeMap<String, String>,
        descriptors: u64,
    ) -> io::Result<ExecHandler> {
        let mark = ProgramMark::of_this_server(data_dir)?;
        let environment = environment::of_this_server(set);
        Ok(ExecHandler::with_keepers(KeeperProgram::this_one(descriptors), environment, mark, stop_grace))
    }

    fn with_keepers(
        keeper: KeeperProgram,
        environment: Environment,
        mark: ProgramMark,
        stop_grace: Duration,
    ) -> ExecHandler {
        let keepers = Arc::new(Keepers::new(keeper, mark.clone()));
        ExecHandler { stop_grace, environment: Arc::new(environment), mark, keepers }
    }
}

impl JobHandler for ExecHandler {
    fn run(&self, job: JobRun) -> HandlerFuture {
        let (stop_grace, mark) = (self.stop_grace, self.mark.clone());
        let (environment, keepers) = (Arc::clone(&self.environment), Arc::clone(&self.keepers));
        Box::pin(async move {
            let (program, stdin) = prepare(&job, &environment, &mark, stop_grace)?;
            match run::run(&job.id, &program, stdin, job.stop, &keepers).await {
                Ok(finished) => finished.into_outcome(),
                Err(error) => {
                    if matches!(error, RunError::KeeperLost) {
                        let token = job.token.to_string();
                        // It logs what it cannot end.
                        tokio::task::spawn_blocking(move || orphans::end_run(&mark, &token)).await.ok();
                    }
                    let message = format!("program {}: {error}", program.command[0].display());
                    if error.is_shortage() {
                        tracing::warn!(job = %job.id, "{message}; this was no attempt, and there is another after a pause");
                        return Err(JobError::shortage(message));
                    }
                    Err(JobError::new(message))
                }
            }
        })
    }

    fn grace(&self) -> Option<Duration> {
        Some(self.stop_grace + run::DRAIN + GRACE_EXTRA)
    }
}

/// The program of a job, and what it is fed.
fn prepare(
    job: &JobRun,
    environment: &Environment,
    mark: &ProgramMark,
    stop_grace: Duration,
) -> Result<(ProgramOrder, Option<String>), JobError> {
    let wanted = ExecPayload::read(&job.payload)?;
    let (name, arguments) = wanted.command.split_first().expect("a payload without a program was refused");
    let directory = program::directory(wanted.cwd.as_deref().unwrap_or(Path::new(".")))?;
    let mut variables = environment.clone();
    variables.extend(wanted.env.into_iter().map(|(name, value)| (name.into(), value.into())));
    let search = variables.get(OsStr::new("PATH")).map_or(OsStr::new(""), OsString::as_os_str);
    let file = program::find(name, search, &directory)?;

    let ours = [
        (variables::JOB_ID, job.id.to_string()),
        (variables::ATTEMPT, job.attempt.to_string()),
        (variables::TOKEN, job.token.to_string()),
        (mark::VARIABLE, mark.to_string()),
    ];
    variables.extend(ours.map(|(name, value)| (name.into(), value.into())));
    let program = ProgramOrder {
        stop_grace,
        directory,
        command: [file.into_os_string()].into_iter().chain(arguments.iter().map(OsString::from)).collect(),
        variables: variables.into_iter().collect(),
    };
    Ok((program, wanted.stdin))
}
