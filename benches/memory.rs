//! Memory that a pending job takes: `cargo bench --bench memory`.
//!
//! Not a matter of time, so it is measured once: resident memory before and after a million jobs with 100
//! bytes of payload and generated ids, in bytes per job. Target: at most 120 beyond the payload. How it grows
//! with the number of jobs is in `size.rs`.

#[path = "kit/jobs.rs"]
mod jobs;
#[path = "kit/process.rs"]
mod process;
#[path = "kit/verdict.rs"]
mod verdict;

use beaver_actors::ids::Timestamp;
use beaver_actors::jobs::{Command, JobTable, Policy};
use jobs::{Jobs, PAYLOAD_BYTES};

const JOBS: usize = 1_000_000;
const BEYOND_BYTES_MAX: f64 = 120.0;

fn main() {
    let mut jobs = Jobs::of("mail");
    let mut table = JobTable::new(Policy::default(), &[]);
    let mut dice = fastrand::Rng::with_seed(1);
    let before = process::memory("self", "VmRSS");
    for _ in 0..JOBS {
        let [spec] = jobs.take(1).try_into().expect("one was asked for");
        let event = table.decide(Command::Enqueue(Box::new(spec)), Timestamp(1_000), &mut dice);
        let event = event.expect("accepted").expect("a new job");
        table.apply(table.last().next(), event).expect("it fits");
    }
    let each = (process::memory("self", "VmRSS") - before) as f64 / JOBS as f64;
    println!(
        "{JOBS} pending jobs with {PAYLOAD_BYTES} bytes of payload and generated ids: {each:.0} bytes of memory each"
    );
    let beyond = each - PAYLOAD_BYTES as f64;
    println!("{}", verdict::line("beyond the payload", beyond, "bytes", ..=BEYOND_BYTES_MAX));
}
