//! Memory that a pending job takes: `cargo bench --bench memory`.
//!
//! Not a matter of time, so it is measured once: resident memory before and after a million jobs with 100
//! bytes of payload and generated ids, in bytes per job. Target: at most 120 while payloads are on disk, as those
//! beyond `payload_memory` are. A payload in memory costs its text and the overhead of the allocator and a counter.
//! How it grows with the number of jobs is in `size.rs`.

use beaver_actors::ids::Timestamp;
use beaver_actors::jobs::{Command, JobTable, Policy};
use beaver_bench_kit::allocator::Allocator;
use beaver_bench_kit::jobs::{Jobs, PAYLOAD_BYTES};
use beaver_bench_kit::memory::resident;
use beaver_bench_kit::target;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const JOBS: usize = 1_000_000;
const ON_DISK_BYTES_MAX: f64 = 120.0;

fn main() {
    let on_disk = each(0);
    println!("{JOBS} pending jobs with {PAYLOAD_BYTES} bytes of payload and generated ids");
    println!("{}", target::line("payloads on disk", on_disk, "bytes a job", ..=ON_DISK_BYTES_MAX));
    println!("payloads in memory: {:.0} bytes a job", each(u64::MAX));
}

/// Bytes per job with up to `payload_bytes_max` bytes of payloads in memory.
fn each(payload_bytes_max: u64) -> f64 {
    let mut jobs = Jobs::of("mail");
    let mut table = JobTable::new(Policy::default(), &[]);
    let mut dice = fastrand::Rng::with_seed(1);
    let before = resident("self");
    for number in 0..JOBS {
        let [spec] = jobs.take(1).try_into().expect("one was asked for");
        // A thousand jobs a millisecond: ids are stored by the millisecond in which they were made.
        let now = Timestamp(1_000 + number as u64 / 1_000);
        let event = table.decide(Command::Enqueue(Box::new(spec)), now, &mut dice);
        let event = event.expect("accepted").expect("a new job");
        table.apply(table.last().next(), event).expect("it fits");
        table.leave_payloads(table.last(), payload_bytes_max);
    }
    (resident("self") - before) as f64 / JOBS as f64
}
