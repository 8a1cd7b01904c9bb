//! The JSON of a job in the work protocol, read into what the engine takes and written from what it shows.
//!
//! | field | is | when absent or `null` |
//! |---|---|---|
//! | `jid` | text of at least 8 bytes | refused |
//! | `jobtype` | the kind | refused |
//! | `args` | an array; one that holds a single object is that object as payload | refused |
//! | `queue` | its name | `default` |
//! | `priority` | 0 to 9, 9 first; anything else counts as absent | 5 |
//! | `at` | RFC 3339 | now |
//! | `reserve_for` | seconds, at least 60 and at most a day | 1800 |
//! | `retry` | how many; 0 drops the job when it fails, -1 declares it dead | 25 |
//! | `backtrace` | how many lines its workers should report | 0 |
//! | `custom` | an object that nobody here looks into | none |
//!
//! Everything else is accepted and forgotten. Nothing here builds a tree of values.

use std::fmt;
use std::time::Duration;

use beaver_actors::ids::{JobId, KindName, Priority, QueueName};
use beaver_actors::jobs::{Backoff, Exhausted, JobSpec, JobView, Payload, Rejection, Start, Status};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::append::{self, field, raw_field};
use super::last_names::LastNames;
use super::text::Text;

const JID_BYTES_MIN: usize = 8;
const DEFAULT_QUEUE: &str = "default";
const DEFAULT_RETRY: u32 = 25;
const RESERVE_SECS: u64 = 1_800;
const RESERVE_SECS_MIN: u64 = 60;
const RESERVE_SECS_MAX: u64 = 24 * 60 * 60;

/// A job as it came.
#[derive(Deserialize)]
struct SentJob<'l> {
    #[serde(borrow)]
    jid: Option<Text<'l>>,
    #[serde(borrow)]
    jobtype: Option<Text<'l>>,
    #[serde(borrow)]
    args: Option<&'l RawValue>,
    #[serde(borrow)]
    queue: Option<Text<'l>>,
    #[serde(borrow)]
    priority: Option<&'l RawValue>,
    #[serde(borrow)]
    at: Option<Text<'l>>,
    reserve_for: Option<i64>,
    retry: Option<i64>,
    backtrace: Option<i64>,
    #[serde(borrow)]
    custom: Option<&'l RawValue>,
}

/// One of several jobs was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As it was given, also when that is the reason.
    pub(crate) jid: String,
    /// What is wrong with the job.
    pub(crate) why: String,
}

/// Reads jobs.
#[derive(Debug)]
pub struct JobReader {
    payload_bytes_max: usize,
    last: LastNames,
}

impl JobReader {
    /// A reader that refuses payloads (and `custom` objects) of more bytes.
    #[must_use]
    pub fn new(payload_bytes_max: usize) -> JobReader {
        let queue = QueueName::parse(DEFAULT_QUEUE).expect("a word is a name");
        let kind = KindName::parse(DEFAULT_QUEUE).expect("a word is a name");
        JobReader { payload_bytes_max, last: LastNames::new(queue, kind) }
    }

    /// Reads one job.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn one(&mut self, text: &str) -> Result<JobSpec, String> {
        let sent = serde_json::from_str(text).map_err(not_json)?;
        self.accept(&sent)
    }

    /// Reads an array of jobs: the good ones, and what is wrong with the others.
    ///
    /// # Errors
    /// It is no array of objects with values of the right types.
    pub fn many(&mut self, text: &str) -> Result<(Vec<JobSpec>, Vec<Refused>), String> {
        let mut read = (Vec::new(), Vec::new());
        let mut array = serde_json::Deserializer::from_str(text);
        array.deserialize_seq(Many { reader: self, read: &mut read }).map_err(not_json)?;
        array.end().map_err(not_json)?;
        Ok(read)
    }

    fn accept(&mut self, sent: &SentJob<'_>) -> Result<JobSpec, String> {
        let jid = sent.jid.as_ref().map_or("", |jid| &jid.0);
        if jid.len() < JID_BYTES_MIN {
            return Err("jobs must have a reasonable jid parameter".to_owned());
        }
        let kind = match &sent.jobtype {
            Some(Text(kind)) if !kind.is_empty() => {
                self.last.kind(kind).map_err(|error| error.to_string().replacen("kind", "jobtype", 1))?
            }
            _ => return Err("jobs must have a jobtype parameter".to_owned()),
        };
        let Some(args) = sent.args else { return Err("jobs must have an args parameter".to_owned()) };
        let payload = self.payload(args)?;
        let queue = match &sent.queue {
            Some(Text(queue)) if !queue.is_empty() => self.last.queue(queue),
            _ => self.last.queue(DEFAULT_QUEUE),
        };
        let queue = queue.map_err(|error| error.to_string())?;
        let mut spec = JobSpec::new(queue, kind, payload);
        spec.id = Some(JobId::parse(jid).map_err(|error| error.to_string())?);
        spec.priority = sent.priority.and_then(read_priority).unwrap_or_default();
        spec.start = read_start(sent.at.as_ref())?;
        spec.timeout = Some(read_reservation(sent.reserve_for)?);
        (spec.max_retry, spec.exhausted) = read_retry(sent.retry);
        spec.backoff = Backoff::Quartic;
        spec.backtrace_lines =
            sent.backtrace.map_or(0, |lines| u32::try_from(lines.max(0)).unwrap_or(u32::MAX));
        spec.custom = sent.custom.map(|custom| self.custom(custom)).transpose()?;
        spec.replaces_completed = true;
        spec.follows_running = true;
        Ok(spec)
    }

    fn payload(&self, args: &RawValue) -> Result<Payload, String> {
        if !args.get().starts_with('[') {
            return Err("args is not an array".to_owned());
        }
        // Looked at as a whole: a place in it is one in what was sent.
        let payload = match only_object(args) {
            Some(object) => Payload::from_raw(object).or_else(|_| Payload::from_raw(args)),
            None => Payload::from_raw(args),
        };
        let payload = payload.map_err(|error| error.to_string().replacen("payload", "args", 1))?;
        let (bytes, bytes_max) = (payload.as_str().len(), self.payload_bytes_max);
        match bytes > bytes_max {
            true => Err(Rejection::PayloadTooLarge { bytes, bytes_max }.to_string()),
            false => Ok(payload),
        }
    }

    fn custom(&self, custom: &RawValue) -> Result<Payload, String> {
        if !custom.get().starts_with('{') {
            return Err("custom is not an object".to_owned());
        }
        let object =
            Payload::from_raw(custom).map_err(|error| error.to_string().replacen("payload", "custom", 1))?;
        let (bytes, bytes_max) = (object.as_str().len(), self.payload_bytes_max);
        match bytes > bytes_max {
            true => Err(format!(
                "custom has {bytes} bytes, and at most {bytes_max} are allowed (payload_bytes_max)"
            )),
            false => Ok(object),
        }
    }
}

struct Many<'r> {
    reader: &'r mut JobReader,
    read: &'r mut (Vec<JobSpec>, Vec<Refused>),
}

impl<'de> Visitor<'de> for Many<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of jobs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut jobs: A) -> Result<(), A::Error> {
        while let Some(sent) = jobs.next_element::<SentJob<'de>>()? {
            match self.reader.accept(&sent) {
                Ok(spec) => self.read.0.push(spec),
                Err(why) => {
                    let jid = sent.jid.map_or_else(String::new, |jid| jid.0.into_owned());
                    self.read.1.push(Refused { jid, why });
                }
            }
        }
        Ok(())
    }
}

/// How text that is not JSON is refused.
pub(crate) fn not_json(error: serde_json::Error) -> String {
    format!("invalid JSON: {error}")
}

/// The object that an array holds and nothing else, so that handlers which want an object get one.
fn only_object(args: &RawValue) -> Option<&RawValue> {
    let is_first = args.get().strip_prefix('[')?.trim_ascii_start().starts_with('{');
    let [object] = is_first.then(|| serde_json::from_str::<[&RawValue; 1]>(args.get()).ok())??;
    Some(object)
}

/// Some producers send other things under this name, which means nothing here.
fn read_priority(value: &RawValue) -> Option<Priority> {
    Priority::new(value.get().parse().ok()?).ok()
}

fn read_start(at: Option<&Text<'_>>) -> Result<Start, String> {
    match at {
        Some(Text(at)) if !at.is_empty() => {
            at.parse().map(Start::At).map_err(|error: beaver_actors::ids::InvalidName| format!("at: {error}"))
        }
        _ => Ok(Start::Now),
    }
}

fn read_reservation(reserve_for: Option<i64>) -> Result<Duration, String> {
    let secs = match reserve_for {
        None | Some(0) => RESERVE_SECS,
        Some(secs) => u64::try_from(secs).unwrap_or(0).max(RESERVE_SECS_MIN),
    };
    match secs > RESERVE_SECS_MAX {
        true => Err("jobs cannot be reserved for more than one day".to_owned()),
        false => Ok(Duration::from_secs(secs)),
    }
}

fn read_retry(retry: Option<i64>) -> (Option<u32>, Exhausted) {
    match retry {
        None => (Some(DEFAULT_RETRY), Exhausted::Dead),
        Some(0) => (Some(0), Exhausted::Drop),
        Some(retry) => (Some(u32::try_from(retry.max(0)).unwrap_or(u32::MAX)), Exhausted::Dead),
    }
}

/// Appends a job as one compact object.
pub fn write(job: &JobView, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"jid\":");
    append::value(out, &job.id);
    field(out, "queue", job.queue.as_str());
    field(out, "jobtype", job.kind.as_str());
    out.extend_from_slice(b",\"args\":");
    write_args(job.payload.as_str(), out);
    field(out, "created_at", &job.created_at);
    field(out, "enqueued_at", &job.enqueued_at);
    if let (Status::Scheduled, Some(at)) = (job.status, job.run_at) {
        field(out, "at", &at);
    }
    field(out, "reserve_for", &job.timeout_ms.div_ceil(1_000));
    field(out, "retry", &shown_retry(job));
    if job.priority != Priority::default() {
        field(out, "priority", &job.priority);
    }
    if job.backtrace_lines > 0 {
        field(out, "backtrace", &job.backtrace_lines);
    }
    write_failure(job, out);
    if let Some(custom) = &job.custom {
        raw_field(out, "custom", custom.as_str());
    }
    out.push(b'}');
}

fn write_args(payload: &str, out: &mut Vec<u8>) {
    let is_array = payload.starts_with('[');
    let (before, after): (&[u8], &[u8]) = if is_array { (b"", b"") } else { (b"[", b"]") };
    out.extend_from_slice(before);
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(after);
}

fn shown_retry(job: &JobView) -> i64 {
    match (job.max_retry, job.exhausted) {
        (0, Exhausted::Dead) => -1,
        (retry, _) => i64::from(retry),
    }
}

fn write_failure(job: &JobView, out: &mut Vec<u8>) {
    let (Some(last), true) = (job.errors.last(), job.failed > 0) else { return };
    let count = job.failed - 1;
    out.extend_from_slice(b",\"failure\":{\"retry_count\":");
    append::value(out, &count);
    field(out, "remaining", &job.max_retry.saturating_sub(count));
    field(out, "failed_at", &last.at);
    if let Some(next_at) = &last.next_at {
        field(out, "next_at", next_at);
    }
    if !last.failure.message.is_empty() {
        field(out, "message", &last.failure.message);
    }
    if !last.failure.errtype.is_empty() {
        field(out, "errtype", &last.failure.errtype);
    }
    if !last.failure.backtrace.is_empty() {
        field(out, "backtrace", &last.failure.backtrace);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests;
