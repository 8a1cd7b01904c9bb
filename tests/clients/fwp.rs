//! A server with its work-protocol port, and as much of that protocol as the tests need besides real clients.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Place, Server, wait};

/// A queue that is always empty.
const NOWHERE: &str = "nowhere";

/// Starts a server on any free ports, of which the work protocol's is the second part of what comes back.
pub fn start(place: &Place, flags: &[&str]) -> (Server, u16) {
    start_at(place, 0, flags)
}

/// As [`start`], at a port that is known beforehand.
pub fn start_at(place: &Place, port: u16, flags: &[&str]) -> (Server, u16) {
    let (port, file) = (port.to_string(), place.data("fwp.addr"));
    // No handlers at home, unless a test wants some: the clients do the work.
    let workers = if flags.contains(&"--workers") { &[][..] } else { &["--workers", "0"] };
    let server = place.start(&[&["--faktory-port", &port], workers, flags].concat());
    let port = wait("the address for remote workers", None, || {
        let address = fs::read_to_string(&file).ok()?;
        address.trim().rsplit_once(':')?.1.parse().ok()
    });
    (server, port)
}

/// What goes into `FAKTORY_URL`.
pub fn url(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

/// A port that is free now and that the kernel gives to nobody who asks for any: a server can have it again after
/// it was killed, although clients and other tests open connections all the while.
pub fn lasting_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let number = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = (std::process::id() * 7 + number) % COUNT;
        let port = FIRST + u16::try_from(offset).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
        assert!(number < COUNT / 2, "no free port below the ones for outgoing connections");
    }
}

/// A consumer's connection, for what no client offers: to end a job that another client has fetched and forgotten.
pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    /// Connects and says hello as the worker `wid`.
    pub fn open(port: u16, wid: &str) -> io::Result<Wire> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut wire = Wire { stream: BufReader::new(stream) };
        let greeting = wire.line()?;
        assert!(greeting.starts_with("+HI {"), "{greeting}");
        let hello = json!({"wid": wid, "hostname": "test", "pid": 1, "labels": [], "v": 2});
        assert_eq!(wire.ask(&format!("HELLO {hello}"))?, "+OK");
        Ok(wire)
    }

    /// One command and the first line of its answer.
    pub fn ask(&mut self, command: &str) -> io::Result<String> {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        self.line()
    }

    /// Pushes one job, which must be taken.
    pub fn push(&mut self, job: &Value) {
        assert_eq!(self.ask(&format!("PUSH {job}")).unwrap(), "+OK");
    }

    /// Waits until every FETCH that waits for a job by now has been answered: they all take equally long.
    pub fn outlast_fetches(&mut self) {
        assert_eq!(self.ask(&format!("FETCH {NOWHERE}")).unwrap(), "$-1");
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

/// Tells a remote worker to fetch no more (`quiet`) or to end (`terminate`): it hears of it at its next heartbeat.
pub fn tell_worker(server: &Server, wid: &str, what: &str) {
    let answer = server.request("POST", &format!("/api/v1/workers/{wid}/{what}"), "");
    assert_eq!(answer.status, 200, "{}", answer.body);
}
