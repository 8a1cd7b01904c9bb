//! The one client that every server is measured with: a thread, an epoll set, many connections, one request at a
//! time on each.
//!
//! Per request it costs one `read` and one `write`, and a share of one `epoll_wait`, which wakes up for all the
//! answers that have arrived. A thread per connection would pay a context switch per request instead, and an
//! async runtime would pay the same system calls and its own bookkeeping on top. On two cores, whatever the client
//! takes is missing to the server.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

/// Longest silence of a server that has been asked something.
const ANSWER: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// What one connection says and hears: a job after the other, each in one or more requests.
pub trait Talk {
    /// Jobs that one turn (from the first request to the last answer) takes through the server.
    fn jobs_per_turn(&self) -> u64;

    /// Makes the first request of the next turn.
    fn start(&mut self);

    /// The request to send; it stays the same until the whole answer has been heard.
    fn request(&self) -> &[u8];

    /// Looks at the start of what has arrived.
    fn hear(&mut self, input: &[u8]) -> Result<Heard>;
}

/// What a [`Talk`] made of its input.
pub enum Heard {
    /// An answer that is not whole yet.
    Part,
    /// An answer of so many bytes; the request has more of them.
    Answer(usize),
    /// The last answer to the request, of so many bytes; the turn goes on with another request.
    Asks(usize),
    /// The last answer of the turn, of so many bytes.
    Ends(usize),
}

/// A connected socket and what is said over it.
pub struct Connection {
    stream: TcpStream,
    talk: Box<dyn Talk>,
    sent: usize,
    /// The start of an answer whose rest has not arrived.
    input: Vec<u8>,
    full: bool,
}

impl Connection {
    pub fn new(stream: TcpStream, talk: Box<dyn Talk>) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, talk, sent: 0, input: Vec::new(), full: false })
    }

    /// Sends what the socket takes of the request. True if there is a rest.
    fn send(&mut self) -> Result<bool> {
        let request = self.talk.request();
        while self.sent < request.len() {
            match (&self.stream).write(&request[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error).context("the server hung up on a request"),
            }
        }
        Ok(false)
    }

    /// Reads once. What it heard last, which is [`Heard::Answer`] for anything but the end of a request.
    fn receive(&mut self, scratch: &mut [u8]) -> Result<Heard> {
        let bytes = match (&self.stream).read(scratch) {
            Ok(0) => return Err(anyhow!("the server hung up")),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Heard::Part),
            Err(error) => return Err(error).context("the server hung up"),
        };
        let mut held = std::mem::take(&mut self.input);
        let mut rest = if held.is_empty() {
            &scratch[..bytes]
        } else {
            held.extend_from_slice(&scratch[..bytes]);
            &held[..]
        };
        while !rest.is_empty() {
            match self.talk.hear(rest)? {
                Heard::Part => {
                    self.input = rest.to_vec();
                    return Ok(Heard::Part);
                }
                Heard::Answer(bytes) => rest = &rest[bytes..],
                last @ (Heard::Asks(bytes) | Heard::Ends(bytes)) => {
                    ensure!(rest.len() == bytes, "the server answered what nobody asked");
                    return Ok(last);
                }
            }
        }
        Ok(Heard::Part)
    }
}

/// When a run has enough: at the first of the two, and then every turn that has been started is finished.
#[derive(Clone, Copy)]
pub struct Limit {
    pub jobs: u64,
    pub time: Duration,
}

/// What a run did, and how long it took until the last answer.
#[derive(Clone, Copy)]
pub struct Done {
    pub jobs: u64,
    pub took: Duration,
}

/// Keeps all the connections busy until the limit.
pub fn drive(connections: &mut [Connection], limit: Limit) -> Result<Done> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, connection) in connections.iter().enumerate() {
        epoll::add(&poll, &connection.stream, EventData::new_u64(number as u64), EventFlags::IN)?;
    }
    let mut scratch = vec![0; 64 << 10];
    let mut events = Vec::with_capacity(connections.len());
    let mut run = Run { poll, left: limit.jobs, done: 0, busy: 0 };
    let started = Instant::now();
    for (number, connection) in connections.iter_mut().enumerate() {
        run.turn(number, connection)?;
    }
    while run.busy > 0 {
        match epoll::wait(&run.poll, spare_capacity(&mut events), Some(&ANSWER)) {
            Ok(0) => bail!("no answer for {} s", ANSWER.tv_sec),
            Ok(_) => {}
            // Somebody looks at this process with a debugger or a profiler.
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if started.elapsed() >= limit.time {
            run.left = 0;
        }
        for event in events.drain(..) {
            let number = usize::try_from(event.data.u64())?;
            let connection = &mut connections[number];
            if connection.full {
                run.send(number, connection)?;
            }
            match connection.receive(&mut scratch)? {
                Heard::Part | Heard::Answer(_) => {}
                Heard::Asks(_) => {
                    connection.sent = 0;
                    run.send(number, connection)?;
                }
                Heard::Ends(_) => {
                    run.done += connection.talk.jobs_per_turn();
                    run.busy -= 1;
                    run.turn(number, connection)?;
                }
            }
        }
    }
    Ok(Done { jobs: run.done, took: started.elapsed() })
}

struct Run {
    poll: rustix::fd::OwnedFd,
    /// Jobs that may still be started.
    left: u64,
    done: u64,
    /// Connections in the middle of a turn.
    busy: usize,
}

impl Run {
    fn turn(&mut self, number: usize, connection: &mut Connection) -> Result<()> {
        let jobs = connection.talk.jobs_per_turn();
        if self.left < jobs {
            return Ok(());
        }
        self.left -= jobs;
        self.busy += 1;
        connection.talk.start();
        connection.sent = 0;
        self.send(number, connection)
    }

    /// Sends, and waits for room in the socket as long as it is full.
    fn send(&mut self, number: usize, connection: &mut Connection) -> Result<()> {
        let full = connection.send()?;
        if full != connection.full {
            connection.full = full;
            let flags = if full { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.poll, &connection.stream, EventData::new_u64(number as u64), flags)?;
        }
        Ok(())
    }
}
