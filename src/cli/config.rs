//! `beaver config`: what is in force, and where each value came from.

use clap::Args;

use super::exit::CliFailure;
use super::output::Output;
use super::setup;
use crate::config::ConfigFlags;

/// Examples below `beaver config --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver config
  BEAVER_WORKER_COUNT=2 beaver config --config beaver.yaml --max-retry 5

A flag goes before an environment variable, that before the file, that before the default.";

/// Flags of `beaver config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: ConfigFlags,
}

/// Runs `beaver config`.
///
/// # Errors
/// The configuration makes no sense.
pub(crate) fn run(args: &ConfigArgs) -> Result<(), CliFailure> {
    let loaded = setup::load(&args.flags)?;
    let mut output = Output::stdout();
    match args.json {
        true => output.json(&loaded.to_json())?,
        false => output.line(loaded.render().trim_end())?,
    }
    output.finish()
}
