//! Memory and disk that a pending job takes beyond its payload: `cargo bench --bench memory`.
//!
//! Not a matter of time, so it is measured once: resident memory before and after a million jobs.

use beaver_actors::ids::{KindName, QueueName, Timestamp};
use beaver_actors::jobs::{Command, JobSpec, JobTable, Payload, Policy};

const JOBS: u64 = 1_000_000;
const PAYLOAD_BYTES: usize = 100;

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells a process its size");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * rustix::param::page_size() as u64
}

fn main() {
    let kind = KindName::parse("mail").expect("a good name");
    let queue = QueueName::parse("default").expect("a good name");
    let mut table = JobTable::new(Policy::default(), &[]);
    let mut dice = fastrand::Rng::with_seed(1);
    let before = resident_bytes();
    for number in 0..JOBS {
        let text = format!("\"{number:0width$}\"", width = PAYLOAD_BYTES - 2);
        let spec = JobSpec::new(queue.clone(), kind.clone(), Payload::parse(&text).expect("JSON"));
        let event = table.decide(Command::Enqueue(Box::new(spec)), Timestamp(1_000), &mut dice);
        let event = event.expect("accepted").expect("a new job");
        table.apply(table.last().next(), event).expect("it fits");
    }
    let each = (resident_bytes() - before) / JOBS;
    println!("{JOBS} pending jobs with {PAYLOAD_BYTES} bytes of payload and generated ids");
    println!("{each} bytes of memory each, {} beyond the payload", each - PAYLOAD_BYTES as u64);
}
