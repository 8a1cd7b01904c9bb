//! The configuration in force: for the program, and as `beaver config` shows it.

use std::path::PathBuf;

use serde_json::json;

use super::error::ConfigError;
use super::key::Form;
use super::keys::{KEYS, LOG_KEY};
use super::origin::{ConfigValue, Origin};
use super::settings::Settings;

/// The settings in force, and where each came from.
#[derive(Clone, Debug)]
pub(crate) struct LoadedConfig {
    /// For the program.
    pub(crate) settings: Settings,
    /// For people: every key once, in the order of `configs/default.yaml`.
    pub(crate) values: Vec<ConfigValue>,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
}

impl LoadedConfig {
    /// A line for each key: its name, its value and where that came from, in columns.
    #[must_use]
    pub(crate) fn render(&self) -> String {
        // A value of several lines stays in its own.
        let shown = |value: &ConfigValue| value.value.replace('\n', "\\n");
        let width = |text: &dyn Fn(&ConfigValue) -> usize| self.values.iter().map(text).max().unwrap_or(0);
        let key_width = width(&|value| value.key.len());
        let value_width = width(&|value| shown(value).chars().count());
        let line = |value: &ConfigValue| {
            format!("{:key_width$}  {:value_width$}  {}\n", value.key, shown(value), value.origin)
        };
        self.values.iter().map(line).collect()
    }

    /// The same for programs, with the file that was read:
    /// `{"file": null, "values": {"worker_count": {"value": 8, "origin": "default"}, ...}}`.
    ///
    /// Counts are numbers and switches booleans; durations and sizes are text as in a file.
    #[must_use]
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let value_of = |value: &ConfigValue| {
            let form = KEYS.iter().find(|key| key.name == value.key).map(|key| &key.form);
            // Both spell these values as JSON does.
            let is_literal = matches!(form, Some(Form::Count(..) | Form::Switch(_)));
            let literal = is_literal.then(|| serde_json::from_str(&value.value).ok()).flatten();
            literal.unwrap_or_else(|| json!(value.value))
        };
        let values: serde_json::Map<String, serde_json::Value> = self
            .values
            .iter()
            .map(|value| {
                let entry = json!({"value": value_of(value), "origin": value.origin.to_string()});
                (value.key.to_owned(), entry)
            })
            .collect();
        json!({"file": self.file.as_ref().map(|path| path.to_string_lossy()), "values": values})
    }

    /// How the log is to be filtered; none if nobody said so.
    #[must_use]
    pub(crate) fn log_filter(&self) -> Option<&str> {
        (self.value(LOG_KEY).origin != Origin::Default).then_some(&self.settings.log)
    }

    /// The keys that have another value than before.
    pub(crate) fn changed_since(&self, before: &LoadedConfig) -> impl Iterator<Item = &'static str> {
        let pairs = self.values.iter().zip(&before.values);
        // A secret is shown masked: whether it is another one is not seen here.
        pairs.filter(|(now, before)| now.value != before.value).map(|(now, _)| now.key)
    }

    /// Refuses values that are fine one by one and make no sense together.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Settings { engine, http, fwp, .. } = &self.settings;
        let rules = [
            (
                engine.policy.payload_bytes_max <= http.body_bytes_max,
                ["payload_bytes_max", "body_bytes_max"],
                "the largest payload has to fit into the body of a request",
            ),
            (
                http.body_bytes_max <= engine.request_bytes_max,
                ["body_bytes_max", "request_bytes_max"],
                "the largest request has to fit into the memory for requests, or it would always be \"busy\"",
            ),
            (
                engine.policy.retry_backoff <= engine.policy.retry_backoff_max,
                ["retry_backoff", "retry_backoff_max"],
                "the first delay cannot be longer than the longest one",
            ),
            (
                engine.wal_dir != engine.snapshot_dir,
                ["wal_path", "snapshot_path"],
                "the log and the snapshots need a directory each",
            ),
            (
                fwp.password.is_none() || fwp.password_file.is_none(),
                ["faktory_password", "faktory_password_file"],
                "there is one password",
            ),
            (
                fwp.tls_cert.is_some() == fwp.tls_key.is_some(),
                ["faktory_tls_cert", "faktory_tls_key"],
                "TLS needs both a certificate and its key",
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            None => Ok(()),
            Some((_, keys, why)) => {
                let both = Box::new(keys.map(|key| self.value(key).clone()));
                Err(ConfigError::Conflict { both, why })
            }
        }
    }

    fn value(&self, key: &str) -> &ConfigValue {
        self.values.iter().find(|value| value.key == key).expect("every key has a value")
    }
}
