//! Bytes as events: the reverse of [`crate::wal::codec::encode`].

use serde::Deserialize;

use crate::base::msgpack;
use crate::ids::{
    Attempt, JobId, KindName, Priority, QueueName, RemoteName, Seq, Timestamp, Token, WorkerId,
};
use crate::jobs::event::{Event, EventKind, NewJob};
use crate::jobs::model::failure::{Failure, FailureKind};
use crate::jobs::stored::{backoff_of, exhausted_of, remote_of};
use crate::jobs::{Backoff, Exhausted, Payload, PayloadRef};
use crate::wal::codec::{CRC_BYTES, CodecError, ENVELOPE_BYTES, V1, V2, has_crc, has_number, kind};
use crate::wal::fields::{
    AckV1, DeadV1, DigestV1, DispatchV1, EnqueueV1, EnqueueV2, ExtendV1, FailV1, ForgetV1, MoveV1, OfJobV1,
    OfQueueV1, PromoteV1, RequeueV1, ReserveV1,
};
use crate::wal::pack::Unpack;

/// Reads events; remembers the names that it read last, as the next event mostly has the same.
#[derive(Debug, Default)]
pub struct Decoder {
    queue: Option<QueueName>,
    kind: Option<KindName>,
    remote: Option<RemoteName>,
    emptied: Option<Box<NewJob>>,
    leaves_payloads: bool,
}

impl Decoder {
    /// One for a batch whose checksum was right: it leaves payloads on disk which can be read back from there, and does
    /// not look at the records' own checksums.
    #[must_use]
    pub fn leaving_payloads() -> Decoder {
        Decoder { leaves_payloads: true, ..Decoder::default() }
    }

    /// Gives it what [`crate::jobs::JobTable::take_emptied`] left of a job that it read. The next one mostly has the same
    /// names, and then needs neither memory nor names of its own: enqueues are replayed a tenth faster.
    pub fn give_back(&mut self, emptied: Box<NewJob>) {
        self.emptied = Some(emptied);
    }
}

/// Takes one event from the front of `bytes`.
///
/// # Errors
/// See [`CodecError`].
pub fn decode(bytes: &mut &[u8]) -> Result<Event, CodecError> {
    Decoder::default().decode(bytes)
}

impl Decoder {
    /// Takes one event from the front of `bytes`.
    ///
    /// # Errors
    /// See [`CodecError`].
    pub fn decode(&mut self, bytes: &mut &[u8]) -> Result<Event, CodecError> {
        self.decode_for(bytes, |event| event)
    }

    /// The same, and hands the event to `then`: there it is in the place where it was made. An event is moved in pieces,
    /// and moving it at once after making it waits for every piece to reach the cache, which took as long as reading it.
    ///
    /// # Errors
    /// See [`CodecError`].
    #[inline]
    pub fn decode_for<T>(
        &mut self,
        bytes: &mut &[u8],
        mut then: impl FnMut(Event) -> T,
    ) -> Result<T, CodecError> {
        let record = open_envelope(bytes, !self.leaves_payloads)?;
        match self.decode_hot(&record, &mut then) {
            Some(done) => Ok(done),
            None => Ok(then(self.decode_any(&record)?)),
        }
    }

    fn decode_any(&mut self, record: &Record<'_>) -> Result<Event, CodecError> {
        let &Record { kind, version, number, body } = record;
        let (at, change) = match (kind, version) {
            (kind::ENQUEUE, V1 | V2) => self.decode_enqueue(version, body)?,
            (kind::RETRY | kind::TIMEOUT, V1) => decode_fail(kind, body)?,
            (kind::DEAD | kind::DROP, V1) => decode_end(kind, body)?,
            (kind::REQUEUE, V1) => {
                let RequeueV1(at, job, token, sort, message, counted, errtype, backtrace) = read(body)?;
                let failure = failure(sort, message)?.of_type(errtype).with_backtrace(backtrace).into();
                (at, EventKind::Requeue { job, token, failure, counted })
            }
            (kind::DISPATCH, V1) => {
                let DispatchV1(at, job, worker, attempt, deadline) = read(body)?;
                (at, EventKind::Dispatch { job, worker, attempt, deadline })
            }
            (kind::RESERVE, V1) => {
                let ReserveV1(at, job, worker, attempt, deadline) = read(body)?;
                (at, EventKind::Reserve { job, worker: self.remote(worker)?, attempt, deadline })
            }
            (kind::ACK, V1) => {
                let AckV1(at, job, token, result) = read(body)?;
                (at, EventKind::Ack { job, token, result: result.map(Payload::trusted) })
            }
            (kind::EXTEND, V1) => {
                let ExtendV1(at, job, token, deadline) = read(body)?;
                (at, EventKind::Extend { job, token, deadline })
            }
            (kind::CANCEL | kind::KILL | kind::RUN_NOW | kind::DISCARD, V1) => {
                let OfJobV1(at, job) = read(body)?;
                let change = match kind {
                    kind::CANCEL => EventKind::Cancel { job },
                    kind::KILL => EventKind::Kill { job },
                    kind::RUN_NOW => EventKind::RunNow { job },
                    _ => EventKind::Discard { job },
                };
                (at, change)
            }
            (kind::MOVE, V1) => {
                let MoveV1(at, job, queue) = read(body)?;
                (at, EventKind::Move { job, queue: self.named_queue(queue)? })
            }
            (kind::PAUSE | kind::RESUME | kind::REMOVE_QUEUE, V1) => {
                let OfQueueV1(at, queue) = read(body)?;
                let queue = self.named_queue(queue)?;
                let change = match kind {
                    kind::PAUSE => EventKind::Pause { queue },
                    kind::RESUME => EventKind::Resume { queue },
                    _ => EventKind::RemoveQueue { queue },
                };
                (at, change)
            }
            (kind::PROMOTE, V1) => {
                let PromoteV1(at, due, number) = read(body)?;
                (at, EventKind::Promote { due, number })
            }
            (kind::DIGEST, V1) => {
                let DigestV1(at, digest) = read(body)?;
                (at, EventKind::Digest { digest })
            }
            (kind::FORGET, V1) => {
                let ForgetV1(at, completed, dead, cancelled) = read(body)?;
                (at, EventKind::Forget { completed, dead, cancelled })
            }
            _ => return Err(CodecError::Unknown { kind, version }),
        };
        Ok(Event { at, number, change })
    }

    /// The records that most of a log is made of, in their usual form; whatever else there is, is left to the rest.
    #[inline]
    fn decode_hot<T>(&mut self, record: &Record<'_>, then: &mut impl FnMut(Event) -> T) -> Option<T> {
        let &Record { kind, version: V1, number, body } = record else { return None };
        let body = &mut Unpack(body);
        match kind {
            kind::ENQUEUE => {
                body.array(9)?;
                let (at, id) = (Timestamp(body.uint()?), FoundId::unpack(body)?);
                let (queue, job_kind, payload) = (body.text_bytes()?, body.text_bytes()?, body.text_bytes()?);
                let (priority, run_at) = (Priority::new(body.uint8()?).ok()?, Timestamp(body.uint()?));
                let (timeout_ms, max_retry) = (body.uint()?, body.uint32()?);
                body.end()?;
                let payload = self.body(payload)?;
                let run_at = (run_at != Timestamp(0)).then_some(run_at);
                let mut new = self.new_job(queue, job_kind)?;
                id.made(|id| new.id = id)?;
                (new.payload, new.priority, new.run_at) = (payload, priority, run_at);
                (new.timeout_ms, new.max_retry) = (timeout_ms, max_retry);
                Some(then(Event { at, number, change: EventKind::Enqueue(new) }))
            }
            kind::DISPATCH => {
                body.array(5)?;
                let (at, id) = (Timestamp(body.uint()?), FoundId::unpack(body)?);
                let (worker, attempt) = (WorkerId(body.uint32()?), Attempt(body.uint32()?));
                let deadline = Timestamp(body.uint()?);
                body.end()?;
                id.made(|job| {
                    then(Event { at, number, change: EventKind::Dispatch { job, worker, attempt, deadline } })
                })
            }
            kind::RESERVE => {
                body.array(5)?;
                let (at, id) = (Timestamp(body.uint()?), FoundId::unpack(body)?);
                let (worker, attempt) = (body.text()?, Attempt(body.uint32()?));
                let deadline = Timestamp(body.uint()?);
                body.end()?;
                let worker = self.remote(worker).ok()?;
                id.made(|job| {
                    then(Event { at, number, change: EventKind::Reserve { job, worker, attempt, deadline } })
                })
            }
            kind::ACK => {
                body.array(4)?;
                let (at, id) = (Timestamp(body.uint()?), FoundId::unpack(body)?);
                let (token, result) = (Token(body.uint()?), body.optional_text()?);
                body.end()?;
                let result = result.map(Payload::trusted);
                id.made(|job| then(Event { at, number, change: EventKind::Ack { job, token, result } }))
            }
            _ => None,
        }
    }

    /// A job of these names, which has nothing else yet but what an `ENQUEUE` of the first version does not say.
    #[inline]
    fn new_job(&mut self, queue: &[u8], kind: &[u8]) -> Option<Box<NewJob>> {
        let is_same =
            |new: &NewJob| new.queue.as_str().as_bytes() == queue && new.kind.as_str().as_bytes() == kind;
        if let Some(mut new) = self.emptied.take_if(|new| is_same(new)) {
            // All of them are named: whoever adds one sees that it would keep what the job before had in it.
            let NewJob {
                id: _,
                queue: _,
                kind: _,
                payload: _,
                priority: _,
                run_at: _,
                timeout_ms: _,
                max_retry: _,
                backoff,
                exhausted,
                custom,
                backtrace_lines,
            } = &mut *new;
            (*backoff, *exhausted) = (Backoff::Server, Exhausted::Dead);
            (*custom, *backtrace_lines) = (None, 0);
            return Some(new);
        }
        Some(Box::new(NewJob {
            id: JobId::NOBODY,
            queue: self.queue(queue)?,
            kind: self.kind(kind)?,
            payload: PayloadRef::Stored { bytes: 0 },
            priority: Priority::default(),
            run_at: None,
            timeout_ms: 0,
            max_retry: 0,
            backoff: Backoff::Server,
            exhausted: Exhausted::Dead,
            custom: None,
            backtrace_lines: 0,
        }))
    }

    /// A payload, or that it is there.
    ///
    /// None if it is no text. One that is left is not looked at.
    #[inline]
    fn body(&self, payload: &[u8]) -> Option<PayloadRef> {
        match u32::try_from(payload.len()) {
            Ok(bytes) if self.leaves_payloads && payload.len() > PayloadRef::KEPT_BYTES => {
                Some(PayloadRef::Stored { bytes })
            }
            _ => Some(PayloadRef::Here(Payload::trusted(std::str::from_utf8(payload).ok()?))),
        }
    }

    fn decode_enqueue(&mut self, version: u8, body: &[u8]) -> Result<(Timestamp, EventKind), CodecError> {
        let more = ((0, 0, 0, 0), 0, None, 0);
        let (plain, (backoff, exhausted, custom, backtrace_lines)) = match version {
            V1 => (read(body)?, more),
            _ => {
                let EnqueueV2(a, b, c, d, e, f, g, h, i, backoff, exhausted, custom, lines) = read(body)?;
                (EnqueueV1(a, b, c, d, e, f, g, h, i), (backoff, exhausted, custom, lines))
            }
        };
        let EnqueueV1(at, id, queue, job_kind, payload, priority, run_at, timeout_ms, max_retry) = plain;
        let new = NewJob {
            id,
            queue: self.named_queue(queue)?,
            kind: self.named_kind(job_kind)?,
            payload: self.body(payload.as_bytes()).expect("it is a text"),
            priority: Priority::new(priority).map_err(invalid)?,
            run_at: (run_at != Timestamp(0)).then_some(run_at),
            timeout_ms,
            max_retry,
            backoff: backoff_of(backoff).map_err(CodecError::Invalid)?,
            exhausted: exhausted_of(exhausted).map_err(CodecError::Invalid)?,
            custom: custom.map(Payload::trusted),
            backtrace_lines,
        };
        Ok((at, EventKind::Enqueue(Box::new(new))))
    }

    fn remote(&mut self, name: &str) -> Result<RemoteName, CodecError> {
        match &self.remote {
            Some(remote) if remote.as_str() == name => Ok(remote.clone()),
            _ => Ok(self.remote.insert(remote_of(name).map_err(CodecError::Invalid)?).clone()),
        }
    }

    #[inline]
    fn queue(&mut self, name: &[u8]) -> Option<QueueName> {
        match &self.queue {
            Some(queue) if queue.as_str().as_bytes() == name => Some(queue.clone()),
            _ => Some(self.queue.insert(QueueName::parse(std::str::from_utf8(name).ok()?).ok()?).clone()),
        }
    }

    #[inline]
    fn kind(&mut self, name: &[u8]) -> Option<KindName> {
        match &self.kind {
            Some(kind) if kind.as_str().as_bytes() == name => Some(kind.clone()),
            _ => Some(self.kind.insert(KindName::parse(std::str::from_utf8(name).ok()?).ok()?).clone()),
        }
    }

    /// As [`Decoder::queue`], with what is wrong with it.
    fn named_queue(&mut self, name: &str) -> Result<QueueName, CodecError> {
        self.queue(name.as_bytes()).map_or_else(|| QueueName::parse(name).map_err(invalid), Ok)
    }

    /// As [`Decoder::kind`], with what is wrong with it.
    fn named_kind(&mut self, name: &str) -> Result<KindName, CodecError> {
        self.kind(name.as_bytes()).map_or_else(|| KindName::parse(name).map_err(invalid), Ok)
    }
}

fn decode_fail(kind: u8, body: &[u8]) -> Result<(Timestamp, EventKind), CodecError> {
    let FailV1(at, job, token, sort, message, retry_at, result, errtype, backtrace) = read(body)?;
    let failure = failure(sort, message)?.of_type(errtype).with_backtrace(backtrace).into();
    let result = result.map(Payload::trusted);
    let change = match kind {
        kind::RETRY => EventKind::Retry { job, token, failure, retry_at, result },
        _ => EventKind::Timeout { job, token, failure, retry_at, result },
    };
    Ok((at, change))
}

fn decode_end(kind: u8, body: &[u8]) -> Result<(Timestamp, EventKind), CodecError> {
    let DeadV1(at, job, token, sort, message, result, errtype, backtrace) = read(body)?;
    let failure = failure(sort, message)?.of_type(errtype).with_backtrace(backtrace).into();
    let result = result.map(Payload::trusted);
    let change = match kind {
        kind::DEAD => EventKind::Dead { job, token, failure, result },
        _ => EventKind::Drop { job, token, failure, result },
    };
    Ok((at, change))
}

fn failure(sort: u8, message: &str) -> Result<Failure, CodecError> {
    match FailureKind::from_number(sort) {
        Some(kind) => Ok(Failure::new(kind, message)),
        None => Err(CodecError::Invalid(format!("unknown sort of failure {sort}"))),
    }
}

/// Takes a number from the front, if it is one in its shortest form.
#[inline]
fn read_leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for nth in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if nth == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * nth);
        if byte & 0x80 == 0 {
            return (nth == 0 || bits > 0).then_some(number);
        }
    }
    None
}

/// A record's parts.
struct Record<'a> {
    kind: u8,
    version: u8,
    /// Of its job; zero if it is about none, or about all.
    number: Seq,
    body: &'a [u8],
}

#[inline]
fn open_envelope<'a>(bytes: &mut &'a [u8], check: bool) -> Result<Record<'a>, CodecError> {
    let whole = *bytes;
    let Some((envelope, rest)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
        return Err(CodecError::Invalid(format!("{} bytes are left, less than an event", bytes.len())));
    };
    let len = u32::from_le_bytes(envelope[2..].try_into().expect("4 bytes")) as usize;
    let Some((mut body, rest)) = rest.split_at_checked(len) else {
        return Err(CodecError::Invalid(format!("an event of {len} bytes, but {} are left", rest.len())));
    };
    *bytes = rest;
    let (kind, version) = (envelope[0], envelope[1]);
    if !matches!((kind, version), (_, V1) | (kind::ENQUEUE, V2)) {
        return Err(CodecError::Unknown { kind, version });
    }
    if !has_number(kind) {
        return Ok(Record { kind, version, number: Seq::ZERO, body });
    }
    if has_crc(kind) {
        let covered = ENVELOPE_BYTES + len.saturating_sub(CRC_BYTES);
        let Some((left, crc)) = body.split_last_chunk::<CRC_BYTES>() else {
            return Err(CodecError::Invalid(format!("an event of {len} bytes has no room for its checksum")));
        };
        let found = u32::from_le_bytes(*crc);
        let expected = if check { crc32fast::hash(&whole[..covered]) } else { found };
        if expected != found {
            let problem = format!("the event's checksum is {found:08x}, its bytes give {expected:08x}");
            return Err(CodecError::Invalid(problem));
        }
        body = left;
    }
    let Some(number) = read_leb128(&mut body) else {
        return Err(CodecError::Invalid("an event's job number is cut off".to_owned()));
    };
    Ok(Record { kind, version, number: Seq(number), body })
}

/// An id that was found and is not made yet, so that it is made where it will be.
struct FoundId<'a> {
    /// Of a generated one.
    bytes: u128,
    text: Option<&'a str>,
}

impl<'a> FoundId<'a> {
    #[inline]
    fn unpack(body: &mut Unpack<'a>) -> Option<FoundId<'a>> {
        let (bytes, text) = body.bytes16_or_text()?;
        Some(FoundId { bytes: u128::from_le_bytes(bytes), text })
    }

    /// What `make` makes of it; none if it is no id.
    #[inline]
    fn made<T>(self, make: impl FnOnce(JobId) -> T) -> Option<T> {
        match self.text {
            None => Some(make(JobId::of_ulid(self.bytes.to_le_bytes()))),
            Some(text) => Some(make(JobId::parse(text).ok()?)),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    msgpack::read(body).map_err(CodecError::Invalid)
}

fn invalid(error: impl std::fmt::Display) -> CodecError {
    CodecError::Invalid(error.to_string())
}
