//! Tasks that run in a process of their own, so that memory and page faults are theirs alone. Such a process prints its
//! figures, each as a line of a name and a number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use beaver_actors::api::handler::Handlers;
use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::{Ending, Engine};
use beaver_actors::ids::JobId;

use beaver_bench_kit::completed::completed;
use beaver_bench_kit::engine::{on_system, options, start};
use beaver_bench_kit::jobs::Jobs;
use beaver_bench_kit::memory::{peak, resident};
use beaver_bench_kit::open_loop::{self, Moments, Sent};
use beaver_bench_kit::quantiles::Sorted;
use beaver_bench_kit::{enqueue, noop};

const CHILD: &str = "--child";
const WORKERS: usize = 256;
/// No worker here handles it.
const PENDING_KIND: &str = "later";

/// The task of a process.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// Enqueues jobs that stay pending, and ends with a snapshot of them.
    Fill { jobs: u64 },
    /// Adds this many bytes of log with whole lives of jobs.
    Tail { bytes: u64 },
    /// Writes a log of enqueues.
    Enqueues { jobs: u64 },
    /// Writes a log of whole lives.
    Lives { jobs: u64 },
    /// Recovers.
    Boot,
    /// Takes a snapshot beside a steady load.
    Snapshot,
    /// Meets damage, and writes the state out anew.
    Rescue,
}

/// A task and the data directory it is about.
pub(crate) struct Task {
    mode: Mode,
    dir: PathBuf,
}

/// The figures that a process printed.
pub(crate) struct Facts(BTreeMap<String, f64>);

impl Facts {
    /// The figure of that name.
    pub(crate) fn of(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("the process did not print {name}"))
    }
}

impl Mode {
    /// The task of this process, if it was started as one.
    pub(crate) fn of(arguments: &[String]) -> Option<Task> {
        let [child, name, number, dir, ..] = arguments else { return None };
        let number = number.parse().ok()?;
        let mode = match name.as_str() {
            "fill" => Mode::Fill { jobs: number },
            "tail" => Mode::Tail { bytes: number },
            "enqueues" => Mode::Enqueues { jobs: number },
            "lives" => Mode::Lives { jobs: number },
            "boot" => Mode::Boot,
            "snapshot" => Mode::Snapshot,
            "rescue" => Mode::Rescue,
            _ => return None,
        };
        (child == CHILD).then(|| Task { mode, dir: dir.into() })
    }

    /// Does it in a process of its own.
    pub(crate) fn in_process(self, dir: &Path) -> Facts {
        let (name, number) = match self {
            Mode::Fill { jobs } => ("fill", jobs),
            Mode::Tail { bytes } => ("tail", bytes),
            Mode::Enqueues { jobs } => ("enqueues", jobs),
            Mode::Lives { jobs } => ("lives", jobs),
            Mode::Boot => ("boot", 0),
            Mode::Snapshot => ("snapshot", 0),
            Mode::Rescue => ("rescue", 0),
        };
        let mut command = Command::new(std::env::current_exe().expect("it runs"));
        command.args([CHILD, name, &number.to_string()]).arg(dir).stderr(Stdio::inherit());
        let output = command.output().expect("it can be started again");
        assert!(output.status.success(), "{name}: {}", output.status);
        let text = String::from_utf8(output.stdout).expect("it writes text");
        let fact = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Facts(text.lines().filter_map(fact).collect())
    }
}

/// Does the task of this process.
pub(crate) fn run(task: &Task) {
    let dir = &task.dir;
    on_system(async {
        match task.mode {
            Mode::Fill { jobs } => fill(dir, jobs).await,
            Mode::Tail { bytes } => tail(dir, bytes).await,
            Mode::Enqueues { jobs } => {
                let engine = start(log_alone(dir, 0), Handlers::new()).await;
                enqueue(&engine, PENDING_KIND, jobs).await;
                engine.abort().await;
            }
            Mode::Lives { jobs } => {
                let engine = start(log_alone(dir, WORKERS), noop::handlers()).await;
                live(&engine, jobs).await;
                engine.abort().await;
            }
            Mode::Boot => boot(dir).await,
            Mode::Snapshot => snapshot(dir).await,
            Mode::Rescue => rescue(dir).await,
        }
    });
}

/// Options by which no snapshot is taken, however long the log gets.
fn log_alone(dir: &Path, workers: usize) -> EngineOptions {
    let mut log_alone = options(dir, workers);
    log_alone.layering.log_bytes = usize::MAX;
    log_alone
}

fn tell(name: &str, value: f64) {
    println!("{name} {value}");
}

/// Damages the oldest segment behind the snapshot, which the first fold meets, and waits until all is written out anew.
async fn rescue(dir: &Path) {
    let mut options = options(dir, 0);
    options.snapshot_interval = Duration::from_millis(100);
    let segments = std::fs::read_dir(&options.wal_dir).expect("there is a log");
    let segments = segments.map(|entry| entry.expect("it can be listed").path());
    let mut segments: Vec<_> =
        segments.filter(|path| path.extension().is_some_and(|ext| ext == "wal")).collect();
    segments.sort();
    let engine = start(options, Handlers::new()).await;
    for segment in segments {
        let mut bytes = std::fs::read(&segment).expect("it can be read");
        bytes[20] ^= 1;
        std::fs::write(&segment, bytes).expect("it can be written");
    }
    let metrics = engine.metrics();
    while metrics.damage_met.get() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let zero = Instant::now();
    let mut slowest = Duration::ZERO;
    while metrics.rescues.get() == 0 {
        let asked = Instant::now();
        engine.job(JobId::parse("nobody").expect("a good id")).await.expect_err("there is none");
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tell("rescue_s", zero.elapsed().as_secs_f64());
    tell("answer_max_ms", slowest.as_secs_f64() * 1e3);
    tell("peak_bytes", peak("self") as f64);
    let jobs = engine.status().await.expect("it serves").jobs.total();
    tell("jobs", jobs as f64);
    assert_eq!(metrics.payloads_lost.get(), 0, "the snapshot has them");
    assert_eq!(engine.stop(None).await, Ending::Clean);
}

async fn fill(dir: &Path, jobs: u64) {
    let engine = start(options(dir, 0), Handlers::new()).await;
    enqueue(&engine, PENDING_KIND, jobs).await;
    assert_eq!(engine.stop(None).await, Ending::Clean);
    tell("snapshot_s", engine.metrics().snapshot_micros.get() as f64 / 1e6);
    tell("snapshot_bytes", engine.metrics().snapshot_bytes.get() as f64);
}

async fn tail(dir: &Path, bytes: u64) {
    const STEP: u64 = 10_000;
    // Otherwise a snapshot would be due at the end, and the length of the log behind it would depend on chance.
    let engine = start(log_alone(dir, WORKERS), noop::handlers()).await;
    let mut jobs = 0;
    while engine.metrics().log_bytes.get() < bytes {
        jobs += STEP;
        enqueue(&engine, noop::KIND, STEP).await;
        completed(&engine, jobs).await;
    }
    tell("jobs", jobs as f64);
    tell("bytes", engine.metrics().log_bytes.get() as f64);
    engine.abort().await;
}

async fn boot(dir: &Path) {
    let started = Instant::now();
    let engine = start(options(dir, 0), Handlers::new()).await;
    tell("ready_s", started.elapsed().as_secs_f64());
    tell("after_bytes", resident("self") as f64);
    tell("peak_bytes", peak("self") as f64);
    let status = engine.status().await.expect("it serves");
    tell("jobs", status.jobs.total() as f64);
    tell("events", status.recovery.events as f64);
    engine.abort().await;
}

async fn enqueue(engine: &Engine, kind: &str, jobs: u64) {
    let mut source = Jobs::of(kind);
    enqueue::enqueue(engine, jobs, |count| source.take(count)).await;
}

async fn live(engine: &Engine, jobs: u64) {
    enqueue(engine, noop::KIND, jobs).await;
    completed(engine, jobs).await;
}

/// A job each millisecond, far below the engine's capacity, so that the snapshot is the only cause of waiting.
const INTERVAL: Duration = Duration::from_millis(1);
/// From the start of the load to the snapshot.
const BEFORE: Duration = Duration::from_secs(10);
/// Not measured: caches fill and the disk wakes up.
const WARM_UP: Duration = Duration::from_secs(2);
/// Measured after the snapshot: its consequences, as segments and layers that it replaces are removed.
const AFTER: Duration = Duration::from_secs(1);
const SNAPSHOT_MAX: Duration = Duration::from_secs(300);

async fn snapshot(dir: &Path) {
    let mut options = options(dir, 0);
    options.snapshot_interval = BEFORE;
    let snapshot_dir = options.snapshot_dir.clone();
    let engine = start(options, Handlers::new()).await;
    let zero = Instant::now();
    let answers =
        Moments::new(zero, ((BEFORE + SNAPSHOT_MAX + AFTER).as_micros() / INTERVAL.as_micros()) as usize);
    let done = Arc::new(AtomicBool::new(false));
    let sender = {
        let (engine, answers, done) = (engine.clone(), answers.clone(), done.clone());
        tokio::task::spawn_blocking(move || {
            let mut source = Jobs::of(PENDING_KIND);
            let requests = std::iter::from_fn(|| (!done.load(Ordering::Relaxed)).then(|| source.take(1)));
            open_loop::send(&engine, requests, INTERVAL, &answers)
        })
    };
    let metrics = engine.metrics();
    let older = images(&snapshot_dir);
    // Resident memory every 20 ms.
    let mut seen: Vec<(Duration, u64)> = Vec::new();
    while metrics.snapshots.get() == 0 {
        assert!(zero.elapsed() < BEFORE + SNAPSHOT_MAX, "no snapshot was taken in time");
        assert_eq!(metrics.snapshots_failed.get(), 0, "it can be written");
        seen.push((zero.elapsed(), resident("self")));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let end = zero.elapsed();
    let took = Duration::from_micros(metrics.snapshot_micros.get());
    let begin = end.saturating_sub(took);
    tokio::time::sleep(AFTER).await;
    done.store(true, Ordering::Relaxed);
    let Sent { pending, late } = sender.await.expect("the sender does not panic");
    answers.all_noted(late.len()).await;
    for answer in pending {
        answer.await.expect("accepted");
    }

    tell("per_second", 1.0 / INTERVAL.as_secs_f64());
    tell("snapshot_s", took.as_secs_f64());
    let due = |request: usize| INTERVAL * request as u32;
    for (when, from, to) in [("before", WARM_UP, begin), ("during", begin, end), ("after", end, end + AFTER)]
    {
        let those = (0..late.len()).filter(|&request| (from..to).contains(&due(request)));
        let took =
            Sorted::of(those.map(|request| answers.of(request).saturating_sub(due(request))).collect());
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            tell(&format!("{when}_{name}_us"), took.micros(share));
        }
    }
    let before = seen.iter().rfind(|(at, _)| *at <= begin).expect("it was measured before").1;
    let during = seen.iter().filter(|(at, _)| *at > begin).map(|(_, resident)| *resident);
    tell("resident_before", before as f64);
    tell("resident_during", during.fold(before, u64::max) as f64);
    let written = images(&snapshot_dir).into_iter().filter(|(path, _)| !older.contains_key(path));
    tell("written_bytes", written.map(|(_, bytes)| bytes).sum::<u64>() as f64);
    engine.abort().await;
}

/// The files in a directory of snapshots, with their sizes.
fn images(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let files = std::fs::read_dir(dir).expect("it is there").flatten();
    files.filter_map(|file| Some((file.path(), file.metadata().ok()?.len()))).collect()
}
