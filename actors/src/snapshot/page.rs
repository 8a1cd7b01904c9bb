//! A page of jobs: what they have in common once, and of each what is its own.
//!
//! ```text
//! number of profiles, their length in bytes, the profiles, then the jobs
//! job:    flags (1), number - that of the one before (the page's first: - 0), profile, id, [line seq - number],
//!         created_at - that of the one before, state, [attempt], payload or its length, [rare part]
//! flags:  bits 0-2 state, 3 payload on a page of texts, 4 id is text, 5 line seq is not the number, 6 was started,
//!         7 has a rare part
//! id:     moment in it - created_at, 10 bytes; or a text
//! state:  pending: since - created_at; scheduled, retrying: moment - created_at; completed, dead, cancelled:
//!         moment - created_at, position - number; in flight: holder, token, since - created_at, deadline - since,
//!         pending since - created_at
//! rare:   flags (1), failed attempts that count, [position of the result's event - number, result or its length],
//!         [custom or its length], [last lease: token, holder], [the job that follows], number of failures, the failures
//! flags:  1 result, 2 custom, 4 last lease, 8 the result is on a page of texts, 16 custom is on one, 32 another job follows
//! failure: attempt, moment - created_at, when the next attempt was due (0: at once, or never), position of its
//!         event - number, its length if it is on a page of texts, else 0 and what it was
//! ```
//!
//! Numbers and texts are those of `base/bytes.rs`, profiles, holders, tokens and failures those of
//! `jobs/stored.rs`. So a job with a generated id takes about 20 bytes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::bytes::{Take, put_difference, put_text, put_uint, unfolded};
use crate::ids::{Attempt, JobId, Seq, Timestamp};
use crate::jobs::model::failure::FailedAttempt;
use crate::jobs::model::job::{EndedLease, Finish, JobState, Lease};
use crate::jobs::model::profile::Profile;
use crate::jobs::model::text::{EventText, TextRef};
use crate::jobs::stored::{
    put_failure, put_holder, put_new_job, put_profile, put_token, remote_of, take_failure, take_holder,
    take_new_job, take_profile, take_token,
};
use crate::jobs::table::packed_job::{PackedJob, ProfileId, Rare};
use crate::jobs::{Payload, PayloadRef};

pub use crate::jobs::page::Page;

/// A page is closed when it has this many bytes; only its last job can make it longer.
pub(super) const PAGE_BYTES_TARGET: usize = 64 << 10;

/// The two numbers in front of a page, which its builder does not count.
const FRONT_BYTES_MAX: usize = 20;

const STATE: u8 = 7;
const STORED: u8 = 1 << 3;
const TEXT_ID: u8 = 1 << 4;
const REORDERED: u8 = 1 << 5;
const STARTED: u8 = 1 << 6;
const RARE: u8 = 1 << 7;

const RESULT: u8 = 1;
const CUSTOM: u8 = 2;
const LAST_LEASE: u8 = 4;
const RESULT_STORED: u8 = 8;
const CUSTOM_STORED: u8 = 16;
const SUCCESSOR: u8 = 32;
const RARE_FLAGS: u8 = RESULT | CUSTOM | LAST_LEASE | RESULT_STORED | CUSTOM_STORED | SUCCESSOR;

fn put_rare(out: &mut Vec<u8>, rare: &Rare, number: Seq, created_at: Timestamp) {
    let Rare { last_lease, failures, failed, result, custom, successor, .. } = rare;
    let is_stored = |text: &PayloadRef| text.here().is_none();
    let flags = if result.is_some() { RESULT } else { 0 }
        | if custom.is_some() { CUSTOM } else { 0 }
        | if last_lease.is_some() { LAST_LEASE } else { 0 }
        | if result.as_ref().is_some_and(|result| is_stored(&result.text)) { RESULT_STORED } else { 0 }
        | if custom.as_ref().is_some_and(is_stored) { CUSTOM_STORED } else { 0 }
        | if successor.is_some() { SUCCESSOR } else { 0 };
    out.push(flags);
    put_uint(out, u64::from(*failed));
    if let Some(EventText { seq, text }) = result {
        put_uint(out, seq.0 - number.0);
        put_text_ref(out, text);
    }
    if let Some(custom) = custom {
        put_text_ref(out, custom);
    }
    if let Some(EndedLease { holder, token }) = last_lease {
        put_token(out, *token);
        put_holder(out, holder);
    }
    if let Some(successor) = successor {
        put_new_job(out, successor);
    }
    put_uint(out, failures.len() as u64);
    for FailedAttempt { attempt, at, next_at, counted, failure: EventText { seq, text } } in failures {
        put_uint(out, u64::from(attempt.0) << 1 | u64::from(!counted));
        put_difference(out, at.0, created_at.0);
        put_uint(out, next_at.map_or(0, |next_at| next_at.0));
        put_uint(out, seq.0 - number.0);
        match text {
            TextRef::Here(failure) => {
                put_uint(out, 0);
                put_failure(out, failure);
            }
            TextRef::Stored { bytes } => put_uint(out, u64::from(*bytes)),
        }
    }
}

/// A text, or its length if it is on a page of texts.
fn put_text_ref(out: &mut Vec<u8>, text: &PayloadRef) {
    match text {
        PayloadRef::Here(text) => put_text(out, text.as_str()),
        PayloadRef::Stored { bytes } => put_uint(out, u64::from(*bytes)),
    }
}

#[inline]
fn take_text_ref(take: &mut Take<'_>, is_stored: bool) -> Option<PayloadRef> {
    Some(match is_stored {
        false => PayloadRef::Here(Payload::trusted(take.text()?)),
        true => PayloadRef::Stored { bytes: take.uint32()? },
    })
}

fn take_rare(
    take: &mut Take<'_>,
    number: Seq,
    created_at: Timestamp,
    id: &JobId,
    rare: &mut Rare,
) -> Option<()> {
    let flags = take.byte().filter(|flags| *flags <= RARE_FLAGS)?;
    let later = |take: &mut Take<'_>| number.0.checked_add(take.uint()?).map(Seq);
    rare.failed = take.uint32()?;
    if flags & RESULT != 0 {
        let seq = later(take)?;
        rare.result = Some(EventText { seq, text: take_text_ref(take, flags & RESULT_STORED != 0)? });
    }
    if flags & CUSTOM != 0 {
        rare.custom = Some(take_text_ref(take, flags & CUSTOM_STORED != 0)?);
    }
    if flags & LAST_LEASE != 0 {
        let token = take_token(take)?;
        rare.last_lease = Some(EndedLease { token, holder: take_holder(take, remote_of)? });
    }
    if flags & SUCCESSOR != 0 {
        rare.successor = Some(take_new_job(take, id.clone())?);
    }
    for _ in 0..take.uint()? {
        let number = take.uint()?;
        let (attempt, counted) = (Attempt(u32::try_from(number >> 1).ok()?), number & 1 == 0);
        let at = Timestamp(take.difference(created_at.0)?);
        let next_at = Some(Timestamp(take.uint()?)).filter(|next_at| *next_at != Timestamp(0));
        let seq = later(take)?;
        let text = match take.uint32()? {
            0 => TextRef::Here(Box::new(take_failure(take)?)),
            bytes => TextRef::Stored { bytes },
        };
        rare.failures.push(FailedAttempt { attempt, at, next_at, counted, failure: EventText { seq, text } });
    }
    Some(())
}

/// Whether something of it is written; an attempt that is in the job's own number is not, nor is a lease.
fn is_written(rare: &Rare) -> bool {
    rare.last_lease.is_some()
        || !rare.failures.is_empty()
        || rare.failed > 0
        || rare.result.is_some()
        || rare.custom.is_some()
        || rare.successor.is_some()
}

/// Gathers the jobs of one page.
#[derive(Default)]
pub(super) struct PageBuilder {
    profiles: Vec<u8>,
    /// By their bytes.
    known: HashMap<Vec<u8>, u32>,
    /// The profile of the job before, which mostly is that of the next as well.
    latest: Option<(Profile, u32)>,
    scratch: Vec<u8>,
    jobs: Vec<u8>,
    count: u32,
    number: u64,
    created_at: u64,
}

impl PageBuilder {
    pub fn len(&self) -> usize {
        self.profiles.len() + self.jobs.len()
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds a job. Those of its texts are written here that are in memory.
    pub fn add(&mut self, profile: &Profile, job: &PackedJob) {
        let profile = self.profile_number(profile);
        let PackedJob { id, enqueued_seq: number, line_seq, created_at, payload, .. } = job;
        let (state, attempt) = (job.state(), job.attempt());
        let rare = job.rare().filter(|rare| is_written(rare));
        let flags = state.status() as u8
            | if payload.here().is_none() { STORED } else { 0 }
            | if id.parts().is_err() { TEXT_ID } else { 0 }
            | if line_seq != number { REORDERED } else { 0 }
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
        if line_seq != number {
            put_difference(out, line_seq.0, number.0);
        }
        put_difference(out, created_at.0, self.created_at);
        put_state(out, &state, *number, *created_at);
        if attempt.0 > 0 {
            put_uint(out, u64::from(attempt.0));
        }
        put_text_ref(out, payload);
        if let Some(rare) = rare {
            put_rare(out, rare, *number, *created_at);
        }
        (self.number, self.created_at) = (number.0, created_at.0);
        self.count += 1;
    }

    fn profile_number(&mut self, profile: &Profile) -> u32 {
        if let Some((latest, number)) = &self.latest
            && latest == profile
        {
            return *number;
        }
        self.scratch.clear();
        put_profile(&mut self.scratch, profile);
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

fn moment_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |moment, byte| moment << 8 | u64::from(*byte))
}

fn put_state(out: &mut Vec<u8>, state: &JobState, number: Seq, created_at: Timestamp) {
    match state {
        JobState::Pending { since: at }
        | JobState::Scheduled { run_at: at }
        | JobState::Retrying { retry_at: at } => {
            put_difference(out, at.0, created_at.0);
        }
        JobState::InFlight(lease) => {
            put_holder(out, &lease.holder);
            put_token(out, lease.token);
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
            let (holder, token) = (take_holder(take, remote_of)?, take_token(take)?);
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
    profiles: Option<Arc<[Profile]>>,
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
            let job = job_of(&mut take, number, created_at, profiles.len())?;
            if nth > 0 && job.enqueued_seq.0 <= number {
                return Err(format!("job {} comes after job {number}", job.enqueued_seq));
            }
            (number, created_at) = (job.enqueued_seq.0, job.created_at.0);
            jobs.push(job);
        }
        take.end().ok_or("more bytes follow the jobs of a page")?;
        let found =
            jobs.first().zip(jobs.last()).map(|(first, last)| (first.enqueued_seq, last.enqueued_seq));
        if found != Some((first, last)) || first == Seq::ZERO {
            return Err(format!("a page should hold the jobs from {first} to {last}, and has {found:?}"));
        }
        Ok(Page { profiles, jobs })
    }

    fn profiles(&mut self, take: &mut Take<'_>) -> Result<Arc<[Profile]>, String> {
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
            let profile = take_profile(&mut rest);
            profiles.push(profile.ok_or_else(|| "a profile cannot be read".to_owned())?);
        }
        rest.end().ok_or("more bytes follow the profiles of a page")?;
        let profiles: Arc<[Profile]> = profiles.into();
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        Ok(self.profiles.insert(profiles).clone())
    }
}

fn job_of(
    take: &mut Take<'_>,
    before: u64,
    created_before: u64,
    profiles: usize,
) -> Result<PackedJob, String> {
    let short = || format!("the job after {before} cannot be read");
    let flags = take.byte().ok_or_else(short)?;
    let number = take.uint().and_then(|step| before.checked_add(step)).map(Seq).ok_or_else(short)?;
    if number > Seq::MAX {
        return Err(format!("no log gets to event {number}"));
    }
    let profile = take.uint32().filter(|profile| (*profile as usize) < profiles).ok_or_else(short)?;
    // The moment in a generated id is told by when the job was created, which comes later.
    enum Id<'a> {
        Generated(u64, [u8; 10]),
        Text(&'a str),
    }
    let id = match flags & TEXT_ID {
        0 => Id::Generated(take.uint().ok_or_else(short)?, take.array().ok_or_else(short)?),
        _ => Id::Text(take.text().ok_or_else(short)?),
    };
    let line_seq = match flags & REORDERED {
        0 => number,
        _ => Seq(take.difference(number.0).ok_or_else(short)?),
    };
    let created_at = Timestamp(take.difference(created_before).ok_or_else(short)?);
    let id = match id {
        Id::Generated(difference, random) => {
            let moment = unfolded(difference, created_at.0);
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
    let payload = take_text_ref(take, flags & STORED != 0).ok_or_else(short)?;
    let mut job = PackedJob::accepted(id, number, created_at, None, payload, ProfileId(profile));
    if flags & RARE != 0 {
        let id = job.id.clone();
        take_rare(take, number, created_at, &id, job.rare_mut()).ok_or_else(short)?;
    }
    job = job.with_state(state, line_seq);
    job.set_attempt(attempt);
    Ok(job)
}
