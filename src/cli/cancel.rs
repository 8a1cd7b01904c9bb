//! `beaver cancel`: withdraws a job; if it runs, its handler is told to stop.

use clap::Args;

use super::exit::CliFailure;
use super::output::Output;
use super::setup::parse_id;
use super::target::{Access, TargetArgs};

/// Examples below `beaver cancel --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver cancel order-17

A job that has already ended stays as it is: exit code 5. One that does not exist: exit code 3.";

/// Flags of `beaver cancel`.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
    /// Print {"id","status"} instead of a sentence
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Runs `beaver cancel`.
///
/// # Errors
/// The job is not there, has ended, or nobody answers.
pub(crate) fn run(args: &CancelArgs) -> Result<(), CliFailure> {
    let id = parse_id(&args.id)?;
    let cancelled = args.target.ask(Access::Change, async |client| client.cancel(&id.to_string()).await)?;
    let mut output = Output::stdout();
    match args.json {
        true => output.json(&cancelled)?,
        false => output.line(format_args!("cancelled {}", cancelled.id))?,
    }
    output.finish()
}
