//! What the program runs with: everything that an operator can set, in the types of its users.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use beaver_actors::api::options::EngineOptions;
use beaver_actors::ids::{KindName, QueueName};
use beaver_actors::jobs::{NO_TIMEOUT, RunLimits};

/// Everything that an operator can set, read and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Handed to the engine.
    pub engine: EngineOptions,
    /// Which lines of the log are written.
    pub log: String,
    /// Address of both servers.
    pub bind: IpAddr,
    /// Port of the HTTP server, for the API and the metrics; 0 means any free one.
    pub metrics_port: u16,
    /// Kind of a job that names none; without it such a job is refused.
    pub default_kind: Option<KindName>,
    /// Queue of a job that names none.
    pub default_queue: QueueName,
    /// Whether jobs may run programs.
    pub allow_exec: bool,
    /// Time between SIGTERM and SIGKILL for such a program.
    pub stop_grace: Duration,
    /// Variables that such programs get unless their job says otherwise.
    pub exec_env: BTreeMap<String, String>,
    /// What the HTTP server puts up with.
    pub http: HttpLimits,
    /// The server for remote workers.
    pub fwp: FwpSettings,
}

/// The server for remote workers, which speak the work protocol of Faktory.
#[derive(Clone, Debug)]
pub struct FwpSettings {
    /// Its port; 0 means any free one, and without one there is no such server.
    pub port: Option<u16>,
    /// The port of its web addresses for monitoring, in the same way.
    pub web_port: Option<u16>,
    /// What clients have to know.
    pub password: Option<Secret>,
    /// A file that holds it.
    pub password_file: Option<PathBuf>,
    /// A file with the server's certificates; with it, clients have to speak TLS.
    pub tls_cert: Option<PathBuf>,
    /// A file with its private key.
    pub tls_key: Option<PathBuf>,
    /// What the server puts up with.
    pub limits: FwpLimits,
}

/// What the server for remote workers puts up with.
#[derive(Clone, Debug)]
pub struct FwpLimits {
    /// Longest line, in bytes.
    pub line_bytes_max: usize,
    /// Connections at the same time.
    pub connections_max: usize,
    /// For TLS and HELLO together.
    pub handshake_timeout: Duration,
    /// For a connection without any command.
    pub idle_timeout: Duration,
}

/// Text that no log and no error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// How a secret that is set is shown.
    pub(crate) const MASK: &str = "********";

    /// Keeps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself: to be compared or hashed, never shown.
    #[must_use]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Secret::MASK)
    }
}

/// What the HTTP server puts up with.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Names of this server besides those of its machine.
    pub hosts: Vec<String>,
    /// Largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// What all bodies that are being read or parsed may hold together, in bytes, unless one alone is allowed more.
    pub bodies_bytes_max: usize,
    /// What all answers that are not read yet may hold together, in bytes; also those of the work protocol.
    pub answer_bytes_max: usize,
    /// Connections at the same time.
    pub connections_max: usize,
    /// For the head of a request, from its first byte to its last.
    pub header_timeout: Duration,
    /// For reading the body and waiting for the answer, together.
    pub request_timeout: Duration,
}

impl Settings {
    /// The kind whose jobs run programs.
    #[must_use]
    pub fn exec_kind() -> KindName {
        KindName::parse("exec").expect("a word is a name")
    }

    /// What jobs of that kind get where they do not say.
    pub(super) fn exec_limits(&mut self) -> &mut RunLimits {
        let unset = RunLimits { timeout: NO_TIMEOUT, max_retry: 0 };
        self.engine.policy.by_kind.entry(Settings::exec_kind()).or_insert(unset)
    }

    /// Nothing that makes sense: the table of keys overwrites every field, and is the only home of the defaults.
    pub(super) fn unset() -> Settings {
        Settings {
            engine: EngineOptions::in_dir(""),
            log: String::new(),
            bind: Ipv4Addr::UNSPECIFIED.into(),
            metrics_port: 0,
            default_kind: None,
            default_queue: QueueName::parse("unset").expect("a word is a name"),
            allow_exec: false,
            stop_grace: Duration::ZERO,
            exec_env: BTreeMap::new(),
            http: HttpLimits {
                hosts: Vec::new(),
                body_bytes_max: 0,
                bodies_bytes_max: 0,
                answer_bytes_max: 0,
                connections_max: 0,
                header_timeout: Duration::ZERO,
                request_timeout: Duration::ZERO,
            },
            fwp: FwpSettings {
                port: None,
                web_port: None,
                password: None,
                password_file: None,
                tls_cert: None,
                tls_key: None,
                limits: FwpLimits {
                    line_bytes_max: 0,
                    connections_max: 0,
                    handshake_timeout: Duration::ZERO,
                    idle_timeout: Duration::ZERO,
                },
            },
        }
    }
}
