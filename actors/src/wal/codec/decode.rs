//! Bytes as events: the reverse of [`super::encode`], for every version there ever was.

use serde::Deserialize;

use super::{CRC_BYTES, CodecError, ENVELOPE_BYTES, TAGGED, V1, V2, V3, has_crc, kind};
use crate::ids::{
    Attempt, JobId, KindName, Lsn, Priority, QueueName, RemoteName, Timestamp, Token, WorkerId,
};
use crate::jobs::event::{Change, Event, NewJob};
use crate::jobs::failure::{Failure, FailureKind};
use crate::jobs::{Backoff, Body, Exhausted, Payload};
use crate::msgpack;
use crate::stored::{backoff_of, exhausted_of, remote_of};
use crate::wal::fields::{
    AckV1, DeadV1, DeadV2, DigestV1, DispatchV1, EnqueueV1, EnqueueV2, ExtendV1, FailV1, FailV2, ForgetV1,
    MoveV1, OfJobV1, OfQueueV1, PromoteV1, RequeueV1, RequeueV2, ReserveV1,
};
use crate::wal::pack::Unpack;

/// Reads events; remembers the names that it read last, as the next event mostly has the same.
#[derive(Debug, Default)]
pub struct Decoder {
    queue: Option<QueueName>,
    kind: Option<KindName>,
    remote: Option<RemoteName>,
    leaves_payloads: bool,
}

impl Decoder {
    /// One for a batch whose checksum was right: it leaves payloads on disk which can be read back from there, and does
    /// not look at the records' own checksums.
    #[must_use]
    pub fn leaving_payloads() -> Decoder {
        Decoder { leaves_payloads: true, ..Decoder::default() }
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
        let Record { kind, version, tag, body, has_crc } = open_envelope(bytes, !self.leaves_payloads)?;
        if let Some((at, change)) = self.decode_hot(kind, version, body, has_crc) {
            return Ok(Event { at, number: tag, change });
        }
        let (at, change) = match (kind, version) {
            (kind::ENQUEUE, V1 | V2) => self.decode_enqueue(version, body, has_crc)?,
            (kind::RETRY | kind::TIMEOUT, V1 | V2) => decode_fail(kind, version, body)?,
            (kind::DEAD | kind::DROP, V1 | V2) => decode_end(kind, version, body)?,
            (kind::REQUEUE, V1) => {
                let RequeueV1(at, job, token, sort, message) = read(body)?;
                (at, Change::Requeue { job, token, failure: failure(sort, message)?.into(), counted: true })
            }
            (kind::REQUEUE, V2) => {
                let RequeueV2(at, job, token, sort, message, counted, errtype, backtrace) = read(body)?;
                let failure = failure(sort, message)?.of_type(errtype).with_backtrace(backtrace).into();
                (at, Change::Requeue { job, token, failure, counted })
            }
            (kind::DISPATCH, V1) => {
                let DispatchV1(at, job, worker, attempt, deadline) = read(body)?;
                (at, Change::Dispatch { job, worker, attempt, deadline })
            }
            (kind::RESERVE, V1) => {
                let ReserveV1(at, job, worker, attempt, deadline) = read(body)?;
                (at, Change::Reserve { job, worker: self.remote(worker)?, attempt, deadline })
            }
            (kind::ACK, V1) => {
                let AckV1(at, job, token, result) = read(body)?;
                (at, Change::Ack { job, token, result: result.map(Payload::trusted) })
            }
            (kind::EXTEND, V1) => {
                let ExtendV1(at, job, token, deadline) = read(body)?;
                (at, Change::Extend { job, token, deadline })
            }
            (kind::CANCEL | kind::KILL | kind::RUN_NOW | kind::DISCARD, V1) => {
                let OfJobV1(at, job) = read(body)?;
                let change = match kind {
                    kind::CANCEL => Change::Cancel { job },
                    kind::KILL => Change::Kill { job },
                    kind::RUN_NOW => Change::RunNow { job },
                    _ => Change::Discard { job },
                };
                (at, change)
            }
            (kind::MOVE, V1) => {
                let MoveV1(at, job, queue) = read(body)?;
                (at, Change::Move { job, queue: self.queue(queue)? })
            }
            (kind::PAUSE | kind::RESUME | kind::REMOVE_QUEUE, V1) => {
                let OfQueueV1(at, queue) = read(body)?;
                let queue = self.queue(queue)?;
                let change = match kind {
                    kind::PAUSE => Change::Pause { queue },
                    kind::RESUME => Change::Resume { queue },
                    _ => Change::RemoveQueue { queue },
                };
                (at, change)
            }
            (kind::PROMOTE, V1) => {
                let PromoteV1(at, due, number) = read(body)?;
                (at, Change::Promote { due, number })
            }
            (kind::DIGEST, V1 | V2 | V3) => {
                let DigestV1(at, digest) = read(body)?;
                (at, Change::Digest { digest: (version == V3).then_some(digest) })
            }
            (kind::FORGET, V1) => {
                let ForgetV1(at, completed, dead, cancelled) = read(body)?;
                (at, Change::Forget { completed, dead, cancelled })
            }
            _ => return Err(CodecError::Unknown { kind, version }),
        };
        let number = match change.job() {
            Some(_) => tag,
            None => Some(Lsn::ZERO),
        };
        Ok(Event { at, number, change })
    }

    /// The records that most of a log is made of, in their usual form; whatever else there is, is left to the rest.
    fn decode_hot(
        &mut self,
        kind: u8,
        version: u8,
        body: &[u8],
        has_crc: bool,
    ) -> Option<(Timestamp, Change)> {
        if version != V1 {
            return None;
        }
        let body = &mut Unpack(body);
        let (at, change) = match kind {
            kind::ENQUEUE => {
                body.array(9)?;
                let (at, id) = (Timestamp(body.uint()?), unpack_id(body)?);
                let (queue, job_kind, payload) = (body.text()?, body.text()?, body.text()?);
                let (priority, run_at) = (body.uint8()?, Timestamp(body.uint()?));
                let new = NewJob {
                    id,
                    queue: self.queue(queue).ok()?,
                    kind: self.kind(job_kind).ok()?,
                    payload: self.body(payload, has_crc),
                    priority: Priority::new(priority).ok()?,
                    run_at: (run_at != Timestamp(0)).then_some(run_at),
                    timeout_ms: body.uint()?,
                    max_retry: body.uint32()?,
                    backoff: Backoff::Server,
                    exhausted: Exhausted::Dead,
                    custom: None,
                    backtrace_lines: 0,
                };
                (at, Change::Enqueue(Box::new(new)))
            }
            kind::DISPATCH => {
                body.array(5)?;
                let (at, job) = (Timestamp(body.uint()?), unpack_id(body)?);
                let (worker, attempt) = (WorkerId(body.uint32()?), Attempt(body.uint32()?));
                (at, Change::Dispatch { job, worker, attempt, deadline: Timestamp(body.uint()?) })
            }
            kind::RESERVE => {
                body.array(5)?;
                let (at, job) = (Timestamp(body.uint()?), unpack_id(body)?);
                let (worker, attempt) = (self.remote(body.text()?).ok()?, Attempt(body.uint32()?));
                (at, Change::Reserve { job, worker, attempt, deadline: Timestamp(body.uint()?) })
            }
            kind::ACK => {
                body.array(4)?;
                let (at, job) = (Timestamp(body.uint()?), unpack_id(body)?);
                let (token, result) = (Token(body.uint()?), body.optional_text()?);
                (at, Change::Ack { job, token, result: result.map(Payload::trusted) })
            }
            _ => return None,
        };
        body.end()?;
        Some((at, change))
    }

    /// A payload, or that it is there: only from a record with a checksum of its own can it be read back later.
    fn body(&self, payload: &str, has_crc: bool) -> Body {
        match u32::try_from(payload.len()) {
            Ok(bytes) if self.leaves_payloads && has_crc && payload.len() > Body::KEPT_BYTES => {
                Body::Stored { bytes }
            }
            _ => Body::Here(Payload::trusted(payload)),
        }
    }

    fn decode_enqueue(
        &mut self,
        version: u8,
        body: &[u8],
        has_crc: bool,
    ) -> Result<(Timestamp, Change), CodecError> {
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
            queue: self.queue(queue)?,
            kind: self.kind(job_kind)?,
            payload: self.body(payload, has_crc),
            priority: Priority::new(priority).map_err(invalid)?,
            run_at: (run_at != Timestamp(0)).then_some(run_at),
            timeout_ms,
            max_retry,
            backoff: backoff_of(backoff).map_err(CodecError::Invalid)?,
            exhausted: exhausted_of(exhausted).map_err(CodecError::Invalid)?,
            custom: custom.map(Payload::trusted),
            backtrace_lines,
        };
        Ok((at, Change::Enqueue(Box::new(new))))
    }

    fn remote(&mut self, name: &str) -> Result<RemoteName, CodecError> {
        match &self.remote {
            Some(remote) if remote.as_str() == name => Ok(remote.clone()),
            _ => Ok(self.remote.insert(remote_of(name).map_err(CodecError::Invalid)?).clone()),
        }
    }

    fn queue(&mut self, name: &str) -> Result<QueueName, CodecError> {
        match &self.queue {
            Some(queue) if queue.as_str() == name => Ok(queue.clone()),
            _ => Ok(self.queue.insert(QueueName::parse(name).map_err(invalid)?).clone()),
        }
    }

    fn kind(&mut self, name: &str) -> Result<KindName, CodecError> {
        match &self.kind {
            Some(kind) if kind.as_str() == name => Ok(kind.clone()),
            _ => Ok(self.kind.insert(KindName::parse(name).map_err(invalid)?).clone()),
        }
    }
}

fn decode_fail(kind: u8, version: u8, body: &[u8]) -> Result<(Timestamp, Change), CodecError> {
    let FailV2(at, job, token, sort, message, retry_at, result, errtype, backtrace) = match version {
        V1 => {
            let FailV1(at, job, token, sort, message, retry_at, result) = read(body)?;
            FailV2(at, job, token, sort, message, retry_at, result, "", Vec::new())
        }
        _ => read(body)?,
    };
    let failure = failure(sort, message)?.of_type(errtype).with_backtrace(backtrace).into();
    let result = result.map(Payload::trusted);
    let change = match kind {
        kind::RETRY => Change::Retry { job, token, failure, retry_at, result },
        _ => Change::Timeout { job, token, failure, retry_at, result },
    };
    Ok((at, change))
}

fn decode_end(kind: u8, version: u8, body: &[u8]) -> Result<(Timestamp, Change), CodecError> {
    let DeadV2(at, job, token, sort, message, result, errtype, backtrace) = match version {
        V1 => {
            let DeadV1(at, job, token, sort, message, result) = read(body)?;
            DeadV2(at, job, token, sort, message, result, "", Vec::new())
        }
        _ => read(body)?,
    };
    let failure = failure(sort, message)?.of_type(errtype).with_backtrace(backtrace).into();
    let result = result.map(Payload::trusted);
    let change = match kind {
        kind::DEAD => Change::Dead { job, token, failure, result },
        _ => Change::Drop { job, token, failure, result },
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
    /// Without [`TAGGED`].
    version: u8,
    tag: Option<Lsn>,
    body: &'a [u8],
    has_crc: bool,
}

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
    if version & TAGGED == 0 {
        return Ok(Record { kind, version, tag: None, body, has_crc: false });
    }
    if !(kind::ENQUEUE..=kind::MOVE).contains(&kind) {
        return Err(CodecError::Unknown { kind, version });
    }
    let has_crc = has_crc(kind, version);
    if has_crc {
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
    let Some(tag) = read_leb128(&mut body) else {
        return Err(CodecError::Invalid("an event's job number is cut off".to_owned()));
    };
    Ok(Record { kind, version: version & !TAGGED, tag: Some(Lsn(tag)), body, has_crc })
}

fn unpack_id(body: &mut Unpack<'_>) -> Option<JobId> {
    JobId::from_parts(body.bytes16_or_text()?).ok()
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    msgpack::read(body).map_err(CodecError::Invalid)
}

fn invalid(error: impl std::fmt::Display) -> CodecError {
    CodecError::Invalid(error.to_string())
}
