//! A page of jobs: what they have in common once, and of each what is its own.
//!
//! ```text
//! number of profiles, their length in bytes, the profiles, then the jobs
//! profile:  queue, kind, priority (1), exhausted (1), backoff (1 and up to three numbers), timeout, max_retry,
//!         lines of a backtrace
//! job:    flags (1), number - that of the one before (the page's first: - 0), profile, id, [order - number],
//!         created_at - that of the one before, state, [attempt], payload or its length, [rare part]
//! flags:  bits 0-2 state, 3 payload on a payload page, 4 id is text, 5 order is not the number, 6 was started,
//!         7 has a rare part
//! id:     moment in it - created_at, 10 bytes; or a text
//! state:  pending: since - created_at; scheduled, retrying: moment - created_at; completed, dead, cancelled:
//!         moment - created_at, position - number; in flight: worker + 1, or 0 and a name; token - number,
//!         since - created_at, deadline - since, pending since - created_at
//! ```
//!
//! Numbers and texts are those of `bytes.rs`; a rare part is a MessagePack array behind its length. So a job
//! with a generated id takes about 20 bytes.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::bytes::{Take, put_difference, put_text, put_uint};
use crate::base::msgpack;
use crate::ids::{Attempt, Holder, JobId, KindName, Priority, QueueName, Seq, Timestamp, Token, WorkerId};
use crate::jobs::model::failure::{FailedAttempt, Failure, FailureKind};
use crate::jobs::model::job::{Finish, JobState, Lease};
use crate::jobs::record::JobRecord;
use crate::jobs::stored::{backoff_fields, backoff_of, exhausted_number, exhausted_of, remote_of};
use crate::jobs::{Payload, PayloadRef};

/// A page is closed when it has so many bytes; only its last job can make it longer.
pub(super) const PAGE_BYTES_TARGET: usize = 64 << 10;

/// The two numbers in front of a page, which its builder does not count.
const FRONT_BYTES_MAX: usize = 20;

const STATE: u8 = 7;
const STORED: u8 = 1 << 3;
const TEXT_ID: u8 = 1 << 4;
const REORDERED: u8 = 1 << 5;
const STARTED: u8 = 1 << 6;
const RARE: u8 = 1 << 7;

pub(super) use crate::jobs::convert::joined;
pub use crate::jobs::page::{Page, PagedJob, ProfileRecord, RarePart};

/// The reverse of [`joined`], for the profile 0 of a page of its own.
pub(super) fn parted(record: JobRecord) -> (ProfileRecord, PagedJob) {
    let profile = ProfileRecord {
        queue: record.queue,
        kind: record.kind,
        priority: record.priority,
        backoff: record.backoff,
        exhausted: record.exhausted,
        timeout_ms: record.timeout_ms,
        max_retry: record.max_retry,
        backtrace_lines: record.backtrace_lines,
    };
    let rare = RarePart {
        failures: record.failures,
        failed: record.failed,
        result: record.result,
        custom: record.custom,
    };
    let job = PagedJob {
        id: record.id,
        number: record.number,
        order: record.order,
        created_at: record.created_at,
        state: record.state,
        attempt: record.attempt,
        profile: 0,
        payload: record.payload,
        rare: (rare != RarePart::default()).then(|| Box::new(rare)),
    };
    (profile, job)
}

/// A rare part as it is written.
#[derive(Serialize, Deserialize)]
struct RareFields<'a> {
    failed: u32,
    #[serde(borrow)]
    result: Option<&'a str>,
    #[serde(borrow)]
    custom: Option<&'a str>,
    /// Attempt, moment, sort, message, when the next attempt was due (0: at once, or never), error, where.
    #[serde(borrow)]
    failures: Vec<FailureFields<'a>>,
}

type FailureFields<'a> = (Attempt, Timestamp, u8, &'a str, Timestamp, &'a str, Vec<&'a str>);

fn rare_bytes(rare: &RarePart) -> Vec<u8> {
    let failures = rare.failures.iter().map(|failed| {
        let Failure { kind, message, errtype, backtrace } = &failed.failure;
        let backtrace = backtrace.iter().map(String::as_str).collect();
        let next_at = failed.next_at.unwrap_or_default();
        (failed.attempt, failed.at, kind.number(), message.as_str(), next_at, errtype.as_str(), backtrace)
    });
    let fields = RareFields {
        failed: rare.failed,
        result: rare.result.as_ref().map(Payload::as_str),
        custom: rare.custom.as_ref().map(Payload::as_str),
        failures: failures.collect(),
    };
    rmp_serde::to_vec(&fields).expect("writing plain data to memory cannot fail")
}

fn rare_of(bytes: &[u8]) -> Result<RarePart, String> {
    let RareFields { failed, result, custom, failures } = msgpack::read(bytes)?;
    let failures = failures.into_iter().map(|(attempt, at, sort, message, next_at, errtype, backtrace)| {
        let sort = FailureKind::from_number(sort).ok_or_else(|| format!("unknown sort of failure {sort}"))?;
        let backtrace = backtrace.into_iter().map(str::to_owned);
        let failure = Failure::new(sort, message).of_type(errtype).with_backtrace(backtrace);
        Ok(FailedAttempt { attempt, at, next_at: (next_at != Timestamp(0)).then_some(next_at), failure })
    });
    Ok(RarePart {
        failed,
        result: result.map(Payload::trusted),
        custom: custom.map(Payload::trusted),
        failures: failures.collect::<Result<_, String>>()?,
    })
}

/// Gathers the jobs of one page.
#[derive(Default)]
pub(super) struct PageBuilder {
    profiles: Vec<u8>,
    /// By their bytes.
    known: HashMap<Vec<u8>, u32>,
    /// The profile of the job before, which mostly is that of the next as well.
    latest: Option<(ProfileRecord, u32)>,
    scratch: Vec<u8>,
    jobs: Vec<u8>,
    count: u32,
    number: u64,
    created_at: u64,
}

impl PageBuilder {
    /// Length so far.
    pub fn len(&self) -> usize {
        self.profiles.len() + self.jobs.len()
    }

    /// Jobs so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds a job. Its payload is written here if it is in memory.
    pub fn add(&mut self, profile: &ProfileRecord, job: &PagedJob) {
        let profile = self.class_number(profile);
        let PagedJob { id, number, order, created_at, state, attempt, payload, rare, profile: _ } = job;
        let flags = state_number(state)
            | if payload.here().is_none() { STORED } else { 0 }
            | if id.parts().is_err() { TEXT_ID } else { 0 }
            | if order != number { REORDERED } else { 0 }
            | if attempt.0 > 0 { STARTED } else { 0 }
            | if rare.is_some() { RARE } else { 0 };
        let out = &mut self.jobs;
        out.push(flags);
        put_uint(out, number.0 - self.number);
        put_uint(out, u64::from(profile));
        match id.parts() {
            Ok(bytes) => {
                let (moment, random) = bytes.split_at(6);
                put_difference(out, moment_of(moment), created_at.0);
                out.extend_from_slice(random);
            }
            Err(text) => put_text(out, text),
        }
        if order != number {
            put_difference(out, order.0, number.0);
        }
        put_difference(out, created_at.0, self.created_at);
        put_state(out, state, *number, *created_at);
        if attempt.0 > 0 {
            put_uint(out, u64::from(attempt.0));
        }
        match payload {
            PayloadRef::Here(payload) => put_text(out, payload.as_str()),
            PayloadRef::Stored { bytes } => put_uint(out, u64::from(*bytes)),
        }
        if let Some(rare) = rare {
            let bytes = rare_bytes(rare);
            put_uint(out, bytes.len() as u64);
            out.extend_from_slice(&bytes);
        }
        (self.number, self.created_at) = (number.0, created_at.0);
        self.count += 1;
    }

    fn class_number(&mut self, profile: &ProfileRecord) -> u32 {
        if let Some((latest, number)) = &self.latest
            && latest == profile
        {
            return *number;
        }
        self.scratch.clear();
        put_class(&mut self.scratch, profile);
        let number = match self.known.get(&self.scratch) {
            Some(number) => *number,
            None => {
                let number = self.known.len() as u32;
                self.profiles.extend_from_slice(&self.scratch);
                self.known.insert(self.scratch.clone(), number);
                number
            }
        };
        self.latest = Some((profile.clone(), number));
        number
    }

    /// Writes the page behind what is in `out`, and begins the next.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        put_uint(out, self.known.len() as u64);
        put_uint(out, self.profiles.len() as u64);
        out.extend_from_slice(&self.profiles);
        out.extend_from_slice(&self.jobs);
        self.profiles.clear();
        self.known.clear();
        self.latest = None;
        self.jobs.clear();
        (self.count, self.number, self.created_at) = (0, 0, 0);
    }
}

fn put_class(out: &mut Vec<u8>, profile: &ProfileRecord) {
    put_text(out, profile.queue.as_str());
    put_text(out, profile.kind.as_str());
    out.push(profile.priority.level());
    out.push(exhausted_number(profile.exhausted));
    let (sort, first, second, third) = backoff_fields(profile.backoff);
    out.push(sort);
    put_uint(out, first);
    put_uint(out, second);
    out.push(third);
    put_uint(out, profile.timeout_ms);
    put_uint(out, u64::from(profile.max_retry));
    put_uint(out, u64::from(profile.backtrace_lines));
}

fn profile_of(take: &mut Take<'_>) -> Result<ProfileRecord, String> {
    let short = || "a profile ends too early".to_owned();
    let queue = QueueName::parse(take.text().ok_or_else(short)?).map_err(|error| error.to_string())?;
    let kind = KindName::parse(take.text().ok_or_else(short)?).map_err(|error| error.to_string())?;
    let priority = Priority::new(take.byte().ok_or_else(short)?).map_err(|error| error.to_string())?;
    let exhausted = exhausted_of(take.byte().ok_or_else(short)?)?;
    let mut backoff = || Some((take.byte()?, take.uint()?, take.uint()?, take.byte()?));
    let backoff = backoff_of(backoff().ok_or_else(short)?)?;
    let mut rest = || Some((take.uint()?, take.uint32()?, take.uint32()?));
    let (timeout_ms, max_retry, backtrace_lines) = rest().ok_or_else(short)?;
    Ok(ProfileRecord { queue, kind, priority, backoff, exhausted, timeout_ms, max_retry, backtrace_lines })
}

fn moment_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |moment, byte| moment << 8 | u64::from(*byte))
}

fn state_number(state: &JobState) -> u8 {
    state.status() as u8
}

fn put_state(out: &mut Vec<u8>, state: &JobState, number: Seq, created_at: Timestamp) {
    match state {
        JobState::Pending { since: at }
        | JobState::Scheduled { run_at: at }
        | JobState::Retrying { retry_at: at } => {
            put_difference(out, at.0, created_at.0);
        }
        JobState::InFlight(lease) => {
            match &lease.holder {
                Holder::Local(worker) => put_uint(out, u64::from(worker.0) + 1),
                Holder::Remote(name) => {
                    put_uint(out, 0);
                    put_text(out, name.as_str());
                }
            }
            put_difference(out, lease.token.0, number.0);
            put_difference(out, lease.since.0, created_at.0);
            put_difference(out, lease.deadline.0, lease.since.0);
            put_difference(out, lease.pending_since.0, created_at.0);
        }
        JobState::Completed(finish) | JobState::Dead(finish) | JobState::Cancelled(finish) => {
            put_difference(out, finish.at.0, created_at.0);
            put_difference(out, finish.seq.0, number.0);
        }
    }
}

fn state_of(take: &mut Take<'_>, sort: u8, number: Seq, created_at: Timestamp) -> Option<JobState> {
    let finish = |take: &mut Take<'_>| {
        let at = Timestamp(take.difference(created_at.0)?);
        Some(Finish { at, seq: Seq(take.difference(number.0)?) })
    };
    Some(match sort {
        0 => JobState::Pending { since: Timestamp(take.difference(created_at.0)?) },
        1 => JobState::Scheduled { run_at: Timestamp(take.difference(created_at.0)?) },
        2 => {
            let holder = match take.uint()? {
                0 => Holder::Remote(remote_of(take.text()?).ok()?),
                worker => Holder::Local(WorkerId(u32::try_from(worker - 1).ok()?)),
            };
            let token = Token(take.difference(number.0)?);
            let since = Timestamp(take.difference(created_at.0)?);
            let deadline = Timestamp(take.difference(since.0)?);
            let pending_since = Timestamp(take.difference(created_at.0)?);
            JobState::InFlight(Box::new(Lease { holder, token, since, deadline, pending_since }))
        }
        3 => JobState::Retrying { retry_at: Timestamp(take.difference(created_at.0)?) },
        4 => JobState::Completed(finish(take)?),
        5 => JobState::Dead(finish(take)?),
        6 => JobState::Cancelled(finish(take)?),
        _ => return None,
    })
}

/// Reads pages; remembers the profiles of the last one, which those of the next mostly are.
#[derive(Default)]
pub(super) struct PageDecoder {
    bytes: Vec<u8>,
    profiles: Option<Arc<[ProfileRecord]>>,
}

impl PageDecoder {
    /// The page of `count` jobs whose numbers go from `first` to `last`.
    pub fn decode(&mut self, raw: &[u8], count: u32, first: Seq, last: Seq) -> Result<Page, String> {
        let mut take = Take(raw);
        let profiles = self.profiles(&mut take)?;
        // At least five bytes are a job; a count beyond what is there allocates nothing.
        let mut jobs = Vec::with_capacity((count as usize).min(take.0.len() / 5));
        let (mut number, mut created_at) = (0, 0);
        for nth in 0..count {
            let so_far = raw.len() - take.0.len();
            if so_far >= PAGE_BYTES_TARGET + FRONT_BYTES_MAX {
                return Err("a job follows on a page that is full".to_owned());
            }
            let job = job_of(&mut take, number, created_at, &profiles)?;
            if nth > 0 && job.number.0 <= number {
                return Err(format!("job {} comes after job {number}", job.number));
            }
            (number, created_at) = (job.number.0, job.created_at.0);
            jobs.push(job);
        }
        take.end().ok_or("more bytes follow the jobs of a page")?;
        let found = jobs.first().zip(jobs.last()).map(|(first, last)| (first.number, last.number));
        if found != Some((first, last)) || first == Seq::ZERO {
            return Err(format!("a page should hold the jobs from {first} to {last}, and has {found:?}"));
        }
        Ok(Page { profiles, jobs })
    }

    fn profiles(&mut self, take: &mut Take<'_>) -> Result<Arc<[ProfileRecord]>, String> {
        let short = || "a page ends too early".to_owned();
        let count = take.uint().ok_or_else(short)?;
        let len = take.uint().and_then(|len| usize::try_from(len).ok()).ok_or_else(short)?;
        let bytes = take.bytes(len).ok_or_else(short)?;
        if let Some(profiles) = &self.profiles
            && bytes == self.bytes
            && profiles.len() as u64 == count
        {
            return Ok(profiles.clone());
        }
        let mut rest = Take(bytes);
        let mut profiles = Vec::new();
        for _ in 0..count {
            profiles.push(profile_of(&mut rest)?);
        }
        rest.end().ok_or("more bytes follow the profiles of a page")?;
        let profiles: Arc<[ProfileRecord]> = profiles.into();
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        Ok(self.profiles.insert(profiles).clone())
    }
}

fn job_of(
    take: &mut Take<'_>,
    before: u64,
    created_before: u64,
    profiles: &[ProfileRecord],
) -> Result<PagedJob, String> {
    let short = || format!("the job after {before} cannot be read");
    let flags = take.byte().ok_or_else(short)?;
    let number = take.uint().and_then(|step| before.checked_add(step)).map(Seq).ok_or_else(short)?;
    if number > Seq::MAX {
        return Err(format!("no log gets to event {number}"));
    }
    let profile = take.uint32().filter(|profile| (*profile as usize) < profiles.len()).ok_or_else(short)?;
    // The moment in a generated id is told by when the job was created, which comes later.
    enum Id<'a> {
        Generated(u64, [u8; 10]),
        Text(&'a str),
    }
    let id = match flags & TEXT_ID {
        0 => Id::Generated(take.uint().ok_or_else(short)?, take.array().ok_or_else(short)?),
        _ => Id::Text(take.text().ok_or_else(short)?),
    };
    let order = match flags & REORDERED {
        0 => number,
        _ => Seq(take.difference(number.0).ok_or_else(short)?),
    };
    let created_at = Timestamp(take.difference(created_before).ok_or_else(short)?);
    let id = match id {
        Id::Generated(folded, random) => {
            let difference = (folded >> 1) ^ (folded & 1).wrapping_neg();
            let moment = created_at.0.wrapping_add(difference);
            let mut bytes = [0; 16];
            bytes[..6].copy_from_slice(&moment.to_be_bytes()[2..]);
            bytes[6..].copy_from_slice(&random);
            JobId::of_ulid(bytes)
        }
        Id::Text(text) => JobId::parse(text).map_err(|error| error.to_string())?,
    };
    let state = state_of(take, flags & STATE, number, created_at).ok_or_else(short)?;
    let attempt = match flags & STARTED {
        0 => Attempt(0),
        _ => Attempt(take.uint32().ok_or_else(short)?),
    };
    let payload = match flags & STORED {
        0 => PayloadRef::Here(Payload::trusted(take.text().ok_or_else(short)?)),
        _ => PayloadRef::Stored { bytes: take.uint32().ok_or_else(short)? },
    };
    let rare = match flags & RARE {
        0 => None,
        _ => {
            let len = take.uint().and_then(|len| usize::try_from(len).ok()).ok_or_else(short)?;
            Some(Box::new(rare_of(take.bytes(len).ok_or_else(short)?)?))
        }
    };
    Ok(PagedJob { id, number, order, created_at, state, attempt, profile, payload, rare })
}
