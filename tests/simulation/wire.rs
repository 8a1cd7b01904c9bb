//! One connection of a client of the work protocol, over the simulated network.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;
use turmoil::net::TcpStream;

use crate::server::FWP_PORT;

const PATIENCE: Duration = Duration::from_secs(2);
/// A FETCH is answered within two seconds.
const REPLY_WITHIN: Duration = Duration::from_secs(4);

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Ok,
    Text(String),
    Nothing,
    Error(String),
}

/// A connection whose HELLO was accepted.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects as a worker of this name, or as a producer.
    pub async fn open(wid: Option<&str>) -> Option<Connection> {
        let stream = timeout(PATIENCE, TcpStream::connect(("server", FWP_PORT))).await.ok()?.ok()?;
        let mut connection = Connection { stream: BufReader::new(stream) };
        let greeting = timeout(PATIENCE, connection.line()).await.ok()??;
        assert_eq!(greeting, "+HI {\"v\":2}");
        let hello = match wid {
            Some(wid) => json!({ "v": 2, "wid": wid, "hostname": "here", "pid": 7, "labels": ["simulated"] }),
            None => json!({ "v": 2 }),
        };
        match connection.ask(&format!("HELLO {hello}")).await? {
            Reply::Ok => Some(connection),
            _ => None,
        }
    }

    /// Sends lines all at once; their replies come in the same order.
    pub async fn send(&mut self, lines: &[String]) -> Option<()> {
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        timeout(PATIENCE, self.stream.write_all(text.as_bytes())).await.ok()?.ok()
    }

    /// The next reply; none if the connection broke, or if it takes too long.
    pub async fn hear(&mut self) -> Option<Reply> {
        timeout(REPLY_WITHIN, self.reply()).await.ok()?
    }

    pub async fn ask(&mut self, line: &str) -> Option<Reply> {
        self.send(&[line.to_owned()]).await?;
        self.hear().await
    }

    async fn reply(&mut self) -> Option<Reply> {
        let line = self.line().await?;
        match line.split_at_checked(1)? {
            ("+", "OK") => Some(Reply::Ok),
            ("-", error) => Some(Reply::Error(error.to_owned())),
            ("$", "-1") => Some(Reply::Nothing),
            ("$", length) => {
                let length: usize = length.parse().expect("a length is a number");
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text).await.ok()?;
                assert_eq!(text.split_off(length), b"\r\n");
                Some(Reply::Text(String::from_utf8(text).expect("JSON is text")))
            }
            _ => panic!("this is no reply: {line}"),
        }
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let bytes = self.stream.read_line(&mut line).await.ok()?;
        let whole = line.strip_suffix("\r\n")?;
        (bytes > 0).then(|| whole.to_owned())
    }
}
