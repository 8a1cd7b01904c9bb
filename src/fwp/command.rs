//! What a line asks for. Reading it changes nothing and looks at no state.

use std::borrow::Cow;
use std::sync::Arc;

use beaver_actors::engine::QueueSet;
use beaver_actors::ids::{JobId, QueueName};
use beaver_actors::jobs::{Failure, FailureKind};
use serde::Deserialize;

use super::reply;
use crate::remote::status::WorkerState;
use crate::wire::for_people::{self, mended};

/// More queues in one FETCH are refused: each costs time whenever a job arrives.
const QUEUES_MAX: usize = 1_000;
const ERRTYPE_CHARS_MAX: usize = 100;
const MESSAGE_CHARS_MAX: usize = 1_000;
const BACKTRACE_LINES_MAX: usize = 50;
const UNKNOWN: &str = "unknown";

/// A line, cut into what is asked for and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FwpCommand<'l> {
    /// One job.
    Push(&'l str),
    /// An array of jobs.
    PushBulk(&'l str),
    /// The queues to take a job from.
    Fetch(&'l str),
    /// A job is done.
    Ack(&'l str),
    /// A job's attempt failed.
    Fail(&'l str),
    /// A worker lives.
    Beat(&'l str),
    /// How the server is.
    Info,
    /// Forget everything.
    Flush,
    /// Good-bye.
    End,
    /// Something about queues.
    Queue(&'l str),
    /// Change many jobs.
    Mutate(&'l str),
    /// How far a job is.
    Track,
    /// Jobs that belong together.
    Batch,
    /// None of these.
    Unknown(&'l str),
}

impl<'l> FwpCommand<'l> {
    /// Reads a line. The verb ends at the first space and is written in capital letters.
    #[must_use]
    pub fn parse(line: &'l str) -> FwpCommand<'l> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "PUSH" => FwpCommand::Push(rest),
            "PUSHB" => FwpCommand::PushBulk(rest),
            "FETCH" => FwpCommand::Fetch(rest),
            "ACK" => FwpCommand::Ack(rest),
            "FAIL" => FwpCommand::Fail(rest),
            "BEAT" => FwpCommand::Beat(rest),
            "INFO" => FwpCommand::Info,
            "FLUSH" => FwpCommand::Flush,
            "END" => FwpCommand::End,
            "QUEUE" => FwpCommand::Queue(rest),
            "MUTATE" => FwpCommand::Mutate(rest),
            "TRACK" => FwpCommand::Track,
            "BATCH" => FwpCommand::Batch,
            _ => FwpCommand::Unknown(verb),
        }
    }
}

/// A line as text. In a report, what is no UTF-8 becomes U+FFFD: only its texts for people may have such bytes, and
/// without it a job would wait for its reservation to expire.
///
/// # Errors
/// It is not UTF-8, and not a report.
pub(super) fn text_of(line: &[u8]) -> Result<Cow<'_, str>, String> {
    match std::str::from_utf8(line) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) if ["ACK ", "FAIL ", "BEAT "].iter().any(|verb| line.starts_with(verb.as_bytes())) => {
            Ok(String::from_utf8_lossy(line))
        }
        Err(error) => Err(format!("not UTF-8 after byte {} of the line", error.valid_up_to())),
    }
}

/// Reads the queues of a FETCH.
///
/// # Errors
/// There is none, there are too many, or one of them is no name.
pub fn fetched_queues(names: &str) -> Result<Arc<[QueueName]>, String> {
    let mut queues = Vec::new();
    for name in names.split_ascii_whitespace() {
        if queues.len() == QUEUES_MAX {
            return Err(format!("FETCH takes at most {QUEUES_MAX} queues"));
        }
        queues.push(QueueName::parse(name).map_err(|error| error.to_string())?);
    }
    match queues.is_empty() {
        true => Err("must call fetch with at least one queue".to_owned()),
        false => Ok(queues.into()),
    }
}

/// Which job was done.
///
/// # Errors
/// It names none; `None` for a name that no job can have.
pub fn acked_job(text: &str) -> Result<Option<JobId>, String> {
    #[derive(Deserialize)]
    struct Ack<'l> {
        #[serde(borrow)]
        jid: Cow<'l, str>,
    }
    let text = mended(text);
    let ack: Ack<'_> = serde_json::from_str(&text).map_err(|error| format!("invalid ACK: {error}"))?;
    match ack.jid.is_empty() {
        true => Err("invalid ACK: missing jid".to_owned()),
        false => Ok(JobId::parse(&ack.jid).ok()),
    }
}

/// Which job failed, and why.
///
/// # Errors
/// It cannot be read, names no job, or one that cannot exist.
pub fn failed_job(text: &str) -> Result<(JobId, Failure), String> {
    #[derive(Deserialize)]
    struct Fail<'l> {
        #[serde(borrow, default)]
        jid: Cow<'l, str>,
        #[serde(deserialize_with = "for_people::text", default)]
        errtype: String,
        #[serde(deserialize_with = "for_people::text", default)]
        message: String,
        #[serde(deserialize_with = "for_people::texts", default)]
        backtrace: Vec<String>,
    }
    let text = mended(text);
    let fail: Fail<'_> = serde_json::from_str(&text).map_err(|error| format!("invalid FAIL: {error}"))?;
    if fail.jid.is_empty() {
        return Err("missing JID".to_owned());
    }
    let job = JobId::parse(&fail.jid).map_err(|_| reply::no_such_job(&fail.jid))?;
    let mut lines = fail.backtrace;
    lines.truncate(BACKTRACE_LINES_MAX);
    let failure = Failure::new(FailureKind::Error, shortened(fail.message, MESSAGE_CHARS_MAX))
        .of_type(shortened(fail.errtype, ERRTYPE_CHARS_MAX))
        .with_backtrace(lines);
    Ok((job, failure))
}

fn shortened(mut text: String, chars_max: usize) -> String {
    if text.is_empty() {
        return UNKNOWN.to_owned();
    }
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
    }
    text
}

/// A worker's sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Beat {
    /// The name that it gave in its HELLO.
    pub(crate) wid: String,
    /// What it says it is doing, if it does.
    #[serde(deserialize_with = "for_people::text")]
    pub(crate) current_state: String,
    /// Resident memory of its process, in KiB.
    #[serde(deserialize_with = "for_people::number")]
    pub(crate) rss_kb: Option<i64>,
}

impl Beat {
    /// Reads what follows BEAT.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn parse(text: &str) -> Result<Beat, String> {
        serde_json::from_str(&mended(text)).map_err(|error| format!("invalid BEAT: {error}"))
    }

    /// The state that it says it is in.
    pub(super) fn state(&self) -> WorkerState {
        WorkerState::read(&self.current_state)
    }
}

/// What is asked about queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueCommand {
    /// Nobody gets further jobs of them.
    Pause(QueueSet),
    /// Let them go on.
    Resume(QueueSet),
    /// Their pending jobs are discarded, and they are forgotten.
    Remove(QueueSet),
    /// How long their oldest jobs have waited.
    Latency(Vec<String>),
}

impl QueueCommand {
    /// Reads what follows QUEUE.
    ///
    /// # Errors
    /// The first word is none of the four, or no queue is named.
    pub fn parse(text: &str) -> Result<QueueCommand, String> {
        let mut words = text.split_ascii_whitespace();
        let sub = words.next().unwrap_or_default();
        // The verb has to be in capitals, what follows it need not.
        let known = ["PAUSE", "RESUME", "REMOVE", "LATENCY"].into_iter();
        let Some(sub) = known.into_iter().find(|known| known.eq_ignore_ascii_case(sub)) else {
            return Err(format!("no such QUEUE subcommand: {sub}"));
        };
        let names: Vec<&str> = words.collect();
        if names.is_empty() {
            return Err(format!("QUEUE {sub} needs at least one queue"));
        }
        let is_all = names.contains(&"*");
        if sub == "LATENCY" {
            return match is_all {
                true => Err("QUEUE LATENCY does not support wildcards".to_owned()),
                false => Ok(QueueCommand::Latency(names.into_iter().map(str::to_owned).collect())),
            };
        }
        let queues = match is_all {
            true => QueueSet::All,
            // What cannot be the name of any is left out: there is no such queue.
            false => QueueSet::Named(names.iter().filter_map(|name| QueueName::parse(name).ok()).collect()),
        };
        Ok(match sub {
            "PAUSE" => QueueCommand::Pause(queues),
            "RESUME" => QueueCommand::Resume(queues),
            _ => QueueCommand::Remove(queues),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_ends_at_the_first_space_and_is_written_in_capitals() {
        assert_eq!(FwpCommand::parse("PUSH {\"a\": 1}"), FwpCommand::Push("{\"a\": 1}"));
        assert_eq!(FwpCommand::parse("INFO"), FwpCommand::Info);
        assert_eq!(FwpCommand::parse("FETCH"), FwpCommand::Fetch(""));
        assert_eq!(FwpCommand::parse("push {}"), FwpCommand::Unknown("push"));
        assert_eq!(FwpCommand::parse(""), FwpCommand::Unknown(""));
        assert_eq!(FwpCommand::parse(" INFO"), FwpCommand::Unknown(""));
    }

    #[test]
    fn a_fetch_names_its_queues_in_order() {
        let queues = fetched_queues("high  default low").unwrap();
        assert_eq!(queues.iter().map(QueueName::as_str).collect::<Vec<_>>(), ["high", "default", "low"]);
        assert_eq!(fetched_queues(" ").unwrap_err(), "must call fetch with at least one queue");
        assert!(fetched_queues("a b/c").unwrap_err().starts_with("queue \"b/c\" may only use"));
        assert_eq!(fetched_queues(&"q ".repeat(1_001)).unwrap_err(), "FETCH takes at most 1000 queues");
    }

    #[test]
    fn an_ack_names_a_job() {
        assert_eq!(acked_job(r#"{"jid":"12345678"}"#).unwrap(), Some(JobId::parse("12345678").unwrap()));
        assert_eq!(acked_job(&format!(r#"{{"jid":"{}"}}"#, "x".repeat(1_025))).unwrap(), None);
        for text in ["", "{}", r#"{"jid":""}"#, r#"{"jid":7}"#, "12345678"] {
            assert!(acked_job(text).unwrap_err().starts_with("invalid ACK"), "{text}");
        }
    }

    #[test]
    fn a_failure_is_cut_to_what_is_kept_and_says_unknown_where_it_says_nothing() {
        let (job, failure) = failed_job(r#"{"jid":"12345678"}"#).unwrap();
        assert_eq!(job.to_string(), "12345678");
        assert_eq!((failure.errtype.as_str(), failure.message.as_str()), ("unknown", "unknown"));
        assert!(failure.backtrace.is_empty());
        let lines = vec!["line".to_owned(); 60];
        let (long_type, long_message) = ("é".repeat(200), "é".repeat(2_000));
        let text = serde_json::json!({
            "jid": "12345678", "errtype": long_type, "message": long_message, "backtrace": lines,
        });
        let (_, failure) = failed_job(&text.to_string()).unwrap();
        assert_eq!(failure.errtype.chars().count(), 100);
        assert_eq!(failure.message.chars().count(), 1_000);
        assert_eq!(failure.backtrace.len(), 50);
        assert_eq!(failed_job("{}").unwrap_err(), "missing JID");
        let nobody = "x".repeat(1_025);
        let unknown = failed_job(&format!(r#"{{"jid":"{nobody}"}}"#)).unwrap_err();
        assert_eq!(unknown, format!("Job not found {nobody}"));
        assert!(failed_job("{").unwrap_err().starts_with("invalid FAIL"));
    }

    /// Row 85.
    #[test]
    fn a_report_is_read_whatever_its_text_for_people_holds() {
        let line = b"FAIL {\"jid\":\"12345678\",\"errtype\":7,\"message\":\"caf\xe9 \\udc00\",\"backtrace\":[\"a\",null,\"\\ud800\"]}";
        let text = text_of(line).unwrap();
        let FwpCommand::Fail(report) = FwpCommand::parse(&text) else { panic!("{text}") };
        let (job, failure) = failed_job(report).unwrap();
        assert_eq!((job.to_string().as_str(), failure.errtype.as_str()), ("12345678", "7"));
        assert_eq!(failure.message, "caf\u{fffd} \u{fffd}");
        assert_eq!(failure.backtrace, ["a", "", "\u{fffd}"]);
        let beat = Beat::parse(r#"{"wid":"w\ud800","current_state":"\ud83d","rss_kb":7.5}"#).unwrap();
        assert_eq!(
            (beat.wid.as_str(), beat.state(), beat.rss_kb),
            ("w\u{fffd}", WorkerState::Running, Some(7))
        );
        assert_eq!(
            acked_job(r#"{"jid":"12345678","note":"\ud800"}"#).unwrap(),
            JobId::parse("12345678").ok()
        );
        let pushed = text_of(b"PUSH {\"jid\":\"\xe9\"}").unwrap_err();
        assert_eq!(pushed, "not UTF-8 after byte 13 of the line", "what is not for people is not changed");
    }

    #[test]
    fn queues_are_paused_by_name_or_all() {
        let queue = |name| QueueName::parse(name).unwrap();
        let parse = QueueCommand::parse;
        assert_eq!(parse("PAUSE *").unwrap(), QueueCommand::Pause(QueueSet::All));
        assert_eq!(parse("pause *").unwrap(), QueueCommand::Pause(QueueSet::All));
        assert_eq!(parse("Latency a").unwrap(), QueueCommand::Latency(vec!["a".into()]));
        let named = QueueCommand::Remove(QueueSet::Named(vec![queue("a"), queue("b")]));
        assert_eq!(parse("REMOVE a / b").unwrap(), named, "no queue can have the name /");
        assert_eq!(parse("LATENCY a").unwrap(), QueueCommand::Latency(vec!["a".into()]));
        assert_eq!(parse("LATENCY *").unwrap_err(), "QUEUE LATENCY does not support wildcards");
        assert_eq!(parse("STOP a").unwrap_err(), "no such QUEUE subcommand: STOP");
        assert_eq!(parse("").unwrap_err(), "no such QUEUE subcommand: ");
        assert_eq!(parse("RESUME").unwrap_err(), "QUEUE RESUME needs at least one queue");
    }
}
