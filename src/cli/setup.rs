//! What commands do before they begin: start the log, read the configuration, read an id.

use std::ffi::OsString;

use beaver_actors::ids::JobId;
use tracing_subscriber::filter::LevelFilter;

use super::exit::CliFailure;
use crate::config::{CONFIG_VARIABLE, ConfigFlags, LoadedConfig, faktory};
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

/// Looks whether the variables that beaver reads are text: one that is not would be passed over like one that is not set.
///
/// # Errors
/// One of them is not, which is named.
pub(crate) fn check_environment() -> Result<(), CliFailure> {
    unreadable_variable(std::env::vars_os()).map_or(Ok(()), |name| {
        Err(CliFailure::usage(format!("the environment variable {name} is not UTF-8 text"))
            .hint("set it anew, or unset it"))
    })
}

fn unreadable_variable(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Option<String> {
    let is_ours = |name: &str| (name.starts_with("BEAVER_") && name != CONFIG_VARIABLE) || name == "RUST_LOG";
    variables.into_iter().find_map(|(name, value)| {
        let shown = name.to_string_lossy();
        // The path of a file may be any bytes, and is not read as text.
        (is_ours(&shown) && (name.to_str().is_none() || value.to_str().is_none())).then(|| shown.into_owned())
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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    /// Row 82.
    #[test]
    fn a_variable_of_ours_that_is_no_text_is_named_and_those_of_others_are_not_looked_at() {
        let broken = || OsString::from_vec(b"http://b\xe8ver".to_vec());
        let named = |name: &str| unreadable_variable([("HOME".into(), broken()), (name.into(), broken())]);
        for name in ["BEAVER_URL", "BEAVER_LOG", "BEAVER_DATA_DIR", "BEAVER_NEW", "RUST_LOG"] {
            assert_eq!(named(name).as_deref(), Some(name));
        }
        assert_eq!((named("BEAVER_CONFIG"), named("LANG")), (None, None));
        let name = OsString::from_vec(b"BEAVER_\xff".to_vec());
        assert!(unreadable_variable([(name, "1".into())]).is_some());
        assert_eq!(unreadable_variable([("BEAVER_URL".into(), "http://localhost".into())]), None);
    }
}
