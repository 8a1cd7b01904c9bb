//! Ten times the load that can be served, and clients that are hard to serve: what becomes of the others.
//!
//! ```sh
//! cargo bench --bench overload                            # everything, in a minute
//! cargo bench --bench overload -- inside                  # one part: `inside`, `wire`
//! cargo bench --bench overload -- --request-wait-max-ms=3600000  # as if nobody were turned away for the time it takes
//! cargo bench --bench overload -- --dir=/dev/shm          # without what the disk does
//! ```
//!
//! `inside`: one thread of this process hands over requests of 1 and of 100 jobs, each row to an engine of its own:
//! first 4,000 jobs under way at a time, which is taken for what it can serve; then half as many a second; then ten
//! times as many, or as many as the thread can make, whatever becomes of those before. Latency counts from the call to
//! the moment at which the engine releases the answer; of a refusal, to the return of the call. After that, requests
//! one after the other show when all is as before.
//!
//! `wire`: the real program with `durability: always` and no workers of its own. A polite client pushes a job every 2 ms
//! and waits for each answer, beside nobody, beside the 128 connections that saturate the server and half of what they
//! reached, and then beside ten times as many, beside clients that pipeline without end, and beside those that never
//! read, never end their line or never report. On two cores all of them take processor time from the server, too.
//!
//! Memory is how much the peak grew, by accepted job, as those are kept: what is refused adds nothing to it.

#[path = "../kit/src/allocator.rs"]
mod allocator;
#[path = "../kit/src/engine.rs"]
mod kit;

#[expect(dead_code, reason = "others say more over a connection than pushes")]
#[path = "../kit/src/client.rs"]
mod client;
#[path = "../kit/src/machine_header.rs"]
mod facts;
mod inside;
#[path = "../kit/src/jobs.rs"]
mod jobs;
mod memory;
#[path = "../kit/src/noop.rs"]
mod noop;
#[path = "../kit/src/pace.rs"]
mod pace;
#[path = "../kit/src/memory.rs"]
mod process;
#[path = "../kit/src/quantiles.rs"]
mod quantiles;
mod report;
#[path = "../kit/src/target.rs"]
mod verdict;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

/// How many times what it can serve.
const OVERLOAD: f64 = 10.0;
/// Of the default `request_wait_max`, which is what who is accepted may wait, and half as much again.
const ACCEPTED_P99_MS: f64 = 375.0;
const BUSY_P99_MS: f64 = 1.0;
/// So many answers that are as fast as twice the p99 at half load mean that all is as it was.
const IN_A_ROW: u32 = 100;

/// How much is measured.
struct Effort {
    time: Duration,
    /// `request_wait_max`, if not its default.
    wait_max: Option<Duration>,
    /// Where the data are; beside the build's output if not given.
    dir: Option<PathBuf>,
}

const FULL: Effort = Effort { time: Duration::from_secs(3), wait_max: None, dir: None };
const TINY: Effort = Effort { time: Duration::from_millis(200), wait_max: None, dir: None };

fn shown(what: &str, value: f64, unit: &str, target: impl verdict::Target) {
    println!("{}", verdict::line(what, value, unit, target));
}

fn temp_dir(effort: &Effort) -> tempfile::TempDir {
    match &effort.dir {
        Some(dir) => tempfile::tempdir_in(dir).expect("the directory is writable"),
        None => kit::temp_dir(),
    }
}

fn main() -> anyhow::Result<()> {
    let mut effort = if std::env::args().any(|argument| argument == "--bench") { FULL } else { TINY };
    effort.wait_max = std::env::args().find_map(|argument| {
        let ms = argument.strip_prefix("--request-wait-max-ms=")?.parse().expect("a number of milliseconds");
        Some(Duration::from_millis(ms))
    });
    println!("{}", facts::of_machine(temp_dir(&effort).path()));
    effort.dir = std::env::args().find_map(|argument| Some(argument.strip_prefix("--dir=")?.into()));
    let is_meant = |part: &str| {
        let mut parts = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
        parts.peek().is_none() || parts.any(|argument| argument == part)
    };
    if is_meant("inside") {
        for batch in [1, 100] {
            inside::measure(batch, &effort);
        }
    }
    if is_meant("wire") {
        wire::measure(&effort)?;
    }
    println!("{}", facts::of_machine(temp_dir(&effort).path()));
    Ok(())
}
