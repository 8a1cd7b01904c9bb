//! The one client that every server is measured with: a thread, an epoll set, many connections, one request at a
//! time on each.
//!
//! Per request it costs one `read` and one `write`, and a share of one `epoll_wait`, which wakes up for all the
//! answers that have arrived. A thread per connection would pay a context switch per request instead, and an
//! async runtime would pay the same system calls and its own bookkeeping on top. On two cores, the time that the client
//! takes is missing to the server.
//!
//! It goes as fast as the answers come ([`drive`]), or at a rate of its own ([`crate::pace`]).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Longest silence of a server that has been asked something.
const ANSWER: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// What one connection says and hears: turn after turn, each of one or more requests.
pub trait Talk {
    /// Jobs that one turn (from the first request to the last answer) takes through the server.
    fn jobs_per_turn(&self) -> u64;

    /// Makes the first request of the next turn.
    fn start(&mut self);

    /// The request to send; it stays the same until the whole answer has been heard.
    fn request(&self) -> &[u8];

    /// Looks at the start of what has arrived.
    ///
    /// # Errors
    /// If the server refuses the request, or answers something else than expected.
    fn hear(&mut self, input: &[u8]) -> Result<Heard>;
}

/// What a [`Talk`] made of its input.
pub enum Heard {
    /// An answer that is not whole yet.
    Part,
    /// An answer of this many bytes, about one job; the request has more of them.
    Answer(usize),
    /// The last answer to the request, of this many bytes; the turn goes on with another request.
    Asks(usize),
    /// The last answer of the turn, of this many bytes.
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
    /// Jobs of this turn that have been answered before its end.
    answered: u64,
}

impl Connection {
    /// Over a stream that the server has greeted.
    pub fn new(stream: TcpStream, talk: Box<dyn Talk>) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, talk, sent: 0, input: Vec::new(), full: false, answered: 0 })
    }

    /// Sends as much of the request as the socket takes. True if there is a rest.
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

    /// Reads once, and returns what it heard last: [`Heard::Part`] unless that is the end of a request.
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
                Heard::Answer(bytes) => {
                    self.answered += 1;
                    rest = &rest[bytes..];
                }
                last @ (Heard::Asks(bytes) | Heard::Ends(bytes)) => {
                    ensure!(rest.len() == bytes, "the server answered more than it was asked");
                    return Ok(last);
                }
            }
        }
        Ok(Heard::Part)
    }
}

/// The connections of a run and the epoll set that they are in.
pub(crate) struct ConnectionSet<'c> {
    poll: rustix::fd::OwnedFd,
    connections: &'c mut [Connection],
    scratch: Vec<u8>,
    /// Connections in the middle of a turn.
    pub(crate) busy: usize,
}

/// The number in the epoll set of anything that is no connection.
pub(crate) const OTHER: u64 = u64::MAX;

impl<'c> ConnectionSet<'c> {
    pub(crate) fn new(connections: &'c mut [Connection]) -> Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, connection) in connections.iter().enumerate() {
            epoll::add(&poll, &connection.stream, EventData::new_u64(number as u64), EventFlags::IN)?;
        }
        Ok(Self { poll, connections, scratch: vec![0; 64 << 10], busy: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    fn jobs_per_turn(&self, number: usize) -> u64 {
        self.connections[number].talk.jobs_per_turn()
    }

    /// [`Self::wait`] wakes up for `other`, too, whose events carry the number [`OTHER`].
    pub(crate) fn watch(&self, other: impl AsFd) -> Result<()> {
        Ok(epoll::add(&self.poll, other, EventData::new_u64(OTHER), EventFlags::IN)?)
    }

    /// Waits until something can be read or written.
    pub(crate) fn wait(&self, events: &mut Vec<Event>) -> Result<()> {
        match epoll::wait(&self.poll, spare_capacity(events), Some(&ANSWER)) {
            Ok(0) => bail!("no answer for {} s", ANSWER.tv_sec),
            // A debugger or a profiler may interrupt the wait.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a turn.
    pub(crate) fn turn(&mut self, number: usize) -> Result<()> {
        self.busy += 1;
        let connection = &mut self.connections[number];
        connection.answered = 0;
        connection.talk.start();
        connection.sent = 0;
        self.send(number)
    }

    /// Does what an event asks for. True if a turn is over.
    pub(crate) fn go_on(&mut self, number: usize) -> Result<bool> {
        if self.connections[number].full {
            self.send(number)?;
        }
        let connection = &mut self.connections[number];
        match connection.receive(&mut self.scratch)? {
            Heard::Part | Heard::Answer(_) => Ok(false),
            Heard::Asks(_) => {
                connection.sent = 0;
                self.send(number)?;
                Ok(false)
            }
            Heard::Ends(_) => {
                connection.answered = 0;
                self.busy -= 1;
                Ok(true)
            }
        }
    }

    /// Sends, and waits for room in the socket as long as it is full.
    fn send(&mut self, number: usize) -> Result<()> {
        let connection = &mut self.connections[number];
        let full = connection.send()?;
        if full != connection.full {
            connection.full = full;
            let flags = if full { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.poll, &connection.stream, EventData::new_u64(number as u64), flags)?;
        }
        Ok(())
    }

    /// Jobs that were answered in turns that are not over.
    fn answered(&self) -> u64 {
        self.connections.iter().map(|connection| connection.answered).sum()
    }
}

/// When a run ends.
#[derive(Clone, Copy)]
pub struct Limit {
    /// No turn is started that would go beyond this number of jobs,
    pub jobs: u64,
    /// nor after this time.
    pub time: Duration,
    /// Turns that are not over after this time are given up; those of their jobs that were answered count.
    pub patience: Duration,
}

/// What a run did.
#[derive(Clone, Copy)]
pub struct Done {
    /// Answered jobs.
    pub jobs: u64,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Some turns were given up: the server may still be working on them.
    pub cut: bool,
}

/// Keeps all connections busy until the limit.
///
/// # Errors
/// If the server hangs up, is silent for 30 s, or gives an answer that [`Talk::hear`] refuses.
pub fn drive(connections: &mut [Connection], limit: Limit) -> Result<Done> {
    let mut set = ConnectionSet::new(connections)?;
    let mut events = Vec::with_capacity(set.len());
    let (mut left, mut done) = (limit.jobs, 0);
    let started = Instant::now();
    for number in 0..set.len() {
        let jobs = set.jobs_per_turn(number);
        if left >= jobs {
            left -= jobs;
            set.turn(number)?;
        }
    }
    while set.busy > 0 {
        set.wait(&mut events)?;
        let elapsed = started.elapsed();
        if elapsed >= limit.time {
            left = 0;
        }
        for event in events.drain(..) {
            let number = usize::try_from(event.data.u64())?;
            if set.go_on(number)? {
                let jobs = set.jobs_per_turn(number);
                done += jobs;
                if left >= jobs {
                    left -= jobs;
                    set.turn(number)?;
                }
            }
        }
        if elapsed >= limit.patience && set.busy > 0 {
            return Ok(Done { jobs: done + set.answered(), took: started.elapsed(), cut: true });
        }
    }
    Ok(Done { jobs: done, took: started.elapsed(), cut: false })
}
