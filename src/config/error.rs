//! What can be wrong with a configuration, said so that somebody can put it right.

use std::io;
use std::path::PathBuf;

use super::keys::{KEYS, nearest_key};
use super::origin::{ConfigValue, Origin};
use crate::suggest::shortened_to;

/// Why there is no configuration to start with. The text names where, which key, what is wrong and what is
/// allowed; nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file was asked for, or is there, and cannot be read.
    #[error("configuration file {}: {source}", path.display())]
    Unreadable {
        /// As it was named, or as it was found in the working directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is not a flat mapping in YAML.
    #[error("{origin}: {problem}")]
    Malformed {
        /// File and line.
        origin: Origin,
        /// What is wrong there.
        problem: String,
    },
    /// There is no such key.
    #[error("{origin}: unknown key {}; {}", brief(key), instead_of(key))]
    UnknownKey {
        /// File and line.
        origin: Origin,
        /// As it was given.
        key: String,
    },
    /// A file says the same thing twice, and it is not clear which one is meant.
    #[error("{origin}: {key} was given before, in line {first_line}; remove one of the two")]
    GivenTwice {
        /// File and line of the second one.
        origin: Origin,
        /// As it stands in the file.
        key: String,
        /// Line of the first one.
        first_line: u64,
    },
    /// The value does not fit its key.
    #[error("{origin}: {key}: {} {problem}; allowed: {allowed}", brief(given))]
    BadValue {
        /// Where the value was given.
        origin: Origin,
        /// Its name as in a file, even if a flag or a variable gave the value.
        key: &'static str,
        /// As it was given.
        given: String,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        allowed: String,
    },
    /// Something that was set up for Faktory's server, which cannot be passed over.
    #[error("{place}: {problem}")]
    MeantForFaktory {
        /// The variable or the file.
        place: String,
        /// What is wrong, and the way out.
        problem: String,
    },
    /// Each value is fine for itself, but not the two together.
    #[error("{} and {} do not go together: {why}", both[0], both[1])]
    Conflict {
        /// In the order in which the rule names them.
        both: Box<[ConfigValue; 2]>,
        /// The rule that they break.
        why: &'static str,
    },
}

/// Somebody's text in quotes; a value of megabytes must not become a message of megabytes.
fn brief(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    format!("{:?}", shortened_to(SHOWN_CHARS_MAX, text))
}

/// What to write instead of an unknown key.
pub(super) fn instead_of(key: &str) -> String {
    match nearest_key(key) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => {
            let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            format!("the known keys are {}", names.join(", "))
        }
    }
}
