//! What each type of event says, as bytes: one pair of functions a type.
//!
//! ```text
//! ENQUEUE        flags (1), id, queue, kind, priority (1), timeout, max_retry, [run_at - moment] [back-off] [custom]
//!                [lines of a backtrace], payload; flags: 1 run_at, 2 back-off, 4 dropped when exhausted, 8 custom, 16 lines
//! DISPATCH       id, holder, attempt, deadline - moment
//! ACK            id, token, [result]
//! RETRY          id, token, retry_at - moment, failure, result or nothing
//! REQUEUE        id, token, flags (1), [not_before - moment], failure; flags: 1 counted, 2 not_before
//! EXHAUST        id, token, end (1), failure, result or nothing
//! EXTEND         id, token, deadline - moment
//! CANCEL, RUN_NOW, DISCARD   id
//! KILL           id, [failure]
//! MOVE           id, queue
//! OUTPUT         id, token, result
//! FOLLOW         id, the new job without its id
//! SET_PAUSED     queue, 1 or 0 (1)
//! REMOVE_QUEUE   queue
//! PROMOTE        due, number of the last
//! FORGET         the last completed, dead, cancelled
//! DIGEST         the sum (8, little endian)
//! TERM           timeline, term, parent timeline, branched at
//! LEAD           grace, margin (ms)
//! SET_CLOCK      step (1), [from - moment] [doubted since - moment], margin, longest back-off (ms); step: 0 none, 1 back,
//!                2 again, and 4 more if it is doubted
//! ```
//!
//! "Or nothing" is 0; else 1 and the text.

use crate::base::bytes::{Take, put_difference, put_text, put_uint};
use crate::ids::{Attempt, Epoch, JobId, Priority, Seq, Term, Timeline, Timestamp, TokenRef};
use crate::jobs::event::{ClockStep, EventKind, EventType, NewJob};
use crate::jobs::model::job::Exhausted;
use crate::jobs::model::payload::Payload;
use crate::jobs::stored::{
    FoundId, exhausted_number, put_backoff, put_failure, put_holder, put_id, put_new_job, put_token_ref,
    take_backoff, take_exhausted, take_failure, take_holder, take_new_job, take_token_ref,
};
use crate::wal::codec::names::Names;

const RUN_AT: u8 = 1;
const BACKOFF: u8 = 2;
const DROPPED: u8 = 4;
const CUSTOM: u8 = 8;
const LINES: u8 = 16;

const COUNTED: u8 = 1;
const NOT_BEFORE: u8 = 2;
const FENCED: u8 = 4;

const BACK: u8 = 1;
const AGAIN: u8 = 2;
const DOUBTED: u8 = 4;

/// Appends what an event of this kind says.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, at: Timestamp, kind: &EventKind) {
    match kind {
        EventKind::Enqueue(new) => put_enqueue(out, at, new),
        EventKind::Dispatch { job, holder, attempt, deadline } => {
            put_id(out, job);
            put_holder(out, holder);
            put_uint(out, u64::from(attempt.0));
            put_difference(out, deadline.0, at.0);
        }
        EventKind::Ack { job, token, result } => {
            put_lease(out, job, *token);
            if let Some(result) = result {
                put_text(out, result.as_str());
            }
        }
        EventKind::Retry { job, token, failure, result, retry_at } => {
            put_lease(out, job, *token);
            put_difference(out, retry_at.0, at.0);
            put_failure(out, failure);
            put_result(out, result);
        }
        EventKind::Requeue { job, token, failure, counted, fenced, not_before } => {
            put_lease(out, job, *token);
            let flags = if *counted { COUNTED } else { 0 }
                | if not_before.is_some() { NOT_BEFORE } else { 0 }
                | if *fenced { FENCED } else { 0 };
            out.push(flags);
            if let Some(moment) = not_before {
                put_difference(out, moment.0, at.0);
            }
            put_failure(out, failure);
        }
        EventKind::Exhaust { job, token, failure, result, end } => {
            put_lease(out, job, *token);
            out.push(exhausted_number(*end));
            put_failure(out, failure);
            put_result(out, result);
        }
        EventKind::Extend { job, token, deadline } => {
            put_lease(out, job, *token);
            put_difference(out, deadline.0, at.0);
        }
        EventKind::Cancel { job } | EventKind::RunNow { job } | EventKind::Discard { job } => {
            put_id(out, job)
        }
        EventKind::Kill { job, failure } => {
            put_id(out, job);
            if let Some(failure) = failure {
                put_failure(out, failure);
            }
        }
        EventKind::Move { job, queue } => {
            put_id(out, job);
            put_text(out, queue.as_str());
        }
        EventKind::Output { job, token, result } => {
            put_lease(out, job, *token);
            put_text(out, result.as_str());
        }
        EventKind::Follow { job, next } => {
            put_id(out, job);
            put_new_job(out, next);
        }
        EventKind::SetPaused { queue, paused } => {
            put_text(out, queue.as_str());
            out.push(u8::from(*paused));
        }
        EventKind::RemoveQueue { queue } => put_text(out, queue.as_str()),
        EventKind::Promote { due, through } => put_uints(out, &[due.0, through.0]),
        EventKind::Forget { completed, dead, cancelled } => {
            put_uints(out, &[completed.0, dead.0, cancelled.0]);
        }
        EventKind::Digest { digest } => out.extend_from_slice(&digest.to_le_bytes()),
        EventKind::Term { epoch: Epoch { timeline, term }, parent, branched_at } => {
            put_uints(out, &[timeline.0.into(), term.0.into(), parent.0.into(), branched_at.0]);
        }
        EventKind::Lead { grace_ms, margin_ms } => put_uints(out, &[*grace_ms, *margin_ms]),
        EventKind::SetClock { step, doubted_since, margin_ms, backoff_max_ms } => {
            let doubted = if doubted_since.is_some() { DOUBTED } else { 0 };
            match step {
                ClockStep::None => out.push(doubted),
                ClockStep::Back { from } => {
                    out.push(BACK | doubted);
                    put_difference(out, from.0, at.0);
                }
                ClockStep::Again => out.push(AGAIN | doubted),
            }
            if let Some(since) = doubted_since {
                put_difference(out, since.0, at.0);
            }
            put_uints(out, &[*margin_ms, *backoff_max_ms]);
        }
    }
}

/// Takes what an event of this type says and hands it to `then`, in the place where it was made: an event is moved in
/// pieces, and moving it right after it was made waits for every piece to reach the cache, as long as reading it takes.
/// None where the bytes are not what the type says.
#[inline]
pub(super) fn take<T>(
    event_type: EventType,
    at: Timestamp,
    take: &mut Take<'_>,
    names: &mut Names,
    then: impl FnOnce(EventKind) -> T,
) -> Option<T> {
    match event_type {
        EventType::Enqueue => {
            let new = take_enqueue(at, take, names)?;
            take.end()?;
            Some(then(EventKind::Enqueue(new)))
        }
        EventType::Dispatch => {
            let id = FoundId::take(take)?;
            let holder = take_holder(take, |name| names.remote(name))?;
            let (attempt, deadline) = (Attempt(take.uint32()?), Timestamp(take.difference(at.0)?));
            take.end()?;
            id.made(|job| then(EventKind::Dispatch { job, holder, attempt, deadline }))
        }
        EventType::Ack => {
            let (id, token) = (FoundId::take(take)?, take_token_ref(take)?);
            let result = match take.end() {
                Some(()) => None,
                None => Some(Payload::trusted(take.text()?)),
            };
            take.end()?;
            id.made(|job| then(EventKind::Ack { job, token, result }))
        }
        rare => Some(then(take_rare(rare, at, take, names)?)),
    }
}

/// The types that few events of a log are of.
fn take_rare(
    event_type: EventType,
    at: Timestamp,
    take: &mut Take<'_>,
    names: &mut Names,
) -> Option<EventKind> {
    let kind = match event_type {
        EventType::Enqueue | EventType::Dispatch | EventType::Ack => return None,
        EventType::Retry => {
            let (job, token) = take_lease(take)?;
            let retry_at = Timestamp(take.difference(at.0)?);
            let (failure, result) = (Box::new(take_failure(take)?), take_result(take)?);
            EventKind::Retry { job, token, failure, result, retry_at }
        }
        EventType::Requeue => {
            let (job, token) = take_lease(take)?;
            let flags = take.byte().filter(|flags| *flags <= COUNTED | NOT_BEFORE | FENCED)?;
            let not_before = match flags & NOT_BEFORE {
                0 => None,
                _ => Some(Timestamp(take.difference(at.0)?)),
            };
            let (counted, fenced) = (flags & COUNTED != 0, flags & FENCED != 0);
            let failure = Box::new(take_failure(take)?);
            EventKind::Requeue { job, token, failure, counted, fenced, not_before }
        }
        EventType::Exhaust => {
            let (job, token) = take_lease(take)?;
            let end = take_exhausted(take)?;
            let (failure, result) = (Box::new(take_failure(take)?), take_result(take)?);
            EventKind::Exhaust { job, token, failure, result, end }
        }
        EventType::Extend => {
            let (job, token) = take_lease(take)?;
            EventKind::Extend { job, token, deadline: Timestamp(take.difference(at.0)?) }
        }
        EventType::Cancel => EventKind::Cancel { job: take_id(take)? },
        EventType::Kill => {
            let job = take_id(take)?;
            let failure = match take.end() {
                Some(()) => None,
                None => Some(Box::new(take_failure(take)?)),
            };
            EventKind::Kill { job, failure }
        }
        EventType::RunNow => EventKind::RunNow { job: take_id(take)? },
        EventType::Discard => EventKind::Discard { job: take_id(take)? },
        EventType::Move => {
            EventKind::Move { job: take_id(take)?, queue: names.queue(take.text()?.as_bytes())? }
        }
        EventType::Output => {
            let (job, token) = take_lease(take)?;
            EventKind::Output { job, token, result: Payload::trusted(take.text()?) }
        }
        EventType::SetPaused => {
            let queue = names.queue(take.text()?.as_bytes())?;
            EventKind::SetPaused { queue, paused: take.byte().filter(|paused| *paused <= 1)? == 1 }
        }
        EventType::RemoveQueue => EventKind::RemoveQueue { queue: names.queue(take.text()?.as_bytes())? },
        EventType::Promote => EventKind::Promote { due: Timestamp(take.uint()?), through: Seq(take.uint()?) },
        EventType::Forget => EventKind::Forget {
            completed: Seq(take.uint()?),
            dead: Seq(take.uint()?),
            cancelled: Seq(take.uint()?),
        },
        EventType::Digest => EventKind::Digest { digest: u64::from_le_bytes(take.array()?) },
        EventType::Term => {
            let epoch = Epoch { timeline: Timeline(take.uint32()?), term: Term(take.uint32()?) };
            EventKind::Term { epoch, parent: Timeline(take.uint32()?), branched_at: Seq(take.uint()?) }
        }
        EventType::Follow => {
            let job = take_id(take)?;
            EventKind::Follow { next: take_new_job(take, job.clone())?, job }
        }
        EventType::Lead => EventKind::Lead { grace_ms: take.uint()?, margin_ms: take.uint()? },
        EventType::SetClock => {
            let flags = take.byte()?;
            let step = match flags & !DOUBTED {
                0 => ClockStep::None,
                BACK => ClockStep::Back { from: Timestamp(take.difference(at.0)?) },
                AGAIN => ClockStep::Again,
                _ => return None,
            };
            let doubted_since = match flags & DOUBTED {
                0 => None,
                _ => Some(Timestamp(take.difference(at.0)?)),
            };
            EventKind::SetClock { step, doubted_since, margin_ms: take.uint()?, backoff_max_ms: take.uint()? }
        }
    };
    take.end()?;
    Some(kind)
}

fn put_enqueue(out: &mut Vec<u8>, at: Timestamp, new: &NewJob) {
    let NewJob { id, profile, content, run_at } = new;
    let payload = content.payload.here().expect("a job is written when it is new, with its payload at hand");
    let flags = if run_at.is_some() { RUN_AT } else { 0 }
        | if profile.backoff.is_server() { 0 } else { BACKOFF }
        | if profile.exhausted == Exhausted::Drop { DROPPED } else { 0 }
        | if content.custom.is_some() { CUSTOM } else { 0 }
        | if profile.backtrace_lines > 0 { LINES } else { 0 };
    out.push(flags);
    put_id(out, id);
    put_text(out, profile.queue.as_str());
    put_text(out, profile.kind.as_str());
    out.push(profile.priority.level());
    put_uint(out, profile.timeout_ms);
    put_uint(out, u64::from(profile.max_retry));
    if flags != 0 {
        if let Some(run_at) = run_at {
            put_difference(out, run_at.0, at.0);
        }
        if flags & BACKOFF != 0 {
            put_backoff(out, profile.backoff);
        }
        if let Some(custom) = &content.custom {
            put_text(out, custom.as_str());
        }
        if flags & LINES != 0 {
            put_uint(out, u64::from(profile.backtrace_lines));
        }
    }
    put_text(out, payload.as_str());
}

#[inline]
fn take_enqueue(at: Timestamp, take: &mut Take<'_>, names: &mut Names) -> Option<Box<NewJob>> {
    let flags = take.byte().filter(|flags| *flags <= RUN_AT | BACKOFF | DROPPED | CUSTOM | LINES)?;
    let id = FoundId::take(take)?;
    let (queue, kind) = (take.text_bytes()?, take.text_bytes()?);
    let mut new = names.new_job(queue, kind)?;
    new.profile.priority = Priority::new(take.byte()?).ok()?;
    (new.profile.timeout_ms, new.profile.max_retry) = (take.uint()?, take.uint32()?);
    if flags != 0 {
        if flags & RUN_AT != 0 {
            new.run_at = Some(Timestamp(take.difference(at.0)?));
        }
        if flags & BACKOFF != 0 {
            new.profile.backoff = take_backoff(take).filter(|backoff| !backoff.is_server())?;
        }
        if flags & DROPPED != 0 {
            new.profile.exhausted = Exhausted::Drop;
        }
        if flags & CUSTOM != 0 {
            new.content.custom = Some(Payload::trusted(take.text()?));
        }
        if flags & LINES != 0 {
            new.profile.backtrace_lines = take.uint32().filter(|lines| *lines > 0)?;
        }
    }
    new.content.payload = names.payload(take.text_bytes()?)?;
    id.made(|id| new.id = id)?;
    Some(new)
}

fn put_lease(out: &mut Vec<u8>, job: &JobId, token: TokenRef) {
    put_id(out, job);
    put_token_ref(out, token);
}

fn take_lease(take: &mut Take<'_>) -> Option<(JobId, TokenRef)> {
    Some((take_id(take)?, take_token_ref(take)?))
}

fn take_id(take: &mut Take<'_>) -> Option<JobId> {
    FoundId::take(take)?.made(|id| id)
}

fn put_result(out: &mut Vec<u8>, result: &Option<Payload>) {
    match result {
        None => out.push(0),
        Some(result) => {
            out.push(1);
            put_text(out, result.as_str());
        }
    }
}

fn take_result(take: &mut Take<'_>) -> Option<Option<Payload>> {
    match take.byte()? {
        0 => Some(None),
        1 => Some(Some(Payload::trusted(take.text()?))),
        _ => None,
    }
}

fn put_uints(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| put_uint(out, *number));
}
