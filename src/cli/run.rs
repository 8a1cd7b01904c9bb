//! `beaver run`: the server, until it has ended.

use clap::Args;
use tracing_subscriber::filter::LevelFilter;

use super::exit::{CliFailure, from_ending};
use super::runtime;
use super::setup::{self, start_logging};
use crate::config::{self, ConfigFlags, LOG_KEY, LoadedConfig};
use crate::server::{Descriptors, ServerLimits, TooFewDescriptors, serve};
use crate::telemetry::logging::{self, LogFormat};

/// Examples below `beaver run --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver run
  beaver run --data-dir /var/lib/beaver --workers 16
  beaver run --config beaver.yaml --log-format json
  BEAVER_LOG=debug beaver run --metrics-port 0      # any free port; it is in DATA_DIR/http.addr

SIGINT, SIGTERM or SIGQUIT drains: no job is started, running ones may end (drain_timeout), a
last snapshot; new ones are accepted and wait for the next start. Another one after 0.3 s ends the process at once; so does kill -9. Nothing that was
acknowledged is lost either way: jobs that were running run again after the next start, but
for those that may run only once. SIGHUP reads the configuration again, of which the key log
takes effect. SIGUSR1, SIGUSR2 and SIGALRM do nothing.";

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
    let loaded = setup::load_for_server(&args.config)?;
    filter_log_as(&loaded);
    let mut settings = loaded.settings.clone();
    let descriptors = Descriptors::raise();
    let connections = descriptors
        .limit_connections(&mut settings)
        .map_err(|too_few| CliFailure::usage(too_few.to_string()).hint(TooFewDescriptors::HINT))?;
    let limits = ServerLimits { connections, descriptors_of_children: descriptors.for_children() };
    runtime::block_on(async { from_ending(serve(settings, limits, || reload(&args.config, &loaded)).await?) })
}

/// Reads the configuration again. What can change while the server runs takes effect; the rest is named.
fn reload(flags: &ConfigFlags, running: &LoadedConfig) {
    let loaded = match config::load(flags) {
        Ok(loaded) => loaded,
        Err(error) => return tracing::error!("SIGHUP: the configuration stays as it was: {error}"),
    };
    filter_log_as(&loaded);
    tracing::info!(
        log = loaded.settings.log,
        "SIGHUP: the configuration was read again; of its keys only log takes effect before a restart"
    );
    let changed: Vec<_> = loaded.changed_since(running).filter(|key| *key != LOG_KEY).collect();
    if !changed.is_empty() {
        tracing::warn!("SIGHUP: these have changed, and count after a restart: {}", changed.join(", "));
    }
}

fn filter_log_as(loaded: &LoadedConfig) {
    if let Err(error) = logging::set_filter(loaded.log_filter()) {
        tracing::error!(%error, "the log is filtered as before");
    }
}
