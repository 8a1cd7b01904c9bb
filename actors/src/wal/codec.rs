//! An event as bytes: a type, a version, a length, the job's number (see [`Event::number`]) as a LEB128 number if it is
//! about one job, and a MessagePack array whose values are never named, only placed. Behind that of an `ENQUEUE` stands
//! the crc32 of the whole record, so that its payload can be read back later without the rest of its batch.
//!
//! Formats outlive code, once there is a release: then fields are only ever appended, anything else is a new version of
//! that type, and the reader of the old one stays.

mod decode;

use serde::Serialize;

use crate::ids::{JobId, Seq, Timestamp, Token};
use crate::jobs::event::{Event, EventKind, NewJob};
use crate::jobs::model::failure::Failure;
use crate::jobs::stored::{backoff_fields, exhausted_number};
use crate::jobs::{Exhausted, Payload};
pub use crate::wal::codec::decode::{Decoder, decode};
use crate::wal::pack::Pack;

/// What every event begins with: type, version, length. None is shorter.
pub(super) const ENVELOPE_BYTES: usize = 6;
/// The version of every type.
const V1: u8 = 1;
/// `ENQUEUE` with what few jobs have: pauses of their own, another end, something that travels unread. Written only when
/// there is more to say than the first version can, which is smaller.
const V2: u8 = 2;

/// Length of the checksum behind an `ENQUEUE`.
const CRC_BYTES: usize = 4;

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

/// Length of the record at the front of `bytes`; none if there is no whole one.
pub(super) fn record_len(bytes: &[u8]) -> Option<usize> {
    let envelope = bytes.first_chunk::<ENVELOPE_BYTES>()?;
    let len = u32::from_le_bytes(envelope[2..].try_into().expect("4 bytes")) as usize;
    (bytes.len() - ENVELOPE_BYTES >= len).then_some(ENVELOPE_BYTES + len)
}

/// Appends `event` to `out`. Allocates nothing but what `out` needs.
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    let at = event.at;
    let tag = event.change.job().is_some().then_some(event.number);
    let mut out = Out { bytes: out, tag };
    let out = &mut out;
    match &event.change {
        EventKind::Enqueue(new) => encode_enqueue(at, new, out),
        EventKind::Dispatch { job, worker, attempt, deadline } => {
            out.pack(kind::DISPATCH, V1, |pack| {
                pack.array(5);
                pack.uint(at.0);
                pack_id(pack, job);
                pack.uint(u64::from(worker.0));
                pack.uint(u64::from(attempt.0));
                pack.uint(deadline.0);
            });
        }
        EventKind::Reserve { job, worker, attempt, deadline } => {
            out.pack(kind::RESERVE, V1, |pack| {
                pack.array(5);
                pack.uint(at.0);
                pack_id(pack, job);
                pack.text(worker.as_str());
                pack.uint(u64::from(attempt.0));
                pack.uint(deadline.0);
            });
        }
        EventKind::Ack { job, token, result } => out.pack(kind::ACK, V1, |pack| {
            pack.array(4);
            pack.uint(at.0);
            pack_id(pack, job);
            pack.uint(token.0);
            pack.optional_text(text(result));
        }),
        EventKind::Retry { job, token, failure, retry_at, result } => {
            encode_fail(kind::RETRY, (at, job, token, failure, retry_at, text(result)), out);
        }
        EventKind::Timeout { job, token, failure, retry_at, result } => {
            encode_fail(kind::TIMEOUT, (at, job, token, failure, retry_at, text(result)), out);
        }
        EventKind::Requeue { job, token, failure, counted } => {
            let (sort, Failure { message, errtype, backtrace, .. }) = (failure.kind.number(), &**failure);
            let body = (at, job, token, sort, message, counted, errtype, backtrace);
            out.write(kind::REQUEUE, V1, &body);
        }
        EventKind::Dead { job, token, failure, result } => {
            encode_end(kind::DEAD, (at, job, token, failure, text(result)), out);
        }
        EventKind::Drop { job, token, failure, result } => {
            encode_end(kind::DROP, (at, job, token, failure, text(result)), out);
        }
        EventKind::Extend { job, token, deadline } => {
            out.write(kind::EXTEND, V1, &(at, job, token, deadline))
        }
        EventKind::Cancel { job } => out.write(kind::CANCEL, V1, &(at, job)),
        EventKind::Kill { job } => out.write(kind::KILL, V1, &(at, job)),
        EventKind::RunNow { job } => out.write(kind::RUN_NOW, V1, &(at, job)),
        EventKind::Discard { job } => out.write(kind::DISCARD, V1, &(at, job)),
        EventKind::Move { job, queue } => out.write(kind::MOVE, V1, &(at, job, queue.as_str())),
        EventKind::Pause { queue } => out.write(kind::PAUSE, V1, &(at, queue.as_str())),
        EventKind::Resume { queue } => out.write(kind::RESUME, V1, &(at, queue.as_str())),
        EventKind::RemoveQueue { queue } => out.write(kind::REMOVE_QUEUE, V1, &(at, queue.as_str())),
        EventKind::Promote { due, number } => out.write(kind::PROMOTE, V1, &(at, due, number)),
        EventKind::Digest { digest } => out.write(kind::DIGEST, V1, &(at, digest)),
        EventKind::Forget { completed, dead, cancelled } => {
            out.write(kind::FORGET, V1, &(at, completed, dead, cancelled));
        }
    }
}

fn encode_enqueue(at: Timestamp, new: &NewJob, out: &mut Out<'_>) {
    let run_at = new.run_at.unwrap_or_default();
    let payload =
        new.payload.here().expect("a job is written when it is new, with its payload at hand").as_str();
    let is_plain = new.backoff.is_server()
        && new.exhausted == Exhausted::Dead
        && new.custom.is_none()
        && new.backtrace_lines == 0;
    let (queue, job_kind) = (new.queue.as_str(), new.kind.as_str());
    let (priority, timeout_ms, max_retry) = (new.priority.level(), new.timeout_ms, new.max_retry);
    if is_plain {
        return out.pack(kind::ENQUEUE, V1, |pack| {
            pack.array(9);
            pack.uint(at.0);
            pack_id(pack, &new.id);
            pack.text(queue);
            pack.text(job_kind);
            pack.text(payload);
            pack.uint(u64::from(priority));
            pack.uint(run_at.0);
            pack.uint(timeout_ms);
            pack.uint(u64::from(max_retry));
        });
    }
    let (backoff, exhausted) = (backoff_fields(new.backoff), exhausted_number(new.exhausted));
    let (custom, lines) = (text(&new.custom), new.backtrace_lines);
    let id = &new.id;
    let body = (
        at, id, queue, job_kind, payload, priority, run_at, timeout_ms, max_retry, backoff, exhausted,
        custom, lines,
    );
    out.write(kind::ENQUEUE, V2, &body);
}

fn pack_id(pack: &mut Pack<'_>, id: &JobId) {
    match id.parts() {
        Ok(bytes) => pack.bytes16(bytes),
        Err(text) => pack.text(text),
    }
}

type FailParts<'a> = (Timestamp, &'a JobId, &'a Token, &'a Failure, &'a Timestamp, Option<&'a str>);

fn encode_fail(kind: u8, (at, job, token, failure, retry_at, result): FailParts<'_>, out: &mut Out<'_>) {
    let (sort, Failure { message, errtype, backtrace, .. }) = (failure.kind.number(), failure);
    out.write(kind, V1, &(at, job, token, sort, message, retry_at, result, errtype, backtrace));
}

type EndParts<'a> = (Timestamp, &'a JobId, &'a Token, &'a Failure, Option<&'a str>);

fn encode_end(kind: u8, (at, job, token, failure, result): EndParts<'_>, out: &mut Out<'_>) {
    let (sort, Failure { message, errtype, backtrace, .. }) = (failure.kind.number(), failure);
    out.write(kind, V1, &(at, job, token, sort, message, result, errtype, backtrace));
}

fn text(payload: &Option<Payload>) -> Option<&str> {
    payload.as_ref().map(Payload::as_str)
}

/// Where records go, and the number that the next one is tagged with.
struct Out<'a> {
    bytes: &'a mut Vec<u8>,
    tag: Option<Seq>,
}

impl Out<'_> {
    fn write<T: Serialize>(&mut self, kind: u8, version: u8, body: &T) {
        self.pack(kind, version, |pack| {
            rmp_serde::encode::write(pack.0, body).expect("writing plain data to memory cannot fail");
        });
    }

    /// Writes one record around the body that `write` appends.
    fn pack(&mut self, kind: u8, version: u8, write: impl FnOnce(&mut Pack<'_>)) {
        let out = &mut *self.bytes;
        let record = out.len();
        out.extend_from_slice(&[kind, version, 0, 0, 0, 0]);
        let start = out.len();
        if let Some(number) = self.tag {
            write_leb128(number.0, out);
        }
        write(&mut Pack(out));
        let has_crc = has_crc(kind);
        let len = out.len() - start + if has_crc { CRC_BYTES } else { 0 };
        let len = u32::try_from(len).expect("an event is smaller than 4 GiB: payloads are bounded");
        out[start - 4..start].copy_from_slice(&len.to_le_bytes());
        if has_crc {
            let crc = crc32fast::hash(&out[record..]);
            out.extend_from_slice(&crc.to_le_bytes());
        }
    }
}

fn has_crc(kind: u8) -> bool {
    kind == kind::ENQUEUE
}

/// Whether events of this type are about one job.
fn has_number(kind: u8) -> bool {
    matches!(kind, kind::ENQUEUE..=kind::MOVE) && !matches!(kind, kind::PROMOTE | kind::FORGET | kind::DIGEST)
}

fn write_leb128(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
pub(crate) mod tests;
