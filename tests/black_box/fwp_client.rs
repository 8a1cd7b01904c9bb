//! As much of the work protocol as the tests need, written down again: nothing here is shared with the server.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Place, Server, wait};

/// Both directions of a connection, perhaps through TLS.
pub trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// A connection.
pub struct Fwp(BufReader<Box<dyn Wire + Send>>);

/// Where the server of `place` listens for workers.
pub fn address(place: &Place) -> String {
    wait("the address for remote workers", None, || {
        let text = fs::read_to_string(place.data("fwp.addr")).ok()?;
        Some(text.trim().to_owned())
    })
}

/// Starts a server for which remote workers do the work.
pub fn start(place: &Place, flags: &[&str]) -> Server {
    place.start(&[&["--workers", "0"], flags].concat())
}

impl Fwp {
    /// Connects and introduces itself as a producer.
    pub fn producer(place: &Place) -> Fwp {
        Fwp::open(place, &json!({"v": 2}))
    }

    /// Connects and introduces itself as a worker.
    pub fn worker(place: &Place, wid: &str) -> Fwp {
        Fwp::open(place, &json!({"v": 2, "wid": wid, "hostname": "test", "pid": 7, "labels": ["t"]}))
    }

    fn open(place: &Place, hello: &Value) -> Fwp {
        let mut client = Fwp::connect(place);
        assert_eq!(client.reply(), "+HI {\"v\":2}");
        assert_eq!(client.ask(&format!("HELLO {hello}")), "+OK");
        client
    }

    /// Connects and says nothing yet.
    pub fn connect(place: &Place) -> Fwp {
        Fwp::over(Fwp::stream(place))
    }

    pub fn stream(place: &Place) -> TcpStream {
        let stream = TcpStream::connect(address(place)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub fn over(wire: impl Wire + Send + 'static) -> Fwp {
        Fwp(BufReader::new(Box::new(wire)))
    }

    pub fn send(&mut self, text: &str) {
        self.try_send(text).unwrap();
    }

    pub fn try_send(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
        self.0.get_mut().flush()
    }

    /// The next reply without its line ends: of a bulk what is in it, `$-1` for nothing, "" for the end.
    pub fn reply(&mut self) -> String {
        self.try_reply().unwrap()
    }

    pub fn try_reply(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let Some(text) = line.strip_suffix("\r\n") else { return Ok(line) };
        let length = text.strip_prefix('$').filter(|length| *length != "-1");
        let Some(length) = length else { return Ok(text.to_owned()) };
        let mut bytes = vec![0; length.parse::<usize>().unwrap() + 2];
        self.0.read_exact(&mut bytes)?;
        assert_eq!(bytes.split_off(bytes.len() - 2), b"\r\n");
        Ok(String::from_utf8(bytes).unwrap())
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.reply()
    }

    #[track_caller]
    pub fn json(&mut self, line: &str) -> Value {
        let reply = self.ask(line);
        serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{line}: {error}: {reply}"))
    }

    /// Adds a job; it must be accepted.
    #[track_caller]
    pub fn push(&mut self, job: &Value) {
        assert_eq!(self.ask(&format!("PUSH {job}")), "+OK", "{job}");
    }

    /// The id of the next job of a queue.
    #[track_caller]
    pub fn fetch(&mut self, queue: &str) -> String {
        let job = self.json(&format!("FETCH {queue}"));
        job["jid"].as_str().unwrap().to_owned()
    }

    /// The id of the next job of a queue, if there is one within the time that a FETCH waits.
    pub fn try_fetch(&mut self, queue: &str) -> Option<String> {
        let reply = self.ask(&format!("FETCH {queue}"));
        let job: Value = serde_json::from_str(&reply).ok()?;
        Some(job["jid"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    pub fn ack(&mut self, jid: &str) {
        assert_eq!(self.ask(&format!("ACK {}", json!({"jid": jid}))), "+OK");
    }

    /// A number in INFO, by its path below `faktory`.
    #[track_caller]
    pub fn count(&mut self, path: &str) -> u64 {
        let info = self.json("INFO");
        info["faktory"].pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {info}"))
    }
}

/// A job that says no more than it must.
pub fn job(jid: &str) -> Value {
    json!({"jid": jid, "jobtype": "mail", "args": [jid, 7]})
}
