//! The servers that are compared: how each is started, spoken to and emptied.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use beaver_bench_kit::client::Talk;
use beaver_bench_kit::cpu_by_thread::{self, CpuByThread};
use beaver_bench_kit::files::bytes_below;
use beaver_bench_kit::server::{KilledOnDrop, command, free_port};

use super::talk::{self, Errand, QUEUE};
use super::{ceiling, machine};

/// Longest start of a server, even on a busy machine.
const START: Duration = Duration::from_secs(30);
/// Longest wait for any single answer outside of a measurement.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest wait for work that a server does after its answers.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// A server that holds more than this on the disk begins anew, with an empty directory.
const WRITTEN_BYTES_MAX: u64 = 512 << 20;

/// The servers that are compared, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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

/// The program of [`Kind::BeaverBefore`], from `--before`.
pub(crate) static BEFORE: OnceLock<String> = OnceLock::new();

/// The protocol of a server.
#[derive(Clone, Copy, PartialEq)]
enum Language {
    Faktory,
    Redis,
    Beanstalk,
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] =
        [Kind::Beaver, Kind::BeaverBefore, Kind::Redis, Kind::Beanstalkd, Kind::Nothing, Kind::NothingSynced];
    /// Those that beaver is compared with.
    pub(crate) const PEERS: [Kind; 2] = [Kind::Redis, Kind::Beanstalkd];

    pub(crate) fn name(self) -> &'static str {
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

    /// The version that it prints; none if it is not installed.
    pub(crate) fn version(self) -> Result<Option<String>> {
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
            // By its defaults: every answer after fdatasync. No programs; the hourly snapshot waits until later; and
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
        // Nor is a request refused because others take long.
        let patience = matches!(self, Kind::Beaver | Kind::BeaverBefore).then_some("--request-wait-max=1m");
        words.iter().copied().chain(patience).map(str::to_owned).collect()
    }

    /// Whether jobs have to be there before they can be fetched.
    pub(crate) fn keeps_jobs(self) -> bool {
        !matches!(self, Kind::Nothing | Kind::NothingSynced)
    }
}

/// A server that has answered once. It is killed when this is dropped; its directory goes with its successor or with
/// the whole bench.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    payload_bytes: usize,
    dir: PathBuf,
    address: SocketAddr,
    process: KilledOnDrop,
}

impl Server {
    /// With no job, in a directory of its own under `dir`.
    pub(crate) fn start(kind: Kind, dir: &Path, payload_bytes: usize) -> Result<Server> {
        let dir = dir.join(kind.name());
        if kind.keeps_jobs() && dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        let log = dir.join("log");
        let port = free_port()?;
        let mut command = command(kind.program()?.0);
        command.args(kind.arguments(port, payload_bytes)).current_dir(&dir);
        command
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?);
        let process =
            command.spawn().map(KilledOnDrop).with_context(|| format!("cannot start {}", kind.name()))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Server { kind, payload_bytes, dir, address, process };
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
        self.process.kill();
        let parent = self.dir.parent().context("a server has a directory of its own")?;
        *self = Server::start(self.kind, parent, self.payload_bytes)?;
        Ok(())
    }

    /// A connection that the server has greeted.
    pub(crate) fn connect(&self) -> Result<TcpStream> {
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

    pub(crate) fn talk(&self, errand: Errand, number: usize) -> Box<dyn Talk> {
        match self.kind.language() {
            Language::Faktory => talk::faktory(errand, self.payload_bytes),
            Language::Redis => talk::redis(errand, self.payload_bytes, number),
            Language::Beanstalk => talk::beanstalk(errand, self.payload_bytes),
        }
    }

    /// Removes all jobs, so that each run begins with none. `is_behind`: it may still be busy with an earlier run.
    pub(crate) fn empty(&mut self, is_behind: bool) -> Result<()> {
        // beanstalkd has no command for it, and starts quickly.
        let must_restart = is_behind || self.kind == Kind::Beanstalkd;
        if self.kind.keeps_jobs() && (must_restart || bytes_below(&self.dir) > WRITTEN_BYTES_MAX) {
            self.start_again()?;
        }
        let stream = self.connect()?;
        let say = |request: &str, answer: &str| -> Result<()> {
            (&stream).write_all(request.as_bytes())?;
            expect(&stream, answer)
        };
        match self.kind.language() {
            Language::Faktory => {
                // After a minute of silence beaver gives a worker up and closes its connections.
                say(&format!("BEAT {{\"wid\":\"{QUEUE}-client\"}}\r\n"), "+OK")?;
                say("FLUSH\r\n", "+OK")?;
            }
            Language::Redis => {
                say(&talk::resp(&["DEL", QUEUE]), ":")?;
                say(&talk::resp(&["XGROUP", "CREATE", QUEUE, QUEUE, "0", "MKSTREAM"]), "+OK")?;
            }
            Language::Beanstalk => {}
        }
        // Data that another server has left to be written must not count against this one.
        machine::write_back(&self.dir)
    }

    /// Waits until its work after its answers is done: beaver folds its log into a snapshot.
    pub(crate) fn settle(&self) {
        machine::wait_until_quiet(|| self.cpu().values().sum(), SETTLED_WITHIN);
    }

    /// Processor time of its threads up to now.
    pub(crate) fn cpu(&self) -> CpuByThread {
        cpu_by_thread::of_process(&self.process.0.id().to_string())
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.0.try_wait()? {
                bail!("it ended with {status}");
            }
            match self.connect() {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > START => return Err(error),
                // Only trying tells when another process's port is open.
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Reads one line, byte by byte: more would take what the next reader of the stream is to read.
fn expect(stream: &TcpStream, start: &str) -> Result<()> {
    let mut line = String::new();
    BufReader::with_capacity(1, stream.take(4096)).read_line(&mut line).context("no answer")?;
    ensure!(line.starts_with(start), "the answer is {line:?} instead of {start}...");
    Ok(())
}
