//! The command line: one file a command, one table of exit codes.
//!
//! Results go to stdout, everything said about them to stderr. A command that fails prints `error: ...`, and
//! `hint: ...` where there is a way out, and ends with a code of [`exit::Exit`].
//!
//! | file | story |
//! |---|---|
//! | `run` | the server |
//! | `enqueue`, `status`, `output_of_job`, `cancel`, `queues`, `jobs`, `workers`, `clock` | asking a server, or working on a data directory |
//! | `inspect`, `doctor`, `config` | looking at a data directory, repairing it; looking at the configuration |
//! | `demo`, `torture` | a server of their own that is killed |
//! | `target` | which server or directory a command means |
//! | `send` | sending jobs until the outcome is known |
//! | `mistakes` | what was probably meant |
//! | `setup`, `runtime` | what a command begins with, what it runs on |
//! | `answer`, `job_view`, `status_view` | reading what a server says |
//! | `waiting` | why jobs wait |
//! | `output`, `table`, `exit` | what a command prints, and how it ends |
//! | `server_process` | a server as a child process |

pub(crate) mod exit;

mod run;

mod cancel;
mod clock;
mod enqueue;
mod jobs;
mod output_of_job;
mod queues;
mod status;
mod workers;

mod config;
mod demo;
mod doctor;
mod inspect;
mod torture;

mod answer;
mod job_view;
mod mistakes;
mod output;
mod runtime;
mod send;
mod server_process;
mod setup;
mod status_view;
mod table;
mod target;
mod waiting;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::handlers::exec::keeper;
use crate::telemetry::logging::LogFormat;
use exit::{CliFailure, Exit};

const EXAMPLES: &str = "\
Examples:
  beaver demo                      # jobs, kill -9, recovery: nothing is lost
  beaver run                       # a server on 127.0.0.1:9090, data in ./beaver-data
  beaver enqueue --kind simulate   # a job for it
  beaver status

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 no server, 5 rejected,
            65 damaged data, 74 storage failure
BEAVER_LOG filters the log, such as BEAVER_LOG=debug.";

/// A crash-safe job queue in one binary: accepted means on disk.
#[derive(Debug, Parser)]
#[command(name = "beaver", bin_name = "beaver", version, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the server until SIGINT or SIGTERM
    #[command(after_help = run::EXAMPLES)]
    Run(Box<run::RunArgs>),
    /// Add jobs; returns when they are durable, and prints their ids
    #[command(after_help = enqueue::EXAMPLES)]
    Enqueue(Box<enqueue::EnqueueArgs>),
    /// Show the queue at a glance, or one job
    #[command(after_help = status::EXAMPLES)]
    Status(Box<status::StatusArgs>),
    /// Print what a job's program wrote
    #[command(after_help = output_of_job::EXAMPLES)]
    Output(Box<output_of_job::OutputArgs>),
    /// Withdraw a job; if it runs, it is told to stop
    #[command(after_help = cancel::EXAMPLES)]
    Cancel(Box<cancel::CancelArgs>),
    /// Show the queues; pause, resume or remove some
    #[command(after_help = queues::EXAMPLES)]
    Queues(Box<queues::QueuesArgs>),
    /// List the jobs in a status, or do the same to all of them
    #[command(after_help = jobs::EXAMPLES)]
    Jobs(Box<jobs::JobsArgs>),
    /// Show remote workers; ask one to take no more jobs, or to end
    #[command(after_help = workers::EXAMPLES)]
    Workers(Box<workers::WorkersArgs>),
    /// Show whether the server believes its clock; say that it is right
    #[command(after_help = clock::EXAMPLES)]
    Clock(Box<clock::ClockArgs>),
    /// Print the log or the newest snapshot as JSON lines
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(inspect::InspectArgs),
    /// Examine a stopped data directory; repair it if told to
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// Print the configuration in force and where each value came from
    #[command(after_help = config::EXAMPLES)]
    Config(Box<config::ConfigArgs>),
    /// Watch a server work, be killed and recover, with every job accounted for
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::DemoArgs),
    /// Kill a server again and again under load, on a disk of yours, and account for every job
    #[command(after_help = torture::EXAMPLES)]
    Torture(torture::TortureArgs),
}

/// Reads the command line of this process and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    // Every program waits for one of these, so nothing comes before it.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == keeper::SUBCOMMAND) {
        return keeper::run(arguments);
    }
    if let Err(failure) = setup::check_environment() {
        failure.report();
        return failure.exit.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return tell(&told),
    };
    match cli.command.carry_out() {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            failure.report();
            failure.exit.into()
        }
    }
}

impl CliCommand {
    fn carry_out(&self) -> Result<(), CliFailure> {
        // The server says what it does; the others only what is odd.
        if !matches!(self, CliCommand::Run(_)) {
            setup::start_logging(LogFormat::Human, LevelFilter::WARN)?;
        }
        match self {
            CliCommand::Run(args) => run::run(args),
            CliCommand::Enqueue(args) => enqueue::run(args),
            CliCommand::Status(args) => status::run(args),
            CliCommand::Output(args) => output_of_job::run(args),
            CliCommand::Cancel(args) => cancel::run(args),
            CliCommand::Queues(args) => queues::run(args),
            CliCommand::Jobs(args) => jobs::run(args),
            CliCommand::Workers(args) => workers::run(args),
            CliCommand::Clock(args) => clock::run(args),
            CliCommand::Inspect(args) => inspect::run(args),
            CliCommand::Doctor(args) => doctor::run(args),
            CliCommand::Config(args) => config::run(args),
            CliCommand::Demo(args) => demo::run(args),
            CliCommand::Torture(args) => torture::run(args),
        }
    }
}

/// Help, the version, or what is wrong with the command line. A reader that left is no trouble.
fn tell(told: &clap::Error) -> ExitCode {
    let _ = told.print();
    let args: Vec<_> = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let Some(hint) = mistakes::hint(told, &args) {
        let _ = writeln!(io::stderr(), "\nhint: {hint}");
    }
    match told.use_stderr() {
        true => Exit::Usage.into(),
        false => Exit::Ok.into(),
    }
}

#[cfg(test)]
mod tests;
