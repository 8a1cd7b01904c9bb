//! What commands do before they begin: start the log, read the configuration, read an id.

use beaver_actors::ids::JobId;
use tracing_subscriber::filter::LevelFilter;

use super::exit::CliFailure;
use crate::config::{ConfigFlags, LoadedConfig, faktory};
use crate::telemetry::logging::{self, LogFormat};

/// Starts the log of this process.
///
/// # Errors
/// `BEAVER_LOG` is no filter.
pub(crate) fn start_logging(format: LogFormat, level: LevelFilter) -> Result<(), CliFailure> {
    logging::init(format, level).map_err(|error| {
        CliFailure::usage(error.to_string()).hint("a filter looks like info, or beaver=debug,warn")
    })
}

/// Reads the configuration that these flags name.
///
/// # Errors
/// It makes no sense.
pub(crate) fn load(flags: &ConfigFlags) -> Result<LoadedConfig, CliFailure> {
    crate::config::load(flags).map_err(|error| {
        CliFailure::usage(error.to_string()).hint("`beaver config` shows what is in force and why")
    })
}

/// As [`load`], for a server, which also honours what was set up for Faktory's.
///
/// # Errors
/// It makes no sense, or the server would be open although it was meant to ask for a password.
pub(crate) fn load_for_server(flags: &ConfigFlags) -> Result<LoadedConfig, CliFailure> {
    let mut loaded = load(flags)?;
    faktory::honour(&mut loaded).map_err(|error| CliFailure::usage(error.to_string()))?;
    Ok(loaded)
}

/// Reads the id of a job.
///
/// # Errors
/// It is none.
pub(crate) fn parse_id(text: &str) -> Result<JobId, CliFailure> {
    JobId::parse(text).map_err(|error| CliFailure::usage(error.to_string()))
}
