//! Beaver beside other durable queues, over TCP: one client, in one run, on the same disk.
//!
//! ```sh
//! cargo bench --bench compare -- --install    # everything, in twenty minutes; installs the peers if need be
//! cargo bench --bench compare -- push/16/100  # one point; also `push`, `push/16`, several of them
//! cargo bench --bench compare -- --quick      # less of everything, for a first look
//! cargo bench --bench compare -- --wait       # on a machine that others use: waits for quiet, repeats disturbed runs
//! cargo bench --bench compare -- --rounds=31 --before=PROGRAM push  # another build of beaver in the same run
//! ```
//!
//! A point is `SCENARIO/CONNECTIONS/PAYLOAD_BYTES`. The peers are Redis 7 streams and beanstalkd 1.12, from Debian; the
//! bench starts and stops them itself, and leaves out those that are not installed. Every server answers only after its
//! log is synced: beaver with `durability: always`, Redis with `appendfsync always`, beanstalkd with `-f 0`.
//!
//! | scenario | what each connection does, one request after the other |
//! |---|---|
//! | `push` | adds one job: PUSH, XADD, put |
//! | `fetch` | takes one job and reports that it is done: FETCH and ACK; XREADGROUP, XACK and XDEL; reserve and delete |
//! | `bulk` | adds 1,000 jobs at once: one PUSHB; 1,000 XADD or 1,000 put in one write |
//! | `latency` | adds one job when it is due, at half of the rate that `push` reached: see [`beaver_bench_kit::pace`] |
//!
//! That is half of the rate of the slower one of beaver and the faster peer, at the same number of connections and the
//! same payload. All servers get the same requests at the same moments; one that cannot keep up shows how late it is.
//!
//! In each round every server has its turn, and the next round begins with another one, so that other load of the
//! machine hits all alike; a first round only warms up. Figures are medians of the rounds; of latency, which a single pause
//! of the host changes, there are more. Each run begins with an empty queue, or with a fetch's jobs in it and with a
//! server that has nothing left to do about them.
//!
//! Beside every figure stands what the client reaches with two servers that do nothing ([`ceiling`]): one answers at
//! once, the other after one write and one fdatasync of all that has come in. The limits of disk and loopback are
//! measured before the first and after the last point ([`machine`]).
//!
//! It is a bench and no program of its own so that cargo builds the program that it measures. [`points`] are measured
//! in [`runs`] of [`servers`], which [`talk`] speaks to; [`peers`] installs them; [`report`] and [`summary`] print.

mod ceiling;
mod machine;
mod peers;
mod points;
mod report;
mod runs;
mod servers;
mod summary;
mod talk;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use beaver_bench_kit::files::temp_dir;
use beaver_bench_kit::machine::description;
use points::{Effort, FULL, Point, QUICK, Scenario, TINY, TINY_POINTS};
use report::Outcome;
use runs::{REPEATS_MAX, half_load, measure_point};
use servers::Kind;

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
    let dir = temp_dir();
    println!("{}", description()?);
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
            // One short run gives no figure worth printing.
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
