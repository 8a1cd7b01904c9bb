//! Lays flag over environment over file over default, one key after the other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, instead_of};
use super::faktory::PASSWORD_VARIABLE;
use super::file::{self, FileEntry};
use super::flags::ConfigFlags;
use super::key::ConfigKey;
use super::keys::KEYS;
use super::loaded::LoadedConfig;
use super::origin::{ConfigValue, Origin};
use super::settings::Settings;

/// Read when neither `--config` nor `BEAVER_CONFIG` names a file, if it exists in the working directory.
const FILE_IN_WORKING_DIR: &str = "beaver.yaml";

/// Names the file.
pub(crate) const CONFIG_VARIABLE: &str = "BEAVER_CONFIG";

/// Variables that start like a key's and are read elsewhere, or set for the programs that jobs run.
const OTHER_VARIABLES: [&str; 7] = [
    CONFIG_VARIABLE,
    "BEAVER_URL",
    "BEAVER_LOG_FORMAT",
    "BEAVER_JOB_ID",
    "BEAVER_ATTEMPT",
    "BEAVER_TOKEN",
    "BEAVER_STORE",
];

/// The `BEAVER_*` variables that are set to something, and Faktory's password.
pub(super) type Environment = BTreeMap<String, OsString>;

/// Reads the configuration of this process: `flags`, its environment and the file.
///
/// A `BEAVER_*` variable that nobody reads gets a warning in the log and no error: the environment belongs to
/// others too. A variable that is set to nothing counts as not set.
///
/// # Errors
/// A file that cannot be read, an unknown key, a bad value at any level (also one that another level
/// overrides), or two values that do not go together.
pub(crate) fn load(flags: &ConfigFlags) -> Result<LoadedConfig, ConfigError> {
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, value)| is_ours(name) && !value.is_empty())
        .collect();
    for warning in unknown_variables(&env) {
        tracing::warn!("{warning}");
    }
    load_from(flags, &env, Path::new(""))
}

fn is_ours(variable: &str) -> bool {
    variable.starts_with("BEAVER_") || variable == PASSWORD_VARIABLE
}

/// [`load`] with nothing hidden: the environment and the working directory are arguments.
pub(super) fn load_from(
    flags: &ConfigFlags,
    env: &Environment,
    working_dir: &Path,
) -> Result<LoadedConfig, ConfigError> {
    let file = ConfigFile::find(flags, env, working_dir)?;
    let of_faktory = password_of_faktory(file.as_ref(), env, flags)?;
    let mut settings = Settings::default();
    let mut values = Vec::with_capacity(KEYS.len());
    for key in KEYS {
        let mut in_force = None;
        let of_faktory =
            of_faktory.iter().filter(|(wanted, _)| *wanted == key.name).map(|(_, given)| given.clone());
        for Given { text, origin } in layers(key, file.as_ref(), env, flags)?.into_iter().chain(of_faktory) {
            let value = match key.apply(&mut settings, &text) {
                Ok(value) => value,
                Err(problem) => {
                    let (key, allowed) = (key.name, key.allowed());
                    return Err(ConfigError::BadValue { origin, key, given: text, problem, allowed });
                }
            };
            in_force = Some(ConfigValue { key: key.name, value, origin });
        }
        values.extend(in_force);
    }
    let loaded = LoadedConfig { settings, values, file: file.map(|file| file.path) };
    loaded.check()?;
    Ok(loaded)
}

impl Default for Settings {
    /// What is in force when nobody says anything: the default of every key.
    fn default() -> Settings {
        let mut settings = Settings::unset();
        for key in KEYS {
            key.apply(&mut settings, key.default).expect("the default of a key is within its limits");
        }
        settings
    }
}

/// What somebody said about one key.
#[derive(Clone)]
struct Given {
    text: String,
    origin: Origin,
}

/// What Faktory's variable says about the password, and about which key, if nobody says anything about either in beaver's
/// own words: what begins with `/` is a file.
fn password_of_faktory(
    file: Option<&ConfigFile>,
    env: &Environment,
    flags: &ConfigFlags,
) -> Result<Option<(&'static str, Given)>, ConfigError> {
    const KEYS_OF_PASSWORD: [&str; 2] = ["faktory_password", "faktory_password_file"];
    let Some(value) = env.get(PASSWORD_VARIABLE).filter(|value| !value.is_empty()) else { return Ok(None) };
    for key in KEYS.iter().filter(|key| KEYS_OF_PASSWORD.contains(&key.name)) {
        if layers(key, file, env, flags)?.iter().any(|given| !given.text.is_empty()) {
            return Ok(None);
        }
    }
    let place = || PASSWORD_VARIABLE.to_owned();
    let Some(text) = value.to_str().map(str::to_owned) else {
        return Err(ConfigError::MeantForFaktory { place: place(), problem: "is not UTF-8".to_owned() });
    };
    let [password, password_file] = KEYS_OF_PASSWORD;
    let key = if text.starts_with('/') { password_file } else { password };
    Ok(Some((key, Given { text, origin: Origin::Env(place()) })))
}

/// All that is said about `key`; the last one wins.
fn layers(
    key: &ConfigKey,
    file: Option<&ConfigFile>,
    env: &Environment,
    flags: &ConfigFlags,
) -> Result<Vec<Given>, ConfigError> {
    let mut layers = vec![Given { text: key.default.to_owned(), origin: Origin::Default }];
    if let Some((file, entry)) = file.and_then(|file| Some((file, file.entry(key)?))) {
        layers.push(Given { text: entry.value.clone(), origin: file.origin(entry.line) });
    }
    let variable = key.variable();
    if let Some(value) = env.get(&variable) {
        let origin = Origin::Env(variable);
        let Some(text) = value.to_str() else {
            return Err(ConfigError::BadValue {
                origin,
                key: key.name,
                given: value.to_string_lossy().into_owned(),
                problem: "is not UTF-8".to_owned(),
                allowed: key.allowed(),
            });
        };
        layers.push(Given { text: text.to_owned(), origin });
    }
    if let Some(text) = flags.values.get(key.name) {
        layers.push(Given { text: text.clone(), origin: Origin::Flag(key.flag()) });
    }
    Ok(layers)
}

/// A configuration file whose keys are all known, each given once.
struct ConfigFile {
    path: PathBuf,
    entries: Vec<FileEntry>,
}

impl ConfigFile {
    /// The file that was asked for, else the one in the working directory, else none.
    fn find(
        flags: &ConfigFlags,
        env: &Environment,
        working_dir: &Path,
    ) -> Result<Option<ConfigFile>, ConfigError> {
        let asked_for = flags.config.clone().or_else(|| env.get(CONFIG_VARIABLE).map(PathBuf::from));
        let path = working_dir.join(asked_for.as_deref().unwrap_or(Path::new(FILE_IN_WORKING_DIR)));
        match fs::read_to_string(&path) {
            Ok(text) => ConfigFile::read(path, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound && asked_for.is_none() => Ok(None),
            Err(source) => Err(ConfigError::Unreadable { path, source }),
        }
    }

    fn read(path: PathBuf, text: &str) -> Result<ConfigFile, ConfigError> {
        let entries = file::read(text).map_err(|bad| ConfigError::Malformed {
            origin: Origin::File { path: path.clone(), line: bad.line },
            problem: bad.problem,
        })?;
        let file = ConfigFile { path, entries };
        for (index, FileEntry { line, key, .. }) in file.entries.iter().enumerate() {
            let (origin, key) = (file.origin(*line), key.clone());
            if KEYS.iter().all(|known| known.name != key) {
                return Err(ConfigError::UnknownKey { origin, key });
            }
            if let Some(first) = file.entries[..index].iter().find(|entry| entry.key == key) {
                return Err(ConfigError::GivenTwice { origin, key, first_line: first.line });
            }
        }
        Ok(file)
    }

    fn entry(&self, key: &ConfigKey) -> Option<&FileEntry> {
        self.entries.iter().find(|entry| entry.key == key.name)
    }

    fn origin(&self, line: u64) -> Origin {
        Origin::File { path: self.path.clone(), line }
    }
}

/// A warning for each variable that nobody reads.
pub(super) fn unknown_variables(env: &Environment) -> Vec<String> {
    env.keys()
        .filter(|name| name.starts_with("BEAVER_") && !OTHER_VARIABLES.contains(&name.as_str()))
        .filter(|name| KEYS.iter().all(|key| key.variable() != **name))
        .map(|name| {
            let key = name.strip_prefix("BEAVER_").unwrap_or(name).to_lowercase();
            format!(
                "the environment variable {name} sets nothing: there is no key {key}; {}",
                instead_of(&key)
            )
        })
        .collect()
}
