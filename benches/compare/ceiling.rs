//! Servers of the work protocol that neither parse nor keep anything: they answer every line at once, or after one
//! write and one fdatasync of all that has come in.
//!
//! The rate of the first is the limit of client, kernel and loopback; the rate of the second is the limit on this disk
//! of a server with one thread which syncs before it answers. (One that
//! syncs on a second thread may be a bit faster than that.) Each is a process of its own, as the others are: the
//! bench started again with an argument of its own. One thread, one `read` and one `write` per request, a
//! share of one `epoll_wait`.

use std::fs::File;
use std::io::{BufRead, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use beaver_bench_kit::pushes::payload;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::talk::QUEUE;

/// The first argument of the process.
pub(crate) const ARGUMENT: &str = "--serve-nothing";

const LISTENER: u64 = u64::MAX;
/// The most that one read takes.
const READ_BYTES: usize = 1 << 20;
/// Size of the log on the disk; it begins anew when it is full.
const LOG_BYTES: u64 = 128 << 20;

/// What follows [`ARGUMENT`]: the port, the size of a fetched job's payload, and where the log is if there is one.
pub(crate) fn arguments(port: u16, payload_bytes: usize, is_synced: bool) -> Vec<String> {
    let mut arguments = vec![ARGUMENT.to_owned(), port.to_string(), payload_bytes.to_string()];
    arguments.extend(is_synced.then(|| "nothing.log".to_owned()));
    arguments
}

/// Serves as the arguments say until the process is killed.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let [port, payload_bytes, log @ ..] = arguments else { anyhow::bail!("{ARGUMENT} PORT BYTES [LOG]") };
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    let log = log.first().map(|path| Log::create(Path::new(path))).transpose()?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    Responder { poll, peers: Vec::new(), job: job(payload_bytes.parse()?), log, gathered: Vec::new() }
        .serve(&listener)
}

struct Peer {
    stream: TcpStream,
    /// The request of the line that has begun; none between lines.
    begun: Option<Asked>,
    answers: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Asked {
    Bulk,
    Job,
    Other,
}

struct Responder {
    poll: OwnedFd,
    peers: Vec<Option<Peer>>,
    job: Vec<u8>,
    log: Option<Log>,
    /// Input since the last write to the log.
    gathered: Vec<u8>,
}

impl Responder {
    fn serve(&mut self, listener: &TcpListener) -> Result<()> {
        let mut events = Vec::with_capacity(256);
        let mut answered = Vec::new();
        loop {
            match epoll::wait(&self.poll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                if event.data.u64() == LISTENER {
                    self.welcome(listener.accept()?.0)?;
                    continue;
                }
                let number = usize::try_from(event.data.u64())?;
                if self.hear(number)? {
                    match self.log {
                        Some(_) => answered.push(number),
                        None => self.answer(number)?,
                    }
                }
            }
            if let Some(log) = &mut self.log
                && !answered.is_empty()
            {
                log.append(&self.gathered)?;
                self.gathered.clear();
                answered.drain(..).try_for_each(|number| self.answer(number))?;
            }
        }
    }

    fn welcome(&mut self, mut stream: TcpStream) -> Result<()> {
        stream.write_all(b"+HI {\"v\":2}\r\n")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&self.poll, &stream, EventData::new_u64(self.peers.len() as u64), EventFlags::IN)?;
        self.peers.push(Some(Peer { stream, begun: None, answers: Vec::new() }));
        Ok(())
    }

    /// Reads once. True if there is something to answer.
    fn hear(&mut self, number: usize) -> Result<bool> {
        let slot = &mut self.peers[number];
        let Some(peer) = slot else { return Ok(false) };
        if self.log.is_none() {
            self.gathered.clear();
        }
        let start = self.gathered.len();
        self.gathered.reserve(READ_BYTES);
        match rustix::io::read(&peer.stream, spare_capacity(&mut self.gathered)) {
            Ok(1..) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Ok(0) | Err(_) => {
                *slot = None;
                return Ok(false);
            }
        }
        let mut unseen = &self.gathered[start..];
        while !unseen.is_empty() {
            let asked = *peer.begun.get_or_insert_with(|| Asked::by(unseen));
            // The fastest search for a byte that the standard library has.
            let mut rest = unseen;
            let line = &unseen[..rest.skip_until(b'\n')?];
            unseen = rest;
            if line.ends_with(b"\n") {
                peer.begun = None;
                peer.answers.extend_from_slice(match asked {
                    Asked::Bulk => b"$2\r\n{}\r\n",
                    Asked::Job => &self.job,
                    Asked::Other => b"+OK\r\n",
                });
            }
        }
        Ok(!peer.answers.is_empty())
    }

    fn answer(&mut self, number: usize) -> Result<()> {
        let Some(peer) = &mut self.peers[number] else { return Ok(()) };
        match peer.stream.write(&peer.answers) {
            // An answer is smaller than a socket's buffer, and the client waits for it.
            Ok(bytes) => ensure!(bytes == peer.answers.len(), "a client does not read its answers"),
            Err(_) => self.peers[number] = None,
        }
        if let Some(peer) = &mut self.peers[number] {
            peer.answers.clear();
        }
        Ok(())
    }
}

impl Asked {
    /// By the start of a line. The first part that arrives is longer than any verb, as the client writes lines whole.
    fn by(line: &[u8]) -> Asked {
        match line {
            [b'P', b'U', b'S', b'H', b'B', ..] => Asked::Bulk,
            [b'F', b'E', b'T', b'C', b'H', ..] => Asked::Job,
            _ => Asked::Other,
        }
    }
}

/// A file of zeros that is written over from its start to its end, so that only data has to reach the disk.
struct Log {
    file: File,
    path: PathBuf,
    at: u64,
}

impl Log {
    fn create(path: &Path) -> Result<Log> {
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        // A file that an earlier process has left will do.
        if file.metadata()?.len() < LOG_BYTES {
            let zeros = vec![0; READ_BYTES];
            for at in (0..LOG_BYTES).step_by(READ_BYTES) {
                file.write_all_at(&zeros, at)?;
            }
            file.sync_all()?;
        }
        Ok(Log { file, path: path.to_owned(), at: 0 })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.at + bytes.len() as u64 > LOG_BYTES {
            self.at = 0;
        }
        let write = || {
            self.file.write_all_at(bytes, self.at)?;
            self.file.sync_data()
        };
        write().with_context(|| format!("cannot write to {}", self.path.display()))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// A fetched job, as long as beaver's answer.
fn job(payload_bytes: usize) -> Vec<u8> {
    let json = format!(
        "{{\"jid\":\"0000000000000001\",\"queue\":\"{QUEUE}\",\"jobtype\":\"{QUEUE}\",\"args\":[\"{}\"],\
         \"created_at\":\"2026-01-01T00:00:00.000Z\",\"enqueued_at\":\"2026-01-01T00:00:00.000Z\",\"retry\":25}}",
        payload(payload_bytes)
    );
    format!("${}\r\n{json}\r\n", json.len()).into_bytes()
}
