//! What is said to each server: the requests, made once and patched per job, and just enough of a parser to know
//! where an answer ends and which job it is about.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};

use super::client::{Heard, Talk};

/// Jobs in one bulk request.
pub const BULK: usize = 1_000;
/// Where all jobs go: the queue, stream, kind and group of that name.
pub const QUEUE: &str = "bench";

/// What the connections do all the time.
#[derive(Clone, Copy, PartialEq)]
pub enum Errand {
    Push,
    FetchAndAck,
    Bulk,
}

/// The work protocol. A job carries `payload_bytes`, here as with the others, beside what the protocol itself needs
/// to say about it.
pub fn faktory(errand: Errand, payload_bytes: usize) -> Box<dyn Talk> {
    match errand {
        Errand::Push => Box::new(Pushes::new(1, payload_bytes)),
        Errand::Bulk => Box::new(Pushes::new(BULK, payload_bytes)),
        Errand::FetchAndAck => Box::new(Steps::new(
            resp_answer,
            vec![
                Step::fixed(format!("FETCH {QUEUE}\r\n")).naming(jid_of),
                Step::about(|jid| format!("ACK {{\"jid\":\"{jid}\"}}\r\n")),
            ],
        )),
    }
}

/// A stream, whose consumer group takes each entry once; what is acknowledged is deleted too, as of a queue.
/// `number` tells its consumers apart.
pub fn redis(errand: Errand, payload_bytes: usize, number: usize) -> Box<dyn Talk> {
    let add = || resp(&["XADD", QUEUE, "*", "p", &payload(payload_bytes)]);
    match errand {
        Errand::Push => Box::new(Repeats::new(&add(), 1, resp_answer)),
        Errand::Bulk => Box::new(Repeats::new(&add(), BULK, resp_answer)),
        Errand::FetchAndAck => {
            let consumer = format!("c{number}");
            let read = ["XREADGROUP", "GROUP", QUEUE, &consumer, "COUNT", "1", "STREAMS", QUEUE, ">"];
            Box::new(Steps::new(
                resp_answer,
                vec![
                    Step::fixed(resp(&read)).naming(entry_of),
                    Step::about(|id| resp(&["XACK", QUEUE, QUEUE, id])),
                    Step::about(|id| resp(&["XDEL", QUEUE, id])),
                ],
            ))
        }
    }
}

/// It has no bulk request; so many requests in one write take that place.
pub fn beanstalk(errand: Errand, payload_bytes: usize) -> Box<dyn Talk> {
    let put = || format!("put 0 0 1800 {payload_bytes}\r\n{}\r\n", payload(payload_bytes));
    match errand {
        Errand::Push => Box::new(Repeats::new(&put(), 1, beanstalk_answer)),
        Errand::Bulk => Box::new(Repeats::new(&put(), BULK, beanstalk_answer)),
        Errand::FetchAndAck => Box::new(Steps::new(
            beanstalk_answer,
            vec![
                Step::fixed("reserve\r\n".to_owned()).naming(reserved_of),
                Step::about(|id| format!("delete {id}\r\n")),
            ],
        )),
    }
}

/// Where an answer ends that may be followed by others; none if it is not whole. An answer that says no is an error.
type Whole = fn(&[u8]) -> Result<Option<usize>>;

/// The job that a whole answer is about.
type Name = fn(&[u8]) -> Option<&[u8]>;

/// PUSH or PUSHB: every job has an id of its own, which is patched into the same text.
struct Pushes {
    request: Vec<u8>,
    /// Where the ids' digits are.
    ids: Vec<usize>,
}

const JID_DIGITS: usize = 16;
static NEXT_JID: AtomicU64 = AtomicU64::new(0);

impl Pushes {
    fn new(jobs: usize, payload_bytes: usize) -> Self {
        let payload = payload(payload_bytes);
        let mut request = if jobs == 1 { "PUSH " } else { "PUSHB [" }.to_owned();
        let mut ids = Vec::with_capacity(jobs);
        for number in 0..jobs {
            if number > 0 {
                request.push(',');
            }
            request.push_str("{\"jid\":\"");
            ids.push(request.len());
            request.push_str(&"0".repeat(JID_DIGITS));
            request.push_str(&format!(
                "\",\"queue\":\"{QUEUE}\",\"jobtype\":\"{QUEUE}\",\"args\":[\"{payload}\"]}}"
            ));
        }
        request.push_str(if jobs == 1 { "\r\n" } else { "]\r\n" });
        Self { request: request.into_bytes(), ids }
    }
}

impl Talk for Pushes {
    fn jobs_per_turn(&self) -> u64 {
        self.ids.len() as u64
    }

    fn start(&mut self) {
        let first = NEXT_JID.fetch_add(self.jobs_per_turn(), Ordering::Relaxed);
        for (jid, &at) in (first..).zip(&self.ids) {
            let mut left = jid;
            for digit in self.request[at..at + JID_DIGITS].iter_mut().rev() {
                *digit = b'0' + (left % 10) as u8;
                left /= 10;
            }
        }
    }

    fn request(&self) -> &[u8] {
        &self.request
    }

    fn hear(&mut self, input: &[u8]) -> Result<Heard> {
        let Some(bytes) = resp_answer(input)? else { return Ok(Heard::Part) };
        let expected: &[u8] = if self.ids.len() == 1 { b"+OK\r\n" } else { b"$2\r\n{}\r\n" };
        if &input[..bytes] != expected {
            bail!("a push was answered {}", shown(input));
        }
        Ok(Heard::Ends(bytes))
    }
}

/// The same request again and again, each with so many answers.
struct Repeats {
    request: Vec<u8>,
    answers: usize,
    heard: usize,
    whole: Whole,
}

impl Repeats {
    fn new(request: &str, answers: usize, whole: Whole) -> Self {
        Self { request: request.repeat(answers).into_bytes(), answers, heard: 0, whole }
    }
}

impl Talk for Repeats {
    fn jobs_per_turn(&self) -> u64 {
        self.answers as u64
    }

    fn start(&mut self) {
        self.heard = 0;
    }

    fn request(&self) -> &[u8] {
        &self.request
    }

    fn hear(&mut self, input: &[u8]) -> Result<Heard> {
        let Some(bytes) = (self.whole)(input)? else { return Ok(Heard::Part) };
        self.heard += 1;
        Ok(if self.heard == self.answers { Heard::Ends(bytes) } else { Heard::Answer(bytes) })
    }
}

/// One job in several requests: the first answer names it, the others are about it.
struct Steps {
    whole: Whole,
    steps: Vec<Step>,
    current: usize,
    name: String,
    request: Vec<u8>,
}

struct Step {
    request: Request,
    name: Option<Name>,
}

enum Request {
    Fixed(String),
    About(fn(&str) -> String),
}

impl Step {
    fn fixed(request: String) -> Self {
        Self { request: Request::Fixed(request), name: None }
    }

    fn about(request: fn(&str) -> String) -> Self {
        Self { request: Request::About(request), name: None }
    }

    fn naming(self, name: Name) -> Self {
        Self { name: Some(name), ..self }
    }
}

impl Steps {
    fn new(whole: Whole, steps: Vec<Step>) -> Self {
        Self { whole, steps, current: 0, name: String::new(), request: Vec::new() }
    }

    fn ask(&mut self, step: usize) {
        self.current = step;
        self.request.clear();
        match &self.steps[step].request {
            Request::Fixed(text) => self.request.extend_from_slice(text.as_bytes()),
            Request::About(text) => self.request.extend_from_slice(text(&self.name).as_bytes()),
        }
    }
}

impl Talk for Steps {
    fn jobs_per_turn(&self) -> u64 {
        1
    }

    fn start(&mut self) {
        self.ask(0);
    }

    fn request(&self) -> &[u8] {
        &self.request
    }

    fn hear(&mut self, input: &[u8]) -> Result<Heard> {
        let Some(bytes) = (self.whole)(input)? else { return Ok(Heard::Part) };
        if let Some(name) = self.steps[self.current].name {
            let found = name(&input[..bytes]).with_context(|| format!("no job in {}", shown(input)))?;
            self.name.clear();
            self.name.push_str(std::str::from_utf8(found)?);
        }
        if self.current + 1 == self.steps.len() {
            return Ok(Heard::Ends(bytes));
        }
        self.ask(self.current + 1);
        Ok(Heard::Asks(bytes))
    }
}

pub fn payload(bytes: usize) -> String {
    "0123456789".chars().cycle().take(bytes).collect()
}

/// A request as Redis reads it: an array of strings.
pub fn resp(words: &[&str]) -> String {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    request
}

/// The end of the first line, after its line feed.
fn line_end(input: &[u8]) -> Option<usize> {
    input.iter().position(|&byte| byte == b'\n').map(|at| at + 1)
}

fn number(line: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(line)?.trim_end();
    text.parse().with_context(|| format!("{text:?} is no number"))
}

pub fn resp_answer(input: &[u8]) -> Result<Option<usize>> {
    let mut at = 0;
    // Values that are still to come: an array adds its own.
    let mut values = 1;
    while values > 0 {
        let rest = &input[at..];
        let Some(end) = line_end(rest) else { return Ok(None) };
        values -= 1;
        at += end;
        match rest[0] {
            b'+' | b':' => {}
            b'$' => at += usize::try_from(number(&rest[1..end])?).map_or(0, |bytes| bytes + 2),
            b'*' => values += number(&rest[1..end])?.max(0),
            _ => bail!("the server says {}", shown(input)),
        }
        if at > input.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

fn beanstalk_answer(input: &[u8]) -> Result<Option<usize>> {
    let Some(end) = line_end(input) else { return Ok(None) };
    let line = &input[..end];
    let whole = match line.split(|&byte| byte == b' ').next() {
        Some(b"INSERTED" | b"DELETED\r\n") => end,
        Some(b"RESERVED") => {
            let bytes = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
            end + usize::try_from(number(bytes)?)? + 2
        }
        _ => bail!("the server says {}", shown(input)),
    };
    Ok((whole <= input.len()).then_some(whole))
}

fn jid_of(answer: &[u8]) -> Option<&[u8]> {
    let key = b"\"jid\":\"";
    let start = answer.windows(key.len()).position(|part| part == key)? + key.len();
    let rest = &answer[start..];
    Some(&rest[..rest.iter().position(|&byte| byte == b'"')?])
}

/// Of `[[stream, [[id, fields]]]]`: the line after the second length.
fn entry_of(answer: &[u8]) -> Option<&[u8]> {
    let mut lines = answer.split(|&byte| byte == b'\n');
    lines.find(|line| line.first() == Some(&b'$'))?;
    lines.find(|line| line.first() == Some(&b'$'))?;
    lines.next()?.strip_suffix(b"\r")
}

fn reserved_of(answer: &[u8]) -> Option<&[u8]> {
    answer.split(|&byte| byte == b' ').nth(1)
}

/// The start of an answer, for a message.
fn shown(input: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&input[..input.len().min(200)]))
}
