//! The servers that are compared: how each is started, spoken to and emptied.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::client::Talk;
use super::talk::{self, Errand, QUEUE};
use super::{ceiling, machine};

/// A server has to be there after this, even on a machine with much else to do.
const START: Duration = Duration::from_secs(30);
/// How long any single answer may take outside of a measurement.
const ANSWER: Duration = Duration::from_secs(30);
/// What it does after its answers is waited for so long.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// A server that has written so much to the disk begins anew, with an empty directory.
const WRITTEN_BYTES_MAX: u64 = 512 << 20;

/// Who is compared, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Beaver,
    /// Another build of it, to see what a change has brought.
    BeaverBefore,
    Redis,
    Beanstalkd,
    /// Answers without doing anything.
    Nothing,
    /// Answers after one write and one fdatasync.
    NothingSynced,
}

/// The program of [`Kind::BeaverBefore`], if somebody wants it.
pub static BEFORE: OnceLock<String> = OnceLock::new();

/// How to speak with a server that runs.
#[derive(Clone, Copy, PartialEq)]
enum Language {
    Faktory,
    Redis,
    Beanstalk,
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Beaver, Kind::BeaverBefore, Kind::Redis, Kind::Beanstalkd, Kind::Nothing, Kind::NothingSynced];
    /// Those that beaver is compared with.
    pub const PEERS: [Kind; 2] = [Kind::Redis, Kind::Beanstalkd];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Beaver => "beaver",
            Kind::BeaverBefore => "beaver, before",
            Kind::Redis => "Redis streams",
            Kind::Beanstalkd => "beanstalkd",
            Kind::Nothing => "nothing",
            Kind::NothingSynced => "nothing, synced",
        }
    }

    /// Its program, and what makes it say its version.
    fn program(self) -> Result<(String, &'static [&'static str])> {
        Ok(match self {
            Kind::Beaver => (env!("CARGO_BIN_EXE_beaver").to_owned(), &["--version"]),
            Kind::BeaverBefore => (BEFORE.get().cloned().unwrap_or_default(), &["--version"]),
            Kind::Redis => ("redis-server".to_owned(), &["--version"]),
            Kind::Beanstalkd => ("beanstalkd".to_owned(), &["-v"]),
            Kind::Nothing | Kind::NothingSynced => {
                let bench = std::env::current_exe()?;
                (bench.to_str().context("the bench's path is no text")?.to_owned(), &[])
            }
        })
    }

    /// What it calls its version; none if it is not installed.
    pub fn version(self) -> Result<Option<String>> {
        match self {
            Kind::BeaverBefore if BEFORE.get().is_none() => return Ok(None),
            Kind::Nothing => return Ok(Some("answers at once".to_owned())),
            Kind::NothingSynced => {
                return Ok(Some(
                    "answers after one write and one fdatasync of all that has come in".to_owned(),
                ));
            }
            Kind::Beaver | Kind::BeaverBefore | Kind::Redis | Kind::Beanstalkd => {}
        }
        let (program, arguments) = self.program()?;
        match Command::new(program).args(arguments).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            output => Ok(Some(String::from_utf8_lossy(&output?.stdout).trim().to_owned())),
        }
    }

    fn language(self) -> Language {
        match self {
            Kind::Beaver | Kind::BeaverBefore | Kind::Nothing | Kind::NothingSynced => Language::Faktory,
            Kind::Redis => Language::Redis,
            Kind::Beanstalkd => Language::Beanstalk,
        }
    }

    fn arguments(self, port: u16, payload_bytes: usize) -> Vec<String> {
        let port_text = port.to_string();
        let words: &[&str] = match self {
            // As it is shipped: every answer after fdatasync. No programs; the hourly snapshot waits until later; and
            // bulk requests of 4 MB on 128 connections are taken all at the same time, which Redis does by itself.
            Kind::Beaver | Kind::BeaverBefore => &[
                "run",
                "--bind=127.0.0.1",
                "--metrics-port=0",
                "--durability=always",
                "--snapshot-interval=1h",
                "--data-dir=data",
                "--faktory-line-bytes-max=64MiB",
                "--request-bytes-max=1GiB",
                "--faktory-port",
                &port_text,
            ],
            // Each answer after fsync, and no rewriting of the log or dumping in the background.
            Kind::Redis => &[
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--auto-aof-rewrite-percentage",
                "0",
                "--port",
                &port_text,
            ],
            // `-f 0` is its "always fsync".
            Kind::Beanstalkd => &["-l", "127.0.0.1", "-b", ".", "-f", "0", "-p", &port_text],
            Kind::Nothing => return ceiling::arguments(port, payload_bytes, false),
            Kind::NothingSynced => return ceiling::arguments(port, payload_bytes, true),
        };
        // Nor is any of them refused because the others take long.
        let patience = matches!(self, Kind::Beaver | Kind::BeaverBefore).then_some("--request-wait-max=1m");
        words.iter().copied().chain(patience).map(str::to_owned).collect()
    }

    /// Whether jobs have to be there before they can be fetched.
    pub fn keeps_jobs(self) -> bool {
        !matches!(self, Kind::Nothing | Kind::NothingSynced)
    }
}

/// A server that has answered once. It is killed when this is dropped.
pub struct Server {
    pub kind: Kind,
    payload_bytes: usize,
    dir: PathBuf,
    address: SocketAddr,
    child: Child,
}

impl Server {
    /// With no job, in a directory of its own under `dir`.
    pub fn start(kind: Kind, dir: &Path, payload_bytes: usize) -> Result<Server> {
        let dir = dir.join(kind.name());
        if kind.keeps_jobs() && dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        let log = dir.join("log");
        let port = free_port()?;
        let mut command = Command::new(kind.program()?.0);
        command.args(kind.arguments(port, payload_bytes)).current_dir(&dir);
        command
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?);
        // A configuration of whoever runs the bench is not what it compares.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("BEAVER_")) {
            command.env_remove(key);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", kind.name()))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Server { kind, payload_bytes, dir, address, child };
        match server.wait_until_it_answers() {
            Ok(()) => Ok(server),
            Err(error) => {
                let log = fs::read_to_string(&log)?;
                Err(error.context(format!("{} does not start; its log:\n{}", kind.name(), log.trim_end())))
            }
        }
    }

    /// The same server on an empty disk.
    fn start_again(&mut self) -> Result<()> {
        self.kill();
        let parent = self.dir.parent().context("a server has a directory of its own")?;
        *self = Server::start(self.kind, parent, self.payload_bytes)?;
        Ok(())
    }

    /// A connection that the server has greeted.
    pub fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        match self.kind.language() {
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

    pub fn talk(&self, errand: Errand, number: usize) -> Box<dyn Talk> {
        match self.kind.language() {
            Language::Faktory => talk::faktory(errand, self.payload_bytes),
            Language::Redis => talk::redis(errand, self.payload_bytes, number),
            Language::Beanstalk => talk::beanstalk(errand, self.payload_bytes),
        }
    }

    /// Forgets all jobs, so that each run begins with none. `is_behind`: it may still be at what nobody waits for.
    pub fn empty(&mut self, is_behind: bool) -> Result<()> {
        // The one that has no command for it starts in no time.
        let must_restart = is_behind || self.kind == Kind::Beanstalkd;
        if self.kind.keeps_jobs() && (must_restart || machine::bytes_below(&self.dir) > WRITTEN_BYTES_MAX) {
            self.start_again()?;
        }
        let stream = self.connect()?;
        let say = |request: &str, answer: &str| -> Result<()> {
            (&stream).write_all(request.as_bytes())?;
            expect(&stream, answer)
        };
        match self.kind.language() {
            Language::Faktory => {
                // A worker that is silent for a minute is given up, and its connections with it.
                say(&format!("BEAT {{\"wid\":\"{QUEUE}-client\"}}\r\n"), "+OK")?;
                say("FLUSH\r\n", "+OK")?;
            }
            Language::Redis => {
                say(&talk::resp(&["DEL", QUEUE]), ":")?;
                say(&talk::resp(&["XGROUP", "CREATE", QUEUE, QUEUE, "0", "MKSTREAM"]), "+OK")?;
            }
            Language::Beanstalk => {}
        }
        // What another server has left to be written does not count against this one.
        machine::write_back(&self.dir)
    }

    /// Waits until it has done what it does after its answers: beaver folds its log into a snapshot.
    pub fn settle(&self) {
        machine::wait_until_quiet(|| self.busy().values().sum(), SETTLED_WITHIN);
    }

    /// Processor time of its threads up to now.
    pub fn busy(&self) -> machine::Busy {
        machine::busy(self.child.id())
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            match self.connect() {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > START => return Err(error),
                // Nobody tells when a stranger's port is open: one has to try.
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn kill(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What it has written goes with its successor or with the whole bench.
        self.kill();
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
