//! What a server and a keeper say to each other, over a socket that nobody else has.
//!
//! | from | bytes | meaning |
//! |---|---|---|
//! | server | `s`, length (4 bytes), that many bytes; with three descriptors | run this program |
//! | server | `t` | end it: SIGTERM, and SIGKILL after its grace |
//! | server | `k` | end it: SIGKILL |
//! | keeper | `e`, wait status (4 bytes) | the program itself has ended; others may be left |
//! | keeper | `i`, count (4 bytes) | I have no program; of the last one, this many processes are left that I may not end |
//! | keeper | `f`, error number (4 bytes) | it could not be started, and I have no program |
//!
//! Numbers are little endian. A program is text: its grace in milliseconds, its directory, the number of words
//! of its command, these, and `NAME=VALUE` for each variable, each ended by a NUL, which none of them can have.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// Standard input, output and error of a program.
pub(super) type Stdio = [OwnedFd; 3];

/// Far above what the kernel takes as arguments and environment of a program (2 MiB by default): a length beyond
/// it is no length.
const ORDER_BYTES_MAX: usize = 1 << 30;

/// A program that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgramOrder {
    /// Between SIGTERM and SIGKILL.
    pub(crate) stop_grace: Duration,
    /// Where it runs, an absolute path.
    pub(crate) directory: PathBuf,
    /// Its file, an absolute path, and its arguments.
    pub(crate) command: Vec<OsString>,
    /// All of its environment.
    pub(crate) variables: Vec<(OsString, OsString)>,
}

/// What a keeper hears. The end of the stream means that the server is gone.
pub(super) enum Order {
    Start(ProgramOrder, Stdio),
    Stop,
    Kill,
}

/// What a keeper says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeeperReport {
    Idle { left: u32 },
    NotStarted { errno: i32 },
    Ended(ExitStatus),
}

impl ProgramOrder {
    fn encode(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut put = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| text.extend_from_slice(part));
            text.push(0);
        };
        put(&[self.stop_grace.as_millis().to_string().as_bytes()]);
        put(&[self.directory.as_os_str().as_bytes()]);
        put(&[self.command.len().to_string().as_bytes()]);
        self.command.iter().for_each(|word| put(&[word.as_bytes()]));
        self.variables.iter().for_each(|(name, value)| put(&[name.as_bytes(), b"=", value.as_bytes()]));
        text
    }

    fn decode(text: &[u8]) -> Option<ProgramOrder> {
        let mut fields = text.strip_suffix(b"\0")?.split(|byte| *byte == 0);
        let grace_ms = number(fields.next()?)?;
        let directory = PathBuf::from(owned(fields.next()?));
        let words = number(fields.next()?)?;
        let command: Vec<_> = fields.by_ref().take(words.try_into().ok()?).map(owned).collect();
        let variable = |field: &[u8]| {
            let name_bytes = field.iter().position(|byte| *byte == b'=')?;
            Some((owned(&field[..name_bytes]), owned(&field[name_bytes + 1..])))
        };
        let variables = fields.map(variable).collect::<Option<_>>()?;
        let stop_grace = Duration::from_millis(grace_ms);
        (!command.is_empty()).then_some(ProgramOrder { stop_grace, directory, command, variables })
    }
}

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn owned(text: &[u8]) -> OsString {
    OsString::from_vec(OsStr::from_bytes(text).as_bytes().to_vec())
}

/// Hands a program over, with its ends of the pipes. Its length travels with the descriptors, the rest behind.
pub(super) async fn send_start(
    socket: &mut UnixStream,
    program: &ProgramOrder,
    stdio: &Stdio,
) -> io::Result<()> {
    let text = program.encode();
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::ArgumentListTooLong)?;
    let head = [&b"s"[..], &length.to_le_bytes()].concat();
    let sent = socket
        .async_io(Interest::WRITABLE, || {
            let descriptors: Vec<BorrowedFd<'_>> = stdio.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(
                ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)),
                "there is space for three"
            );
            let sent = sendmsg(&*socket, &[IoSlice::new(&head)], &mut ancillary, SendFlags::NOSIGNAL)?;
            Ok(sent)
        })
        .await?;
    socket.write_all(&head[sent..]).await?;
    socket.write_all(&text).await
}

/// The next order; none if the server is gone. Not to be dropped half way.
pub(super) async fn next_order(socket: &mut UnixStream) -> io::Result<Option<Order>> {
    let mut first = [0];
    let (bytes, descriptors) = socket.async_io(Interest::READABLE, || receive(socket, &mut first)).await?;
    if bytes == 0 {
        return Ok(None);
    }
    match first {
        [b't'] => Ok(Some(Order::Stop)),
        [b'k'] => Ok(Some(Order::Kill)),
        [b's'] => {
            let length = socket.read_u32_le().await? as usize;
            if length > ORDER_BYTES_MAX {
                return Err(not_understood());
            }
            let mut text = vec![0; length];
            socket.read_exact(&mut text).await?;
            let program = ProgramOrder::decode(&text);
            let (program, stdio) = program.zip(descriptors.try_into().ok()).ok_or_else(not_understood)?;
            Ok(Some(Order::Start(program, stdio)))
        }
        _ => Err(not_understood()),
    }
}

fn receive(socket: &UnixStream, first: &mut [u8; 1]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(first)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let descriptors = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    Ok((received, descriptors.collect()))
}

/// Says what a keeper has to say.
pub(super) async fn send_report(socket: &mut UnixStream, report: KeeperReport) -> io::Result<()> {
    let (tag, number) = match report {
        KeeperReport::Idle { left } => (b'i', left.cast_signed()),
        KeeperReport::NotStarted { errno } => (b'f', errno),
        KeeperReport::Ended(status) => (b'e', status.into_raw()),
    };
    socket.write_all(&[&[tag][..], &number.to_le_bytes()].concat()).await
}

/// KeeperReports of a keeper, put together from the pieces in which they come. Safe to drop and ask again.
#[derive(Debug, Default)]
pub(super) struct KeeperReports {
    pending: Vec<u8>,
}

impl KeeperReports {
    const BYTES: usize = 5;

    /// The next one; none if the keeper is gone.
    pub(crate) async fn next(&mut self, socket: &mut UnixStream) -> io::Result<Option<KeeperReport>> {
        while self.pending.len() < KeeperReports::BYTES {
            let mut buffer = [0; KeeperReports::BYTES];
            let free = KeeperReports::BYTES - self.pending.len();
            match socket.read(&mut buffer[..free]).await {
                Ok(0) => return Ok(None),
                Ok(bytes) => self.pending.extend_from_slice(&buffer[..bytes]),
                // It is gone with something of ours unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let pending = std::mem::take(&mut self.pending);
        let (tag, number) = pending.split_first().expect("five bytes were waited for");
        let number = i32::from_le_bytes(number.try_into().expect("four are left"));
        match tag {
            b'i' => Ok(Some(KeeperReport::Idle { left: number.cast_unsigned() })),
            b'f' => Ok(Some(KeeperReport::NotStarted { errno: number })),
            b'e' => Ok(Some(KeeperReport::Ended(ExitStatus::from_raw(number)))),
            _ => Err(not_understood()),
        }
    }
}

fn not_understood() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a message between a server and a keeper")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    fn order() -> ProgramOrder {
        ProgramOrder {
            stop_grace: Duration::from_millis(1500),
            directory: "/srv".into(),
            command: ["/bin/echo", "", "a=b", "é"].map(OsString::from).into(),
            variables: vec![("A".into(), "b=c".into()), ("EMPTY".into(), "".into())],
        }
    }

    #[test]
    fn a_program_reads_back_as_itself_and_half_of_one_is_none() {
        let text = order().encode();
        assert_eq!(ProgramOrder::decode(&text), Some(order()));
        let plain = ProgramOrder { command: vec!["/bin/true".into()], variables: Vec::new(), ..order() };
        assert_eq!(ProgramOrder::decode(&plain.encode()), Some(plain));
        for text in [&b""[..], b"\0", b"5\0/srv\0", b"5\0/srv\x000\0", b"x\0/srv\x001\0a\0", &text[..9]] {
            assert_eq!(ProgramOrder::decode(text), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_program_travels_with_its_descriptors_and_reports_come_back_whole() {
        let (mut server, mut keeper) = UnixStream::pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let stdio = [null(), writer.into(), null()];
        send_start(&mut server, &order(), &stdio).await.unwrap();
        drop(stdio);
        server.write_all(b"tk").await.unwrap();

        let Some(Order::Start(program, [_, out, _])) = next_order(&mut keeper).await.unwrap() else {
            panic!()
        };
        assert_eq!(program, order());
        File::from(out).set_len(0).unwrap_err();
        let mut left = Vec::new();
        { reader }.read_to_end(&mut left).unwrap();
        assert_eq!(left, b"", "the last copy of the other end was closed");
        assert!(matches!(next_order(&mut keeper).await.unwrap(), Some(Order::Stop)));
        assert!(matches!(next_order(&mut keeper).await.unwrap(), Some(Order::Kill)));

        let said = [
            KeeperReport::Ended(ExitStatus::from_raw(3 << 8)),
            KeeperReport::Idle { left: 2 },
            KeeperReport::NotStarted { errno: 11 },
        ];
        let mut reports = KeeperReports::default();
        for report in said {
            send_report(&mut keeper, report).await.unwrap();
            assert_eq!(reports.next(&mut server).await.unwrap(), Some(report));
        }
        drop(keeper);
        assert_eq!(reports.next(&mut server).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error_and_the_end_of_the_stream_is_none() {
        let (mut server, mut keeper) = UnixStream::pair().unwrap();
        server.write_all(b"?").await.unwrap();
        assert!(next_order(&mut keeper).await.is_err());
        server.write_all(b"s\xff\xff\xff\xff").await.unwrap();
        assert!(next_order(&mut keeper).await.is_err(), "nothing is allocated for such a length");
        drop(server);
        assert!(next_order(&mut keeper).await.unwrap().is_none());
    }
}
