//! `beaver inspect`: the log or the snapshot as JSON lines, of a stopped or a running server.
//!
//! It only reads. The last line is a summary that tells a torn tail, which any crash may leave, from damage.

use std::io;

use beaver_actors::tools::inspect::{self, InspectError, LogState};
use clap::{Args, ValueEnum};
use serde_json::value::RawValue;

use super::exit::{CliFailure, Exit};
use super::output::Output;
use super::setup;
use crate::config::DataFlags;

/// Examples below `beaver inspect --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver inspect wal | jq -c 'select(.job_id == \"order-17\")'
  beaver inspect snapshot | tail -n 1

Exit code 65 if something is damaged; 0 for a torn tail, the unfinished last write of a crash, which was never
synced: with `durability: always` nobody was told of it.";

/// Flags of `beaver inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// What to print
    #[arg(value_enum)]
    what: What,
    #[command(flatten)]
    data: DataFlags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Every event of the log
    Wal,
    /// Every job of the newest snapshot
    Snapshot,
}

/// Runs `beaver inspect`.
///
/// # Errors
/// Nothing can be read there, or it is damaged.
pub(crate) fn run(args: &InspectArgs) -> Result<(), CliFailure> {
    let engine = setup::load(&args.data.clone().into())?.settings.engine;
    let mut output = Output::stdout();
    let mut stdout_error = None;
    let mut print = |row: &RawValue| {
        output.json_row(&row).map_err(|error| {
            let kind = error.kind();
            stdout_error = Some(error);
            io::Error::from(kind)
        })
    };
    let inspected = match args.what {
        What::Wal => inspect::log(&engine.wal_dir, &mut print),
        What::Snapshot => inspect::snapshot(&engine.snapshot_dir, &mut print),
    };
    if let Some(error) = stdout_error {
        return Err(CliFailure::of_stdout(&error));
    }
    let state = inspected.map_err(unreadable)?;
    output.finish()?;
    match state {
        LogState::Damaged { .. } => Err(CliFailure::new(Exit::Damaged, state.to_string())),
        LogState::Whole | LogState::TornTail { .. } => Ok(()),
    }
}

fn unreadable(error: InspectError) -> CliFailure {
    let message = error.to_string();
    match error {
        InspectError::NotFound { .. } => CliFailure::new(Exit::NotFound, message)
            .hint("--data-dir names the data directory; a snapshot is there after some time or a clean stop"),
        InspectError::Storage(_) => CliFailure::new(Exit::Storage, message),
        InspectError::Write(error) => CliFailure::of_stdout(&error),
    }
}
