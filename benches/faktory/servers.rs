//! The servers that are compared: how each is started, spoken to and emptied.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::client::Talk;
use super::talk::{self, QUEUE, Scenario};
use super::{machine, responder};

/// A server has to be there after this, even on a machine with much else to do.
const START: Duration = Duration::from_secs(30);
/// How long any single answer may take outside of a measurement.
const ANSWER: Duration = Duration::from_secs(30);

/// How to speak with a server that runs.
#[derive(Clone, Copy, PartialEq)]
enum Language {
    Faktory,
    Redis,
    Beanstalk,
}

/// A server that has answered once. It is killed when this is dropped.
pub struct Server {
    pub name: &'static str,
    pub version: String,
    language: Language,
    address: SocketAddr,
    /// None for the one that is a thread of the bench.
    child: Option<Child>,
}

/// What came of starting a server.
pub enum Start {
    Runs(Server),
    /// Its program is not installed.
    Absent(&'static str),
}

/// Beaver as it is shipped: every answer after fdatasync, no programs. Only the hourly snapshot waits until later.
pub fn beaver(dir: &Path) -> Result<Start> {
    let program = env!("CARGO_BIN_EXE_beaver");
    let port = free_port()?;
    let mut command = Command::new(program);
    command.args(["run", "--bind", "127.0.0.1", "--metrics-port", "0", "--durability", "always"]);
    command.args(["--snapshot-interval", "1h", "--data-dir", "data", "--faktory-port", &port.to_string()]);
    // A configuration of whoever runs the bench is not what it compares.
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("BEAVER_")) {
        command.env_remove(key);
    }
    spawn("beaver", Language::Faktory, command, port, dir, &[program, "--version"])
}

/// Each answer after fsync, like beaver's, and no rewriting of the log or dumping in the background.
pub fn redis(dir: &Path) -> Result<Start> {
    let port = free_port()?;
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes"]);
    command.args(["--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]);
    spawn("Redis streams", Language::Redis, command, port, dir, &["redis-server", "--version"])
}

/// `-f0` is its "always fsync".
pub fn beanstalkd(dir: &Path) -> Result<Start> {
    let port = free_port()?;
    let mut command = Command::new("beanstalkd");
    command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-b", ".", "-f0"]);
    spawn("beanstalkd", Language::Beanstalk, command, port, dir, &["beanstalkd", "-v"])
}

/// The client's own limit, as a server.
pub fn ceiling() -> Result<Start> {
    let address = responder::start()?;
    let version = "answers without doing anything".to_owned();
    Ok(Start::Runs(Server {
        name: "(client's limit)",
        version,
        language: Language::Faktory,
        address,
        child: None,
    }))
}

fn spawn(
    name: &'static str,
    language: Language,
    mut command: Command,
    port: u16,
    dir: &Path,
    version: &[&str],
) -> Result<Start> {
    let dir = dir.join(name);
    std::fs::create_dir(&dir)?;
    let log = dir.join("log");
    command.current_dir(&dir).stdin(Stdio::null()).stdout(File::create(&log)?).stderr(File::create(&log)?);
    let version = match Command::new(version[0]).args(&version[1..]).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Start::Absent(name)),
        output => String::from_utf8_lossy(&output?.stdout).trim().to_owned(),
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let mut server = Server { name, version, language, address, child: Some(child) };
    match server.wait_until_it_answers() {
        Ok(()) => Ok(Start::Runs(server)),
        Err(error) => {
            let log = std::fs::read_to_string(&log)?;
            Err(error.context(format!("{name} does not start; its log:\n{}", log.trim_end())))
        }
    }
}

impl Server {
    /// A connection that the server has greeted.
    pub fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        match self.language {
            Language::Faktory => {
                expect(&stream, "+HI ")?;
                let hello = format!(
                    "HELLO {{\"v\":2,\"hostname\":\"localhost\",\"wid\":\"{QUEUE}-client\",\"pid\":{},\"labels\":[]}}\r\n",
                    std::process::id()
                );
                (&stream).write_all(hello.as_bytes())?;
                expect(&stream, "+OK")?;
            }
            Language::Redis => {
                (&stream).write_all(talk::resp(&["PING"]).as_bytes())?;
                expect(&stream, "+PONG")?;
            }
            Language::Beanstalk => {
                for (request, answer) in
                    [(format!("use {QUEUE}\r\n"), "USING "), (format!("watch {QUEUE}\r\n"), "WATCHING ")]
                {
                    (&stream).write_all(request.as_bytes())?;
                    expect(&stream, answer)?;
                }
            }
        }
        Ok(stream)
    }

    pub fn talk(&self, scenario: Scenario, number: usize) -> Box<dyn Talk> {
        match self.language {
            Language::Faktory => talk::faktory(scenario),
            Language::Redis => talk::redis(scenario, number),
            Language::Beanstalk => talk::beanstalk(scenario),
        }
    }

    /// Forgets all jobs, so that each run starts with as many as the first one.
    pub fn empty(&self) -> Result<()> {
        let stream = self.connect()?;
        let say = |request: &str, answer: &str| -> Result<()> {
            (&stream).write_all(request.as_bytes())?;
            expect(&stream, answer)
        };
        match self.language {
            Language::Faktory => {
                // A worker that is silent for a minute is given up, and its connections with it.
                say(&format!("BEAT {{\"wid\":\"{QUEUE}-client\"}}\r\n"), "+OK")?;
                say("FLUSH\r\n", "+OK")
            }
            Language::Redis => {
                say(&talk::resp(&["DEL", QUEUE]), ":")?;
                say(&talk::resp(&["XGROUP", "CREATE", QUEUE, QUEUE, "0", "MKSTREAM"]), "+OK")
            }
            // It has no such command, and what lies in its queue costs the next job nothing.
            Language::Beanstalk => Ok(()),
        }
    }

    /// Whether jobs have to be there before they can be fetched.
    pub fn keeps_jobs(&self) -> bool {
        self.child.is_some()
    }

    /// Processor time of its threads up to now; nothing for the one that has no process.
    pub fn busy(&self) -> machine::Busy {
        self.child.as_ref().map(|child| machine::busy(child.id())).unwrap_or_default()
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("it ended with {status}");
            }
            match self.connect() {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > START => return Err(error),
                // Nobody tells when a stranger's port is open: one has to try.
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already, and then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads one line, byte by byte, for what follows is not for us to take.
fn expect(stream: &TcpStream, start: &str) -> Result<()> {
    let mut line = String::new();
    BufReader::with_capacity(1, stream.take(4096)).read_line(&mut line).context("no answer")?;
    ensure!(line.starts_with(start), "the answer is {line:?} instead of {start}...");
    Ok(())
}

/// One that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
