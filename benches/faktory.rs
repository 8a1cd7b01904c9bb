//! Beaver beside other durable queues, over TCP: one client, in one run, on the same disk.
//!
//! `cargo bench --bench faktory` (add `-- push`, `-- fetch` or `-- bulk` for one of them). Redis and beanstalkd are
//! measured too if their programs are installed (Debian: `apt install redis-server beanstalkd`).
//!
//! Every server answers only after its log is synced: beaver with `durability: always`, Redis with `appendfsync
//! always`, beanstalkd with `-f0`. There are 16 connections with one request at a time on each, and jobs of 100
//! bytes. In each round every server has its turn, and the next round begins with another one, so that what else
//! the machine does hits all alike; a first round only warms up.
//!
//! The client is one thread with an epoll loop, the same for all: see [`client`]. What it reaches with a server
//! that answers without doing anything is its own limit, and a row of the table. A server that comes near to it
//! would be faster with more machine for the client.

#[path = "faktory/client.rs"]
mod client;
#[path = "faktory/machine.rs"]
mod machine;
#[path = "faktory/report.rs"]
mod report;
#[path = "faktory/responder.rs"]
mod responder;
#[path = "faktory/servers.rs"]
mod servers;
#[path = "faktory/talk.rs"]
mod talk;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use client::{Connection, Done, Limit, drive};
use report::{Run, Series};
use servers::{Server, Start};
use talk::{BULK, PAYLOAD_BYTES, Scenario};

const CONNECTIONS: usize = 16;

/// The scenarios: what a filter looks at, what the table says, and the limit of one run.
const SCENARIOS: [(&str, &str, Scenario, u64); 3] = [
    ("push", "one job per request", Scenario::Push, u64::MAX),
    ("fetch", "fetch and acknowledge, a request each", Scenario::FetchAndAck, 60_000),
    ("bulk", "1,000 jobs per request", Scenario::Bulk, u64::MAX),
];

/// How much is measured.
struct Effort {
    rounds: usize,
    warm_up: usize,
    time: Duration,
    jobs: u64,
}

const FULL: Effort = Effort { rounds: 7, warm_up: 1, time: Duration::from_millis(1500), jobs: u64::MAX };
/// For `cargo test`: only that everything still works.
const TINY: Effort = Effort { rounds: 1, warm_up: 0, time: Duration::from_secs(1), jobs: 2 * BULK as u64 };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted: Vec<_> = SCENARIOS
        .into_iter()
        .filter(|(name, ..)| filter.is_none_or(|filter| name.contains(filter.as_str())))
        .collect();
    if flag("--list") {
        for (name, ..) in wanted {
            println!("{name}: benchmark");
        }
        return ExitCode::SUCCESS;
    }
    match compare(&wanted, if flag("--test") { &TINY } else { &FULL }) {
        Ok(whole) if whole => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints. False if a server that is installed does not work.
fn compare(scenarios: &[(&str, &str, Scenario, u64)], effort: &Effort) -> Result<bool> {
    // Beside the build's output: on a disk, where `/tmp` often is memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    println!("{}", machine::facts(dir.path())?);
    if ["tmpfs", "ramfs"].contains(&machine::file_system(dir.path())?.as_str()) {
        println!("note: nothing is durable in memory; set CARGO_TARGET_DIR to a directory on a disk");
    }
    let (servers, mut whole) = start(dir.path());
    println!("{CONNECTIONS} connections, one request at a time on each; {PAYLOAD_BYTES} bytes of payload");
    for &(name, what, scenario, jobs_max) in scenarios {
        let limit = Limit { jobs: effort.jobs.min(jobs_max), time: effort.time };
        let mut series: Vec<_> = servers.iter().map(|server| Series::of(server.name)).collect();
        for round in 0..effort.warm_up + effort.rounds {
            for turn in 0..servers.len() {
                let which = (round + turn) % servers.len();
                if series[which].broken {
                    continue;
                }
                match run(&servers[which], scenario, limit) {
                    Ok(_) if round < effort.warm_up => {}
                    Ok(run) => series[which].runs.push(run),
                    Err(error) => {
                        eprintln!("error: {} fails at {name}: {error:#}", servers[which].name);
                        series[which].broken = true;
                        whole = false;
                    }
                }
            }
        }
        if effort.rounds == 1 {
            // Nothing that one short run shows is worth a figure.
            println!("{name}: {}", report::outcome(&series));
            continue;
        }
        println!("\n{name}: {what}, {} runs of at most {:?}", effort.rounds, effort.time);
        println!("{}", report::table(&series));
        print!("{}", report::threads(&series));
    }
    Ok(whole)
}

/// Those that run, and whether none but absent ones are missing.
fn start(dir: &Path) -> (Vec<Server>, bool) {
    let mut running = Vec::new();
    let mut whole = true;
    for started in [servers::beaver(dir), servers::redis(dir), servers::beanstalkd(dir), servers::ceiling()] {
        match started {
            Ok(Start::Runs(server)) => {
                println!("{}: {}", server.name, server.version);
                running.push(server);
            }
            Ok(Start::Absent(name)) => println!("{name}: not installed, so it is left out"),
            Err(error) => {
                eprintln!("error: {error:#}");
                whole = false;
            }
        }
    }
    (running, whole)
}

/// One run of one server, from an empty queue or one with enough jobs.
fn run(server: &Server, scenario: Scenario, limit: Limit) -> Result<Run> {
    server.empty().context("cannot empty it")?;
    if scenario != Scenario::FetchAndAck || !server.keeps_jobs() {
        return measure(server, scenario, limit);
    }
    // A slow server would be filled for minutes; it gets as many as it takes in the time of a run.
    let filled = measure(server, Scenario::Bulk, limit).context("cannot fill it")?;
    measure(server, scenario, Limit { jobs: filled.jobs, ..limit })
}

fn measure(server: &Server, scenario: Scenario, limit: Limit) -> Result<Run> {
    let connect = |number| Connection::new(server.connect()?, server.talk(scenario, number));
    let mut connections = (0..CONNECTIONS).map(connect).collect::<Result<Vec<_>>>()?;
    let (client, threads) = (machine::busy_here(), server.busy());
    let Done { jobs, took } = drive(&mut connections, limit)?;
    let client = machine::busy_here() - client;
    let mut busy = server.busy();
    for (name, before) in threads {
        if let Some(now) = busy.get_mut(&name) {
            *now = now.saturating_sub(before);
        }
    }
    Ok(Run { jobs, took, client, busy })
}
