//! Measuring a point: every server in turn, round after round.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use beaver_bench_kit::client::{Connection, Done, Limit, drive};
use beaver_bench_kit::cpu_by_thread;
use beaver_bench_kit::pace::{self, Pace, Paced};

use super::machine;
use super::points::{Effort, Point, Scenario};
use super::report::{Latency, Outcome, Run, Series};
use super::servers::{Kind, Server};
use super::talk::Errand;

/// `--wait` repeats a run if other processes took more than this share of a core meanwhile.
const OTHERS_MAX: f64 = 0.4;
/// Repeats of one run at most.
pub(crate) const REPEATS_MAX: usize = 10;
/// Longest wait for a quiet moment before each.
const QUIET_WITHIN: Duration = Duration::from_secs(120);
/// A run may take this much longer than its time until its last answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Jobs that wait to be fetched: more than any server gives away in the time of a run.
const FETCHED_JOBS_MAX: u64 = 40_000;

/// Half of the rate of the slower one of beaver and the faster peer at `push`, as it was measured in this run.
pub(crate) fn half_load(
    point: Point,
    outcomes: &[Outcome],
    kinds: &[Kind],
    effort: &Effort,
    dir: &Path,
) -> Result<f64> {
    let push = Point { scenario: Scenario::Push, ..point };
    let measured = outcomes.iter().find(|outcome| outcome.point == push).and_then(Outcome::slower_rate);
    let rate = measured.or_else(|| {
        let kinds: Vec<_> = kinds.iter().copied().filter(|kind| kind.keeps_jobs()).collect();
        measure_point(push, None, &kinds, effort, dir).slower_rate()
    });
    Ok(rate.with_context(|| format!("no server can do {}", push.name()))? / 2.0)
}

/// All rounds of all servers. `rate` is for latency: requests that are due in a second.
pub(crate) fn measure_point(
    point: Point,
    rate: Option<f64>,
    kinds: &[Kind],
    effort: &Effort,
    dir: &Path,
) -> Outcome {
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

/// A run; with `--wait` one during which the machine did nothing else, if there is such a moment in time.
fn undisturbed_run(
    server: &mut Server,
    point: Point,
    rate: Option<f64>,
    effort: &Effort,
    mut is_behind: bool,
) -> Result<Run> {
    for _ in 0..effort.repeats_max {
        machine::wait_until_quiet(machine::cpu_of_all, QUIET_WITHIN);
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
    // Filling a slow server would take minutes: it gets the jobs that it accepts in the time of a run. On one
    // connection, so that no server is asked to take more at a time than it is made for.
    let fill = Limit { jobs: effort.jobs_max.min(FETCHED_JOBS_MAX), ..limit };
    let few = Point { connections: 1, ..point };
    let filled = measure(server, few, Errand::Bulk, |connections| Ok((drive(connections, fill)?, None)))
        .context("cannot fill it")?;
    server.settle();
    let limit = Limit { jobs: filled.jobs, ..limit };
    measure(server, point, errand, |connections| Ok((drive(connections, limit)?, None)))
}

/// Runs `work` and measures the processor time that client, server and others take meanwhile.
fn measure(
    server: &Server,
    point: Point,
    errand: Errand,
    work: impl FnOnce(&mut [Connection]) -> Result<(Done, Option<Latency>)>,
) -> Result<Run> {
    let connect = |number| Connection::new(server.connect()?, server.talk(errand, number));
    let mut connections = (0..point.connections).map(connect).collect::<Result<Vec<_>>>()?;
    let (all, client, threads) = (machine::cpu_of_all(), cpu_by_thread::of_this_thread(), server.cpu());
    let (Done { jobs, took, cut }, latency) = work(&mut connections)?;
    let client = cpu_by_thread::of_this_thread().saturating_sub(client);
    let server = cpu_by_thread::since(&threads, server.cpu());
    let ours = client + server.values().sum::<Duration>();
    let others = machine::cpu_of_all().saturating_sub(all).saturating_sub(ours);
    Ok(Run { jobs, took, latency, client, server, others, is_behind: cut })
}
