//! A queue larger than memory: `cargo bench --bench large`.
//!
//! Ten million pending jobs of 1 KiB; `-- 50000000` for the number that beaver promises to hold, which takes half an
//! hour, 6 GB of memory and 30 GB of disk beside the build's output, removed afterwards. `-- --noise` gives the
//! compressor nothing to find: then the disk needs room for twice the payloads and more.
//!
//! One process accepts the jobs, with snapshots as they come. A second one recovers, then works off a fifth of them
//! and accepts as many, so that the disk fills with jobs that have ended.
//!
//! | figure | what | target |
//! |---|---|---|
//! | memory | the most that was resident, in either process | 8 GiB |
//! | a job | resident at the end of the second process, by the number of jobs | 120 bytes |
//! | disk | the most that was allocated, without two segments of the log, by the bytes of live payloads | 2 |

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use beaver_actors::api::handler::Handlers;
use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::Ending;
use beaver_bench_kit::allocator::Allocator;
use beaver_bench_kit::engine::{on_system, start};
use beaver_bench_kit::enqueue::enqueue;
use beaver_bench_kit::figures::number;
use beaver_bench_kit::files::{allocated_below, temp_dir};
use beaver_bench_kit::memory::{peak, resident};
use beaver_bench_kit::payloads::{LARGE_PAYLOAD_BYTES, LargeJobs};
use beaver_bench_kit::target::line;
use beaver_bench_kit::{asked, engine, machine_header, remote};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const JOBS: u64 = 10_000_000;
/// Without `--bench`: only checks that everything still works.
const JOBS_IN_SHORT: u64 = 5_000;
const QUEUE: &str = "orders";
/// Lines of progress that are printed while the queue fills.
const STEPS: u64 = 10;
/// The second process works off one in this number of jobs.
const WORKED_OFF: u64 = 5;
/// Jobs that are worked off, and then accepted again, at a time.
const TURN: u64 = 100_000;
const LOOK_EVERY: Duration = Duration::from_millis(100);

const MEMORY_MAX: f64 = (8_u64 << 30) as f64;
const JOB_BYTES_MAX: f64 = 120.0;
const DISK_MAX: f64 = 2.0;

#[derive(Clone)]
struct Queue {
    jobs: u64,
    is_noise: bool,
    dir: PathBuf,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let jobs = if asked::is_to_measure() { asked::number().unwrap_or(JOBS) } else { JOBS_IN_SHORT };
    let is_noise = arguments.iter().any(|argument| argument == "--noise");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [task @ ("--fill" | "--turn"), jobs, noise, dir] => {
            let jobs = jobs.parse().expect("a number");
            let queue = Queue { jobs, is_noise: *noise == "noise", dir: dir.into() };
            on_system(async {
                match *task {
                    "--fill" => fill(&queue).await,
                    _ => turn(&queue).await,
                }
            });
        }
        _ => {
            let dir = temp_dir();
            println!("{}", machine_header::of(dir.path()));
            let queue = Queue { jobs, is_noise, dir: dir.path().to_owned() };
            in_process("--fill", &queue);
            in_process("--turn", &queue);
            println!("{}", machine_header::of(dir.path()));
        }
    }
}

/// A process of its own, so that its memory is its own.
fn in_process(name: &str, queue: &Queue) {
    let noise = if queue.is_noise { "noise" } else { "orders" };
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.args([name, &queue.jobs.to_string(), noise]).arg(&queue.dir);
    let status = command.status().expect("it can be started again");
    assert!(status.success(), "{name}: {status}");
}

fn options(dir: &Path) -> EngineOptions {
    let mut options = engine::options(dir, 0);
    options.snapshot_interval = EngineOptions::in_dir(dir).snapshot_interval;
    options.policy.jobs_max = u64::MAX;
    options
}

async fn fill(queue: &Queue) {
    let Queue { jobs, is_noise, dir } = queue;
    let disk = Watched::on(dir);
    let engine = start(options(dir), Handlers::new()).await;
    let mut source = LargeJobs::of(QUEUE, *is_noise);
    for step in 1..=STEPS {
        let (from, to) = (jobs * (step - 1) / STEPS, jobs * step / STEPS);
        let started = Instant::now();
        enqueue(&engine, to - from, |count| source.take(count)).await;
        println!(
            "{:>12} jobs: {:>8} a second, {:>6} MB resident, {:>7} MB on disk",
            number(to as f64),
            number((to - from) as f64 / started.elapsed().as_secs_f64()),
            number(resident("self") as f64 / 1e6),
            number(allocated_below(dir) as f64 / 1e6),
        );
    }
    assert_eq!(engine.stop(None).await, Ending::Clean);
    let left = allocated_below(dir) as f64 / (jobs * LARGE_PAYLOAD_BYTES as u64) as f64;
    println!("stopped: {} MB on disk, {left:.2} of the payloads", number(allocated_below(dir) as f64 / 1e6));
    report(disk, *jobs, dir);
}

async fn turn(queue: &Queue) {
    let Queue { jobs, is_noise, dir } = queue;
    let disk = Watched::on(dir);
    let started = Instant::now();
    let engine = start(options(dir), Handlers::new()).await;
    println!(
        "recovered: {:.2} s, {} MB resident, {} MB at most",
        started.elapsed().as_secs_f64(),
        number(resident("self") as f64 / 1e6),
        number(peak("self") as f64 / 1e6),
    );
    // The same queue as before, other jobs.
    let mut source = LargeJobs::of(QUEUE, *is_noise);
    let (mut left, mut working, started) = (jobs / WORKED_OFF, Duration::ZERO, Instant::now());
    while left > 0 {
        let now = TURN.min(left);
        let begun = Instant::now();
        let bytes = remote::fetch_and_ack(&engine, QUEUE, now as usize).await;
        assert_eq!(bytes, now as usize * LARGE_PAYLOAD_BYTES, "payloads come back from the disk");
        working += begun.elapsed();
        enqueue(&engine, now, |count| source.take(count)).await;
        left -= now;
    }
    println!(
        "{} jobs fetched and acked, {} a second, and as many accepted: {:.1} s in all",
        number((jobs / WORKED_OFF) as f64),
        number((jobs / WORKED_OFF) as f64 / working.as_secs_f64()),
        started.elapsed().as_secs_f64(),
    );
    let status = engine.status().await.expect("it serves");
    assert_eq!(status.jobs.unfinished(), *jobs, "nothing was lost, and nothing came twice");
    let resident = resident("self") as f64 / status.jobs.total() as f64;
    println!("{}", line("memory a job", resident, "bytes", ..=JOB_BYTES_MAX));
    report(disk, *jobs, dir);
    engine.abort().await;
}

fn report(disk: Watched, jobs: u64, dir: &Path) {
    let segments = 2 * EngineOptions::in_dir(dir).segment_bytes;
    let beyond = disk.most().saturating_sub(segments) as f64 / (jobs * LARGE_PAYLOAD_BYTES as u64) as f64;
    println!("{}", line("memory at most", peak("self") as f64, "bytes", ..=MEMORY_MAX));
    println!("{}", line("disk at most, by live payloads", beyond, "times", ..=DISK_MAX));
}

/// The size of a directory on the disk, measured again and again by a thread.
struct Watched {
    most: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Watched {
    fn on(dir: &Path) -> Watched {
        let (most, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (most, ended, dir) = (most.clone(), ended.clone(), dir.to_owned());
            move || {
                while !ended.load(Ordering::Relaxed) {
                    most.fetch_max(allocated_below(&dir), Ordering::Relaxed);
                    thread::sleep(LOOK_EVERY);
                }
            }
        });
        Watched { most, ended, thread }
    }

    fn most(self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only measures");
        self.most.load(Ordering::Relaxed)
    }
}
