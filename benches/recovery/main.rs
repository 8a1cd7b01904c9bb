//! How fast a data directory becomes a queue that serves, and how little a snapshot disturbs: `cargo bench
//! --bench recovery`.
//!
//! Add `-- boot`, `-- replay`, `-- snapshot` or `-- rescue` for one of them, and a number to stop at a smaller size (`--
//! boot 1000000`). The whole takes a few minutes, 6 GB of memory and 6 GB of disk beside the build's output,
//! removed afterwards. Payloads have 100 bytes each.
//!
//! | figure | what | target |
//! |---|---|---|
//! | boot | `Engine::start` to ready, with pending jobs and 64 MiB of log | 1,000,000 jobs in 0.3 s, 10,000,000 in 3 s |
//! | peak | the most memory that was resident during that, by resident memory when ready | 1.2 |
//! | replay | events/s of a boot without a snapshot: of enqueues, and of whole lives | 5,000,000 |
//! | snapshot | p99 of a durable enqueue while one is taken, and in the second after it, by that without one | 2 |
//! | growth | of resident memory while it is taken | 10 % |
//! | rescue | the state is written out anew from memory, as a segment is damaged | none |
//!
//! The pending jobs are in a snapshot; the log behind it has whole lives of other jobs (enqueue, dispatch, ack).
//! The last two are measured at the largest size, beside 1,000 requests of one job each a second.
//!
//! Every boot is a process of its own ([`child`]), so that its memory is its own; "warm" finds the files in the page
//! cache, "cold" had them dropped from it. The median of three counts.

mod child;

use std::fs::{self, File};
use std::path::Path;

use beaver_bench_kit::allocator::Allocator;
use beaver_bench_kit::figures::number;
use beaver_bench_kit::files::temp_dir;
use beaver_bench_kit::target::line;
use beaver_bench_kit::{asked, jobs, machine_header};
use child::{Facts, Mode};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Pending jobs in the snapshot, and the seconds of the target for their recovery.
const SIZES: [(u64, f64); 2] = [(1_000_000, 0.3), (10_000_000, 3.0)];
const TAIL_BYTES: u64 = 64 << 20;
const BOOTS: usize = 3;
const PEAK_MAX: f64 = 1.2;
/// Jobs in a log that is replayed alone.
const REPLAYED: u64 = 1_000_000;
const REPLAY_MIN: f64 = 5e6;
const P99_MAX: f64 = 2.0;
const GROWTH_MAX: f64 = 10.0;
/// Without `--bench`: only checks that everything still works.
const JOBS_IN_SHORT: u64 = 20_000;
const TAIL_BYTES_IN_SHORT: u64 = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(mode) = Mode::of(&arguments) {
        return child::run(&mode);
    }
    let in_short = !asked::is_to_measure();
    let largest = asked::number().unwrap_or(u64::MAX);
    let words: Vec<&String> =
        arguments.iter().filter(|word| !word.starts_with('-') && word.parse::<u64>().is_err()).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    println!("{}", machine_header::of(temp_dir().path()));
    let sizes: Vec<(u64, f64)> = if in_short {
        vec![(JOBS_IN_SHORT, f64::INFINITY)]
    } else {
        SIZES.into_iter().filter(|(jobs, _)| *jobs <= largest).collect()
    };
    let tail = if in_short { TAIL_BYTES_IN_SHORT } else { TAIL_BYTES };
    let last = sizes.last().map(|(jobs, _)| *jobs);
    for (jobs, seconds) in sizes {
        let is_last = Some(jobs) == last;
        let (boots, snapshots, rescues) = (wanted("boot"), is_last && wanted("snapshot"), wanted("rescue"));
        if !boots && !snapshots && !rescues {
            continue;
        }
        let dir = temp_dir();
        println!("\n{jobs} pending jobs");
        fill(dir.path(), jobs, tail);
        if boots {
            boot(dir.path(), seconds);
        }
        if snapshots {
            snapshot(dir.path());
        }
        // Nothing of the log is whole afterwards.
        if rescues {
            rescue(dir.path());
        }
    }
    if wanted("replay") {
        replay(if in_short { JOBS_IN_SHORT } else { REPLAYED.min(largest) });
    }
    println!("\n{}", machine_header::of(temp_dir().path()));
}

fn fill(dir: &Path, jobs: u64, tail: u64) {
    let full = Mode::Fill { jobs }.in_process(dir);
    println!(
        "  first image, from the log alone: {:.2} s, {:.0} MB, {:.0} bytes per job, {:.0} % of the payloads",
        full.of("snapshot_s"),
        full.of("snapshot_bytes") / 1e6,
        full.of("snapshot_bytes") / jobs as f64,
        full.of("snapshot_bytes") / (jobs * jobs::PAYLOAD_BYTES as u64) as f64 * 100.0,
    );
    let tail = Mode::Tail { bytes: tail }.in_process(dir);
    println!(
        "  log behind it: {:.0} MiB, lives of {} jobs",
        tail.of("bytes") / 1048576.0,
        number(tail.of("jobs"))
    );
}

fn boot(dir: &Path, seconds: f64) {
    let warm: Vec<Facts> = (0..BOOTS).map(|_| Mode::Boot.in_process(dir)).collect();
    let cold: Vec<Facts> = (0..BOOTS)
        .map(|_| {
            forget_pages(dir);
            Mode::Boot.in_process(dir)
        })
        .collect();
    for (name, boots) in [("warm", &warm), ("cold", &cold)] {
        let all =
            boots.iter().map(|boot| format!("{:.2}", boot.of("ready_s"))).collect::<Vec<_>>().join(", ");
        let one = middle(boots);
        println!(
            "  boot, {name}: {all} s; {} jobs, {} events replayed",
            number(one.of("jobs")),
            number(one.of("events"))
        );
        println!("    {}", line("ready", one.of("ready_s"), "s", ..=seconds));
        let (peak, after) = (one.of("peak_bytes"), one.of("after_bytes"));
        println!("    resident: {:.0} MB when ready, {:.0} MB at most", after / 1e6, peak / 1e6);
        println!("    {}", line("peak by what is resident when ready", peak / after, "times", ..=PEAK_MAX));
    }
}

fn middle(boots: &[Facts]) -> &Facts {
    let mut sorted: Vec<&Facts> = boots.iter().collect();
    sorted.sort_by(|one, other| one.of("ready_s").total_cmp(&other.of("ready_s")));
    sorted[sorted.len() / 2]
}

fn replay(jobs: u64) {
    println!("\nreplay alone, no snapshot, {jobs} jobs");
    for (name, mode) in [("enqueues", Mode::Enqueues { jobs }), ("whole lives", Mode::Lives { jobs })] {
        let dir = temp_dir();
        mode.in_process(dir.path());
        let boots: Vec<Facts> = (0..BOOTS).map(|_| Mode::Boot.in_process(dir.path())).collect();
        let one = middle(&boots);
        let events = one.of("events");
        println!("  {name}: {} events in {:.3} s", number(events), one.of("ready_s"));
        println!("    {}", line("replayed", events / one.of("ready_s"), "events/s", REPLAY_MIN..));
        let peak = one.of("peak_bytes") / one.of("after_bytes");
        println!("    {}", line("peak by what is resident when ready", peak, "times", ..=PEAK_MAX));
    }
}

fn snapshot(dir: &Path) {
    let facts = Mode::Snapshot.in_process(dir);
    println!(
        "  snapshot beside {} jobs/s: {:.2} s, {:.0} MB written",
        number(facts.of("per_second")),
        facts.of("snapshot_s"),
        facts.of("written_bytes") / 1e6,
    );
    for when in ["before", "during", "after"] {
        let [p50, p99, max] =
            ["p50", "p99", "max"].map(|share| number(facts.of(&format!("{when}_{share}_us"))));
        println!("    enqueue {when}: p50 {p50} us, p99 {p99} us, max {max} us");
    }
    for (when, name) in [("during", "p99 during"), ("after", "p99 in the second after it")] {
        let times = facts.of(&format!("{when}_p99_us")) / facts.of("before_p99_us");
        println!("    {}", line(&format!("{name}, by p99 before"), times, "times", ..=P99_MAX));
    }
    let growth = (facts.of("resident_during") / facts.of("resident_before") - 1.0) * 100.0;
    println!("    {}", line("resident memory grew by", growth, "%", ..=GROWTH_MAX));
}

fn rescue(dir: &Path) {
    let facts = Mode::Rescue.in_process(dir);
    let (seconds, jobs) = (facts.of("rescue_s"), facts.of("jobs"));
    println!(
        "  state written out anew: {} jobs in {seconds:.2} s, {:.2} s per million; the slowest answer to a question took \
         {:.1} ms; {:.0} MB resident at most",
        number(jobs),
        seconds / jobs * 1e6,
        facts.of("answer_max_ms"),
        facts.of("peak_bytes") / 1e6,
    );
}

/// Drops all files below a directory from the page cache.
fn forget_pages(dir: &Path) {
    for entry in fs::read_dir(dir).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            forget_pages(&path);
            continue;
        }
        let file = File::open(&path).expect("it can be read");
        // Only clean pages can be dropped.
        file.sync_all().expect("the disk works");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("Linux knows it");
    }
}
