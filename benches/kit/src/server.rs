//! A server as a process of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Longest start of a server, even on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

/// A `beaver run` that takes jobs, on ports of the loopback that nobody else uses. It is killed when this is dropped.
pub struct RunningBeaver {
    process: KilledOnDrop,
    /// Where it serves HTTP.
    pub http: SocketAddr,
    /// Where it speaks the work protocol.
    pub fwp: SocketAddr,
}

impl RunningBeaver {
    /// Starts `program` in `dir`, where it keeps its data and its log.
    pub fn start(
        program: impl AsRef<OsStr>,
        dir: &Path,
        flags: &[impl AsRef<OsStr>],
    ) -> Result<RunningBeaver> {
        let log = dir.join("server.log");
        let mut command = command(program);
        command.current_dir(dir).args(["run", "--data-dir=data", "--bind=127.0.0.1"]);
        command.args(["--metrics-port=0", "--faktory-port=0"]).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let process = command.spawn().map(KilledOnDrop).context("cannot start beaver")?;
        wait_until_ready(process, &dir.join("data")).with_context(|| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("beaver does not start; its log:\n{}", log.trim_end())
        })
    }

    /// The number of its process.
    pub fn process(&self) -> String {
        self.process.0.id().to_string()
    }
}

fn wait_until_ready(mut process: KilledOnDrop, data: &Path) -> Result<RunningBeaver> {
    let started = Instant::now();
    loop {
        if let (Some(http), Some(fwp)) = (address(data.join("http.addr")), address(data.join("fwp.addr")))
            && is_ready(http)
        {
            return Ok(RunningBeaver { process, http, fwp });
        }
        if let Some(status) = process.0.try_wait()? {
            bail!("it ended with {status}");
        }
        ensure!(started.elapsed() < START_MAX, "it is not ready after {START_MAX:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The address that a server left in its data directory, if it did so already.
fn address(file: PathBuf) -> Option<SocketAddr> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn is_ready(http: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(http)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    ask().is_ok_and(|line| line.starts_with("HTTP/1.1 200"))
}

/// A process that is killed when this is dropped.
pub struct KilledOnDrop(pub Child);

impl KilledOnDrop {
    /// Kills it and waits until it has ended.
    pub fn kill(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts `program` without the `BEAVER_*` settings of the environment: they are not what is measured.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("BEAVER_")) {
        command.env_remove(key);
    }
    command
}

/// A port of the loopback that was free a moment ago.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
