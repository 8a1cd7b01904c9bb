//! As much HTTP/1.1 as the tests need: one request, one connection, and no trust in the other side.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Longer than the server may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Asserts a refusal: its status, its stable code, and that the message has all these texts.
    #[track_caller]
    pub fn refuses(&self, status: u16, code: &str, texts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.body);
        let error = &self.json()["error"];
        assert_eq!(error["code"], code, "{}", self.body);
        let message = error["message"].as_str().unwrap();
        for text in texts {
            assert!(message.contains(text), "{text:?} is missing in {message:?}");
        }
    }
}

/// Sends one request and reads the answer to its end.
///
/// # Errors
/// Nobody is there, or the answer is not complete: the server has died.
pub fn request(address: &str, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
    send(address, method, path, &[], body)
}

/// As [`request`], with further header lines.
pub fn send(address: &str, method: &str, path: &str, headers: &[&str], body: &[u8]) -> io::Result<Answer> {
    let mut stream = connect(address)?;
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    // One write for small requests: the server must not see half of one when its end comes.
    let sent = match body.len() < 64 << 10 {
        true => stream.write_all(&[head.as_bytes(), body].concat()),
        false => stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)),
    };
    // A server may refuse before it has read everything; then its answer is there all the same.
    receive(&mut stream).map_err(|error| sent.err().unwrap_or(error))
}

/// A connection with bounded patience.
pub fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one answer, which ends with the connection.
pub fn receive(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Err(read.err().unwrap_or_else(|| broken("no head")));
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| broken("no status"))?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| length != body.len()) {
        return Err(broken("the body is cut off"));
    }
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

fn broken(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, problem)
}
