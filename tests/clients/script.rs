//! Clients of other languages as programs: where they are installed, how they are started, and what they say.
//!
//! A scenario says one event a line, `word rest`:
//!
//! | word | rest | means |
//! |---|---|---|
//! | `working` | | the worker has begun |
//! | `greeted` | a name | it ran a job |
//! | `quiet`, `stopped` | | it has heard that it should |
//! | `asked`, `accepted`, `unknown` | a job's id | a push: before it leaves, once it is answered `+OK`, without an answer |
//! | `began`, `acked` | a job's id | a run: as it begins, once its ACK is answered `+OK` |

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use crate::harness::{PATIENCE, Place, wait};

const VARIABLE: &str = "BEAVER_CLIENTS";

/// Whose client.
#[derive(Clone, Copy, Debug)]
pub enum Language {
    Node,
    Python,
}

impl Language {
    /// The directory that `.ci/clients` has made, if there is one; else says how to have it.
    pub fn installed() -> Option<PathBuf> {
        let Some(dir) = std::env::var_os(VARIABLE) else {
            println!(
                "not tried: .ci/clients target/clients && {VARIABLE}=target/clients cargo test --test clients"
            );
            return None;
        };
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
        assert!(dir.join("installed").exists(), "{VARIABLE}={}: make it with .ci/clients", dir.display());
        Some(dir)
    }

    /// A scenario of `tests/clients`, for a server at `url`; `None` if the client is not installed.
    pub fn scenario(
        self,
        place: &Place,
        name: &str,
        url: &str,
        variables: &[(&str, &str)],
    ) -> Option<Script> {
        let dir = Language::installed()?;
        let (program, file) = match self {
            Language::Node => (PathBuf::from("node"), "node/scenarios.js"),
            Language::Python => (dir.join("venv/bin/python"), "python/scenarios.py"),
        };
        let mut command = Command::new(program);
        command.arg(source(file)).arg(name).envs(variables.iter().copied());
        command.env("NODE_PATH", dir.join("node_modules")).env("FAKTORY_URL", url);
        Some(Script::start(place, command))
    }
}

/// A file of these tests.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A program that runs and says what it does. Dropping it kills it.
pub struct Script {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: PathBuf,
}

impl Script {
    pub fn start(place: &Place, mut command: Command) -> Script {
        let stderr = place.path("client.log");
        let log = File::options().create(true).append(true).open(&stderr).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        // Its own output must come at once, and nobody's configuration may come in.
        command.env("PYTHONUNBUFFERED", "1").env_remove("FAKTORY_PROVIDER");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (line, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || pass_on(stdout, &line));
        Script { stdin: child.stdin.take(), child, lines, stderr }
    }

    /// The next line; `None` at the end of all output.
    pub fn next(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("silence for {PATIENCE:?}\n{}", self.log()),
        }
    }

    /// Waits for a line, past all others.
    pub fn until(&self, expected: &str) {
        while let Some(line) = self.next() {
            if line == expected {
                return;
            }
        }
        panic!("it ended without {expected:?}\n{}", self.log());
    }

    /// Asserts what comes next.
    pub fn says(&self, expected: &str) {
        assert_eq!(self.next().as_deref(), Some(expected), "{}", self.log());
    }

    /// Tells it something.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for its end, which must be a good one; returns what it said before.
    pub fn ends_well(mut self) -> Vec<String> {
        drop(self.stdin.take());
        let said: Vec<_> = std::iter::from_fn(|| self.next()).collect();
        let status = wait("the client's end", Some(&self.stderr), || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}\n{}", said.join("\n"), self.log());
        said
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pass_on(lines: Lines<BufReader<ChildStdout>>, to: &Sender<String>) {
    for line in lines.map_while(Result::ok) {
        if to.send(line).is_err() {
            return;
        }
    }
}
