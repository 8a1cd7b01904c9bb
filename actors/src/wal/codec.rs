//! An event as bytes: a type, a schema version, a length, and a MessagePack array that is never named, only placed.
//!
//! Formats outlive code. Fields are only ever appended; anything else is a new version of that type, and the
//! reader of the old one stays. `tests/engine/formats.rs` holds files of every version.

use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, JobId, KindName, Lsn, Priority, QueueName, Timestamp, Token, WorkerId};
use crate::jobs::event::{Change, Event, NewJob};
use crate::jobs::job::{Failure, FailureKind};
use crate::jobs::payload::Payload;
use crate::msgpack;

/// What every event begins with: type, version, length. None is shorter.
pub(super) const ENVELOPE_BYTES: usize = 6;
/// Schema version of every type so far.
const VERSION: u8 = 1;

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

#[derive(Serialize, Deserialize)]
struct EnqueueV1<'a>(
    Timestamp,
    JobId,
    &'a str,
    &'a str,
    &'a str,
    u8,
    /// Run at; 0 for at once.
    Timestamp,
    u64,
    u32,
);
#[derive(Serialize, Deserialize)]
struct DispatchV1(Timestamp, JobId, WorkerId, Attempt, Timestamp);
#[derive(Serialize, Deserialize)]
struct AckV1<'a>(Timestamp, JobId, Token, #[serde(borrow)] Option<&'a str>);
#[derive(Serialize, Deserialize)]
struct FailV1<'a>(Timestamp, JobId, Token, u8, &'a str, Timestamp, #[serde(borrow)] Option<&'a str>);
#[derive(Serialize, Deserialize)]
struct RequeueV1<'a>(Timestamp, JobId, Token, u8, &'a str);
#[derive(Serialize, Deserialize)]
struct DeadV1<'a>(Timestamp, JobId, Token, u8, &'a str, #[serde(borrow)] Option<&'a str>);
#[derive(Serialize, Deserialize)]
struct ExtendV1(Timestamp, JobId, Token, Timestamp);
#[derive(Serialize, Deserialize)]
struct CancelV1(Timestamp, JobId);
#[derive(Serialize, Deserialize)]
struct PromoteV1(Timestamp, Timestamp, Lsn);
#[derive(Serialize, Deserialize)]
struct DigestV1(Timestamp, u64);
#[derive(Serialize, Deserialize)]
struct ForgetV1(Timestamp, Lsn, Lsn, Lsn);

/// Appends `event` to `out`. Allocates nothing but what `out` needs.
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    let at = event.at;
    match &event.change {
        Change::Enqueue(new) => {
            let run_at = new.run_at.unwrap_or_default();
            let (queue, job_kind, payload) = (new.queue.as_str(), new.kind.as_str(), new.payload.as_str());
            let priority = new.priority.level();
            let body =
                (at, &new.id, queue, job_kind, payload, priority, run_at, new.timeout_ms, new.max_retry);
            write(kind::ENQUEUE, &body, out);
        }
        Change::Dispatch { job, worker, attempt, deadline } => {
            write(kind::DISPATCH, &(at, job, worker, attempt, deadline), out);
        }
        Change::Ack { job, token, result } => write(kind::ACK, &(at, job, token, text(result)), out),
        Change::Retry { job, token, failure, retry_at, result } => {
            let (sort, message) = (failure.kind.number(), &failure.message);
            write(kind::RETRY, &(at, job, token, sort, message, retry_at, text(result)), out);
        }
        Change::Timeout { job, token, failure, retry_at, result } => {
            let (sort, message) = (failure.kind.number(), &failure.message);
            write(kind::TIMEOUT, &(at, job, token, sort, message, retry_at, text(result)), out);
        }
        Change::Requeue { job, token, failure } => {
            write(kind::REQUEUE, &(at, job, token, failure.kind.number(), &failure.message), out);
        }
        Change::Dead { job, token, failure, result } => {
            let (sort, message) = (failure.kind.number(), &failure.message);
            write(kind::DEAD, &(at, job, token, sort, message, text(result)), out);
        }
        Change::Extend { job, token, deadline } => write(kind::EXTEND, &(at, job, token, deadline), out),
        Change::Cancel { job } => write(kind::CANCEL, &(at, job), out),
        Change::Promote { due, number } => write(kind::PROMOTE, &(at, due, number), out),
        Change::Digest { digest } => write(kind::DIGEST, &(at, digest), out),
        Change::Forget { completed, dead, cancelled } => {
            write(kind::FORGET, &(at, completed, dead, cancelled), out);
        }
    }
}

/// Reads events; remembers the names that it read last, as the next event mostly has the same.
#[derive(Debug, Default)]
pub struct Decoder {
    queue: Option<QueueName>,
    kind: Option<KindName>,
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
        if version != VERSION {
            return Err(CodecError::Unknown { kind, version });
        }
        let (at, change) = match kind {
            kind::ENQUEUE => {
                let EnqueueV1(at, id, queue, job_kind, payload, priority, run_at, timeout_ms, max_retry) =
                    read(body)?;
                let new = NewJob {
                    id,
                    queue: self.queue(queue)?,
                    kind: self.kind(job_kind)?,
                    payload: Payload::trusted(payload),
                    priority: Priority::new(priority).map_err(invalid)?,
                    run_at: (run_at != Timestamp(0)).then_some(run_at),
                    timeout_ms,
                    max_retry,
                };
                (at, Change::Enqueue(Box::new(new)))
            }
            kind::DISPATCH => {
                let DispatchV1(at, job, worker, attempt, deadline) = read(body)?;
                (at, Change::Dispatch { job, worker, attempt, deadline })
            }
            kind::ACK => {
                let AckV1(at, job, token, result) = read(body)?;
                (at, Change::Ack { job, token, result: result.map(Payload::trusted) })
            }
            kind::RETRY | kind::TIMEOUT => {
                let FailV1(at, job, token, sort, message, retry_at, result) = read(body)?;
                let (failure, result) = (failure(sort, message)?, result.map(Payload::trusted));
                match kind {
                    kind::RETRY => (at, Change::Retry { job, token, failure, retry_at, result }),
                    _ => (at, Change::Timeout { job, token, failure, retry_at, result }),
                }
            }
            kind::REQUEUE => {
                let RequeueV1(at, job, token, sort, message) = read(body)?;
                (at, Change::Requeue { job, token, failure: failure(sort, message)? })
            }
            kind::DEAD => {
                let DeadV1(at, job, token, sort, message, result) = read(body)?;
                let result = result.map(Payload::trusted);
                (at, Change::Dead { job, token, failure: failure(sort, message)?, result })
            }
            kind::EXTEND => {
                let ExtendV1(at, job, token, deadline) = read(body)?;
                (at, Change::Extend { job, token, deadline })
            }
            kind::CANCEL => {
                let CancelV1(at, job) = read(body)?;
                (at, Change::Cancel { job })
            }
            kind::PROMOTE => {
                let PromoteV1(at, due, number) = read(body)?;
                (at, Change::Promote { due, number })
            }
            kind::DIGEST => {
                let DigestV1(at, digest) = read(body)?;
                (at, Change::Digest { digest })
            }
            kind::FORGET => {
                let ForgetV1(at, completed, dead, cancelled) = read(body)?;
                (at, Change::Forget { completed, dead, cancelled })
            }
            _ => return Err(CodecError::Unknown { kind, version }),
        };
        Ok(Event { at, change })
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
    out.extend_from_slice(&[kind, VERSION, 0, 0, 0, 0]);
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
        };
        let at_once = NewJob { id: job.clone(), run_at: None, ..new.clone() };
        let changes = vec![
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
            Change::Requeue { job: job.clone(), token, failure: failure.clone() },
            Change::Dead { job: job.clone(), token, failure, result },
            Change::Extend { job: job.clone(), token, deadline: Timestamp(99) },
            Change::Cancel { job },
            Change::Promote { due: Timestamp(8), number: Lsn(2) },
            Change::Digest { digest: u64::MAX },
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
        for (at, expected) in [(0, (250, VERSION)), (1, (1, 250))] {
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
