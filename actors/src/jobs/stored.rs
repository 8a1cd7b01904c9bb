//! Values of jobs as they are written on disk, in the log and in snapshots alike: one vocabulary for both. Numbers of
//! variants are only ever added.
//!
//! Numbers, texts and differences are those of [`crate::base::bytes`].
//!
//! | value | as bytes |
//! |---|---|
//! | job id | 0 and the 16 bytes of a generated one; else its length and its text |
//! | profile | queue, kind, priority (1), end when exhausted (1), back-off, timeout, max_retry, lines of a backtrace |
//! | back-off | its number (1), then: fixed: ms; exponential: first ms, most ms, percent (1) |
//! | holder | worker + 1; or 0 and the name of a remote one |
//! | token, of an event | 2 x seq, + 1 if it is of another term than the current one; then timeline, term |
//! | token, of a job | seq, timeline, term |
//! | new job | profile, when it may run first (ms, or 0), what travels with it unread (or an empty text), payload |
//! | failure | a MessagePack array of sort, message, name of the error, lines of its backtrace, behind its length |

use crate::base::bytes::{Take, put_text, put_uint};
use crate::base::msgpack;
use crate::ids::{
    Epoch, Holder, JobId, KindName, Priority, QueueName, RemoteName, Seq, Term, Timeline, Timestamp, Token,
    TokenRef, WorkerId,
};
use crate::jobs::event::NewJob;
use crate::jobs::model::failure::{Failure, FailureKind};
use crate::jobs::model::job::Exhausted;
use crate::jobs::model::payload::{Content, Payload, PayloadRef};
use crate::jobs::model::policy::Backoff;
use crate::jobs::model::profile::Profile;

pub(crate) fn put_id(out: &mut Vec<u8>, id: &JobId) {
    match id.parts() {
        Ok(bytes) => {
            out.push(0);
            out.extend_from_slice(bytes);
        }
        Err(text) => put_text(out, text),
    }
}

/// An id that was found and is not made yet, so that it is made where it will be.
pub(crate) enum FoundId<'a> {
    Generated(u128),
    Text(&'a str),
}

impl<'a> FoundId<'a> {
    #[inline]
    pub fn take(take: &mut Take<'a>) -> Option<FoundId<'a>> {
        match take.uint()? {
            0 => Some(FoundId::Generated(u128::from_le_bytes(take.array()?))),
            len => {
                let bytes = take.bytes(usize::try_from(len).ok()?)?;
                Some(FoundId::Text(std::str::from_utf8(bytes).ok()?))
            }
        }
    }

    /// What `make` makes of it; none if it is no id.
    #[inline]
    pub fn made<T>(self, make: impl FnOnce(JobId) -> T) -> Option<T> {
        match self {
            FoundId::Generated(bytes) => Some(make(JobId::of_ulid(bytes.to_le_bytes()))),
            FoundId::Text(text) => Some(make(JobId::parse(text).ok()?)),
        }
    }
}

pub(crate) fn put_backoff(out: &mut Vec<u8>, backoff: Backoff) {
    match backoff {
        Backoff::Server => out.push(0),
        Backoff::Quartic => out.push(1),
        Backoff::Fixed { delay_ms } => {
            out.push(2);
            put_uint(out, delay_ms);
        }
        Backoff::Exponential { first_ms, max_ms, jitter_percent } => {
            out.push(3);
            put_uint(out, first_ms);
            put_uint(out, max_ms);
            out.push(jitter_percent);
        }
    }
}

pub(crate) fn take_backoff(take: &mut Take<'_>) -> Option<Backoff> {
    Some(match take.byte()? {
        0 => Backoff::Server,
        1 => Backoff::Quartic,
        2 => Backoff::Fixed { delay_ms: take.uint()? },
        3 => Backoff::Exponential {
            first_ms: take.uint()?,
            max_ms: take.uint()?,
            jitter_percent: take.byte()?,
        },
        _ => return None,
    })
}

/// What becomes of an exhausted job, as it is written.
pub(crate) fn exhausted_number(exhausted: Exhausted) -> u8 {
    match exhausted {
        Exhausted::Dead => 0,
        Exhausted::Drop => 1,
    }
}

pub(crate) fn take_exhausted(take: &mut Take<'_>) -> Option<Exhausted> {
    Some(match take.byte()? {
        0 => Exhausted::Dead,
        1 => Exhausted::Drop,
        _ => return None,
    })
}

pub(crate) fn put_profile(out: &mut Vec<u8>, profile: &Profile) {
    let Profile { queue, kind, priority, backoff, exhausted, timeout_ms, max_retry, backtrace_lines } =
        profile;
    put_text(out, queue.as_str());
    put_text(out, kind.as_str());
    out.push(priority.level());
    out.push(exhausted_number(*exhausted));
    put_backoff(out, *backoff);
    put_uint(out, *timeout_ms);
    put_uint(out, u64::from(*max_retry));
    put_uint(out, u64::from(*backtrace_lines));
}

pub(crate) fn take_profile(take: &mut Take<'_>) -> Option<Profile> {
    let queue = QueueName::parse(take.text()?).ok()?;
    let kind = KindName::parse(take.text()?).ok()?;
    let priority = Priority::new(take.byte()?).ok()?;
    let (exhausted, backoff) = (take_exhausted(take)?, take_backoff(take)?);
    let (timeout_ms, max_retry, backtrace_lines) = (take.uint()?, take.uint32()?, take.uint32()?);
    Some(Profile { queue, kind, priority, backoff, exhausted, timeout_ms, max_retry, backtrace_lines })
}

/// A job that has not begun, without its name.
pub(crate) fn put_new_job(out: &mut Vec<u8>, new: &NewJob) {
    let NewJob { id: _, profile, content: Content { payload, custom }, run_at } = new;
    put_profile(out, profile);
    put_uint(out, run_at.map_or(0, |run_at| run_at.0));
    put_text(out, custom.as_ref().map_or("", Payload::as_str));
    put_text(out, payload.here().expect("what waits to follow another is in memory").as_str());
}

pub(crate) fn take_new_job(take: &mut Take<'_>, id: JobId) -> Option<Box<NewJob>> {
    let profile = take_profile(take)?;
    let run_at = Some(Timestamp(take.uint()?)).filter(|run_at| *run_at != Timestamp(0));
    let custom = Some(take.text()?).filter(|custom| !custom.is_empty()).map(Payload::trusted);
    let payload = PayloadRef::Here(Payload::trusted(take.text()?));
    Some(Box::new(NewJob { id, profile, content: Content { payload, custom }, run_at }))
}

#[inline]
pub(crate) fn put_holder(out: &mut Vec<u8>, holder: &Holder) {
    match holder {
        Holder::Local(worker) => put_uint(out, u64::from(worker.0) + 1),
        Holder::Remote(name) => {
            out.push(0);
            put_text(out, name.as_str());
        }
    }
}

/// A holder; `remote` makes a remote one of its name, and may know it already.
#[inline]
pub(crate) fn take_holder(
    take: &mut Take<'_>,
    remote: impl FnOnce(&str) -> Option<RemoteName>,
) -> Option<Holder> {
    match take.uint()? {
        0 => Some(Holder::Remote(remote(take.text()?)?)),
        worker => Some(Holder::Local(WorkerId(u32::try_from(worker - 1).ok()?))),
    }
}

/// A remote worker by its name; the empty one stands for those without.
pub(crate) fn remote_of(name: &str) -> Option<RemoteName> {
    match name {
        "" => Some(RemoteName::anonymous()),
        name => RemoteName::parse(name).ok(),
    }
}

fn put_epoch(out: &mut Vec<u8>, epoch: Epoch) {
    put_uint(out, u64::from(epoch.timeline.0));
    put_uint(out, u64::from(epoch.term.0));
}

fn take_epoch(take: &mut Take<'_>) -> Option<Epoch> {
    Some(Epoch { timeline: Timeline(take.uint32()?), term: Term(take.uint32()?) })
}

#[inline]
pub(crate) fn put_token_ref(out: &mut Vec<u8>, token: TokenRef) {
    put_uint(out, token.seq.0 << 1 | u64::from(token.other.is_some()));
    if let Some(epoch) = token.other {
        put_epoch(out, epoch);
    }
}

#[inline]
pub(crate) fn take_token_ref(take: &mut Take<'_>) -> Option<TokenRef> {
    let number = take.uint()?;
    let other = match number & 1 {
        0 => None,
        _ => Some(take_epoch(take)?),
    };
    Some(TokenRef { seq: Seq(number >> 1), other })
}

pub(crate) fn put_token(out: &mut Vec<u8>, token: Token) {
    put_uint(out, token.seq.0);
    put_epoch(out, token.epoch);
}

pub(crate) fn take_token(take: &mut Take<'_>) -> Option<Token> {
    let seq = Seq(take.uint()?);
    Some(Token { seq, epoch: take_epoch(take)? })
}

pub(crate) fn put_failure(out: &mut Vec<u8>, failure: &Failure) {
    let Failure { kind, message, errtype, backtrace } = failure;
    let bytes = rmp_serde::to_vec(&(kind.number(), message, errtype, backtrace))
        .expect("writing plain data to memory cannot fail");
    put_uint(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
}

pub(crate) fn take_failure(take: &mut Take<'_>) -> Option<Failure> {
    let len = usize::try_from(take.uint()?).ok()?;
    let (kind, message, errtype, backtrace): (u8, &str, &str, Vec<&str>) =
        msgpack::read(take.bytes(len)?).ok()?;
    let failure = Failure::new(FailureKind::from_number(kind)?, message).of_type(errtype);
    Some(failure.with_backtrace(backtrace.into_iter().map(str::to_owned)))
}
