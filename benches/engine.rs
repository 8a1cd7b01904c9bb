//! How fast the engine is on this machine's disk, with `durability: always`: every answer comes after
//! fdatasync.
//!
//! `cargo bench --bench engine` (add `-- enqueue` or `-- life` for one of them). Recovery is in
//! `recovery/`.
//!
//! | group | what one element is | target on two cores |
//! |---|---|---|
//! | enqueue | a job accepted and durable, in requests of 1,000 jobs, by 1 and by 4 clients | 2,000,000 jobs/s with 4 |
//! | life | a job enqueued, dispatched to a WorkerActor, run (a no-op) and acked, all logged | 300,000 jobs/s, best row |
//!
//! The jobs are made before the clock starts, each with a payload of its own; a client only reads them, hands them
//! over and waits for the answer. The cost of that is shown: behind each row stands the processor time per job of
//! each pool of threads. Clients (and, in a life, the no-op handlers) are on the runtime's threads,
//! `tokio-rt-worker`; the rest is the engine's own.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::time::{Duration, Instant};

use beaver_actors::engine::Engine;
use beaver_actors::jobs::JobSpec;
use beaver_bench_kit::allocator::Allocator;
use beaver_bench_kit::completed::completed;
use beaver_bench_kit::cpu_by_thread::{self, CpuByThread};
use beaver_bench_kit::engine::{on_system, options, start};
use beaver_bench_kit::files::temp_dir;
use beaver_bench_kit::jobs::Jobs;
use beaver_bench_kit::{machine_header, noop};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const BATCH: usize = 1_000;

type Requests = Vec<Vec<JobSpec>>;

/// For each client its requests, `batches` of [`BATCH`] jobs in all.
fn prepared(batches: u64, clients: u64) -> Vec<Requests> {
    let mut jobs = Jobs::of(noop::KIND);
    let share = |client| batches / clients + u64::from(client < batches % clients);
    (0..clients).map(|client| (0..share(client)).map(|_| jobs.take(BATCH)).collect()).collect()
}

/// Reads the jobs: a client has just made its jobs, so they are in the processor's cache; these were made long before.
fn warm(request: &[JobSpec]) {
    let bytes = request.iter().flat_map(|job| job.payload.as_str().as_bytes());
    black_box(bytes.fold(0_u8, |sum, byte| sum ^ byte));
}

/// Each client sends its requests one after the other.
async fn enqueue(engine: &Engine, clients: Vec<Requests>) {
    let client = |requests: Requests| {
        let engine = engine.clone();
        async move {
            for request in requests {
                warm(&request);
                engine.enqueue(request).await.expect("accepted");
            }
        }
    };
    let clients: Vec<_> = clients.into_iter().map(|requests| tokio::spawn(client(requests))).collect();
    for client in clients {
        client.await.expect("no client panics");
    }
}

/// Processor time by pool of threads over all runs of a row.
#[derive(Default)]
struct CpuPerJob {
    times: RefCell<CpuByThread>,
    jobs: Cell<u64>,
}

impl CpuPerJob {
    /// Runs what is measured and adds the time that its threads took.
    async fn of<T>(&self, batches: u64, work: impl Future<Output = T>) -> T {
        let before = cpu_by_thread::of_pools();
        let done = work.await;
        for (name, taken) in cpu_by_thread::since(&before, cpu_by_thread::of_pools()) {
            *self.times.borrow_mut().entry(name).or_default() += taken;
        }
        self.jobs.set(self.jobs.get() + batches * BATCH as u64);
        done
    }

    fn print(&self) {
        let jobs = self.jobs.get().max(1);
        let mut all: Vec<_> = self.times.borrow().iter().map(|(name, time)| (*time, name.clone())).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        let each = all
            .iter()
            .map(|(time, name)| (time.as_nanos() as u64 / jobs, name))
            .filter(|(nanoseconds, _)| *nanoseconds > 0)
            .map(|(nanoseconds, name)| format!("{name} {nanoseconds} ns"));
        println!("  processor time per job: {}", each.collect::<Vec<_>>().join(", "));
    }
}

/// A group whose runs have the same length, so that none needs much more memory for its jobs than another.
fn flat<'c>(criterion: &'c mut Criterion, name: &str, seconds: u64) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .throughput(Throughput::Elements(BATCH as u64))
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(seconds));
    group
}

fn bench_enqueue(criterion: &mut Criterion) {
    println!("{}", machine_header::of(temp_dir().path()));
    let mut group = flat(criterion, "enqueue, batches of 1,000", 6);
    for clients in [1, 4] {
        let cpu = CpuPerJob::default();
        group.bench_function(format!("{clients} clients"), |bencher| {
            bencher.iter_custom(|batches| {
                let (dir, requests) = (temp_dir(), prepared(batches, clients));
                on_system(async {
                    let engine = start(options(dir.path(), 0), noop::handlers()).await;
                    let started = Instant::now();
                    cpu.of(batches, enqueue(&engine, requests)).await;
                    let took = started.elapsed();
                    engine.abort().await;
                    took
                })
            });
        });
        cpu.print();
    }
}

fn bench_life(criterion: &mut Criterion) {
    println!("{}", machine_header::of(temp_dir().path()));
    let mut group = flat(criterion, "whole life of a noop job: enqueue, dispatch, ack", 8);
    for workers in [8, 64, 256] {
        let cpu = CpuPerJob::default();
        group.bench_function(format!("{workers} workers"), |bencher| {
            bencher.iter_custom(|batches| {
                let (dir, requests) = (temp_dir(), prepared(batches, 4));
                on_system(async {
                    let engine = start(options(dir.path(), workers), noop::handlers()).await;
                    let started = Instant::now();
                    cpu.of(batches, live(&engine, requests, batches * BATCH as u64)).await;
                    let took = started.elapsed();
                    engine.abort().await;
                    took
                })
            });
        });
        cpu.print();
    }
}

/// Returns when the ack of the last job is durable.
async fn live(engine: &Engine, requests: Vec<Requests>, jobs: u64) {
    enqueue(engine, requests).await;
    completed(engine, jobs).await;
}

criterion_group!(benches, bench_enqueue, bench_life);
criterion_main!(benches);
