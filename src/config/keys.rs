//! The table of keys: the one home of their names, defaults, limits and meaning.
//!
//! The flags, their help, the `BEAVER_*` variables, the keys of a YAML file and what `beaver config` prints
//! all follow from [`KEYS`]. A new key is one entry here and its paragraph in `configs/default.yaml`, which a
//! test asks for.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use beaver_actors::api::options::Durability;
use beaver_actors::ids::{KindName, QueueName};
use beaver_actors::jobs::NO_TIMEOUT;
use tracing_subscriber::EnvFilter;

use super::key::ConfigKey;
use super::key::Form::{self, Count, DirBelow, File, Size, Switch, Text, Time};
use super::key::{fit, path, port_or_off, within};
use super::lists::{hosts, read_variables};
use super::settings::Secret;
use super::units::{days, read_duration};
use crate::suggest::nearest;

/// The key that takes effect while the server runs.
pub(crate) const LOG_KEY: &str = "log";

const EVERYDAY: Option<&str> = None;
const JOBS: Option<&str> = Some("Jobs");
const STORAGE: Option<&str> = Some("Storage");
const SNAPSHOTS: Option<&str> = Some("Snapshots");
const RETENTION: Option<&str> = Some("Retention");
const HTTP: Option<&str> = Some("HTTP");
const REMOTE: Option<&str> = Some("Remote workers");

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The job table's index has entries of four bytes, so nothing counts more jobs than this.
const JOBS_MOST: u64 = u32::MAX as u64;
/// Far more than fit into memory, and still numbers of four bytes.
const NAMES_MOST: u64 = 100_000_000;
const NO_TIME: Duration = Duration::ZERO;
/// The engine counts time in whole milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);
/// Ten years: far more than anybody wants, and no sum of such times overflows.
const LONGEST: Duration = days(3650);

/// All keys, in the order in which they are applied and shown.
pub(super) static KEYS: &[ConfigKey] = &[
    // First, because the paths further down are made from it.
    ConfigKey {
        name: "data_dir",
        heading: EVERYDAY,
        default: "beaver-data",
        form: Text("DIR", "a path", |s, text| path(text).map(|dir| s.engine.data_dir = dir)),
        help: "Directory of everything that beaver keeps",
    },
    ConfigKey {
        name: "worker_count",
        heading: EVERYDAY,
        default: "8",
        form: Count(0..=4096, |s, count| s.engine.worker_count = fit(count)),
        help: "Jobs that run at the same time; with 0 jobs are accepted and none is run",
    },
    ConfigKey {
        name: "bind",
        heading: EVERYDAY,
        default: "127.0.0.1",
        form: Text("ADDRESS", "an IPv4 or IPv6 address such as 127.0.0.1, 0.0.0.0 or ::1", |s, text| {
            s.bind = text.parse().map_err(|_| "is not an IP address".to_owned())?;
            Ok(())
        }),
        help: "Address that beaver listens on, for HTTP and for remote workers",
    },
    ConfigKey {
        name: "metrics_port",
        heading: EVERYDAY,
        default: "9090",
        form: Count(0..=65535, |s, port| s.metrics_port = fit(port)),
        help: "Port of the HTTP server (API and metrics); 0 takes any free one",
    },
    ConfigKey {
        name: "allow_exec",
        heading: EVERYDAY,
        default: "false",
        form: Switch(|s, allowed| s.allow_exec = allowed),
        help: "Let jobs of kind exec run programs as the user of this server",
    },
    ConfigKey {
        name: LOG_KEY,
        heading: EVERYDAY,
        default: "info",
        form: Text("FILTER", "error, warn, info, debug, or a filter such as beaver=debug,warn", |s, text| {
            EnvFilter::builder().parse(text).map_err(|error| format!("is not a log filter: {error}"))?;
            text.clone_into(&mut s.log);
            Ok(())
        }),
        help: "Which lines of the log are written; a SIGHUP changes it while the server runs",
    },
    ConfigKey {
        name: "default_kind",
        heading: JOBS,
        default: "",
        form: Text("KIND", "1 to 1024 bytes without control characters, or nothing", |s, text| {
            let kind = (!text.is_empty()).then(|| KindName::parse(text)).transpose();
            s.default_kind = kind.map_err(|_| "is no name for a kind".to_owned())?;
            Ok(())
        }),
        help: "Kind of a job that names none; without it such a job is refused",
    },
    ConfigKey {
        name: "default_queue",
        heading: JOBS,
        default: "default",
        form: Text("QUEUE", "1 to 1024 characters of a-z A-Z 0-9 . _ -", |s, text| {
            s.default_queue = QueueName::parse(text).map_err(|_| "is no name for a queue".to_owned())?;
            Ok(())
        }),
        help: "Queue of a job that names none",
    },
    ConfigKey {
        name: "task_timeout",
        heading: JOBS,
        default: "30s",
        form: Time(SHORTEST..=LONGEST, |s, timeout| s.engine.policy.timeout = timeout),
        help: "Longest run of a job that does not say; then it is stopped and counts as failed",
    },
    ConfigKey {
        name: "max_retry",
        heading: JOBS,
        default: "3",
        form: Count(0..=1_000_000, |s, count| s.engine.policy.max_retry = fit(count)),
        help: "How many more runs a failed job gets that does not say",
    },
    ConfigKey {
        name: "retry_backoff",
        heading: JOBS,
        default: "1s",
        form: Time(NO_TIME..=LONGEST, |s, delay| s.engine.policy.retry_backoff = delay),
        help: "Delay before the first retry; doubles with every further one",
    },
    ConfigKey {
        name: "retry_backoff_max",
        heading: JOBS,
        default: "10m",
        form: Time(NO_TIME..=LONGEST, |s, delay| s.engine.policy.retry_backoff_max = delay),
        help: "The delay before a retry never exceeds this",
    },
    ConfigKey {
        name: "stop_grace",
        heading: JOBS,
        default: "5s",
        form: Time(NO_TIME..=LONGEST, |s, grace| s.stop_grace = grace),
        help: "How long a program that has to end may clean up between SIGTERM and SIGKILL",
    },
    ConfigKey {
        name: "exec_timeout",
        heading: JOBS,
        default: "none",
        form: Text("DURATION|none", "none, or 1ms to 3650d", |s, text| {
            s.exec_limits().timeout = match text {
                "none" => NO_TIMEOUT,
                _ => within(&(SHORTEST..=LONGEST), read_duration(text).map_err(|bad| bad.to_string())?)?,
            };
            Ok(())
        }),
        help: "In place of task_timeout for jobs of kind exec",
    },
    ConfigKey {
        name: "exec_max_retry",
        heading: JOBS,
        default: "0",
        form: Count(0..=1_000_000, |s, count| s.exec_limits().max_retry = fit(count)),
        help: "In place of max_retry for jobs of kind exec: with 0, a program runs once",
    },
    ConfigKey {
        name: "exec_env",
        heading: JOBS,
        default: "",
        form: Text("NAME=VALUE", "NAME=VALUE, one a line", |s, text| {
            s.exec_env = read_variables(text)?;
            Ok(())
        }),
        help: "Variables of programs, one a line; the others are PATH, HOME, LANG, USER, SHELL and TZ of the server",
    },
    ConfigKey {
        name: "drain_timeout",
        heading: JOBS,
        default: "30s",
        form: Time(NO_TIME..=LONGEST, |s, timeout| s.engine.drain_timeout = timeout),
        help: "How long running jobs may take to end by themselves when the server stops",
    },
    ConfigKey {
        name: "refuse_while_draining",
        heading: JOBS,
        default: "false",
        form: Switch(|s, refuses| s.engine.accepts_while_draining = !refuses),
        help: "Refuse new jobs while the server stops, instead of keeping them for its next start",
    },
    ConfigKey {
        name: "payload_bytes_max",
        heading: JOBS,
        default: "1MiB",
        form: Size(1..=64 * MIB, |s, bytes| s.engine.policy.payload_bytes_max = fit(bytes)),
        help: "Largest payload of one job, as compact JSON",
    },
    ConfigKey {
        name: "jobs_max",
        heading: JOBS,
        default: "50000000",
        form: Count(1..=JOBS_MOST, |s, count| s.engine.policy.jobs_max = count),
        help: "How many unfinished jobs there may be; more are refused",
    },
    ConfigKey {
        name: "queues_max",
        heading: JOBS,
        default: "150000",
        form: Count(1..=NAMES_MOST, |s, count| s.engine.policy.queues_max = fit(count)),
        help: "How many queues there may be at once; jobs of further ones are refused",
    },
    ConfigKey {
        name: "kinds_max",
        heading: JOBS,
        default: "150000",
        form: Count(1..=NAMES_MOST, |s, count| s.engine.policy.kinds_max = fit(count)),
        help: "How many kinds jobs may have at once; jobs of further ones are refused",
    },
    ConfigKey {
        name: "queue_idle_timeout",
        heading: JOBS,
        default: "1h",
        form: Time(Duration::from_secs(1)..=LONGEST, |s, idle| s.engine.policy.queue_idle_timeout = idle),
        help: "An empty queue that is not paused is forgotten when it got no job for this long",
    },
    ConfigKey {
        name: "durability",
        heading: EVERYDAY,
        default: "always",
        form: Text("always|interval|never", "always, interval or never", |s, text| {
            s.engine.durability = match text {
                "always" => Durability::Always,
                // `sync_interval`, the next key to be applied, fills in the time.
                "interval" => Durability::Interval(Duration::ZERO),
                "never" => Durability::Never,
                _ => return Err("is unknown".to_owned()),
            };
            Ok(())
        }),
        help: "When the log is forced to the disk, and so what an answer promises",
    },
    ConfigKey {
        name: "sync_interval",
        heading: STORAGE,
        default: "100ms",
        form: Time(SHORTEST..=LONGEST, |s, every| {
            if let Durability::Interval(interval) = &mut s.engine.durability {
                *interval = every;
            }
        }),
        help: "How long a written job may wait for the disk; counts with durability: interval only",
    },
    ConfigKey {
        name: "wal_path",
        heading: STORAGE,
        default: "{data_dir}/wal",
        form: DirBelow(|s, dir| s.engine.wal_dir = dir),
        help: "Directory of the log",
    },
    ConfigKey {
        name: "segment_bytes",
        heading: STORAGE,
        default: "64MiB",
        form: Size(64 * KIB..=GIB, |s, bytes| s.engine.segment_bytes = bytes),
        help: "Size of one file of the log",
    },
    ConfigKey {
        name: "requests_max",
        heading: STORAGE,
        default: "10000",
        form: Count(1..=1_000_000, |s, count| s.engine.requests_max = fit(count)),
        help: "Requests that may wait for the log at the same time; more are answered \"busy\"",
    },
    ConfigKey {
        name: "request_wait_max",
        heading: STORAGE,
        default: "250ms",
        form: Time(SHORTEST..=LONGEST, |s, wait| s.engine.request_wait_max = wait),
        help: "New jobs are answered \"busy\" while so much waits for the log that their answer would take longer",
    },
    ConfigKey {
        name: "request_bytes_max",
        heading: STORAGE,
        default: "512MiB",
        form: Size(1..=1024 * GIB, |s, bytes| s.engine.request_bytes_max = fit(bytes)),
        help: "Memory that waiting requests may hold together, and the most that one may (never over 512MiB)",
    },
    ConfigKey {
        name: "payload_memory",
        heading: STORAGE,
        default: "64MiB",
        form: Size(0..=1024 * GIB, |s, bytes| s.engine.payload_memory_bytes = bytes),
        help: "Memory for payloads of jobs that wait; the rest stay on disk until their job starts",
    },
    ConfigKey {
        name: "snapshot_path",
        heading: SNAPSHOTS,
        default: "{data_dir}/snapshots",
        form: DirBelow(|s, dir| s.engine.snapshot_dir = dir),
        help: "Directory of the snapshots",
    },
    ConfigKey {
        name: "snapshot_interval",
        heading: SNAPSHOTS,
        default: "1m",
        form: Time(SHORTEST..=LONGEST, |s, interval| s.engine.snapshot_interval = interval),
        help: "How often a snapshot is taken, if anything happened",
    },
    ConfigKey {
        name: "snapshots_kept",
        heading: SNAPSHOTS,
        default: "2",
        form: Count(2..=1000, |s, count| s.engine.snapshots_kept = fit(count)),
        help: "How many snapshots are kept: the newest, and at least one to fall back to",
    },
    ConfigKey {
        name: "snapshot_age_max",
        heading: SNAPSHOTS,
        default: "7d",
        form: Time(NO_TIME..=LONGEST, |s, age| s.engine.snapshot_age_max = age),
        help: "Older snapshots are deleted, but never the two newest",
    },
    ConfigKey {
        name: "completed_retention_count",
        heading: RETENTION,
        default: "100000",
        form: Count(0..=JOBS_MOST, |s, count| s.engine.policy.completed.count = count),
        help: "How many completed jobs are remembered",
    },
    ConfigKey {
        name: "completed_retention_age",
        heading: RETENTION,
        default: "1d",
        form: Time(NO_TIME..=LONGEST, |s, age| s.engine.policy.completed.age = age),
        help: "How long completed jobs are remembered",
    },
    ConfigKey {
        name: "dead_retention_count",
        heading: RETENTION,
        default: "1000000",
        form: Count(0..=JOBS_MOST, |s, count| s.engine.policy.dead.count = count),
        help: "How many dead jobs are kept",
    },
    ConfigKey {
        name: "dead_retention_age",
        heading: RETENTION,
        default: "180d",
        form: Time(NO_TIME..=LONGEST, |s, age| s.engine.policy.dead.age = age),
        help: "How long dead jobs are kept",
    },
    ConfigKey {
        name: "cancelled_retention_count",
        heading: RETENTION,
        default: "100000",
        form: Count(0..=JOBS_MOST, |s, count| s.engine.policy.cancelled.count = count),
        help: "How many cancelled jobs are kept",
    },
    ConfigKey {
        name: "cancelled_retention_age",
        heading: RETENTION,
        default: "1d",
        form: Time(NO_TIME..=LONGEST, |s, age| s.engine.policy.cancelled.age = age),
        help: "How long cancelled jobs are kept",
    },
    ConfigKey {
        name: "http_hosts",
        heading: HTTP,
        default: "",
        form: Text("NAMES", "names of hosts with commas between them, or nothing", |s, text| {
            s.http.hosts = hosts(text)?;
            Ok(())
        }),
        help: "Further names of this server: on 127.0.0.1 it answers for localhost, its address and these only",
    },
    ConfigKey {
        name: "body_bytes_max",
        heading: HTTP,
        default: "256MiB",
        form: Size(1..=GIB, |s, bytes| s.http.body_bytes_max = fit(bytes)),
        help: "Largest body of a request",
    },
    ConfigKey {
        name: "bodies_bytes_max",
        heading: HTTP,
        default: "256MiB",
        form: Size((1 << 20)..=(64 * GIB), |s, bytes| s.http.bodies_bytes_max = fit(bytes)),
        help: "Bodies that are being read, together; body_bytes_max if that is more",
    },
    ConfigKey {
        name: "answer_bytes_max",
        heading: HTTP,
        default: "128MiB",
        form: Size((1 << 20)..=(64 * GIB), |s, bytes| s.http.answer_bytes_max = fit(bytes)),
        help: "Answers that are not read yet, together",
    },
    ConfigKey {
        name: "connections_max",
        heading: HTTP,
        default: "1024",
        form: Count(1..=1_000_000, |s, count| s.http.connections_max = fit(count)),
        help: "Connections at the same time; more are answered 503",
    },
    ConfigKey {
        name: "header_timeout",
        heading: HTTP,
        default: "10s",
        form: Time(SHORTEST..=LONGEST, |s, timeout| s.http.header_timeout = timeout),
        help: "How long a client may take to send a request's head",
    },
    ConfigKey {
        name: "request_timeout",
        heading: HTTP,
        default: "1m",
        form: Time(SHORTEST..=LONGEST, |s, timeout| s.http.request_timeout = timeout),
        help: "How long a request may take: reading its body and waiting for the answer",
    },
    ConfigKey {
        name: "faktory_port",
        heading: REMOTE,
        default: "7419",
        form: Text("PORT|off", "0 to 65535, or off", |s, text| {
            s.fwp.port = port_or_off(text)?;
            Ok(())
        }),
        help: "Port for workers that speak the protocol of Faktory; 0 takes any free one, off none",
    },
    ConfigKey {
        name: "faktory_web_port",
        heading: REMOTE,
        default: "off",
        form: Text("PORT|off", "0 to 65535, or off", |s, text| {
            s.fwp.web_port = port_or_off(text)?;
            Ok(())
        }),
        help: "Port for monitoring that was made for Faktory: /stats and /health over HTTP",
    },
    ConfigKey {
        name: "faktory_password",
        heading: REMOTE,
        default: "",
        form: Form::Secret(|s, text| s.fwp.password = (!text.is_empty()).then(|| Secret::new(text))),
        help: "Password that remote workers have to know; a command line is seen by others, so better not here",
    },
    ConfigKey {
        name: "faktory_password_file",
        heading: REMOTE,
        default: "",
        form: File(|s, file| s.fwp.password_file = file),
        help: "File that holds this password",
    },
    ConfigKey {
        name: "faktory_tls_cert",
        heading: REMOTE,
        default: "",
        form: File(|s, file| s.fwp.tls_cert = file),
        help: "File with the certificate (PEM) for remote workers, which then have to speak TLS",
    },
    ConfigKey {
        name: "faktory_tls_key",
        heading: REMOTE,
        default: "",
        form: File(|s, file| s.fwp.tls_key = file),
        help: "File with its private key (PEM)",
    },
    ConfigKey {
        name: "faktory_line_bytes_max",
        heading: REMOTE,
        default: "16MiB",
        form: Size(KIB..=GIB, |s, bytes| s.fwp.limits.line_bytes_max = fit(bytes)),
        help: "Longest command of a remote worker or producer",
    },
    ConfigKey {
        name: "faktory_connections_max",
        heading: REMOTE,
        default: "2000",
        form: Count(1..=1_000_000, |s, count| s.fwp.limits.connections_max = fit(count)),
        help: "Their connections at the same time; more are told so and closed",
    },
    ConfigKey {
        name: "faktory_handshake_timeout",
        heading: REMOTE,
        default: "2s",
        form: Time(SHORTEST..=LONGEST, |s, timeout| s.fwp.limits.handshake_timeout = timeout),
        help: "How long they may take to introduce themselves",
    },
    ConfigKey {
        name: "faktory_idle_timeout",
        heading: REMOTE,
        default: "1d",
        form: Time(SHORTEST..=LONGEST, |s, timeout| s.fwp.limits.idle_timeout = timeout),
        help: "A connection without any command for so long is closed",
    },
];

impl ConfigKey {
    /// Its flag without the two dashes.
    pub(super) fn flag(&self) -> &'static str {
        // The command line's parser wants names that live as long as the program.
        static FLAGS: LazyLock<BTreeMap<&str, String>> =
            LazyLock::new(|| KEYS.iter().map(|key| (key.name, key.name.replace('_', "-"))).collect());
        match self.name {
            "worker_count" => "workers",
            name => &FLAGS[name],
        }
    }
}

/// The key that somebody who wrote `given` probably meant.
pub(super) fn nearest_key(given: &str) -> Option<&'static str> {
    // A flag's name, written in a file or a variable, is a mistake of its own.
    let flag_of = |key: &&ConfigKey| key.flag().eq_ignore_ascii_case(given);
    match KEYS.iter().find(flag_of) {
        Some(key) => Some(key.name),
        None => nearest(given, KEYS.iter().map(|key| key.name)),
    }
}
