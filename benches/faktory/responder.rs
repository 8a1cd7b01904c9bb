//! A server of the work protocol that neither parses, keeps nor syncs anything: it answers every line at once.
//!
//! What the client reaches with it is the client's own limit, and the loopback's; no server can be seen to be
//! faster than that. It is a thread of the bench, with the same epoll loop as the client.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

const LISTENER: u64 = u64::MAX;

/// Serves from now on until the process ends.
pub fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::Builder::new().name("responder".to_owned()).spawn(move || {
        if let Err(error) = serve(&listener) {
            eprintln!("the responder gave up: {error:#}");
        }
    })?;
    Ok(address)
}

struct Peer {
    stream: TcpStream,
    /// What the line that has begun will be answered; none between lines.
    answer: Option<&'static [u8]>,
}

fn serve(listener: &TcpListener) -> Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut events = Vec::with_capacity(64);
    let (mut scratch, mut answers) = (vec![0; 64 << 10], Vec::new());
    loop {
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            if event.data.u64() == LISTENER {
                let (mut stream, _) = listener.accept()?;
                stream.write_all(b"+HI {\"v\":2}\r\n")?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                epoll::add(&poll, &stream, EventData::new_u64(peers.len() as u64), EventFlags::IN)?;
                peers.push(Some(Peer { stream, answer: None }));
                continue;
            }
            let slot = &mut peers[usize::try_from(event.data.u64())?];
            let Some(peer) = slot else { continue };
            let bytes = match peer.stream.read(&mut scratch) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => 0,
            };
            if bytes == 0 {
                *slot = None;
                continue;
            }
            answers.clear();
            for part in scratch[..bytes].split_inclusive(|&byte| byte == b'\n') {
                let answer = *peer.answer.get_or_insert_with(|| answer_to(part));
                if part.ends_with(b"\n") {
                    answers.extend_from_slice(answer);
                    peer.answer = None;
                }
            }
            // An answer is smaller than a socket's buffer, and the client waits for it.
            ensure!(peer.stream.write(&answers)? == answers.len(), "a client does not read its answers");
        }
    }
}

/// By the start of a line, which is longer than any verb as soon as it has arrived at all.
fn answer_to(line: &[u8]) -> &'static [u8] {
    match line {
        [b'P', b'U', b'S', b'H', b'B', ..] => b"$2\r\n{}\r\n",
        [b'F', b'E', b'T', b'C', b'H', ..] => JOB.as_bytes(),
        _ => b"+OK\r\n",
    }
}

const JOB: &str = concat!(
    "$264\r\n",
    r#"{"jid":"0000000000000001","queue":"bench","jobtype":"bench","args":["#,
    r#""0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"],"#,
    r#""created_at":"2026-01-01T00:00:00.000Z","enqueued_at":"2026-01-01T00:00:00.000Z","retry":25}"#,
    "\r\n"
);
