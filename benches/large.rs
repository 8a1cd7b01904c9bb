//! A queue larger than memory: `cargo bench --bench large`.
//!
//! Ten million pending jobs of 1 KiB; `-- 50000000` for as many as the promise speaks of, which takes half an hour, 6 GB
//! of memory and 30 GB of disk beside the build's output, removed afterwards. `-- --noise` gives the compressor nothing
//! to find: then the disk needs room for twice the payloads and more.
//!
//! One process accepts the jobs, with snapshots as they come. A second one recovers, then works off and accepts a fifth
//! as many, so that the disk fills with what is over.
//!
//! | figure | what | target |
//! |---|---|---|
//! | memory | the most that was resident, in either process | 8 GiB |
//! | a job | resident at the end of the second process, by the number of jobs | 120 bytes |
//! | disk | the most that was allocated, without two segments of the log, by the bytes of live payloads | 2 |

#[path = "kit/src/allocator.rs"]
mod allocator;
#[path = "kit/src/engine.rs"]
mod kit;

#[path = "kit/src/enqueue.rs"]
mod enqueue;
#[path = "kit/src/machine_header.rs"]
mod facts;
#[path = "kit/src/files.rs"]
mod files;
#[path = "kit/src/payloads.rs"]
mod orders;
#[path = "kit/src/memory.rs"]
mod process;
#[path = "kit/src/remote.rs"]
mod remote;
#[path = "kit/src/target.rs"]
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use beaver_actors::engine::Ending;
use beaver_actors::options::EngineOptions;
use beaver_actors::worker::handler::Handlers;
use enqueue::enqueue;
use orders::{ORDER_BYTES, Orders};
use process::memory;
use verdict::{line, number};

const JOBS: u64 = 10_000_000;
/// Without `--bench`: only that everything still works.
const JOBS_IN_SHORT: u64 = 5_000;
const QUEUE: &str = "orders";
/// Told so often while the queue fills.
const STEPS: u64 = 10;
/// One of so many is worked off by the second process.
const WORKED_OFF: u64 = 5;
/// Worked off, and accepted again, so many at a time.
const TURN: u64 = 100_000;
const LOOK_EVERY: Duration = Duration::from_millis(100);

const MEMORY_MAX: f64 = (8_u64 << 30) as f64;
const JOB_BYTES_MAX: f64 = 120.0;
const DISK_MAX: f64 = 2.0;

#[derive(Clone)]
struct Task {
    jobs: u64,
    is_noise: bool,
    dir: PathBuf,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let asked = arguments.iter().find_map(|argument| argument.parse().ok());
    let jobs = if flag("--bench") { asked.unwrap_or(JOBS) } else { JOBS_IN_SHORT };
    let is_noise = flag("--noise");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [task @ ("--fill" | "--turn"), jobs, noise, dir] => {
            let jobs = jobs.parse().expect("a number");
            let task_of = Task { jobs, is_noise: *noise == "noise", dir: dir.into() };
            kit::on_system(async {
                match *task {
                    "--fill" => fill(&task_of).await,
                    _ => turn(&task_of).await,
                }
            });
        }
        _ => {
            let dir = kit::temp_dir();
            println!("{}", facts::of_machine(dir.path()));
            let task = Task { jobs, is_noise, dir: dir.path().to_owned() };
            in_process("--fill", &task);
            in_process("--turn", &task);
            println!("{}", facts::of_machine(dir.path()));
        }
    }
}

/// A process of its own, so that its memory is its own.
fn in_process(name: &str, task: &Task) {
    let noise = if task.is_noise { "noise" } else { "orders" };
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.args([name, &task.jobs.to_string(), noise]).arg(&task.dir);
    let status = command.status().expect("it can be started again");
    assert!(status.success(), "{name}: {status}");
}

fn options(dir: &Path) -> EngineOptions {
    let mut options = kit::options(dir, 0);
    options.snapshot_interval = EngineOptions::in_dir(dir).snapshot_interval;
    options.policy.jobs_max = u64::MAX;
    options
}

async fn fill(task: &Task) {
    let Task { jobs, is_noise, dir } = task;
    let disk = Watched::on(dir);
    let engine = kit::start(options(dir), Handlers::new()).await;
    let mut source = Orders::of(QUEUE, *is_noise);
    for step in 1..=STEPS {
        let (from, to) = (jobs * (step - 1) / STEPS, jobs * step / STEPS);
        let started = Instant::now();
        enqueue(&engine, to - from, |count| source.take(count)).await;
        println!(
            "{:>12} jobs: {:>8} a second, {:>6} MB resident, {:>7} MB on disk",
            number(to as f64),
            number((to - from) as f64 / started.elapsed().as_secs_f64()),
            number(memory("self", "VmRSS") as f64 / 1e6),
            number(files::allocated_below(dir) as f64 / 1e6),
        );
    }
    assert_eq!(engine.stop(None).await, Ending::Clean);
    let left = files::allocated_below(dir) as f64 / (jobs * ORDER_BYTES as u64) as f64;
    println!(
        "stopped: {} MB on disk, {left:.2} of the payloads",
        number(files::allocated_below(dir) as f64 / 1e6)
    );
    report(disk, *jobs, dir);
}

async fn turn(task: &Task) {
    let Task { jobs, is_noise, dir } = task;
    let disk = Watched::on(dir);
    let started = Instant::now();
    let engine = kit::start(options(dir), Handlers::new()).await;
    println!(
        "recovered: {:.2} s, {} MB resident, {} MB at most",
        started.elapsed().as_secs_f64(),
        number(memory("self", "VmRSS") as f64 / 1e6),
        number(memory("self", "VmHWM") as f64 / 1e6),
    );
    // Other orders than before, for the same queue.
    let mut source = Orders::of(QUEUE, *is_noise);
    let (mut left, mut working, started) = (jobs / WORKED_OFF, Duration::ZERO, Instant::now());
    while left > 0 {
        let now = TURN.min(left);
        let begun = Instant::now();
        let bytes = remote::fetch_and_ack(&engine, QUEUE, now as usize).await;
        assert_eq!(bytes, now as usize * ORDER_BYTES, "payloads come back from the disk");
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
    let resident = memory("self", "VmRSS") as f64 / status.jobs.total() as f64;
    println!("{}", line("memory a job", resident, "bytes", ..=JOB_BYTES_MAX));
    report(disk, *jobs, dir);
    engine.abort().await;
}

fn report(disk: Watched, jobs: u64, dir: &Path) {
    let segments = 2 * EngineOptions::in_dir(dir).segment_bytes;
    let beyond = disk.most().saturating_sub(segments) as f64 / (jobs * ORDER_BYTES as u64) as f64;
    println!("{}", line("memory at most", memory("self", "VmHWM") as f64, "bytes", ..=MEMORY_MAX));
    println!("{}", line("disk at most, by live payloads", beyond, "times", ..=DISK_MAX));
}

/// A directory that is looked at all the time.
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
                    most.fetch_max(files::allocated_below(&dir), Ordering::Relaxed);
                    thread::sleep(LOOK_EVERY);
                }
            }
        });
        Watched { most, ended, thread }
    }

    fn most(self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only looks");
        self.most.load(Ordering::Relaxed)
    }
}
