//! An event as bytes: a type, a schema version, a length, and a MessagePack array that is never named, only placed.
//!
//! Formats outlive code. Fields are only ever appended; anything else is a new version of that type, and the
//! reader of the old one stays. `tests/engine/formats.rs` holds files of every version.

use serde::{Deserialize, Serialize};

use super::fields::{
    AckV1, DeadV1, DeadV2, DigestV1, DispatchV1, EnqueueV1, EnqueueV2, ExtendV1, FailV1, FailV2, ForgetV1,
    MoveV1, OfJobV1, OfQueueV1, PromoteV1, RequeueV1, RequeueV2, ReserveV1,
};
use crate::ids::{JobId, KindName, Priority, QueueName, RemoteName, Timestamp, Token};
use crate::jobs::Exhausted;
use crate::jobs::event::{Change, Event, NewJob};
use crate::jobs::failure::{Failure, FailureKind};
use crate::jobs::payload::Payload;
use crate::msgpack;
use crate::stored::{backoff_fields, backoff_of, exhausted_number, exhausted_of, remote_of};

/// What every event begins with: type, version, length. None is shorter.
pub(super) const ENVELOPE_BYTES: usize = 6;
/// The first schema version of every type.
const V1: u8 = 1;
/// `ENQUEUE`: what a job may have since queues speak the work protocol. `RETRY`, `TIMEOUT`, `DEAD`: the name of the
/// error and its backtrace. `REQUEUE`: these, and whether the attempt counts. Written only when there is more to say
/// than the first version can, which is smaller. `DIGEST`: the sum of today's rules.
const V2: u8 = 2;

/// Types of events. 200 and up are kept for a consensus log: votes, commit marks, membership.
mod kind {
    pub const ENQUEUE: u8 = 1;
    pub const DISPATCH: u8 = 2;
    pub const ACK: u8 = 3;
    pub const RETRY: u8 = 4;
    pub const TIMEOUT: u8 = 5;
    pub const REQUEUE: u8 = 6;
    pub const DEAD: u8 = 7;
    pub const CANCEL: u8 = 8;
    pub const PROMOTE: u8 = 9;
    pub const FORGET: u8 = 10;
    pub const EXTEND: u8 = 11;
    pub const DIGEST: u8 = 12;
    pub const RESERVE: u8 = 13;
    pub const DROP: u8 = 14;
    pub const KILL: u8 = 15;
    pub const RUN_NOW: u8 = 16;
    pub const DISCARD: u8 = 17;
    pub const MOVE: u8 = 18;
    pub const PAUSE: u8 = 19;
    pub const RESUME: u8 = 20;
    pub const REMOVE_QUEUE: u8 = 21;
}

/// Bytes are not an event that this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A type or version that this beaver does not know.
    #[error("unknown event type {kind} version {version}")]
    Unknown {
        /// The type.
        kind: u8,
        /// Its version.
        version: u8,
    },
    /// The bytes are not what the type says.
    #[error("{0}")]
    Invalid(String),
}

/// Appends `event` to `out`. Allocates nothing but what `out` needs.
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    let at = event.at;
    match &event.change {
        Change::Enqueue(new) => encode_enqueue(at, new, out),
        Change::Dispatch { job, worker, attempt, deadline } => {
            write(kind::DISPATCH, &(at, job, worker, attempt, deadline), out);
        }
        Change::Reserve { job, worker, attempt, deadline } => {
            write(kind::RESERVE, &(at, job, worker.as_str(), attempt, deadline), out);
        }
        Change::Ack { job, token, result } => write(kind::ACK, &(at, job, token, text(result)), out),
        Change::Retry { job, token, failure, retry_at, result } => {
            encode_fail(kind::RETRY, (at, job, token, failure, retry_at, text(result)), out);
        }
        Change::Timeout { job, token, failure, retry_at, result } => {
            encode_fail(kind::TIMEOUT, (at, job, token, failure, retry_at, text(result)), out);
        }
        Change::Requeue { job, token, failure, counted } => {
            let (sort, message) = (failure.kind.number(), &failure.message);
            match *counted && is_brief(failure) {
                true => write(kind::REQUEUE, &(at, job, token, sort, message), out),
                false => {
                    let more = (&failure.errtype, &failure.backtrace);
                    let body = (at, job, token, sort, message, counted, more.0, more.1);
                    write_version(kind::REQUEUE, V2, &body, out);
                }
            }
        }
        Change::Dead { job, token, failure, result } => {
            encode_end(kind::DEAD, (at, job, token, failure, text(result)), out);
        }
        Change::Drop { job, token, failure, result } => {
            encode_end(kind::DROP, (at, job, token, failure, text(result)), out);
        }
        Change::Extend { job, token, deadline } => write(kind::EXTEND, &(at, job, token, deadline), out),
        Change::Cancel { job } => write(kind::CANCEL, &(at, job), out),
        Change::Kill { job } => write(kind::KILL, &(at, job), out),
        Change::RunNow { job } => write(kind::RUN_NOW, &(at, job), out),
        Change::Discard { job } => write(kind::DISCARD, &(at, job), out),
        Change::Move { job, queue } => write(kind::MOVE, &(at, job, queue.as_str()), out),
        Change::Pause { queue } => write(kind::PAUSE, &(at, queue.as_str()), out),
        Change::Resume { queue } => write(kind::RESUME, &(at, queue.as_str()), out),
        Change::RemoveQueue { queue } => write(kind::REMOVE_QUEUE, &(at, queue.as_str()), out),
        Change::Promote { due, number } => write(kind::PROMOTE, &(at, due, number), out),
        Change::Digest { digest: Some(digest) } => write_version(kind::DIGEST, V2, &(at, digest), out),
        // Nobody checks what the first version says.
        Change::Digest { digest: None } => write(kind::DIGEST, &(at, 0_u64), out),
        Change::Forget { completed, dead, cancelled } => {
            write(kind::FORGET, &(at, completed, dead, cancelled), out);
        }
    }
}

fn encode_enqueue(at: Timestamp, new: &NewJob, out: &mut Vec<u8>) {
    let run_at = new.run_at.unwrap_or_default();
    let (queue, job_kind, payload) = (new.queue.as_str(), new.kind.as_str(), new.payload.as_str());
    let (priority, timeout_ms, max_retry) = (new.priority.level(), new.timeout_ms, new.max_retry);
    let is_plain = new.backoff.is_server()
        && new.exhausted == Exhausted::Dead
        && new.custom.is_none()
        && new.backtrace_lines == 0;
    if is_plain {
        let body = (at, &new.id, queue, job_kind, payload, priority, run_at, timeout_ms, max_retry);
        return write(kind::ENQUEUE, &body, out);
    }
    let (backoff, exhausted) = (backoff_fields(new.backoff), exhausted_number(new.exhausted));
    let (custom, lines) = (text(&new.custom), new.backtrace_lines);
    let id = &new.id;
    let body = (
        at, id, queue, job_kind, payload, priority, run_at, timeout_ms, max_retry, backoff, exhausted,
        custom, lines,
    );
    write_version(kind::ENQUEUE, V2, &body, out);
}

type FailParts<'a> = (Timestamp, &'a JobId, &'a Token, &'a Failure, &'a Timestamp, Option<&'a str>);

fn encode_fail(kind: u8, (at, job, token, failure, retry_at, result): FailParts<'_>, out: &mut Vec<u8>) {
    let (sort, message) = (failure.kind.number(), &failure.message);
    match is_brief(failure) {
        true => write(kind, &(at, job, token, sort, message, retry_at, result), out),
        false => {
            let more = (&failure.errtype, &failure.backtrace);
            let body = (at, job, token, sort, message, retry_at, result, more.0, more.1);
            write_version(kind, V2, &body, out);
        }
    }
}

type EndParts<'a> = (Timestamp, &'a JobId, &'a Token, &'a Failure, Option<&'a str>);

fn encode_end(kind: u8, (at, job, token, failure, result): EndParts<'_>, out: &mut Vec<u8>) {
    let (sort, message) = (failure.kind.number(), &failure.message);
    match is_brief(failure) {
        true => write(kind, &(at, job, token, sort, message, result), out),
        false => {
            let body = (at, job, token, sort, message, result, &failure.errtype, &failure.backtrace);
            write_version(kind, V2, &body, out);
        }
    }
}

/// Whether the first version can say all of a failure.
fn is_brief(failure: &Failure) -> bool {
    failure.errtype.is_empty() && failure.backtrace.is_empty()
}

/// Reads events; remembers the names that it read last, as the next event mostly has the same.
#[derive(Debug, Default)]
pub struct Decoder {
    queue: Option<QueueName>,
    kind: Option<KindName>,
    remote: Option<RemoteName>,
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
        let (kind, version, body) = open_envelope(bytes)?;
        let (at, change) = match (kind, version) {
            (kind::ENQUEUE, V1 | V2) => self.decode_enqueue(version, body)?,
            (kind::RETRY | kind::TIMEOUT, V1 | V2) => decode_fail(kind, version, body)?,
            (kind::DEAD | kind::DROP, V1 | V2) => decode_end(kind, version, body)?,
            (kind::REQUEUE, V1) => {
                let RequeueV1(at, job, token, sort, message) = read(body)?;
                (at, Change::Requeue { job, token, failure: failure(sort, message)?, counted: true })
            }
            (kind::REQUEUE, V2) => {
                let RequeueV2(at, job, token, sort, message, counted, errtype, backtrace) = read(body)?;
                let failure = failure(sort, message)?.of_type(errtype).with_backtrace(backtrace);
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
            (kind::DIGEST, V1 | V2) => {
                let DigestV1(at, digest) = read(body)?;
                (at, Change::Digest { digest: (version == V2).then_some(digest) })
            }
            (kind::FORGET, V1) => {
                let ForgetV1(at, completed, dead, cancelled) = read(body)?;
                (at, Change::Forget { completed, dead, cancelled })
            }
            _ => return Err(CodecError::Unknown { kind, version }),
        };
        Ok(Event { at, change })
    }

    fn decode_enqueue(&mut self, version: u8, body: &[u8]) -> Result<(Timestamp, Change), CodecError> {
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
            payload: Payload::trusted(payload),
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
    let failure = failure(sort, message)?.of_type(errtype).with_backtrace(backtrace);
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
    let failure = failure(sort, message)?.of_type(errtype).with_backtrace(backtrace);
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

fn text(payload: &Option<Payload>) -> Option<&str> {
    payload.as_ref().map(Payload::as_str)
}

fn write<T: Serialize>(kind: u8, body: &T, out: &mut Vec<u8>) {
    write_version(kind, V1, body, out);
}

fn write_version<T: Serialize>(kind: u8, version: u8, body: &T, out: &mut Vec<u8>) {
    out.extend_from_slice(&[kind, version, 0, 0, 0, 0]);
    let start = out.len();
    rmp_serde::encode::write(out, body).expect("writing plain data to memory cannot fail");
    let len = u32::try_from(out.len() - start).expect("an event is smaller than 4 GiB: payloads are bounded");
    out[start - 4..start].copy_from_slice(&len.to_le_bytes());
}

fn open_envelope<'a>(bytes: &mut &'a [u8]) -> Result<(u8, u8, &'a [u8]), CodecError> {
    let Some((envelope, rest)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
        return Err(CodecError::Invalid(format!("{} bytes are left, less than an event", bytes.len())));
    };
    let len = u32::from_le_bytes(envelope[2..].try_into().expect("4 bytes")) as usize;
    let Some((body, rest)) = rest.split_at_checked(len) else {
        return Err(CodecError::Invalid(format!("an event of {len} bytes, but {} are left", rest.len())));
    };
    *bytes = rest;
    Ok((envelope[0], envelope[1], body))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    msgpack::read(body).map_err(CodecError::Invalid)
}

fn invalid(error: impl std::fmt::Display) -> CodecError {
    CodecError::Invalid(error.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ids::{Attempt, Lsn, WorkerId};
    use crate::jobs::Backoff;

    /// One event of every type.
    pub(crate) fn samples() -> Vec<Event> {
        let job = JobId::parse("order-17").unwrap();
        let generated = JobId::generate(Timestamp(1_000), 7);
        let failure = Failure::new(FailureKind::Panic, "no");
        let result = Some(Payload::parse(r#"{"a":[1,2]}"#).unwrap());
        let token = Token(3);
        let new = NewJob {
            id: generated.clone(),
            queue: QueueName::parse("default").unwrap(),
            kind: KindName::parse("mail").unwrap(),
            payload: Payload::parse(r#"{"to":"é"}"#).unwrap(),
            priority: Priority::new(9).unwrap(),
            run_at: Some(Timestamp(5_000)),
            timeout_ms: 30_000,
            max_retry: 3,
            backoff: Backoff::Server,
            exhausted: Exhausted::Dead,
            custom: None,
            backtrace_lines: 0,
        };
        let at_once = NewJob { id: job.clone(), run_at: None, ..new.clone() };
        let unlike = |backoff| NewJob {
            backoff,
            exhausted: Exhausted::Drop,
            custom: Some(Payload::parse(r#"{"locale":"fr"}"#).unwrap()),
            backtrace_lines: 12,
            ..new.clone()
        };
        let full = failure.clone().of_type("IOError").with_backtrace(["a:1".to_owned(), "b:2".to_owned()]);
        let queue = QueueName::parse("mail").unwrap();
        let fixed = unlike(Backoff::Fixed { delay_ms: 5 });
        let doubling = unlike(Backoff::Exponential { first_ms: 1, max_ms: 9, jitter_percent: 30 });
        let changes = vec![
            Change::Enqueue(Box::new(unlike(Backoff::Quartic))),
            Change::Enqueue(Box::new(fixed)),
            Change::Enqueue(Box::new(doubling)),
            Change::Reserve {
                job: job.clone(),
                worker: RemoteName::parse("9a8b").unwrap(),
                attempt: Attempt(4),
                deadline: Timestamp(9),
            },
            Change::Reserve {
                job: job.clone(),
                worker: RemoteName::anonymous(),
                attempt: Attempt(5),
                deadline: Timestamp(9),
            },
            Change::Retry {
                job: job.clone(),
                token,
                failure: full.clone(),
                retry_at: Timestamp(7),
                result: result.clone(),
            },
            Change::Timeout {
                job: job.clone(),
                token,
                failure: full.clone(),
                retry_at: Timestamp(7),
                result: None,
            },
            Change::Requeue { job: job.clone(), token, failure: full.clone(), counted: true },
            Change::Requeue { job: job.clone(), token, failure: failure.clone(), counted: false },
            Change::Dead { job: job.clone(), token, failure: full.clone(), result: result.clone() },
            Change::Drop { job: job.clone(), token, failure: full, result: result.clone() },
            Change::Drop { job: job.clone(), token, failure: failure.clone(), result: None },
            Change::Kill { job: job.clone() },
            Change::RunNow { job: job.clone() },
            Change::Discard { job: job.clone() },
            Change::Move { job: job.clone(), queue: queue.clone() },
            Change::Pause { queue: queue.clone() },
            Change::Resume { queue: queue.clone() },
            Change::RemoveQueue { queue },
            Change::Enqueue(Box::new(new)),
            Change::Enqueue(Box::new(at_once)),
            Change::Dispatch {
                job: job.clone(),
                worker: WorkerId(2),
                attempt: Attempt(1),
                deadline: Timestamp(9),
            },
            Change::Ack { job: job.clone(), token, result: result.clone() },
            Change::Ack { job: generated, token, result: None },
            Change::Retry {
                job: job.clone(),
                token,
                failure: failure.clone(),
                retry_at: Timestamp(7),
                result: None,
            },
            Change::Timeout {
                job: job.clone(),
                token,
                failure: failure.clone(),
                retry_at: Timestamp(7),
                result: result.clone(),
            },
            Change::Requeue { job: job.clone(), token, failure: failure.clone(), counted: true },
            Change::Dead { job: job.clone(), token, failure, result },
            Change::Extend { job: job.clone(), token, deadline: Timestamp(99) },
            Change::Cancel { job },
            Change::Promote { due: Timestamp(8), number: Lsn(2) },
            Change::Digest { digest: Some(u64::MAX) },
            Change::Digest { digest: None },
            Change::Forget { completed: Lsn(1), dead: Lsn(2), cancelled: Lsn(3) },
        ];
        changes.into_iter().map(|change| Event { at: Timestamp(1_234), change }).collect()
    }

    #[test]
    fn every_event_reads_back_as_written() {
        let mut bytes = Vec::new();
        samples().iter().for_each(|event| encode(event, &mut bytes));
        let mut rest = bytes.as_slice();
        for event in samples() {
            assert_eq!(decode(&mut rest), Ok(event));
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn an_unknown_type_or_version_is_named() {
        let mut bytes = Vec::new();
        encode(&samples()[0], &mut bytes);
        for (at, expected) in [(0, (250, V2)), (1, (1, 250))] {
            let mut changed = bytes.clone();
            changed[at] = 250;
            let expected = CodecError::Unknown { kind: expected.0, version: expected.1 };
            assert_eq!(decode(&mut changed.as_slice()), Err(expected));
        }
    }

    #[test]
    fn a_cut_or_prolonged_event_is_refused_at_every_length() {
        for event in samples() {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            for len in 0..bytes.len() {
                assert!(decode(&mut &bytes[..len]).is_err());
            }
            let len = (bytes.len() - ENVELOPE_BYTES + 1) as u32;
            bytes[2..6].copy_from_slice(&len.to_le_bytes());
            bytes.push(0xc0);
            let error = decode(&mut bytes.as_slice()).unwrap_err().to_string();
            assert!(error.contains("more bytes follow"), "{error}");
        }
    }
}
