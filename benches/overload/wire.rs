//! Over TCP, against the real program: how a polite client fares beside others that are not.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::client::{Connection, Heard, Limit, Talk, drive};
use super::pace::{self, Pace};
use super::quantiles::Sorted;
use super::verdict::number;
use super::{Effort, memory, shown};

/// Connections with one request each that the server is saturated by, and ten times as many.
const SATURATING: usize = 128;
const CROWD: usize = 10 * SATURATING;
const FLOODING: usize = 10;
const SLOW_OF_EACH: usize = 50;
/// Jobs in a bulk request.
const BULK: usize = 1_000;
/// How often the polite client asks.
const EVERY: Duration = Duration::from_millis(2);
/// Longest silence of the server.
const ANSWER: Duration = Duration::from_secs(30);
const PAYLOAD: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";
const JID_DIGITS: usize = 16;

static NEXT_JID: AtomicU64 = AtomicU64::new(0);
/// Jobs that were accepted, and requests that were not, of whoever is not polite.
static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static BUSY: AtomicU64 = AtomicU64::new(0);

/// Requests for new jobs, whose ids are patched in.
struct Pushes {
    text: Vec<u8>,
    ids: Vec<usize>,
}

impl Pushes {
    /// So many lines with so many jobs each.
    fn new(lines: usize, jobs: usize) -> Pushes {
        let (mut text, mut ids) = (String::new(), Vec::new());
        for _ in 0..lines {
            text += if jobs == 1 { "PUSH " } else { "PUSHB [" };
            for number in 0..jobs {
                text += if number == 0 { "{\"jid\":\"" } else { ",{\"jid\":\"" };
                ids.push(text.len());
                text += &"0".repeat(JID_DIGITS);
                text += &format!("\",\"jobtype\":\"noop\",\"args\":[\"{PAYLOAD}\"]}}");
            }
            text += if jobs == 1 { "\r\n" } else { "]\r\n" };
        }
        Pushes { text: text.into_bytes(), ids }
    }

    fn renew(&mut self) {
        let first = NEXT_JID.fetch_add(self.ids.len() as u64, Relaxed);
        for (jid, &at) in (first..).zip(&self.ids) {
            let mut left = jid;
            for digit in self.text[at..at + JID_DIGITS].iter_mut().rev() {
                *digit = b'0' + (left % 10) as u8;
                left /= 10;
            }
        }
    }
}

/// Counts a reply to a request for so many jobs. None if it is not whole.
fn count(input: &[u8], jobs: usize) -> Result<Option<usize>> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = &input[..=end];
    let accepted: &[u8] = if jobs == 1 { b"+OK\r\n" } else { b"$2\r\n{}\r\n" };
    if accepted.starts_with(line) {
        let whole = input.len() >= accepted.len();
        ACCEPTED.fetch_add(if whole { jobs as u64 } else { 0 }, Relaxed);
        return Ok(whole.then_some(accepted.len()));
    }
    ensure!(line.starts_with(b"-ERR busy"), "a push was answered {}", String::from_utf8_lossy(line));
    BUSY.fetch_add(1, Relaxed);
    Ok(Some(line.len()))
}

impl Talk for Pushes {
    fn jobs_per_turn(&self) -> u64 {
        self.ids.len() as u64
    }

    fn start(&mut self) {
        self.renew();
    }

    fn request(&self) -> &[u8] {
        &self.text
    }

    fn hear(&mut self, input: &[u8]) -> Result<Heard> {
        Ok(count(input, self.ids.len())?.map_or(Heard::Part, Heard::Ends))
    }
}

/// The real program, without workers of its own. It is killed when this is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(dir: &Path, effort: &Effort) -> Result<Server> {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_beaver"));
        command.args([
            "run",
            "--workers=0",
            "--bind=127.0.0.1",
            "--metrics-port=0",
            "--snapshot-interval=1h",
        ]);
        command.arg("--faktory-port").arg(address.port().to_string()).arg("--data-dir").arg(dir.join("data"));
        if let Some(wait_max) = effort.wait_max {
            command.arg(format!("--request-wait-max={}ms", wait_max.as_millis()));
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Server { child, address };
        let started = Instant::now();
        while server.connect().is_err() {
            ensure!(started.elapsed() < ANSWER, "the server does not start");
            // Nobody tells when a stranger's port is open.
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// A connection of a worker that the server has greeted.
    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut replies = BufReader::with_capacity(1, &stream);
        let mut line = String::new();
        replies.read_line(&mut line)?;
        (&stream)
            .write_all(b"HELLO {\"v\":2,\"wid\":\"bench-client\",\"hostname\":\"bench\",\"pid\":1}\r\n")?;
        line.clear();
        replies.read_line(&mut line)?;
        ensure!(line == "+OK\r\n", "a hello was answered {line:?}");
        Ok(stream)
    }

    fn connections(&self, count: usize, jobs: usize) -> Result<Vec<Connection>> {
        (0..count).map(|_| Connection::new(self.connect()?, Box::new(Pushes::new(1, jobs)))).collect()
    }

    fn process(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who else is there.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nobody,
    /// At half of the rate that was reached.
    HalfLoad(f64),
    /// One request at a time on each of so many connections, with so many jobs each.
    Crowd(usize, usize),
    /// So many connections that send without waiting for replies, so many jobs in a line.
    Flood(usize, usize),
    /// Some that never read, some that have sent half a line, some that fetch and never report.
    Slow,
}

impl Beside {
    fn name(self) -> String {
        match self {
            Beside::Nobody => "nobody".to_owned(),
            Beside::HalfLoad(rate) => format!("{} pushes/s", number(rate)),
            Beside::Crowd(count, 1) => format!("{count} connections, a push at a time"),
            Beside::Crowd(count, jobs) => format!("{count} connections, {jobs} jobs at a time"),
            Beside::Flood(count, 1) => format!("{count} that pipeline pushes without end"),
            Beside::Flood(count, jobs) => format!("{count} that pipeline {jobs} jobs a line"),
            Beside::Slow => {
                format!("{SLOW_OF_EACH} deaf, {SLOW_OF_EACH} mid-line, {SLOW_OF_EACH} that never ack")
            }
        }
    }

    fn go_on(self, server: &Server, stop: &AtomicBool) -> Result<()> {
        match self {
            Beside::Nobody => Ok(()),
            Beside::HalfLoad(rate) => {
                let mut connections = server.connections(SATURATING, 1)?;
                while !stop.load(Relaxed) {
                    let time = Duration::from_millis(200);
                    let paced = pace::drive(&mut connections, Pace { rate, time, patience: ANSWER })?;
                    ensure!(
                        paced.given_up == 0 && !paced.latencies.is_empty(),
                        "no answer for {:?}",
                        paced.took
                    );
                }
                Ok(())
            }
            Beside::Crowd(count, jobs) => {
                let mut connections = server.connections(count, jobs)?;
                while !stop.load(Relaxed) {
                    let time = Duration::from_millis(200);
                    let done = drive(&mut connections, Limit { jobs: u64::MAX, time, patience: ANSWER })?;
                    ensure!(!done.cut && done.jobs > 0, "no answer for {:?}", done.took);
                }
                Ok(())
            }
            Beside::Flood(count, jobs) => flood(server, stop, count, jobs),
            Beside::Slow => dawdle(server, stop),
        }
    }
}

/// Writes whatever the server takes, and reads whatever it says.
fn flood(server: &Server, stop: &AtomicBool, connections: usize, jobs: usize) -> Result<()> {
    struct Flooding {
        stream: TcpStream,
        pushes: Pushes,
        sent: usize,
        input: Vec<u8>,
    }
    let mut all = Vec::new();
    for _ in 0..connections {
        let stream = server.connect()?;
        stream.set_nonblocking(true)?;
        let mut pushes = Pushes::new(BULK.div_ceil(jobs), jobs);
        pushes.renew();
        all.push(Flooding { stream, pushes, sent: 0, input: Vec::new() });
    }
    let mut scratch = vec![0; 64 << 10];
    while !stop.load(Relaxed) {
        let mut moved = false;
        for Flooding { stream, pushes, sent, input } in &mut all {
            match stream.write(&pushes.text[*sent..]) {
                Ok(bytes) => {
                    (*sent, moved) = (*sent + bytes, true);
                    if *sent == pushes.text.len() {
                        *sent = 0;
                        pushes.renew();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the server hung up on a flood"),
            }
            match stream.read(&mut scratch) {
                Ok(0) => bail!("the server hung up on a flood"),
                Ok(bytes) => {
                    moved = true;
                    input.extend_from_slice(&scratch[..bytes]);
                    let mut taken = 0;
                    while let Some(bytes) = count(&input[taken..], jobs)? {
                        taken += bytes;
                    }
                    input.drain(..taken);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the server hung up on a flood"),
            }
        }
        if !moved {
            thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}

/// Holds on to the server without ever letting go.
fn dawdle(server: &Server, stop: &AtomicBool) -> Result<()> {
    let (mut deaf, mut held) = (Vec::new(), Vec::new());
    for _ in 0..SLOW_OF_EACH {
        let [one, mut half, mut fetching] = [server.connect()?, server.connect()?, server.connect()?];
        one.set_nonblocking(true)?;
        deaf.push(one);
        half.write_all(b"PUSH {\"jid\":\"")?;
        fetching.write_all(b"FETCH default\r\n")?;
        held.extend([half, fetching]);
    }
    let asks = "INFO\r\n".repeat(1_000);
    while !stop.load(Relaxed) {
        for stream in &mut deaf {
            // It takes no more at some time, and that is what is to be seen.
            let _ = stream.write(asks.as_bytes());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What the polite client met.
struct Polite {
    took: Vec<Duration>,
    busy: u64,
    /// How long after the start [`super::IN_A_ROW`] answers in a row had begun to be as fast as normal.
    normal_after: Duration,
}

/// Asks for so long, one job at a time.
fn be_polite(server: &Server, time: Duration, normal: Duration) -> Result<Polite> {
    let stream = server.connect()?;
    let mut replies = BufReader::new(&stream);
    let mut push = Pushes::new(1, 1);
    let mut polite = Polite { took: Vec::new(), busy: 0, normal_after: Duration::ZERO };
    let mut in_a_row = 0;
    let started = Instant::now();
    let mut due = Duration::ZERO;
    while due < time {
        thread::sleep(due.saturating_sub(started.elapsed()));
        push.renew();
        let since = Instant::now();
        (&stream).write_all(&push.text)?;
        let mut line = String::new();
        replies.read_line(&mut line)?;
        let took = since.elapsed();
        match line.as_str() {
            "+OK\r\n" => polite.took.push(took),
            busy if busy.starts_with("-ERR busy") => polite.busy += 1,
            other => bail!("a push was answered {other:?}"),
        }
        if took <= normal && line.starts_with('+') {
            in_a_row += 1;
        } else if in_a_row < super::IN_A_ROW {
            (in_a_row, polite.normal_after) = (0, started.elapsed());
        }
        due = (due + EVERY).max(started.elapsed());
    }
    Ok(polite)
}

/// One row. Returns the p99 of the polite client, and what the others had done per second.
fn beside(server: &Server, others: &[Beside], time: Duration) -> Result<(Duration, f64)> {
    let stop = AtomicBool::new(false);
    let name = others.iter().map(|beside| beside.name()).collect::<Vec<_>>().join("; ");
    thread::scope(|scope| {
        let running: Vec<_> = others.iter().map(|other| scope.spawn(|| other.go_on(server, &stop))).collect();
        thread::sleep(time / 4);
        memory::forget_peak(&server.process());
        let before = memory::peak(&server.process());
        let (accepted, busy) = (ACCEPTED.load(Relaxed), BUSY.load(Relaxed));
        let started = Instant::now();
        let polite = be_polite(server, time, Duration::MAX);
        let seconds = started.elapsed().as_secs_f64();
        let (accepted, busy) = (ACCEPTED.load(Relaxed) - accepted, BUSY.load(Relaxed) - busy);
        let grown = memory::peak(&server.process()).saturating_sub(before);
        stop.store(true, Relaxed);
        for other in running {
            other.join().expect("no client panics")?;
        }
        let polite = polite?;
        let asked = polite.took.len() as u64 + polite.busy;
        let took = Sorted::of(polite.took);
        let rate = accepted as f64 / seconds;
        println!(
            "| {name} | {} | {} | {} | {:.1} % | {} | {} | {} |",
            number(took.micros(0.5) / 1e3),
            number(took.micros(0.99) / 1e3),
            number(took.micros(1.0) / 1e3),
            100.0 * polite.busy as f64 / asked as f64,
            number(rate),
            number(busy as f64 / seconds),
            match accepted {
                0 => format!("{} KiB", grown >> 10),
                _ => format!("{} bytes a job", grown / accepted),
            },
        );
        Ok((Duration::from_secs_f64(took.micros(0.99) / 1e6), rate))
    })
}

/// Prints the table.
pub fn measure(effort: &Effort) -> Result<()> {
    let dir = super::temp_dir(effort);
    let server = Server::start(dir.path(), effort)?;
    println!("\nover TCP: a client that pushes a job each {} ms, beside others", EVERY.as_millis());
    println!(
        "| beside | p50 ms | p99 ms | max ms | busy | others' jobs/s | others' \"busy\"/s | memory grew |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let time = effort.time;
    beside(&server, &[Beside::Nobody], time)?;
    let (_, rate) = beside(&server, &[Beside::Crowd(SATURATING, 1)], time)?;
    let (at_half, _) = beside(&server, &[Beside::HalfLoad(rate / 2.0)], time)?;
    let all =
        [Beside::Crowd(CROWD, 1), Beside::Flood(FLOODING, 1), Beside::Flood(FLOODING, BULK), Beside::Slow];
    for other in all {
        beside(&server, &[other], time)?;
    }
    beside(&server, &[Beside::Crowd(CROWD, BULK)], time)?;
    let (at_worst, _) = beside(&server, &all, time)?;
    let after = be_polite(&server, Duration::from_secs(2).min(time), at_half * 2)?;
    shown(
        "p99 of the polite client beside all of them",
        at_worst.as_secs_f64() * 1e3,
        "ms",
        ..=super::ACCEPTED_P99_MS,
    );
    shown("as fast as at half load after", after.normal_after.as_secs_f64() * 1e3, "ms", ..=1_000.0);
    Ok(())
}
