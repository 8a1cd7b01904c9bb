//! Reading jobs out of text, one object at a time, with the place of the first mistake.
//!
//! The reader of `serde_json` drives; it skips over each field's value without recursion and hands it out as a
//! slice of the text, which is then looked at by one function a field. So every mistake has a field's name
//! and a place, and a refused payload was never copied.

use std::fmt;
use std::time::Duration;

use beaver_actors::ids::{JobId, KindName, Priority, QueueName, Timestamp};
use beaver_actors::jobs::{Backoff, Exhausted, JobSpec, NO_TIMEOUT, Payload, PayloadError, Rejection, Start};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::backoff::read_backoff;
use super::bad_job::{BadJob, BadJobKind};
use super::values::{read_duration, text_of};
use crate::config::Settings;
use crate::suggest::{instead_of, nearest, shortened};
use crate::wire::last_names::LastNames;
use crate::wire::text::Text;

const FIELDS: &[&str] = &[
    "id",
    "queue",
    "kind",
    "payload",
    "priority",
    "run_at",
    "delay",
    "timeout",
    "max_retry",
    "backoff",
    "exhausted",
    "custom",
];
/// What is said of a job without a kind.
const NO_KIND: &str = "the job has no kind, which says what runs it: add \"kind\" to it (--kind on the command line), or set \
                       default_kind in the configuration";
/// Longer words of `serde_json` about what it found are shortened.
const FOUND_BYTES_MAX: usize = 100;

/// What a job gets where it does not say, and how large its payload may be.
#[derive(Clone, Debug)]
pub struct JobDefaults {
    /// For jobs without a `kind`, which are refused if there is none.
    pub kind: Option<KindName>,
    /// For jobs without a `queue`.
    pub queue: QueueName,
    /// Largest payload, in bytes of compact JSON.
    pub payload_bytes_max: usize,
    /// What all jobs of a text may weigh together, by [`JobSpec::weight`].
    pub jobs_bytes_max: usize,
}

impl JobDefaults {
    /// As an operator has set them.
    pub(crate) fn of(settings: &Settings) -> JobDefaults {
        JobDefaults {
            kind: settings.default_kind.clone(),
            queue: settings.default_queue.clone(),
            payload_bytes_max: settings.engine.policy.payload_bytes_max,
            jobs_bytes_max: settings.engine.request_bytes_max,
        }
    }
}

/// Reads the jobs of one text.
pub(super) struct Reader<'t> {
    text: &'t str,
    defaults: &'t JobDefaults,
    last: LastNames,
    in_job: bool,
    refusal: Option<Refusal>,
    /// What all jobs so far weigh: see [`JobSpec::weight`].
    bytes: usize,
    is_too_large: bool,
}

/// A value that is JSON but not what its field allows. Kept beside the reader, because an error of `serde_json`
/// carries only text and the place where reading stopped, which may be lines further down.
struct Refusal {
    kind: BadJobKind,
    /// Where the value, or what is wrong in it, begins in the whole text.
    offset: usize,
    message: String,
}

/// Why a value is refused, before its place is known.
enum Problem {
    NotAllowed(String),
    TooLarge(String),
    /// No reader of JSON takes what stands at this byte of the value.
    Unreadable(usize, String),
}

impl Problem {
    /// What is wrong with a text that is kept, called `what`.
    fn of_text(what: &str, error: &PayloadError) -> Problem {
        let message = error.to_string().replacen("payload", what, 1);
        match error {
            PayloadError::HalfCharacter { at, .. } => Problem::Unreadable(*at, message),
            PayloadError::NotJson(_) | PayloadError::TooDeep => Problem::NotAllowed(message),
        }
    }
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t str, defaults: &'t JobDefaults) -> Reader<'t> {
        // Of no meaning but for its allocation.
        let kind =
            defaults.kind.clone().unwrap_or_else(|| KindName::parse("none").expect("a word is a name"));
        Reader {
            text,
            defaults,
            last: LastNames::new(defaults.queue.clone(), kind),
            in_job: false,
            refusal: None,
            bytes: 0,
            is_too_large: false,
        }
    }

    /// The job that the text begins with, and what follows it.
    pub(crate) fn first(&mut self) -> Result<(JobSpec, &'t str), BadJob> {
        let mut jobs = serde_json::Deserializer::from_str(self.text).into_iter::<&RawValue>();
        if let Some(Err(error)) = jobs.next() {
            return Err(self.bad_job(&error, None, None));
        }
        let (object, rest) = self.text.split_at(jobs.byte_offset());
        Ok((self.job(object, None)?, rest))
    }

    /// All jobs of a text that is one array.
    pub(crate) fn array(&mut self) -> Result<Vec<JobSpec>, BadJob> {
        let mut specs = Vec::new();
        let mut deserializer = serde_json::Deserializer::from_str(self.text);
        let read = ArrayVisitor { reader: self, specs: &mut specs };
        let outcome = deserializer.deserialize_seq(read).and_then(|()| deserializer.end());
        let index = self.in_job.then_some(specs.len() + 1);
        outcome.map_err(|error| self.bad_job(&error, None, index))?;
        Ok(specs)
    }

    /// All jobs of a text with one object a line.
    pub(crate) fn lines(&mut self) -> Result<Vec<JobSpec>, BadJob> {
        let mut specs = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            if !line.trim_ascii().is_empty() {
                specs.push(self.job(line, Some(index + 1))?);
            }
        }
        Ok(specs)
    }

    /// The job that `text`, a part of the whole text, consists of.
    fn job(&mut self, text: &'t str, line: Option<usize>) -> Result<JobSpec, BadJob> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let spec = JobSeed { reader: self }
            .deserialize(&mut deserializer)
            .and_then(|spec| deserializer.end().map(|()| spec));
        spec.map_err(|error| self.bad_job(&error, line, None))
    }

    fn bad_job(&mut self, error: &serde_json::Error, line: Option<usize>, index: Option<usize>) -> BadJob {
        if self.is_too_large {
            let rejection =
                Rejection::RequestTooLarge { bytes: self.bytes, bytes_max: self.defaults.jobs_bytes_max };
            let (kind, message) = (BadJobKind::RequestTooLarge, rejection.to_string());
            return BadJob { kind, line: None, column: None, index: None, message };
        }
        if let Some(Refusal { kind, offset, message }) = self.refusal.take() {
            let before = &self.text.as_bytes()[..offset];
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
            let in_line = before.iter().rev().take_while(|&&byte| byte != b'\n').count();
            let column = (kind == BadJobKind::NotJson).then_some(in_line + 1);
            return BadJob { kind, line: Some(line), column, index, message };
        }
        let line = line.unwrap_or(error.line());
        let message = without_place(error);
        match error.classify() {
            Category::Data => {
                BadJob { kind: BadJobKind::NotAJob, line: Some(line), column: None, index, message }
            }
            Category::Syntax | Category::Eof | Category::Io => BadJob {
                kind: BadJobKind::NotJson,
                line: Some(line),
                column: Some(error.column()),
                index,
                message,
            },
        }
    }

    fn refuse(&mut self, value: &str, problem: Problem) {
        let (kind, at, message) = match problem {
            Problem::NotAllowed(message) => (BadJobKind::NotAJob, 0, message),
            Problem::TooLarge(message) => (BadJobKind::PayloadTooLarge, 0, message),
            Problem::Unreadable(at, message) => (BadJobKind::NotJson, at, message),
        };
        // Every value is a slice of the text, so the distance between the two is its place.
        let offset = value.as_ptr().addr() - self.text.as_ptr().addr() + at;
        self.refusal = Some(Refusal { kind, offset, message });
    }
}

/// The error's text without its "at line .. column ..": the place is told apart, counted in the whole text.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    match text.rsplit_once(", expected ") {
        // What was found may be a string as long as a request.
        Some((found, expected)) if found.len() > FOUND_BYTES_MAX => {
            format!("{}, expected {expected}", shortened(found))
        }
        _ => text.to_owned(),
    }
}

struct ArrayVisitor<'r, 't> {
    reader: &'r mut Reader<'t>,
    specs: &'r mut Vec<JobSpec>,
}

impl<'t> Visitor<'t> for ArrayVisitor<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of jobs")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(spec) = elements.next_element_seed(JobSeed { reader: self.reader })? {
            self.specs.push(spec);
        }
        Ok(())
    }
}

struct JobSeed<'r, 't> {
    reader: &'r mut Reader<'t>,
}

impl<'t> DeserializeSeed<'t> for JobSeed<'_, 't> {
    type Value = JobSpec;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<JobSpec, D::Error> {
        self.reader.in_job = true;
        let spec = deserializer.deserialize_map(JobVisitor { reader: self.reader })?;
        self.reader.in_job = false;
        Ok(spec)
    }
}

struct JobVisitor<'r, 't> {
    reader: &'r mut Reader<'t>,
}

impl<'t> Visitor<'t> for JobVisitor<'_, 't> {
    type Value = JobSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut fields: A) -> Result<JobSpec, A::Error> {
        let mut draft = JobDraft::default();
        let mut last = None;
        while let Some((Text(name), value)) = fields.next_entry::<Text<'t>, &'t RawValue>()? {
            if let Err(problem) = draft.set(&name, value, self.reader) {
                self.reader.refuse(value.get(), problem);
                return Err(A::Error::custom("refused"));
            }
            last = Some(value);
        }
        let Some(spec) = draft.finish(self.reader.defaults) else {
            // Its last field says where it is.
            if let Some(value) = last {
                self.reader.refuse(value.get(), Problem::NotAllowed(NO_KIND.to_owned()));
            }
            return Err(A::Error::custom(NO_KIND));
        };
        self.reader.bytes = self.reader.bytes.saturating_add(spec.weight());
        // Three bytes of text can be a job of a hundred times that in memory, so all of them are counted here.
        if self.reader.bytes > self.reader.defaults.jobs_bytes_max {
            self.reader.is_too_large = true;
            return Err(A::Error::custom("refused"));
        }
        Ok(spec)
    }
}

/// The fields of one job that were seen so far.
#[derive(Default)]
struct JobDraft {
    /// One bit for each of [`FIELDS`].
    seen: u16,
    id: Option<JobId>,
    queue: Option<QueueName>,
    kind: Option<KindName>,
    payload: Option<Payload>,
    priority: Option<Priority>,
    start: Option<Start>,
    timeout: Option<Duration>,
    max_retry: Option<u32>,
    backoff: Backoff,
    exhausted: Exhausted,
    custom: Option<Payload>,
}

impl JobDraft {
    fn set(&mut self, name: &str, value: &RawValue, reader: &mut Reader<'_>) -> Result<(), Problem> {
        let field = FIELDS.iter().position(|field| *field == name).ok_or_else(|| unknown_field(name))?;
        if self.seen & (1 << field) != 0 {
            return Err(Problem::NotAllowed(format!("field {name:?} is given twice")));
        }
        self.seen |= 1 << field;
        if name == "payload" {
            self.payload = Some(read_payload(value, reader.defaults.payload_bytes_max)?);
            return Ok(());
        }
        // Many programs write what they do not know as null.
        if value.get() == "null" {
            return Ok(());
        }
        if name == "custom" {
            self.custom = Some(read_custom(value, reader.defaults.payload_bytes_max)?);
            return Ok(());
        }
        self.set_small(name, value, reader)
            .map_err(|message| Problem::NotAllowed(format!("field {name:?}: {message}")))
    }

    fn set_small(&mut self, name: &str, value: &RawValue, reader: &mut Reader<'_>) -> Result<(), String> {
        match name {
            "id" => self.id = Some(JobId::parse(&text_of(value)?).map_err(|error| error.to_string())?),
            "queue" => {
                self.queue = Some(reader.last.queue(&text_of(value)?).map_err(|error| error.to_string())?)
            }
            "kind" => {
                self.kind = Some(reader.last.kind(&text_of(value)?).map_err(|error| error.to_string())?)
            }
            "priority" => self.priority = Some(read_priority(value)?),
            "run_at" => self.set_start(Start::At(read_moment(value)?))?,
            "delay" => self.set_start(Start::After(read_duration(value)?))?,
            "timeout" => self.timeout = Some(read_timeout(value)?),
            "max_retry" => self.max_retry = Some(read_max_retry(value)?),
            "backoff" => self.backoff = read_backoff(value)?,
            "exhausted" => self.exhausted = read_exhausted(value)?,
            _ => unreachable!("{name} is one of FIELDS, which has an arm here for each"),
        }
        Ok(())
    }

    fn set_start(&mut self, start: Start) -> Result<(), String> {
        match self.start.replace(start) {
            None => Ok(()),
            Some(_) => Err("a job has either run_at or delay, not both".into()),
        }
    }

    /// None if nobody knows its kind.
    fn finish(self, defaults: &JobDefaults) -> Option<JobSpec> {
        let queue = self.queue.unwrap_or_else(|| defaults.queue.clone());
        let kind = self.kind.or_else(|| defaults.kind.clone())?;
        Some(JobSpec {
            id: self.id,
            priority: self.priority.unwrap_or_default(),
            start: self.start.unwrap_or(Start::Now),
            timeout: self.timeout,
            max_retry: self.max_retry,
            backoff: self.backoff,
            exhausted: self.exhausted,
            custom: self.custom,
            ..JobSpec::new(queue, kind, self.payload.unwrap_or_else(Payload::empty))
        })
    }
}

fn unknown_field(name: &str) -> Problem {
    let hint = instead_of(name, FIELDS, || format!("a job has {}", FIELDS.join(", ")));
    Problem::NotAllowed(format!("unknown field {:?}: {hint}", shortened(name)))
}

fn read_priority(value: &RawValue) -> Result<Priority, String> {
    let level = value.get().parse().ok().and_then(|level| Priority::new(level).ok());
    level.ok_or_else(|| format!("{} is not 0 to {}", shortened(value.get()), Priority::MAX.level()))
}

fn read_moment(value: &RawValue) -> Result<Timestamp, String> {
    text_of(value)?.parse().map_err(|error: beaver_actors::ids::InvalidName| error.to_string())
}

fn read_timeout(value: &RawValue) -> Result<Duration, String> {
    if value.get() == "\"none\"" {
        return Ok(NO_TIMEOUT);
    }
    match read_duration(value)? {
        Duration::ZERO => Err(format!("{} leaves no time to run", shortened(value.get()))),
        timeout => Ok(timeout),
    }
}

fn read_max_retry(value: &RawValue) -> Result<u32, String> {
    let max_retry = value.get().parse();
    max_retry.map_err(|_| format!("{} is not a whole number from 0 to {}", shortened(value.get()), u32::MAX))
}

fn read_payload(value: &RawValue, bytes_max: usize) -> Result<Payload, Problem> {
    let json = value.get();
    if json.len() > bytes_max {
        let bytes = compact_bytes(json);
        if bytes > bytes_max {
            return Err(Problem::TooLarge(Rejection::PayloadTooLarge { bytes, bytes_max }.to_string()));
        }
    }
    Payload::from_raw(value).map_err(|error| Problem::of_text("payload", &error))
}

fn read_exhausted(value: &RawValue) -> Result<Exhausted, String> {
    match &*text_of(value)? {
        "dead" => Ok(Exhausted::Dead),
        "drop" => Ok(Exhausted::Drop),
        other => Err(match nearest(other, ["dead", "drop"]) {
            Some(word) => format!("{:?} does not exist: did you mean {word:?}?", shortened(other)),
            None => format!("{:?} is neither \"dead\" nor \"drop\"", shortened(other)),
        }),
    }
}

fn read_custom(value: &RawValue, bytes_max: usize) -> Result<Payload, Problem> {
    let json = value.get();
    if !json.starts_with('{') {
        let message = format!("field \"custom\": {} is not an object", shortened(json));
        return Err(Problem::NotAllowed(message));
    }
    let bytes = if json.len() > bytes_max { compact_bytes(json) } else { json.len() };
    if bytes > bytes_max {
        let message = format!(
            "field \"custom\" has {bytes} bytes, and at most {bytes_max} are allowed (payload_bytes_max)"
        );
        return Err(Problem::TooLarge(message));
    }
    Payload::from_raw(value).map_err(|error| Problem::of_text("field \"custom\"", &error))
}

/// How long valid JSON is without the white space between its tokens, which is how a payload is measured.
fn compact_bytes(json: &str) -> usize {
    let mut bytes = 0;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in json.as_bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        bytes += 1;
    }
    bytes
}
