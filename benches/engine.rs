//! How fast the engine is on this machine's disk, with `durability: always`: every answer comes after fdatasync.
//!
//! `cargo bench --bench engine` (add `-- enqueue`, `-- life` or `-- recovery` for one of them).

use std::path::Path;
use std::time::{Duration, Instant};

use beaver_actors::engine::{Ending, Engine};
use beaver_actors::ids::{KindName, QueueName};
use beaver_actors::jobs::{JobSpec, Payload};
use beaver_actors::options::EngineOptions;
use beaver_actors::worker::handler::{HandlerFuture, Handlers, JobHandler, JobRun};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const BATCH: usize = 1_000;

struct Noop;

impl JobHandler for Noop {
    fn run(&self, _: JobRun) -> HandlerFuture {
        Box::pin(async { Ok(None) })
    }
}

fn job(kind: &str) -> JobSpec {
    let payload =
        r#"{"to":"customer-4711@example.org","template":"order-confirmation","locale":"de-DE","order":4711}"#;
    JobSpec::new(
        QueueName::parse("default").expect("a good name"),
        KindName::parse(kind).expect("a good name"),
        Payload::parse(payload).expect("JSON"),
    )
}

/// Beside the build's output: on a disk, where `/tmp` often is memory.
fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build directory is writable")
}

fn options(dir: &Path, workers: usize) -> EngineOptions {
    let mut options = EngineOptions::in_dir(dir);
    options.worker_count = workers;
    // As long as a bench runs, so that none falls into a measurement.
    options.snapshot_interval = Duration::from_secs(3600);
    options
}

fn on_system<T>(work: impl Future<Output = T>) -> T {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("threads can be started")
    };
    actix_rt::System::with_tokio_rt(runtime).block_on(work)
}

async fn start(options: EngineOptions) -> Engine {
    let noop = KindName::parse("noop").expect("a good name");
    let engine = Engine::start(options, Handlers::new().with(noop, Noop));
    engine.ready().await.expect("an empty directory can be opened");
    engine
}

/// Durable enqueues of 1,000 jobs each, by so many clients at once.
async fn enqueue(engine: &Engine, kind: &str, batches: u64, clients: u64) {
    let client = |batches| {
        let (engine, batch) = (engine.clone(), vec![job(kind); BATCH]);
        async move {
            for _ in 0..batches {
                engine.enqueue(batch.clone()).await.expect("accepted");
            }
        }
    };
    let clients: Vec<_> = (0..clients)
        .map(|number| tokio::spawn(client(batches / clients + u64::from(number < batches % clients))))
        .collect();
    for client in clients {
        client.await.expect("no client panics");
    }
}

fn bench_enqueue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("enqueue, batches of 1,000");
    group
        .throughput(Throughput::Elements(BATCH as u64))
        .sample_size(20)
        .measurement_time(Duration::from_secs(5));
    for clients in [1, 4] {
        group.bench_function(format!("{clients} clients"), |bencher| {
            bencher.iter_custom(|batches| {
                let dir = temp_dir();
                on_system(async {
                    let engine = start(options(dir.path(), 0)).await;
                    let started = Instant::now();
                    enqueue(&engine, "noop", batches, clients).await;
                    let took = started.elapsed();
                    stop_without_a_snapshot(engine).await;
                    took
                })
            });
        });
    }
}

fn bench_life(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("whole life of a noop job: enqueue, dispatch, ack");
    group
        .throughput(Throughput::Elements(BATCH as u64))
        .sample_size(10)
        .measurement_time(Duration::from_secs(8));
    for workers in [8, 64, 256] {
        group.bench_function(format!("{workers} workers"), |bencher| {
            bencher.iter_custom(|batches| {
                let dir = temp_dir();
                on_system(async {
                    let engine = start(options(dir.path(), workers)).await;
                    let started = Instant::now();
                    enqueue(&engine, "noop", batches, 4).await;
                    while engine.metrics().jobs_completed.get() < batches * BATCH as u64 {
                        tokio::time::sleep(Duration::from_micros(500)).await;
                    }
                    // Everything that was counted is durable before this answers.
                    engine.status().await.expect("it serves");
                    let took = started.elapsed();
                    stop_without_a_snapshot(engine).await;
                    took
                })
            });
        });
    }
}

fn bench_recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery of 1,000,000 pending jobs");
    group
        .throughput(Throughput::Elements(1_000_000))
        .sample_size(10)
        .measurement_time(Duration::from_secs(10));
    let from_log = temp_dir();
    on_system(async {
        let engine = start(options(from_log.path(), 0)).await;
        enqueue(&engine, "later", 1_000, 4).await;
        stop_without_a_snapshot(engine).await;
    });
    let from_snapshot = temp_dir();
    on_system(async {
        let engine = start(options(from_snapshot.path(), 0)).await;
        enqueue(&engine, "later", 1_000, 4).await;
        assert_eq!(engine.stop(None).await, Ending::Clean);
    });
    for (name, dir) in [("from the log alone", &from_log), ("from a snapshot", &from_snapshot)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|boots| {
                let mut took = Duration::ZERO;
                for _ in 0..boots {
                    on_system(async {
                        let started = Instant::now();
                        let engine = start(options(dir.path(), 0)).await;
                        took += started.elapsed();
                        let status = engine.status().await.expect("it serves");
                        assert_eq!(status.jobs.total(), 1_000_000);
                        stop_without_a_snapshot(engine).await;
                    });
                }
                took
            });
        });
    }
}

/// Ends the engine like a crash does: what comes next finds the log as it is.
async fn stop_without_a_snapshot(engine: Engine) {
    engine.abort().await;
}

criterion_group!(benches, bench_enqueue, bench_life, bench_recovery);
criterion_main!(benches);
