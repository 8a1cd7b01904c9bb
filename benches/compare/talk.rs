//! Requests to each server, made once and patched per job, and just enough of a parser to know where an answer ends and
//! which job it is about.

use anyhow::{Context, Result, bail, ensure};
use beaver_bench_kit::client::{Heard, Talk};
use beaver_bench_kit::pushes::{Pushes, accepted, payload};

/// Jobs in one bulk request.
pub(crate) const BULK: usize = 1_000;
/// The queue, stream, kind and group of all jobs.
pub(crate) const QUEUE: &str = "bench";

/// What each connection does again and again.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Errand {
    Push,
    FetchAndAck,
    Bulk,
}

/// The work protocol. `payload_bytes` are, here as with the others, without what the protocol itself adds to a job.
pub(crate) fn faktory(errand: Errand, payload_bytes: usize) -> Box<dyn Talk> {
    match errand {
        Errand::Push => Box::new(Accepted(Pushes::new(1, 1, QUEUE, payload_bytes))),
        Errand::Bulk => Box::new(Accepted(Pushes::new(1, BULK, QUEUE, payload_bytes))),
        Errand::FetchAndAck => Box::new(Steps::new(
            resp_answer,
            vec![
                Step::fixed(format!("FETCH {QUEUE}\r\n")).naming(jid_of),
                Step::about(|jid| format!("ACK {{\"jid\":\"{jid}\"}}\r\n")),
            ],
        )),
    }
}

/// A stream, whose consumer group takes each entry once; an acknowledged entry is deleted too, as from a queue.
/// `number` tells consumers apart.
pub(crate) fn redis(errand: Errand, payload_bytes: usize, number: usize) -> Box<dyn Talk> {
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

/// It has no bulk request: 1,000 requests in one write take its place.
pub(crate) fn beanstalk(errand: Errand, payload_bytes: usize) -> Box<dyn Talk> {
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

/// Where the first answer of the input ends; none if it is not whole. A refusal is an error.
type Whole = fn(&[u8]) -> Result<Option<usize>>;

/// The job that a whole answer is about.
type Name = fn(&[u8]) -> Option<&[u8]>;

/// PUSH or PUSHB; every job has an id of its own.
struct Accepted(Pushes);

impl Talk for Accepted {
    fn jobs_per_turn(&self) -> u64 {
        self.0.jobs() as u64
    }

    fn start(&mut self) {
        self.0.renew();
    }

    fn request(&self) -> &[u8] {
        self.0.text()
    }

    fn hear(&mut self, input: &[u8]) -> Result<Heard> {
        let Some(bytes) = resp_answer(input)? else { return Ok(Heard::Part) };
        ensure!(input[..bytes] == *accepted(self.0.jobs()), "a push was answered {}", shown(input));
        Ok(Heard::Ends(bytes))
    }
}

/// `answers` requests at once, all the same, with one answer each.
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

/// A request as Redis reads it: an array of strings.
pub(crate) fn resp(words: &[&str]) -> String {
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

pub(crate) fn resp_answer(input: &[u8]) -> Result<Option<usize>> {
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
