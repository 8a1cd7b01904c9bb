//! The configuration as a whole: precedence, origins, errors, and that `configs/default.yaml` says the truth.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use beaver_actors::api::options::{Durability, EngineOptions};
use beaver_actors::ids::KindName;
use beaver_actors::jobs::{NO_TIMEOUT, RunLimits};
use tempfile::TempDir;

use super::error::ConfigError;
use super::keys::KEYS;
use super::load::{Environment, load_from, unknown_variables};
use super::*;

const DEFAULT_YAML: &str = include_str!("../../configs/default.yaml");

/// Somebody's working directory, environment and command line.
struct Operator {
    dir: TempDir,
    env: Environment,
    flags: ConfigFlags,
}

impl Operator {
    fn new() -> Operator {
        Operator { dir: tempfile::tempdir().unwrap(), env: BTreeMap::new(), flags: ConfigFlags::default() }
    }

    fn file(self, text: &str) -> Operator {
        fs::write(self.path("beaver.yaml"), text).unwrap();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Operator {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    fn flag(mut self, key: &'static str, value: &str) -> Operator {
        self.flags.values.insert(key, value.to_owned());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self) -> Result<LoadedConfig, ConfigError> {
        load_from(&self.flags, &self.env, self.dir.path())
    }

    fn settings(&self) -> Settings {
        self.load().unwrap().settings
    }

    /// The value and the origin of `key`, without the directory of the test.
    fn value(&self, key: &str) -> (String, String) {
        let loaded = self.load().unwrap();
        let value = loaded.values.iter().find(|value| value.key == key).unwrap();
        (value.value.clone(), self.without_dir(&value.origin.to_string()))
    }

    /// The text of the error, without the directory of the test.
    fn error(&self) -> String {
        self.without_dir(&self.load().expect_err("this configuration is wrong").to_string())
    }

    fn without_dir(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

fn pair(value: &str, origin: &str) -> (String, String) {
    (value.to_owned(), origin.to_owned())
}

/// A value for each key that is not its default.
const SAMPLES: &[(&str, &str)] = &[
    ("data_dir", "elsewhere"),
    ("worker_count", "3"),
    ("bind", "::1"),
    ("metrics_port", "0"),
    ("allow_exec", "true"),
    ("log", "beaver=debug,warn"),
    ("default_kind", "mail"),
    ("default_queue", "slow"),
    ("task_timeout", "1h30m"),
    ("max_retry", "0"),
    ("retry_backoff", "2s"),
    ("retry_backoff_max", "1h"),
    ("stop_grace", "0s"),
    ("exec_timeout", "1h"),
    ("exec_max_retry", "2"),
    ("exec_env", "TZ=UTC"),
    ("drain_timeout", "1m"),
    ("refuse_while_draining", "true"),
    ("payload_bytes_max", "64KiB"),
    ("jobs_max", "1000"),
    ("queues_max", "200"),
    ("kinds_max", "300"),
    ("queue_idle_timeout", "2d"),
    ("durability", "never"),
    ("sync_interval", "250ms"),
    ("wal_path", "/fast/wal"),
    ("segment_bytes", "1MiB"),
    ("requests_max", "100"),
    ("request_wait_max", "1s"),
    ("request_bytes_max", "300MiB"),
    ("payload_memory", "1MiB"),
    ("snapshot_path", "/slow/snapshots"),
    ("snapshot_interval", "5m"),
    ("snapshots_kept", "5"),
    ("snapshot_age_max", "30d"),
    ("completed_retention_count", "0"),
    ("completed_retention_age", "1h"),
    ("dead_retention_count", "10"),
    ("dead_retention_age", "7d"),
    ("cancelled_retention_count", "20"),
    ("cancelled_retention_age", "2d"),
    ("http_hosts", "queue.example.org, queue"),
    ("body_bytes_max", "2MiB"),
    ("bodies_bytes_max", "4MiB"),
    ("answer_bytes_max", "8MiB"),
    ("connections_max", "10"),
    ("header_timeout", "1s"),
    ("request_timeout", "2s"),
    ("faktory_port", "off"),
    ("faktory_web_port", "7420"),
    ("faktory_password", Secret::MASK),
    ("faktory_password_file", "/run/secrets/faktory"),
    ("faktory_tls_cert", "/etc/cert.pem"),
    ("faktory_tls_key", "/etc/key.pem"),
    ("faktory_line_bytes_max", "1MiB"),
    ("faktory_connections_max", "10"),
    ("faktory_handshake_timeout", "1s"),
    ("faktory_idle_timeout", "1h"),
];

/// Keys that only go together with another one.
const PARTNERS: &[(&str, &str)] =
    &[("faktory_tls_cert", "faktory_tls_key"), ("faktory_tls_key", "faktory_tls_cert")];

#[test]
fn the_defaults_are_those_of_the_engine_and_keep_the_server_on_this_machine() {
    let settings = Settings::default();
    let mut engine = EngineOptions::in_dir("beaver-data");
    engine.policy.by_kind = settings.engine.policy.by_kind.clone();
    assert_eq!(format!("{:?}", settings.engine), format!("{engine:?}"));
    assert!(settings.bind.is_loopback());
    assert_eq!(settings.metrics_port, 9090);
    assert_eq!(settings.default_kind, None);
    assert_eq!(settings.default_queue.as_str(), "default");
    assert!(!settings.allow_exec);
    assert_eq!(settings.stop_grace, Duration::from_secs(5));
    assert_eq!(settings.http.body_bytes_max, 256 << 20);
    assert_eq!(settings.http.bodies_bytes_max, 256 << 20);
    assert_eq!(settings.http.answer_bytes_max, 128 << 20);
    assert_eq!(settings.http.connections_max, 1024);
    assert_eq!(settings.http.header_timeout, Duration::from_secs(10));
    assert_eq!(settings.http.request_timeout, Duration::from_secs(60));
}

#[test]
fn defaults_are_written_as_they_are_shown() {
    for key in KEYS {
        let shown = key.apply(&mut Settings::default(), key.default).unwrap();
        assert_eq!(shown, key.default.replace("{data_dir}", "beaver-data"), "{}", key.name);
    }
}

#[test]
fn the_documented_defaults_are_the_defaults_key_for_key() {
    let entries = file::read(DEFAULT_YAML).unwrap();
    let documented: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
    let defaults: Vec<_> = KEYS.iter().map(|key| (key.name, key.default)).collect();
    assert_eq!(documented, defaults);
    let from_file = Operator::new().file(DEFAULT_YAML).settings();
    assert_eq!(format!("{from_file:?}"), format!("{:?}", Settings::default()));
}

#[test]
fn each_documented_key_has_a_paragraph_with_what_is_allowed() {
    let paragraphs: Vec<&str> = DEFAULT_YAML.split("\n\n").collect();
    for key in KEYS {
        let line = format!("\n{}: ", key.name);
        let paragraph = paragraphs.iter().find(|paragraph| paragraph.contains(&line)).unwrap();
        let comments: Vec<&str> = paragraph.lines().filter(|line| line.starts_with("# ")).collect();
        assert_eq!(comments.len() + 1, paragraph.lines().count(), "{} shares its paragraph", key.name);
        assert!(comments.len() >= 2, "{} is not explained", key.name);
        let allowed = format!("# Allowed: {}", key.allowed());
        assert_eq!(*comments.last().unwrap(), allowed, "the last comment on {}", key.name);
    }
}

#[test]
fn each_key_is_set_by_file_environment_and_flag_and_the_later_one_wins() {
    let sampled: Vec<_> = SAMPLES.iter().map(|(key, _)| *key).collect();
    assert_eq!(sampled, KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
    for (key, (name, sample)) in KEYS.iter().zip(SAMPLES) {
        if let Some((_, partner)) = PARTNERS.iter().find(|(key, _)| key == name) {
            let operator = || Operator::new().flag(partner, "/etc/partner.pem");
            let by_file = operator().file(&format!("{name}: {sample}\n"));
            assert_eq!(by_file.value(name), pair(sample, "file beaver.yaml:1"));
            let by_flag = by_file.flag(key.name, "/etc/other.pem");
            assert_eq!(by_flag.value(name), pair("/etc/other.pem", &format!("flag --{}", key.flag())));
            continue;
        }
        // `sync_interval` shows in the settings only with this durability.
        let operator = || match *name {
            "durability" => Operator::new(),
            _ => Operator::new().flag("durability", "interval"),
        };
        let unset = operator();
        let default = pair(&key.default.replace("{data_dir}", "beaver-data"), "default");
        assert_eq!(unset.value(name), default);

        let by_file = operator().file(&format!("# mine\n{name}: \"{sample}\"\n"));
        assert_eq!(by_file.value(name), pair(sample, "file beaver.yaml:2"));
        assert_ne!(format!("{:?}", by_file.settings()), format!("{:?}", unset.settings()), "{name}");

        let by_env = by_file.env(&key.variable(), key.default);
        assert_eq!(by_env.value(name).0, default.0);
        assert_eq!(by_env.value(name).1, format!("env BEAVER_{}", name.to_uppercase()));
        assert_eq!(format!("{:?}", by_env.settings()), format!("{:?}", unset.settings()), "{name}");

        let by_flag = by_env.flag(key.name, sample);
        assert_eq!(by_flag.value(name), pair(sample, &format!("flag --{}", key.flag())));
    }
}

#[test]
fn a_password_is_never_shown() {
    let operator = Operator::new().env("BEAVER_FAKTORY_PASSWORD", "hunter2");
    let loaded = operator.load().unwrap();
    assert_eq!(loaded.settings.fwp.password.as_ref().unwrap().reveal(), "hunter2");
    for shown in [format!("{loaded:?}"), loaded.render(), loaded.to_json().to_string()] {
        assert!(!shown.contains("hunter2") && shown.contains(Secret::MASK), "{shown}");
    }
    assert_eq!(Operator::new().value("faktory_password"), pair("", "default"));
}

#[test]
fn the_port_for_remote_workers_is_a_number_or_off() {
    let port = |text: &str| Operator::new().flag("faktory_port", text).settings().fwp.port;
    assert_eq!((port("off"), port("0"), port("7420")), (None, Some(0), Some(7420)));
    for (text, problem) in [("65536", "is too large"), ("on", "is not a whole number")] {
        let error = Operator::new().flag("faktory_port", text).error();
        assert!(error.contains(problem) && error.contains("0 to 65535, or off"), "{error}");
    }
}

#[test]
fn the_log_and_the_snapshots_follow_the_data_directory() {
    let operator =
        Operator::new().flag("data_dir", "/srv/beaver").env("BEAVER_WAL_PATH", "{data_dir}/../log");
    let engine = operator.settings().engine;
    assert_eq!(engine.snapshot_dir, Path::new("/srv/beaver/snapshots"));
    assert_eq!(engine.wal_dir, Path::new("/srv/beaver/../log"));
    assert_eq!(operator.value("snapshot_path"), pair("/srv/beaver/snapshots", "default"));
}

#[test]
fn the_sync_interval_goes_into_the_durability_that_uses_it() {
    let operator = Operator::new().file("sync_interval: 2s\ndurability: interval\n");
    assert_eq!(operator.settings().engine.durability, Durability::Interval(Duration::from_secs(2)));
    let operator = Operator::new().env("BEAVER_DURABILITY", "interval");
    assert_eq!(operator.settings().engine.durability, Durability::Interval(Duration::from_millis(100)));
}

#[test]
fn without_any_file_the_defaults_hold_and_an_empty_one_changes_nothing() {
    assert_eq!(Operator::new().load().unwrap().file, None);
    for text in ["", "# nothing yet\n"] {
        let operator = Operator::new().file(text);
        let loaded = operator.load().unwrap();
        assert_eq!(loaded.file, Some(operator.path("beaver.yaml")));
        assert!(loaded.values.iter().all(|value| value.origin == Origin::Default));
    }
}

#[test]
fn the_file_is_the_one_that_the_flag_names_else_the_variable_else_the_one_here() {
    let mut operator = Operator::new().file("worker_count: 1\n").env("BEAVER_CONFIG", "second.yaml");
    fs::write(operator.path("second.yaml"), "worker_count: 2\n").unwrap();
    fs::write(operator.path("third.yaml"), "worker_count: 3\n").unwrap();
    assert_eq!(operator.value("worker_count"), pair("2", "file second.yaml:1"));
    operator.flags.config = Some("third.yaml".into());
    assert_eq!(operator.value("worker_count"), pair("3", "file third.yaml:1"));
    assert_eq!(operator.load().unwrap().file, Some(operator.path("third.yaml")));
}

#[test]
fn a_file_that_was_asked_for_has_to_be_there_and_any_file_has_to_be_readable() {
    let mut operator = Operator::new();
    operator.flags.config = Some("none.yaml".into());
    assert_eq!(operator.error(), "configuration file none.yaml: No such file or directory (os error 2)");
    let operator = Operator::new().env("BEAVER_CONFIG", "none.yaml");
    assert!(
        operator.error().starts_with("configuration file none.yaml: No such file"),
        "{}",
        operator.error()
    );
    let operator = Operator::new();
    fs::create_dir(operator.path("beaver.yaml")).unwrap();
    assert!(operator.error().contains("beaver.yaml: Is a directory"), "{}", operator.error());
    let operator = Operator::new();
    fs::write(operator.path("beaver.yaml"), [0xff, 0xfe]).unwrap();
    assert!(operator.error().contains("UTF-8"), "{}", operator.error());
}

#[test]
fn a_wrong_file_is_told_with_file_line_key_and_what_to_do() {
    for (text, error) in [
        (
            "\nworker_cuont: 4\n",
            "file beaver.yaml:2: unknown key \"worker_cuont\"; did you mean worker_count?",
        ),
        ("workers: 4\n", "file beaver.yaml:1: unknown key \"workers\"; did you mean worker_count?"),
        ("metrics-port: 1\n", "file beaver.yaml:1: unknown key \"metrics-port\"; did you mean metrics_port?"),
        (
            "worker_count: 1\nbind: ::1\nworker_count: 2\n",
            "file beaver.yaml:3: worker_count was given before, in line 1; remove one of the two",
        ),
        (
            "worker_count: lots\n",
            "file beaver.yaml:1: worker_count: \"lots\" is not a whole number; allowed: 0 to 4096",
        ),
        (
            "worker_count: -1\n",
            "file beaver.yaml:1: worker_count: \"-1\" is not a whole number; allowed: 0 to 4096",
        ),
        (
            "worker_count: 5000\n",
            "file beaver.yaml:1: worker_count: \"5000\" is too large; allowed: 0 to 4096",
        ),
        (
            "worker_count:\n",
            "file beaver.yaml:1: worker_count: \"\" is not a whole number; allowed: 0 to 4096",
        ),
        (
            "worker_count: [1]\n",
            "file beaver.yaml:1: worker_count: one value is wanted, not a list or a mapping (quote text \
             that starts with [ or {)",
        ),
        (
            "allow_exec: yes\n",
            "file beaver.yaml:1: allow_exec: \"yes\" is neither true nor false; allowed: true or false",
        ),
        (
            "task_timeout: soon\n",
            "file beaver.yaml:1: task_timeout: \"soon\" is not a duration such as 250ms, 30s, 1h30m or 7d (10 alone means 10 seconds); \
             allowed: 1ms to 3650d",
        ),
        (
            "task_timeout: 0s\n",
            "file beaver.yaml:1: task_timeout: \"0s\" is too small; allowed: 1ms to 3650d",
        ),
        (
            "snapshot_age_max: 2w\n",
            "file beaver.yaml:1: snapshot_age_max: \"2w\" uses weeks, months or years (write days: 7d is \
             7 times 24 hours); allowed: 0s to 3650d",
        ),
        ("snapshots_kept: 1\n", "file beaver.yaml:1: snapshots_kept: \"1\" is too small; allowed: 2 to 1000"),
        (
            "segment_bytes: 2GiB\n",
            "file beaver.yaml:1: segment_bytes: \"2GiB\" is too large; allowed: 64KiB to 1GiB",
        ),
        (
            "payload_bytes_max: 65MiB\n",
            "file beaver.yaml:1: payload_bytes_max: \"65MiB\" is too large; allowed: 1 to 64MiB",
        ),
        (
            "metrics_port: 65536\n",
            "file beaver.yaml:1: metrics_port: \"65536\" is too large; allowed: 0 to 65535",
        ),
        (
            "bind: localhost\n",
            "file beaver.yaml:1: bind: \"localhost\" is not an IP address; allowed: an IPv4 or IPv6 \
             address such as 127.0.0.1, 0.0.0.0 or ::1",
        ),
        (
            "durability: often\n",
            "file beaver.yaml:1: durability: \"often\" is unknown; allowed: always, interval or never",
        ),
        (
            "default_queue: a/b\n",
            "file beaver.yaml:1: default_queue: \"a/b\" is no name for a queue; allowed: 1 to 1024 \
             characters of a-z A-Z 0-9 . _ -",
        ),
        (
            "data_dir: ~/beaver\n",
            "file beaver.yaml:1: data_dir: \"~/beaver\" starts with ~, which only a shell understands \
             (write the whole path); allowed: a path",
        ),
        ("- worker_count\n", "file beaver.yaml:1: not a mapping: each line has to be `key: value`"),
    ] {
        assert_eq!(Operator::new().file(text).error(), error);
    }
}

#[test]
fn a_key_that_resembles_none_is_answered_with_all_of_them() {
    let error = Operator::new().file("colour: blue\n").error();
    assert!(
        error.starts_with("file beaver.yaml:1: unknown key \"colour\"; the known keys are data_dir, "),
        "{error}"
    );
    assert!(error.ends_with(", faktory_idle_timeout"), "{error}");
}

#[test]
fn a_wrong_value_names_the_variable_or_the_flag_and_is_told_even_if_overridden() {
    let operator = Operator::new().env("BEAVER_WORKER_COUNT", "many").flag("worker_count", "2");
    assert_eq!(
        operator.error(),
        "env BEAVER_WORKER_COUNT: worker_count: \"many\" is not a whole number; allowed: 0 to 4096"
    );
    let operator = Operator::new().flag("worker_count", "9999999999999999999999");
    assert_eq!(
        operator.error(),
        "flag --workers: worker_count: \"9999999999999999999999\" is too large; allowed: 0 to 4096"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let mut operator = Operator::new();
    operator.env.insert("BEAVER_DATA_DIR".to_owned(), std::ffi::OsString::from_vec(vec![b'a', 0xff]));
    assert_eq!(
        operator.error(),
        "env BEAVER_DATA_DIR: data_dir: \"a\u{fffd}\" is not UTF-8; allowed: a path"
    );
}

#[test]
fn an_endless_value_does_not_become_an_endless_message() {
    let operator = Operator::new().file(&format!("data_dir: x\nworker_count: {}\n", "é".repeat(100_000)));
    assert!(operator.error().len() < 300, "{}", operator.error());
    let operator = Operator::new().file(&format!("{}: 1\n", "k".repeat(500)));
    assert!(!operator.error().contains(&"k".repeat(100)), "{}", operator.error());
}

#[test]
fn two_values_that_do_not_go_together_are_both_named() {
    for (operator, error) in [
        (
            Operator::new().file("payload_bytes_max: 2MiB\n").env("BEAVER_BODY_BYTES_MAX", "1MiB"),
            "payload_bytes_max 2MiB (file beaver.yaml:1) and body_bytes_max 1MiB (env \
             BEAVER_BODY_BYTES_MAX) do not go together: the largest payload has to fit into the body of \
              a request",
        ),
        (
            Operator::new().flag("request_bytes_max", "1MiB"),
            "body_bytes_max 256MiB (default) and request_bytes_max 1MiB (flag --request-bytes-max) do not \
             go together: the largest request has to fit into the memory for requests, or it would \
              always be \"busy\"",
        ),
        (
            Operator::new().flag("retry_backoff", "1h"),
            "retry_backoff 1h (flag --retry-backoff) and retry_backoff_max 10m (default) do not go \
             together: the first delay cannot be longer than the longest one",
        ),
        (
            Operator::new().flag("wal_path", "beaver-data/snapshots"),
            "wal_path beaver-data/snapshots (flag --wal-path) and snapshot_path beaver-data/snapshots \
             (default) do not go together: the log and the snapshots need a directory each",
        ),
        (
            Operator::new().file("faktory_password: a\n").flag("faktory_password_file", "b"),
            "faktory_password ******** (file beaver.yaml:1) and faktory_password_file b (flag \
             --faktory-password-file) do not go together: there is one password",
        ),
        (
            Operator::new().flag("faktory_tls_cert", "cert.pem"),
            "faktory_tls_cert cert.pem (flag --faktory-tls-cert) and faktory_tls_key  (default) do not go \
             together: TLS needs both a certificate and its key",
        ),
    ] {
        assert_eq!(operator.error(), error);
    }
}

#[test]
fn only_a_variable_that_nobody_reads_is_warned_about() {
    let known = ["BEAVER_URL", "BEAVER_LOG", "BEAVER_CONFIG", "BEAVER_JOB_ID", "BEAVER_WORKER_COUNT"];
    let env = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "x".into())).collect();
    assert_eq!(unknown_variables(&env(&known)), Vec::<String>::new());
    assert_eq!(
        unknown_variables(&env(&["BEAVER_WORKERS"])),
        ["the environment variable BEAVER_WORKERS sets nothing: there is no key workers; did you mean \
             worker_count?"]
    );
}

#[test]
fn the_table_has_a_line_for_each_key_in_columns() {
    let operator =
        Operator::new().flag("worker_count", "3").env("BEAVER_TASK_TIMEOUT", "90 sec").file("bind: ::1\n");
    let table = operator.without_dir(&operator.load().unwrap().render());
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), KEYS.len());
    assert_eq!(lines[0], "data_dir                   beaver-data            default");
    assert_eq!(lines[1], "worker_count               3                      flag --workers");
    assert_eq!(lines[2], "bind                       ::1                    file beaver.yaml:1");
    assert!(table.contains(
        "\ntask_timeout               1m30s                  env \
     BEAVER_TASK_TIMEOUT\n"
    ));
}

#[test]
fn the_json_has_numbers_booleans_and_text_as_a_file_would() {
    let operator = Operator::new().file("default_kind: 007\nallow_exec: true\n");
    let json = operator.load().unwrap().to_json();
    assert_eq!(json["file"], operator.path("beaver.yaml").to_str().unwrap());
    let values = &json["values"];
    assert_eq!(values.as_object().unwrap().len(), KEYS.len());
    assert_eq!(values["worker_count"], serde_json::json!({"value": 8, "origin": "default"}));
    assert_eq!(values["allow_exec"]["value"], true);
    assert_eq!(values["default_kind"]["value"], "007");
    assert_eq!(values["segment_bytes"]["value"], "64MiB");
    assert_eq!(values["task_timeout"]["value"], "30s");
    assert_eq!(Operator::new().load().unwrap().to_json()["file"], serde_json::Value::Null);
}

/// Row 98.
#[test]
fn programs_run_once_and_without_a_time_limit_unless_an_operator_says_otherwise() {
    let limits = |operator: &Operator| operator.settings().engine.policy.limits_of(&Settings::exec_kind());
    assert_eq!(limits(&Operator::new()), RunLimits { timeout: NO_TIMEOUT, max_retry: 0 });
    let operator =
        Operator::new().file("exec_timeout: 2h\nexec_max_retry: 5\ntask_timeout: 1s\nmax_retry: 9\n");
    assert_eq!(limits(&operator), RunLimits { timeout: Duration::from_secs(7200), max_retry: 5 });
    let others = operator.settings().engine.policy.limits_of(&KindName::parse("mail").unwrap());
    assert_eq!(others, RunLimits { timeout: Duration::from_secs(1), max_retry: 9 });
    let error = Operator::new().file("exec_timeout: never\n").error();
    assert!(error.contains("exec_timeout") && error.contains("none, or 1ms to 3650d"), "{error}");
}

/// Row 98.
#[test]
fn variables_of_programs_stand_one_a_line_and_a_bad_line_is_named() {
    let operator = Operator::new().file("exec_env: |\n  TZ=Europe/Berlin\n  OPTIONS=a=b, c\n\n  EMPTY=\n");
    let expected = [("EMPTY", ""), ("OPTIONS", "a=b, c"), ("TZ", "Europe/Berlin")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(operator.settings().exec_env, expected.into());
    let shown = operator.load().unwrap().render();
    let line = shown.lines().find(|line| line.starts_with("exec_env ")).unwrap();
    assert!(line.contains(r"TZ=Europe/Berlin\nOPTIONS=a=b, c\n\nEMPTY="), "{line}");
    for (text, told) in [
        ("TZ", r#"has a line "TZ" that is not NAME=VALUE"#),
        ("=x", r#"has a line "=x" that is not NAME=VALUE"#),
        ("BEAVER_TOKEN=1", "sets BEAVER_TOKEN: names that start like this are beaver's"),
        ("TZ=a\n  TZ=b", "sets TZ twice"),
    ] {
        let error = Operator::new().file(&format!("exec_env: |\n  {text}\n")).error();
        assert!(error.contains(told), "{text}: {error}");
    }
}

#[test]
fn an_address_of_either_family_is_read() {
    for address in ["0.0.0.0", "::", "::1", "192.0.2.7"] {
        let settings = Operator::new().file(&format!("bind: \"{address}\"\n")).settings();
        assert_eq!(settings.bind, address.parse::<IpAddr>().unwrap());
    }
}
