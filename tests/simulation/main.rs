//! The whole server in simulated time: the real actors, the real servers for HTTP and for the work protocol, on a
//! simulated disk and network.
//!
//! One seed is one run. It decides what the clients do, how long every message takes, and which faults happen when:
//! power cuts, kills, partitions, held and lost messages, failed syncs, full disks, clocks that are set, crashed
//! workers. Every seed has clients of both: some add, look at and cancel jobs over HTTP; others are producers, workers
//! and an operator of the work protocol ([`remote`], [`operator`]). First a phase in which anything may go wrong, then
//! one in which nothing does and everything must end within a bound. The oracle judges, and the [`ledger`] what only
//! the work protocol promises. At last the disk that is left is started once more, and then damaged: see [`rest`].
//!
//! `cargo test --test simulation` runs 120 seeds; `BEAVER_TORTURE=100` a hundred times as many. A failing seed prints
//! the command that replays it: `BEAVER_SEED=17 cargo test --test simulation`. `BEAVER_SEED_FROM=1000` begins there.
//!
//! | row of the fault list, docs/faults.md | here |
//! |---|---|
//! | 3, 7, 11 power loss, lost names, failed fsync | `Fault::PowerCut`, `Fault::FailedSync` |
//! | 17 full disk | `Fault::FullDisk` |
//! | 32 clock jumps | `Fault::Clock` |
//! | 20, 22, 23, 27 damage to what is on the disk | `rest` |
//! | 34, 38, 42 workers that crash or hang | `Fault::WorkerCrash`, jobs that panic or outlive leases; remote ones vanish |
//! | 35, 36, 37 lost replies, retries with the same id | every client over HTTP asks again; pushes and ACKs go twice |
//! | 39, 40, 41 actors that panic | `Fault::ActorCrash` |
//! | 51, 52 resets, partitions, delays, reordering | `Fault::Partition`, `Fault::Hold`, latencies, crashes |
//! | 57, 58 deliberate bugs | `bugs` |
//!
//! Of the deliberate bugs, these are noticed here, each within a few seeds:
//!
//! | bug | is noticed as |
//! |---|---|
//! | `AckBeforeFsync`, `NoDirectorySync` | after a power cut, jobs are lost or the server refuses what is left |
//! | `TruncateOnAnyError` | a flipped bit in the log is passed over, and jobs are other than their clients saw them |
//! | `NoTokenCheck` | the FAIL of a worker that does not have the job is taken; a result is of another attempt |
//! | `RecycledWithoutSalt` | a log that was written in peace has a torn tail |
//! | `LogDeletedTooEarly` | when the newest snapshot is damaged, the log of the one before is gone |
//! | `HashMapOrder` | two starts on one disk give two states |
//!
//! `RequeueAsTwoRecords` is not: it replaces a command of the engine without actors (`StepEngine`), and the server's
//! manager and boot do not go through that. The crash explorer notices it.
//!
//! `NoGraceAtBoot` and `PutBackUnfenced` are not: within seconds, no reservation ends and nobody puts a job back. The explorer does.
//!
//! What it does not show: threads (everything is one thread here, see `Threads::Callers`) and a slow disk (a
//! sync takes no simulated time).

mod bugs;
mod client;
mod faults;
mod ledger;
mod operator;
mod remote;
mod rest;
mod server;
mod wire;
mod world;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use beaver_actors::testing::times;

use crate::world::{Report, run};

/// Seeds of one ordinary run.
const SEEDS: u64 = 120;

/// Panics that were asked for are no news.
fn hush() {
    static HUSHED: std::sync::Once = std::sync::Once::new();
    HUSHED.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let asked_for = bugs::is_expected_to_fail()
                || panic.payload_as_str().is_some_and(|text| {
                    text.contains("a job panics, as asked") || text.starts_with("a test asked ")
                });
            if !asked_for {
                tell(panic);
            }
        }));
    });
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Rows 3, 7, 11, 17, 32, 34 to 42, 51, 52.
#[test]
fn whatever_happens_nothing_acknowledged_is_lost_and_everything_ends_when_the_faults_do() {
    hush();
    if let Some(seed) = number("BEAVER_SEED") {
        println!("seed {seed}: {}", run(seed));
        return;
    }
    let seeds = number("BEAVER_SEEDS").unwrap_or(SEEDS) * times();
    let started = Instant::now();
    let first = number("BEAVER_SEED_FROM").unwrap_or(0);
    let next = AtomicU64::new(first);
    let work = || {
        let mut sum = Report::default();
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= first + seeds {
                return sum;
            }
            let report = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| {
                panic!("seed {seed} failed; replay it: BEAVER_SEED={seed} cargo test --test simulation")
            });
            sum.add(&report);
        }
    };
    let sums: Vec<Report> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a failing seed is named above")).collect()
    });
    let mut sum = Report::default();
    sums.iter().for_each(|part| sum.add(part));
    println!("{seeds} seeds in {:.1} s: {sum}", started.elapsed().as_secs_f64());
    assert!(sum.faults > seeds, "faults happen");
    assert!(sum.remote.acked > seeds && sum.remote.failed > 0, "remote workers get jobs and report on them");
    assert!(sum.verdict.duplicated > 0, "some jobs were interrupted and run again");
}

#[test]
fn a_seed_runs_the_same_way_every_time() {
    hush();
    for seed in [1, 2, 3] {
        let (once, again) = (run(seed), run(seed));
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert!(once.trace.len() > 100, "seed {seed}");
        assert_eq!(once.took_simulated, again.took_simulated, "seed {seed}");
        assert!(once.took_simulated > Duration::from_secs(10));
    }
}
