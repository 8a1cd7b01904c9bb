//! Over TCP, against the real program: how long a polite client waits beside others that are not.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use beaver_bench_kit::client::{Connection, Heard, Limit, Talk, drive};
use beaver_bench_kit::figures::number;
use beaver_bench_kit::memory::{forget_peak, peak};
use beaver_bench_kit::pace::{self, Pace};
use beaver_bench_kit::pushes::{Pushes, accepted};
use beaver_bench_kit::quantiles::Sorted;
use beaver_bench_kit::server::RunningBeaver;

use super::{Settings, print};

/// Connections with one request each that saturate the server.
const SATURATING: usize = 128;
/// Ten times as many.
const CROWD: usize = 10 * SATURATING;
const FLOODING: usize = 10;
const SLOW_OF_EACH: usize = 50;
/// Jobs in a bulk request.
const BULK: usize = 1_000;
/// Interval of the polite client's pushes.
const EVERY: Duration = Duration::from_millis(2);
/// Longest silence of the server.
const ANSWER: Duration = Duration::from_secs(30);
const PAYLOAD_BYTES: usize = 100;
/// Queue and kind of all jobs.
const QUEUE: &str = "default";

/// Accepted jobs and refused requests of all clients but the polite one.
static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static BUSY: AtomicU64 = AtomicU64::new(0);

/// Lines of new jobs, whose answers are counted.
struct Counted(Pushes);

impl Counted {
    fn new(jobs: usize) -> Counted {
        Counted(Pushes::new(1, jobs, QUEUE, PAYLOAD_BYTES))
    }
}

impl Talk for Counted {
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
        Ok(count(input, self.0.jobs())?.map_or(Heard::Part, Heard::Ends))
    }
}

/// Counts the answer to a line of `jobs` jobs, and returns its bytes; none if it is not whole.
fn count(input: &[u8], jobs: usize) -> Result<Option<usize>> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = &input[..=end];
    let accepted = accepted(jobs);
    if accepted.starts_with(line) {
        let is_whole = input.len() >= accepted.len();
        ACCEPTED.fetch_add(if is_whole { jobs as u64 } else { 0 }, Relaxed);
        return Ok(is_whole.then_some(accepted.len()));
    }
    ensure!(line.starts_with(b"-ERR busy"), "a push was answered {}", String::from_utf8_lossy(line));
    BUSY.fetch_add(1, Relaxed);
    Ok(Some(line.len()))
}

/// The real program, without workers of its own.
struct Beaver(RunningBeaver);

impl Beaver {
    fn start(dir: &Path, settings: &Settings) -> Result<Beaver> {
        let mut flags = vec!["--workers=0".to_owned(), "--snapshot-interval=1h".to_owned()];
        flags.extend(
            settings.wait_max.map(|wait_max| format!("--request-wait-max={}ms", wait_max.as_millis())),
        );
        RunningBeaver::start(env!("CARGO_BIN_EXE_beaver"), dir, &flags).map(Beaver)
    }

    /// A connection of a worker that the server has greeted.
    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.0.fwp)?;
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
        (0..count).map(|_| Connection::new(self.connect()?, Box::new(Counted::new(jobs)))).collect()
    }
}

/// Other clients beside the polite one.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nobody,
    /// At half of the rate that was reached.
    HalfLoad(f64),
    /// One request at a time on each connection: number of connections, jobs in a request.
    Crowd(usize, usize),
    /// Connections that send without waiting for replies: their number, jobs in a line.
    Flood(usize, usize),
    /// Connections that never read, that have sent half a line, and that fetch and never report.
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

    fn run(self, server: &Beaver, stop: &AtomicBool) -> Result<()> {
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

/// Writes as much as the server takes, and reads all its answers.
fn flood(server: &Beaver, stop: &AtomicBool, connections: usize, jobs: usize) -> Result<()> {
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
        let mut pushes = Pushes::new(BULK.div_ceil(jobs), jobs, QUEUE, PAYLOAD_BYTES);
        pushes.renew();
        all.push(Flooding { stream, pushes, sent: 0, input: Vec::new() });
    }
    let mut scratch = vec![0; 64 << 10];
    while !stop.load(Relaxed) {
        let mut moved = false;
        for Flooding { stream, pushes, sent, input } in &mut all {
            match stream.write(&pushes.text()[*sent..]) {
                Ok(bytes) => {
                    (*sent, moved) = (*sent + bytes, true);
                    if *sent == pushes.text().len() {
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

/// Opens connections that never read, never end a line or never report, and keeps them open.
fn dawdle(server: &Beaver, stop: &AtomicBool) -> Result<()> {
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
            // Sooner or later the server takes no more: that is what is tried here.
            let _ = stream.write(asks.as_bytes());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The answers to the polite client.
struct Polite {
    took: Vec<Duration>,
    busy: u64,
    /// From the start to the first of [`super::IN_A_ROW`] answers in a row that took at most the normal time.
    normal_after: Duration,
}

/// Pushes during `time`, one job at a time.
fn be_polite(server: &Beaver, time: Duration, normal: Duration) -> Result<Polite> {
    let stream = server.connect()?;
    let mut replies = BufReader::new(&stream);
    let mut push = Pushes::new(1, 1, QUEUE, PAYLOAD_BYTES);
    let mut polite = Polite { took: Vec::new(), busy: 0, normal_after: Duration::ZERO };
    let mut in_a_row = 0;
    let started = Instant::now();
    let mut due = Duration::ZERO;
    while due < time {
        thread::sleep(due.saturating_sub(started.elapsed()));
        push.renew();
        let since = Instant::now();
        (&stream).write_all(push.text())?;
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

/// Measures and prints one row. Returns the p99 of the polite client, and accepted jobs of the others a second.
fn beside(server: &Beaver, others: &[Beside], time: Duration) -> Result<(Duration, f64)> {
    let stop = AtomicBool::new(false);
    let name = others.iter().map(|beside| beside.name()).collect::<Vec<_>>().join("; ");
    thread::scope(|scope| {
        let running: Vec<_> = others.iter().map(|other| scope.spawn(|| other.run(server, &stop))).collect();
        thread::sleep(time / 4);
        forget_peak(&server.0.process());
        let before = peak(&server.0.process());
        let (accepted, busy) = (ACCEPTED.load(Relaxed), BUSY.load(Relaxed));
        let started = Instant::now();
        let polite = be_polite(server, time, Duration::MAX);
        let seconds = started.elapsed().as_secs_f64();
        let (accepted, busy) = (ACCEPTED.load(Relaxed) - accepted, BUSY.load(Relaxed) - busy);
        let grown = peak(&server.0.process()).saturating_sub(before);
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
pub(crate) fn measure(settings: &Settings) -> Result<()> {
    let dir = super::temp_dir(settings);
    let server = Beaver::start(dir.path(), settings)?;
    println!("\nover TCP: a client that pushes a job each {} ms, beside others", EVERY.as_millis());
    println!(
        "| beside | p50 ms | p99 ms | max ms | busy | others' jobs/s | others' \"busy\"/s | memory grew |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let time = settings.time;
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
    print(
        "p99 of the polite client beside all of them",
        at_worst.as_secs_f64() * 1e3,
        "ms",
        ..=super::ACCEPTED_P99_MS,
    );
    print("as fast as at half load after", after.normal_after.as_secs_f64() * 1e3, "ms", ..=1_000.0);
    Ok(())
}
