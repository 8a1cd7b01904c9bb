//! `beaver run`: the server, until it has ended.

use clap::Args;
use tracing_subscriber::filter::LevelFilter;

use super::exit::{CliFailure, from_ending};
use super::runtime;
use super::setup::{self, start_logging};
use crate::config::ConfigFlags;
use crate::server::serve;
use crate::telemetry::logging::LogFormat;

/// Examples below `beaver run --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver run
  beaver run --data-dir /var/lib/beaver --workers 16
  beaver run --config beaver.yaml --log-format json
  BEAVER_LOG=debug beaver run --metrics-port 0      # any free port; it is in DATA_DIR/http.addr

SIGINT or SIGTERM drains: no new jobs, running ones may end (drain_timeout), a last
snapshot. A second one ends the process at once; so does kill -9. Nothing that was
acknowledged is lost either way: jobs that were running run again after the next start.";

/// Flags of `beaver run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// How the log on stderr is written
    #[arg(long, value_enum, env = "BEAVER_LOG_FORMAT", value_name = "FORMAT", default_value_t)]
    log_format: LogFormat,
    #[command(flatten)]
    config: ConfigFlags,
}

/// Runs `beaver run` until the server has ended.
///
/// # Errors
/// It could not start, or had to stop.
pub(crate) fn run(args: &RunArgs) -> Result<(), CliFailure> {
    start_logging(args.log_format, LevelFilter::INFO)?;
    let settings = setup::load_for_server(&args.config)?.settings;
    runtime::block_on(async { from_ending(serve(settings).await?) })
}
