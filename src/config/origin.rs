//! A value of the configuration and where it came from, for people.

use std::fmt;
use std::path::PathBuf;

/// One key, its value as one would write it in a file, and where that came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigValue {
    /// As in a YAML file.
    pub(crate) key: &'static str,
    /// In one spelling, not as it was given: `90s` shows as `1m30s`, and `{data_dir}` is filled in.
    pub(crate) value: String,
    /// Who said so.
    pub(crate) origin: Origin,
}

impl fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.key, self.value, self.origin)
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// A configuration file.
    File {
        /// As it was named, or as it was found in the working directory.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
    },
    /// The environment variable of this name.
    Env(String),
    /// The flag of this name, without its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Origin::Env(name) => write!(f, "env {name}"),
            Origin::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}
