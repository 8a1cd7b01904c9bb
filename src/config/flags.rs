//! The command line's side of the configuration: one optional flag per key, and `--config`.
//!
//! Flags only carry text; [`load`](super::load()) reads it, so that a wrong value is told in the same words
//! in a flag, the environment and the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, StringValueParser};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::key::{ConfigKey, Form};
use super::keys::KEYS;

/// What the command line says about the configuration: `--config FILE` and a flag for every key.
///
/// For `#[command(flatten)]`. The arguments' ids are `config` and the names of the keys, such as `data_dir`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigFlags {
    pub(super) config: Option<PathBuf>,
    /// By the name of the key.
    pub(super) values: BTreeMap<&'static str, String>,
}

/// The few flags of commands that only look for the data directory: `--config FILE` and `--data-dir DIR`.
///
/// The file and the environment still set every other key.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataFlags(ConfigFlags);

impl From<DataFlags> for ConfigFlags {
    fn from(flags: DataFlags) -> ConfigFlags {
        flags.0
    }
}

impl Args for ConfigFlags {
    fn augment_args(command: Command) -> Command {
        command.arg(config_argument()).args(KEYS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        ConfigFlags::augment_args(command)
    }
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ConfigFlags, clap::Error> {
        let mut flags = ConfigFlags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(file) = matches.get_one::<PathBuf>("config") {
            self.config = Some(file.clone());
        }
        for key in KEYS {
            // A command with `DataFlags` does not know most keys; that is not an error here.
            if let Ok(Some(text)) = matches.try_get_one::<String>(key.name) {
                self.values.insert(key.name, text.clone());
            }
        }
        Ok(())
    }
}

impl Args for DataFlags {
    fn augment_args(command: Command) -> Command {
        let data_dir = KEYS.iter().filter(|key| key.name == "data_dir");
        command.arg(config_argument()).args(data_dir.map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        DataFlags::augment_args(command)
    }
}

impl FromArgMatches for DataFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<DataFlags, clap::Error> {
        ConfigFlags::from_arg_matches(matches).map(DataFlags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(PathBufValueParser::new())
        .help("Configuration file in YAML [default: beaver.yaml, if there is one]")
}

fn argument(key: &'static ConfigKey) -> Arg {
    let argument = Arg::new(key.name)
        .long(key.flag())
        .value_name(value_name(&key.form))
        .value_parser(StringValueParser::new())
        .help(format!("{} [default: {}]", key.help, key.default))
        .help_heading(key.heading);
    match key.form {
        Form::Count(..) if key.name == "worker_count" => argument.alias("worker-count"),
        // `--allow-exec` alone means true; a value needs the `=`, or it would swallow the next argument.
        Form::Switch(_) => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => argument,
    }
}

fn value_name(form: &Form) -> &'static str {
    match form {
        Form::Count(..) => "N",
        Form::Size(..) => "SIZE",
        Form::Time(..) => "TIME",
        Form::Switch(_) => "true|false",
        Form::DirBelow(_) => "DIR",
        Form::Secret(_) => "TEXT",
        Form::File(_) => "FILE",
        Form::Text(name, ..) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T: Args>(arguments: &[&str]) -> Result<T, clap::Error> {
        let command = T::augment_args(Command::new("beaver"));
        T::from_arg_matches(&command.try_get_matches_from([&["beaver"], arguments].concat())?)
    }

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        ConfigFlags::augment_args(Command::new("beaver")).debug_assert();
        DataFlags::augment_args(Command::new("beaver")).debug_assert();
    }

    #[test]
    fn flags_carry_their_text_under_the_name_of_the_key() {
        let flags: ConfigFlags =
            parse(&["--config", "b.yaml", "--workers", "4", "--data-dir=d", "--task-timeout", "5m"]).unwrap();
        assert_eq!(flags.config, Some(PathBuf::from("b.yaml")));
        let expected = [("data_dir", "d"), ("task_timeout", "5m"), ("worker_count", "4")];
        assert_eq!(flags.values, expected.map(|(key, text)| (key, text.to_owned())).into());
        let flags: ConfigFlags = parse(&["--worker-count", "4"]).unwrap();
        assert_eq!(flags.values["worker_count"], "4");
    }

    #[test]
    fn allow_exec_needs_no_value_and_takes_one_only_after_an_equals_sign() {
        let given =
            |arguments: &[&str]| parse::<ConfigFlags>(arguments).map(|f| f.values["allow_exec"].clone());
        assert_eq!(given(&["--allow-exec"]).unwrap(), "true");
        assert_eq!(given(&["--allow-exec=false"]).unwrap(), "false");
        assert_eq!(given(&["--allow-exec", "--workers", "1"]).unwrap(), "true");
        assert!(given(&["--allow-exec", "false"]).is_err());
    }

    #[test]
    fn the_data_flags_are_a_few_of_the_config_flags() {
        let flags: DataFlags = parse(&["--data-dir", "d", "--config", "b.yaml"]).unwrap();
        let flags = ConfigFlags::from(flags);
        assert_eq!(flags.config, Some(PathBuf::from("b.yaml")));
        assert_eq!(flags.values, [("data_dir", "d".to_owned())].into());
        assert!(parse::<DataFlags>(&["--workers", "1"]).is_err());
    }

    #[test]
    fn the_help_shows_defaults_and_groups_the_rare_flags() {
        let mut command = ConfigFlags::augment_args(Command::new("beaver").term_width(200));
        let help = command.render_long_help().to_string();
        for key in KEYS {
            assert!(help.contains(&format!("--{}", key.flag())), "{}", key.name);
            assert!(help.contains(&format!("[default: {}]", key.default)), "{}", key.name);
        }
        for heading in ["Storage:", "Jobs:", "HTTP:", "Snapshots:", "Retention:", "Remote workers:"] {
            assert!(help.contains(heading), "{heading}");
        }
    }
}
