//! One connection: bytes in, bytes out, in the order of the commands.
//!
//! Every whole line that came in is started at once, so that pipelined commands share an fsync; their replies are
//! written in order, all that are ready with one write. Only a FETCH holds up what follows it. A client that
//! sends without reading, reads without end or falls silent holds a bounded amount of memory for a bounded
//! time.
//!
//! Nor does it hold up others: after a little of what it sent, the next connection is looked at; a long line is read
//! when it is its [turn](super::long_line_gate); and where much waits for the engine already, a client that pipelines is
//! left unread before anybody is told that the server is busy.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use beaver_actors::base::byte_budget::ByteShare;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::line::{Inbox, Overflow};
use super::long_line_gate::{LONG_BYTES, LongLineTurn};
use super::reply::SHUTDOWN;
use super::session::{After, Pending, Session};
use crate::auth::memory::UNCOUNTED_BYTES;
use crate::remote::registry::CloseReason;

/// Commands of one connection that wait for their reply; more stay unread.
const PENDING_MAX: usize = 1_000;
/// The same while the engine is crowded: at most this many, and none more at the bytes below.
const PENDING_CROWDED_MAX: usize = 8;
const PENDING_BYTES_CROWDED_MAX: usize = 16 << 10;
/// Bytes of the lines that they came in; more stay unread.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// This many bytes of lines are taken before others are looked at, or one line that is longer: half a millisecond's work,
/// but for the largest.
const TAKEN_BYTES_MAX: usize = LONG_BYTES;
/// What a short line counts as, for it takes work too.
const LINE_BYTES_MIN: usize = 128;
/// While a FETCH holds up what follows, this much is read ahead.
const AHEAD_BYTES_MAX: usize = 64 << 10;
/// Replies beyond this wait until the client reads.
const OUT_BYTES_MAX: usize = 1 << 20;
/// A buffer for replies that has grown beyond this is given back when it is empty.
const OUT_BYTES_KEPT: usize = UNCOUNTED_BYTES;
/// A client that has sent half a line, or does not read its replies, gets this long to go on.
const STALL_MAX: Duration = Duration::from_secs(60);
/// How long what a client still sends is taken, so that it can read why it is closed.
const FAREWELL: Duration = Duration::from_secs(2);
const FAREWELL_BYTES_MAX: u64 = 64 << 20;

/// A connection after its handshake.
pub(super) struct Connection<S> {
    stream: S,
    session: Session,
    inbox: Inbox,
    line_bytes_max: usize,
    idle_timeout: Duration,
    closed: oneshot::Receiver<CloseReason>,
    /// Replies that are due, with the length of the line that asked for each.
    pending: VecDeque<(Pending, usize)>,
    pending_bytes: usize,
    /// Bytes of lines that may still be taken before others are looked at.
    bytes_left: usize,
    /// What it needs to have a long line read.
    turn: LongLineTurn,
    out: Vec<u8>,
    /// How much of `out` has been written.
    written: usize,
    /// What the replies hold that the client does not read.
    unread: ByteShare,
    must_flush: bool,
    stage: Stage,
    /// When bytes last went in either direction.
    moved_at: Instant,
    timer: Pin<Box<Sleep>>,
}

/// How far a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// The client sends no more.
    HalfClosed,
    /// What is pending is answered, nothing more is taken.
    Ending,
    /// The client does not even read.
    Lost,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Nobody is there any more, or nobody who deserves a word.
    Gone,
    /// Everything is said; perhaps it has not been read.
    Said,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(
        stream: S,
        session: Session,
        inbox: Inbox,
        closed: oneshot::Receiver<CloseReason>,
        (line_bytes_max, idle_timeout): (usize, Duration),
        unread: ByteShare,
    ) -> Connection<S> {
        let now = Instant::now();
        let turn = session.turn();
        Connection {
            stream,
            session,
            inbox,
            line_bytes_max,
            idle_timeout,
            closed,
            pending: VecDeque::new(),
            pending_bytes: 0,
            bytes_left: 0,
            turn,
            out: Vec::new(),
            written: 0,
            unread,
            must_flush: false,
            stage: Stage::Open,
            moved_at: now,
            timer: Box::pin(sleep_until(now + idle_timeout)),
        }
    }

    /// Serves until the end.
    pub(super) async fn serve(mut self) {
        let farewell = poll_fn(|cx| self.poll(cx)).await;
        // Leases, requests and the place in the registry are given back before the client is waited for.
        let Connection { stream, .. } = self;
        if farewell == Farewell::Said {
            part(stream).await;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Farewell> {
        self.bytes_left = TAKEN_BYTES_MAX;
        // Others were looked at since it was taken.
        self.turn.pass_on();
        loop {
            if let Some(farewell) = self.poll_closed(cx) {
                return Poll::Ready(farewell);
            }
            let Ok(read) = self.poll_read(cx) else { return Poll::Ready(Farewell::Gone) };
            let submitted = self.submit(cx);
            let answered = self.poll_answers(cx);
            let Ok(written) = self.poll_write(cx) else { return Poll::Ready(Farewell::Gone) };
            self.hold_unread();
            if let Some(farewell) = self.is_over() {
                return Poll::Ready(farewell);
            }
            if self.bytes_left == 0 {
                // Comes back after everybody else, the engine's own actors among them. A plain wake-up would come back
                // before those: the runtime looks after them only now and then while tasks wake each other.
                let _ = pin!(yield_now()).poll(cx);
                return Poll::Pending;
            }
            let moved = read || submitted || answered || written;
            if !(moved || self.turn.comes(cx) || self.poll_timer(cx)) {
                // While it waits, others need not wait for it.
                self.turn.pass_on();
                return Poll::Pending;
            }
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Option<Farewell> {
        if self.stage == Stage::Ending || self.closed.is_terminated() {
            return None;
        }
        match Pin::new(&mut self.closed).poll(cx) {
            Poll::Pending => None,
            Poll::Ready(Ok(CloseReason::Shutdown)) => {
                // A FETCH that waits for a job waits no longer, and requests without an answer hear why.
                let waits = self.pending.pop_back_if(|(pending, _)| pending.is_fetch());
                let is_asking = waits.is_some() || self.inbox.has_line();
                match is_asking {
                    true => self.end_with(Pending::error(SHUTDOWN)),
                    false => self.stage = Stage::Ending,
                }
                None
            }
            Poll::Ready(Ok(CloseReason::Reaped) | Err(_)) => Some(Farewell::Gone),
        }
    }

    /// Whether there is a place for what comes in.
    fn takes_more(&self) -> bool {
        let (count_max, bytes_max) = match self.session.is_crowded() {
            true => (PENDING_CROWDED_MAX, PENDING_BYTES_CROWDED_MAX),
            false => (PENDING_MAX, PENDING_BYTES_MAX),
        };
        self.pending.len() < count_max
            && self.pending_bytes < bytes_max
            && self.out.len() < OUT_BYTES_MAX
            && self.pending.back().is_none_or(|(pending, _)| !pending.is_fetch())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let may_read = match self.takes_more() {
            true => !self.inbox.has_line(),
            false => self.inbox.untaken() < AHEAD_BYTES_MAX,
        };
        if self.stage != Stage::Open || !may_read || !self.may_take(cx) {
            return Ok(false);
        }
        let spare = match self.inbox.spare() {
            Ok(spare) => spare,
            Err(overflow) => {
                self.overflow(overflow);
                return Ok(true);
            }
        };
        let mut spare = ReadBuf::new(spare);
        match Pin::new(&mut self.stream).poll_read(cx, &mut spare) {
            Poll::Pending => return Ok(false),
            Poll::Ready(read) => read?,
        }
        let bytes = spare.filled().len();
        self.inbox.filled(bytes);
        self.moved_at = Instant::now();
        if bytes == 0 {
            self.stage = Stage::HalfClosed;
        }
        Ok(true)
    }

    /// Where the line ends cannot be told from commands inside of it, so nothing after it is taken.
    fn overflow(&mut self, overflow: Overflow) {
        self.end_with(match overflow {
            Overflow::LineTooLong => self.line_too_long(),
            Overflow::NoRoom => {
                Pending::error("busy: too many long lines are being received; try again later")
            }
        });
    }

    fn line_too_long(&self) -> Pending {
        Pending::error(format!(
            "the line is longer than {} bytes (faktory_line_bytes_max): send fewer jobs at once",
            self.line_bytes_max
        ))
    }

    /// The last reply of this connection.
    fn end_with(&mut self, pending: Pending) {
        self.pending.push_back((pending, 0));
        self.stage = Stage::Ending;
    }

    /// Whether what is there of the next line is short, or it may be taken in all the same.
    fn may_take(&mut self, cx: &mut Context<'_>) -> bool {
        self.inbox.line_len() <= LONG_BYTES || self.turn.poll(cx).is_ready()
    }

    fn submit(&mut self, cx: &mut Context<'_>) -> bool {
        let mut submitted = false;
        while matches!(self.stage, Stage::Open | Stage::HalfClosed)
            && self.bytes_left > 0
            && self.takes_more()
            && self.inbox.has_line()
            && self.may_take(cx)
            && let Some(line) = self.inbox.take_line()
        {
            submitted = true;
            let bytes = line.len();
            self.bytes_left = self.bytes_left.saturating_sub(bytes.max(LINE_BYTES_MIN));
            if bytes > self.line_bytes_max {
                self.end_with(self.line_too_long());
                break;
            }
            let is_late = self.turn.take_late();
            match self.session.submit(self.inbox.text(line), is_late) {
                Some(pending) => {
                    self.pending.push_back((pending, bytes));
                    self.pending_bytes += bytes;
                }
                None => self.stage = Stage::Ending,
            }
        }
        submitted
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut answered = false;
        while self.out.len() < OUT_BYTES_MAX {
            let Some((pending, bytes)) = self.pending.front_mut() else { break };
            let bytes = *bytes;
            let Poll::Ready(after) = self.session.poll(pending, cx, &mut self.out) else { break };
            answered = true;
            self.pending.pop_front();
            self.pending_bytes -= bytes;
            if after == After::Close {
                self.stage = Stage::Ending;
            }
        }
        answered
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while self.written < self.out.len() {
            let unwritten = &self.out[self.written..];
            let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, unwritten) else {
                return Ok(moved);
            };
            let bytes = written?;
            if bytes == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += bytes;
            self.must_flush = true;
            self.moved_at = Instant::now();
            moved = true;
        }
        if self.must_flush {
            if let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx) {
                flushed?;
                self.must_flush = false;
            }
            self.written = 0;
            self.out.clear();
            self.out.shrink_to(OUT_BYTES_KEPT);
        }
        Ok(moved)
    }

    /// Replies that are not read are counted together with those of all others; without room for them the client is given up.
    fn hold_unread(&mut self) {
        let bytes = self.out.len() - self.written;
        if !self.unread.resize(if bytes <= UNCOUNTED_BYTES { 0 } else { bytes }) {
            self.stage = Stage::Lost;
        }
    }

    fn is_over(&mut self) -> Option<Farewell> {
        let waits_for_job = self.pending.back().is_some_and(|(pending, _)| pending.is_fetch());
        let is_silent = self.pending.is_empty() && self.out.is_empty() && !self.must_flush;
        match self.stage {
            Stage::Open => None,
            // Nobody is there to take the job.
            Stage::HalfClosed if waits_for_job => Some(Farewell::Gone),
            Stage::HalfClosed => (is_silent && !self.inbox.has_line()).then_some(Farewell::Said),
            Stage::Ending => is_silent.then_some(Farewell::Said),
            Stage::Lost => Some(Farewell::Gone),
        }
    }

    fn patience(&self) -> Duration {
        let is_mid_line = self.inbox.untaken() > 0 && self.pending.is_empty();
        let is_unread = !self.out.is_empty() || self.must_flush;
        match is_mid_line || is_unread {
            true => STALL_MAX.min(self.idle_timeout),
            false => self.idle_timeout,
        }
    }

    /// Whether something is to be said because time is over.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.moved_at + self.patience();
        // One that fires too early is set again then: most never fire.
        if self.timer.deadline() > due {
            self.timer.as_mut().reset(due);
        }
        // It is us who are slow.
        let owes_nothing = self.turn.is_waiting() || !self.pending.is_empty() && self.out.is_empty();
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match (now < due, owes_nothing) {
                (true, _) => self.timer.as_mut().reset(due),
                (false, true) => self.timer.as_mut().reset(now + self.idle_timeout),
                (false, false) => return self.time_out(),
            }
        }
        false
    }

    fn time_out(&mut self) -> bool {
        if self.stage == Stage::Ending || !self.out.is_empty() || self.must_flush {
            self.stage = Stage::Lost;
            return true;
        }
        self.end_with(match self.inbox.untaken() {
            0 => Pending::error(format!("no command for {:?} (faktory_idle_timeout)", self.idle_timeout)),
            _ => Pending::error(format!("no end of the line for {:?}", self.patience())),
        });
        true
    }
}

/// Ends a connection so that the client can read what was said last: closing while it still sends would reset the
/// connection, which may destroy the reply.
pub(super) async fn part(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let farewell = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FAREWELL_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whether it was heard is no longer our concern.
    let _ = timeout(FAREWELL, farewell).await;
}
