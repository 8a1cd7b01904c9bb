//! Ten times the load that can be served, and clients that are hard to serve: how long do the others wait?
//!
//! ```sh
//! cargo bench --bench overload                            # everything, in a minute
//! cargo bench --bench overload -- inside                  # one part: `inside`, `wire`
//! cargo bench --bench overload -- --request-wait-max-ms=3600000  # no request is refused
//! cargo bench --bench overload -- --dir=/dev/shm          # without the disk's share
//! ```
//!
//! [`inside`]: one thread of this process hands over requests of 1 and of 100 jobs, each row to an engine of its own:
//! first 4,000 jobs under way at a time, whose rate is the capacity; then half of that rate; then ten times that rate, or
//! as much as the thread can make, whether or not earlier requests are answered. Latency counts from the call to the
//! moment at which the engine releases the answer; of a refusal, to the return of the call. After that, requests one
//! after the other show when latency is normal again. [`report`] prints a row.
//!
//! [`wire`]: the real program with `durability: always` and no workers of its own. A polite client pushes a job every
//! 2 ms and waits for each answer: alone, beside 128 connections that saturate the server, beside half of their rate,
//! and then beside ten times as many, beside clients that pipeline without end, and beside clients that never read,
//! never end their line or never report. On two cores all of them take processor time from the server, too.
//!
//! Memory is the growth of the peak, divided by accepted jobs: they stay, and a refused request must add nothing.

mod inside;
mod report;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use beaver_bench_kit::allocator::Allocator;
use beaver_bench_kit::target::{self, Target};
use beaver_bench_kit::{asked, files, machine_header};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// The overload is this many times the capacity.
const OVERLOAD: f64 = 10.0;
/// One and a half times the default `request_wait_max`, the longest expected wait at which a request is accepted.
const ACCEPTED_P99_MS: f64 = 375.0;
const BUSY_P99_MS: f64 = 1.0;
/// Latency is normal again when this many answers in a row take at most twice the p99 at half load.
const IN_A_ROW: u32 = 100;

/// How much is measured, and with which options.
struct Settings {
    time: Duration,
    /// `request_wait_max`; its default if none.
    wait_max: Option<Duration>,
    /// Parent of the data directories; beside the build's output if none.
    dir: Option<PathBuf>,
}

const FULL: Settings = Settings { time: Duration::from_secs(3), wait_max: None, dir: None };
const TINY: Settings = Settings { time: Duration::from_millis(200), wait_max: None, dir: None };

fn print(what: &str, value: f64, unit: &str, target: impl Target) {
    println!("{}", target::line(what, value, unit, target));
}

fn temp_dir(settings: &Settings) -> tempfile::TempDir {
    match &settings.dir {
        Some(dir) => tempfile::tempdir_in(dir).expect("the directory is writable"),
        None => files::temp_dir(),
    }
}

fn main() -> anyhow::Result<()> {
    let mut settings = if asked::is_to_measure() { FULL } else { TINY };
    settings.wait_max = std::env::args().find_map(|argument| {
        let ms = argument.strip_prefix("--request-wait-max-ms=")?.parse().expect("a number of milliseconds");
        Some(Duration::from_millis(ms))
    });
    println!("{}", machine_header::of(temp_dir(&settings).path()));
    settings.dir = std::env::args().find_map(|argument| Some(argument.strip_prefix("--dir=")?.into()));
    let is_meant = |part: &str| {
        let mut parts = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
        parts.peek().is_none() || parts.any(|argument| argument == part)
    };
    if is_meant("inside") {
        for batch in [1, 100] {
            inside::measure(batch, &settings);
        }
    }
    if is_meant("wire") {
        wire::measure(&settings)?;
    }
    println!("{}", machine_header::of(temp_dir(&settings).path()));
    Ok(())
}
