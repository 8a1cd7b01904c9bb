//! `beaver output`: what a job's program wrote, as text.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::answer_of;
use super::exit::{CliFailure, Exit};
use super::output::{Output, note};
use super::setup::parse_id;
use super::target::{Access, TargetArgs};
use crate::plain::plain_lines;

/// Examples below `beaver output --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver output order-17                 # stdout of its program to stdout, stderr to stderr
  beaver output order-17 2>/dev/null | head

Of what a program writes, the first and last 64 KiB are kept. On a terminal, control characters are escaped. The
result of a job of another kind is printed as JSON. A job that has no result (yet): exit code 3.";

/// Flags of `beaver output`.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Runs `beaver output`.
///
/// # Errors
/// The job is not there, has no result, or nobody answers.
pub(crate) fn run(args: &OutputArgs) -> Result<(), CliFailure> {
    let id = parse_id(&args.id)?;
    let job = args.target.ask(Access::Look, async |client| client.job(&id.to_string()).await)?;
    let JobWithResult { status, result } = answer_of(&*job)?;
    let Some(result) = result else {
        return Err(CliFailure::new(Exit::NotFound, format!("job {id} is {status} and has left no output"))
            .hint(format!("`beaver status {id}` shows what is known of it")));
    };
    let mut output = Output::stdout();
    // That of a job of another kind is shown as it is.
    let written = if args.json { None } else { serde_json::from_str::<Written>(result.get()).ok() };
    let Some(written) = written else {
        output.json(&result)?;
        return output.finish();
    };
    output.text(&written.stdout)?;
    output.finish()?;
    let stderr =
        if io::stderr().is_terminal() { plain_lines(&written.stderr) } else { written.stderr.into() };
    // A stderr that is gone has no reader.
    let _ = io::stderr().write_all(stderr.as_bytes());
    for (name, kept, bytes) in
        [("stdout", &*written.stdout, written.stdout_bytes), ("stderr", &stderr, written.stderr_bytes)]
    {
        if bytes > kept.len() as u64 {
            note(format_args!("{name} was {bytes} bytes long; its middle was not kept"));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct JobWithResult {
    status: String,
    result: Option<Box<RawValue>>,
}

/// What a program wrote, as the result of its job has it.
#[derive(Deserialize)]
struct Written {
    stdout: String,
    stderr: String,
    #[serde(default)]
    stdout_bytes: u64,
    #[serde(default)]
    stderr_bytes: u64,
}
