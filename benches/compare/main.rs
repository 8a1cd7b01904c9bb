//! Beaver beside other durable queues, over TCP: one client, in one run, on the same disk.
//!
//! ```sh
//! cargo bench --bench compare -- --install    # everything, in twenty minutes; installs the peers if need be
//! cargo bench --bench compare -- push/16/100  # one point; also `push`, `push/16`, several of them
//! cargo bench --bench compare -- --quick      # less of everything, for a first look
//! cargo bench --bench compare -- --wait       # on a machine that others use: waits for quiet, repeats what was disturbed
//! cargo bench --bench compare -- --rounds=31 --before=PROGRAM push  # another build of beaver in the same run
//! ```
//!
//! A point is `SCENARIO/CONNECTIONS/PAYLOAD_BYTES`. The peers are Redis 7 streams and beanstalkd 1.12, from Debian; the
//! bench starts and stops them itself, and leaves out what is not installed. Every server answers only after its log
//! is synced: beaver with `durability: always`, Redis with `appendfsync always`, beanstalkd with `-f 0`.
//!
//! | scenario | what each connection does, one request after the other |
//! |---|---|
//! | `push` | adds one job: PUSH, XADD, put |
//! | `fetch` | takes one job and reports that it is done: FETCH and ACK; XREADGROUP, XACK and XDEL; reserve and delete |
//! | `bulk` | adds 1,000 jobs at once: one PUSHB; 1,000 XADD or 1,000 put in one write |
//! | `latency` | adds one job when it is due, at half of the rate that `push` reached: see [`pace`] |
//!
//! Half of the rate means: of the slower one of beaver and the faster peer, at the same number of connections and the
//! same payload. All servers get the same requests at the same moments; one that cannot keep up shows how late it is.
//!
//! In each round every server has its turn, and the next round begins with another one, so that what else the machine
//! does hits all alike; a first round only warms up. Figures are medians of the rounds; of latency, which a single pause
//! of the host changes, there are more. Each run begins with an empty queue, or with a fetch's jobs in it and with a
//! server that has nothing left to do about them.
//!
//! Beside every figure stands what the client reaches with two servers that do nothing ([`ceiling`]): one answers at
//! once, the other after one write and one fdatasync of all that has come in. What the disk and the loopback can do is
//! measured before the first and after the last point.

mod ceiling;
#[path = "../kit/src/client.rs"]
mod client;
mod machine;
#[path = "../kit/src/pace.rs"]
mod pace;
mod peers;
mod report;
mod servers;
mod summary;
mod talk;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::{Connection, Done, Limit, drive};
use pace::{Pace, Paced};
use report::{Latency, Outcome, Run, Series};
use servers::{Kind, Server};
use talk::{BULK, Errand};

const CONNECTIONS: [usize; 3] = [1, 16, 128];
const PAYLOAD_BYTES: [usize; 2] = [100, 4096];

/// One measurement of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Push,
    Fetch,
    Bulk,
    Latency,
}

impl Scenario {
    /// Those that `latency` takes its rate from come before it.
    const ALL: [Scenario; 4] = [Scenario::Push, Scenario::Fetch, Scenario::Bulk, Scenario::Latency];

    fn name(self) -> &'static str {
        match self {
            Scenario::Push => "push",
            Scenario::Fetch => "fetch",
            Scenario::Bulk => "bulk",
            Scenario::Latency => "latency",
        }
    }
}

/// One row of the tables.
#[derive(Clone, Copy, PartialEq)]
struct Point {
    scenario: Scenario,
    connections: usize,
    payload_bytes: usize,
}

impl Point {
    fn all() -> impl Iterator<Item = Point> {
        Scenario::ALL.into_iter().flat_map(|scenario| {
            PAYLOAD_BYTES.into_iter().flat_map(move |payload_bytes| {
                CONNECTIONS.map(|connections| Point { scenario, connections, payload_bytes })
            })
        })
    }

    fn name(self) -> String {
        format!("{}/{}/{}", self.scenario.name(), self.connections, self.payload_bytes)
    }

    /// Whether a filter names it, or the first parts of its name.
    fn fits(self, filter: &str) -> bool {
        self.name() == filter || self.name().starts_with(&format!("{}/", filter.trim_end_matches('/')))
    }
}

/// How much is measured.
struct Effort {
    rounds: usize,
    latency_rounds: usize,
    warm_up: usize,
    time: Duration,
    jobs_max: u64,
    /// How often a run is done again that something else has disturbed.
    repeats_max: usize,
}

impl Effort {
    fn rounds_of(&self, scenario: Scenario) -> usize {
        match scenario {
            Scenario::Latency => self.latency_rounds,
            Scenario::Push | Scenario::Fetch | Scenario::Bulk => self.rounds,
        }
    }
}

const FULL: Effort = Effort {
    rounds: 9,
    latency_rounds: 21,
    warm_up: 1,
    time: Duration::from_millis(400),
    jobs_max: u64::MAX,
    repeats_max: 0,
};
const QUICK: Effort =
    Effort { rounds: 3, latency_rounds: 3, warm_up: 0, time: Duration::from_millis(300), ..FULL };
/// For `cargo test`: only that everything still works.
const TINY: Effort = Effort {
    rounds: 1,
    latency_rounds: 1,
    warm_up: 0,
    time: Duration::from_millis(200),
    jobs_max: 2 * BULK as u64,
    ..FULL
};
const TINY_POINTS: [(usize, usize); 2] = [(16, 100), (1, 4096)];

/// `--wait` does a run again if something else took more than this share of a core meanwhile, so often at most,
const OTHERS_MAX: f64 = 0.4;
const REPEATS_MAX: usize = 10;
/// and waits so long for a quiet moment before each.
const QUIET_WITHIN: Duration = Duration::from_secs(120);
/// How much longer than its time a run may take until its last answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Jobs that wait to be fetched: more than any server gives away in the time of a run.
const FETCHED_JOBS_MAX: u64 = 40_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((first, rest)) if first == ceiling::ARGUMENT => ceiling::serve(rest).map(|()| true),
        _ => run(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<bool> {
    let (flags, filters): (Vec<&str>, Vec<&str>) =
        arguments.iter().map(String::as_str).partition(|argument| argument.starts_with("--"));
    // Cargo adds the last one.
    let known = ["--install", "--quick", "--wait", "--test", "--list", "--bench"];
    let value = |name| flags.iter().find_map(|flag| flag.strip_prefix(name)?.strip_prefix('='));
    if let Some(program) = value("--before") {
        servers::BEFORE.get_or_init(|| program.to_owned());
    }
    let with_value = ["--before=", "--rounds="];
    let is_known =
        |flag: &&&str| known.contains(flag) || with_value.iter().any(|name| flag.starts_with(name));
    if let Some(unknown) = flags.iter().find(|flag| !is_known(flag)) {
        bail!(
            "unknown option {unknown}: there are --install, --quick, --wait, --rounds=N, --before=PROGRAM, --list and --test, and names of points"
        );
    }
    let is = |name| flags.contains(&name);
    let mut points: Vec<Point> = Point::all()
        .filter(|point| filters.is_empty() || filters.iter().any(|filter| point.fits(filter)))
        .collect();
    if is("--list") {
        points.iter().for_each(|point| println!("{}: benchmark", point.name()));
        return Ok(true);
    }
    if points.is_empty() {
        bail!("no point is named {}: --list shows all", filters.join(" or "));
    }
    if is("--install") {
        peers::install()?;
    }
    let effort = match (is("--test"), is("--quick")) {
        (true, _) => {
            points.retain(|point| TINY_POINTS.contains(&(point.connections, point.payload_bytes)));
            TINY
        }
        (false, true) => QUICK,
        (false, false) => FULL,
    };
    let repeats_max = if is("--wait") { REPEATS_MAX } else { effort.repeats_max };
    let rounds = value("--rounds").map(str::parse).transpose().context("--rounds takes a number")?;
    let (rounds, latency_rounds) =
        rounds.map_or((effort.rounds, effort.latency_rounds), |rounds| (rounds, rounds));
    compare(&points, &Effort { repeats_max, rounds, latency_rounds, ..effort })
}

/// Measures and prints. False if a server that is installed does not work.
fn compare(points: &[Point], effort: &Effort) -> Result<bool> {
    // Beside the build's output: on a disk, where `/tmp` often is memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    println!("{}", machine::description()?);
    if ["tmpfs", "ramfs"].contains(&machine::file_system(dir.path())?.as_str()) {
        println!("note: nothing is durable in memory; set CARGO_TARGET_DIR to a directory on a disk");
    }
    let mut kinds = Vec::new();
    for kind in Kind::ALL {
        match kind.version()? {
            Some(version) => {
                println!("{}: {version}", kind.name());
                kinds.push(kind);
            }
            None if kind == Kind::BeaverBefore => {}
            None => println!("{}: not installed, so it is left out ({})", kind.name(), peers::COMMAND),
        }
    }
    let before = machine::limits(dir.path())?;
    println!("before: {before}");
    let mut outcomes: Vec<Outcome> = Vec::new();
    for &point in points {
        let rate = match point.scenario {
            Scenario::Latency => Some(half_load(point, &outcomes, &kinds, effort, dir.path())?),
            _ => None,
        };
        let outcome = measure_point(point, rate, &kinds, effort, dir.path());
        if effort.rounds == 1 {
            // Nothing that one short run shows is worth a figure.
            println!("{}: {}", point.name(), outcome.in_short());
        } else {
            println!("\n{}", outcome.in_detail());
        }
        outcomes.push(outcome);
    }
    if effort.rounds > 1 {
        let after = machine::limits(dir.path())?;
        let Effort { rounds, latency_rounds, time, .. } = effort;
        let figures = format!("Medians of {rounds} runs (latency: {latency_rounds}) of {time:?} each.");
        println!("\nbefore: {before}\nafter: {after}\n\n{figures}\n\n{}", summary::tables(&outcomes));
    }
    Ok(outcomes.iter().all(Outcome::is_whole))
}

/// Half of what the slower one of beaver and the faster peer pushes in a second, as it was measured in this run.
fn half_load(point: Point, outcomes: &[Outcome], kinds: &[Kind], effort: &Effort, dir: &Path) -> Result<f64> {
    let push = Point { scenario: Scenario::Push, ..point };
    let measured = outcomes.iter().find(|outcome| outcome.point == push).and_then(Outcome::slower_rate);
    let rate = measured.or_else(|| {
        let kinds: Vec<_> = kinds.iter().copied().filter(|kind| kind.keeps_jobs()).collect();
        measure_point(push, None, &kinds, effort, dir).slower_rate()
    });
    Ok(rate.with_context(|| format!("nobody can do {}", push.name()))? / 2.0)
}

/// All rounds of all servers; `rate` is for latency.
fn measure_point(point: Point, rate: Option<f64>, kinds: &[Kind], effort: &Effort, dir: &Path) -> Outcome {
    let mut servers = Vec::new();
    let mut all: Vec<_> = kinds.iter().map(|kind| Series::of(*kind)).collect();
    for series in &mut all {
        servers.push(
            Server::start(series.kind, dir, point.payload_bytes).map_err(|error| series.fail(&error)).ok(),
        );
    }
    for round in 0..effort.warm_up + effort.rounds_of(point.scenario) {
        for turn in 0..servers.len() {
            let which = (round + turn) % servers.len();
            let series = &mut all[which];
            let Some(server) = &mut servers[which] else { continue };
            match undisturbed_run(server, point, rate, effort, series.is_behind) {
                Ok(run) => {
                    series.is_behind = run.is_behind;
                    if round >= effort.warm_up {
                        series.runs.push(run);
                    }
                }
                Err(error) => {
                    series.fail(&error.context(format!("{} fails at {}", server.kind.name(), point.name())));
                    servers[which] = None;
                }
            }
        }
    }
    Outcome { point, rate, all }
}

/// A run; where it was asked to wait, one during which the machine did nothing else, if it comes to that.
fn undisturbed_run(
    server: &mut Server,
    point: Point,
    rate: Option<f64>,
    effort: &Effort,
    mut is_behind: bool,
) -> Result<Run> {
    for _ in 0..effort.repeats_max {
        machine::wait_until_quiet(machine::busy_all, QUIET_WITHIN);
        let run = one_run(server, point, rate, effort, is_behind)?;
        if run.others < run.took.mul_f64(OTHERS_MAX) {
            return Ok(run);
        }
        is_behind = run.is_behind;
    }
    one_run(server, point, rate, effort, is_behind)
}

/// One run of one server, from an empty queue or one with enough jobs.
fn one_run(
    server: &mut Server,
    point: Point,
    rate: Option<f64>,
    effort: &Effort,
    is_behind: bool,
) -> Result<Run> {
    server.empty(is_behind).context("cannot empty it")?;
    let limit = Limit { jobs: effort.jobs_max, time: effort.time, patience: effort.time + PATIENCE };
    let errand = match point.scenario {
        Scenario::Push | Scenario::Latency => Errand::Push,
        Scenario::Bulk => Errand::Bulk,
        Scenario::Fetch => Errand::FetchAndAck,
    };
    if let Some(rate) = rate {
        let pace = Pace { rate, time: effort.time, patience: effort.time + PATIENCE };
        return measure(server, point, errand, |connections| {
            let Paced { latencies, took, given_up } = pace::drive(connections, pace)?;
            let jobs = (latencies.len() - given_up) as u64;
            let latency = Latency::of(&latencies).context("no request was due")?;
            Ok((Done { jobs, took, cut: given_up > 0 }, Some(latency)))
        });
    }
    if point.scenario != Scenario::Fetch || !server.kind.keeps_jobs() {
        return measure(server, point, errand, |connections| Ok((drive(connections, limit)?, None)));
    }
    // A slow server would be filled for minutes; it gets as many as it takes in the time of a run. On one
    // connection, for so no server is asked to take more at a time than it is made for.
    let fill = Limit { jobs: effort.jobs_max.min(FETCHED_JOBS_MAX), ..limit };
    let few = Point { connections: 1, ..point };
    let filled = measure(server, few, Errand::Bulk, |connections| Ok((drive(connections, fill)?, None)))
        .context("cannot fill it")?;
    server.settle();
    let limit = Limit { jobs: filled.jobs, ..limit };
    measure(server, point, errand, |connections| Ok((drive(connections, limit)?, None)))
}

/// Watches who is busy meanwhile.
fn measure(
    server: &Server,
    point: Point,
    errand: Errand,
    work: impl FnOnce(&mut [Connection]) -> Result<(Done, Option<Latency>)>,
) -> Result<Run> {
    let connect = |number| Connection::new(server.connect()?, server.talk(errand, number));
    let mut connections = (0..point.connections).map(connect).collect::<Result<Vec<_>>>()?;
    let (all, client, threads) = (machine::busy_all(), machine::busy_here(), server.busy());
    let (Done { jobs, took, cut }, latency) = work(&mut connections)?;
    let client = machine::busy_here().saturating_sub(client);
    let mut busy = server.busy();
    for (name, before) in threads {
        if let Some(now) = busy.get_mut(&name) {
            *now = now.saturating_sub(before);
        }
    }
    let ours = client + busy.values().sum::<Duration>();
    let others = machine::busy_all().saturating_sub(all).saturating_sub(ours);
    Ok(Run { jobs, took, latency, client, busy, others, is_behind: cut })
}
