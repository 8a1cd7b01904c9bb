//! Memory that a pending job takes: `cargo bench --bench memory`.
//!
//! Not a matter of time, so it is measured once: resident memory before and after a million jobs with 100
//! bytes of payload and generated ids, in bytes per job. Target: at most 120 while payloads are on disk, as those
//! beyond `payload_memory` are. One in memory costs its text and what the allocator and a counter take beside it.
//! How it grows with the number of jobs is in `size.rs`.

#[path = "kit/src/allocator.rs"]
mod allocator;
#[path = "kit/src/jobs.rs"]
mod jobs;
#[path = "kit/src/memory.rs"]
mod process;
#[path = "kit/src/target.rs"]
mod verdict;

use beaver_actors::ids::Timestamp;
use beaver_actors::jobs::{Command, JobTable, Policy};
use jobs::{Jobs, PAYLOAD_BYTES};

const JOBS: usize = 1_000_000;
const ON_DISK_BYTES_MAX: f64 = 120.0;

fn main() {
    let on_disk = each(0);
    println!("{JOBS} pending jobs with {PAYLOAD_BYTES} bytes of payload and generated ids");
    println!("{}", verdict::line("payloads on disk", on_disk, "bytes a job", ..=ON_DISK_BYTES_MAX));
    println!("payloads in memory: {:.0} bytes a job", each(u64::MAX));
}

/// Bytes per job with payloads in memory up to so many bytes.
fn each(payload_bytes_max: u64) -> f64 {
    let mut jobs = Jobs::of("mail");
    let mut table = JobTable::new(Policy::default(), &[]);
    let mut dice = fastrand::Rng::with_seed(1);
    let before = process::memory("self", "VmRSS");
    for number in 0..JOBS {
        let [spec] = jobs.take(1).try_into().expect("one was asked for");
        // A thousand a millisecond: ids are kept by the moment in which they were made.
        let now = Timestamp(1_000 + number as u64 / 1_000);
        let event = table.decide(Command::Enqueue(Box::new(spec)), now, &mut dice);
        let event = event.expect("accepted").expect("a new job");
        table.apply(table.last().next(), event).expect("it fits");
        table.leave_payloads(table.last(), payload_bytes_max);
    }
    (process::memory("self", "VmRSS") - before) as f64 / JOBS as f64
}
