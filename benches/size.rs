//! What a job costs when 10 thousand, and when 10 million others are pending: `cargo bench --bench size`.
//!
//! At each size some thousand jobs are measured, and printed as a table in Markdown, in microseconds a job:
//!
//! | column | what |
//! |---|---|
//! | table | enqueue, dispatch and ack decided and applied: the job table alone, one thread, no log |
//! | enqueue | accepted and durable, through the engine, in requests of 1,000 by 4 clients |
//! | fetch+ack | given to a remote worker and acked, both durable, through the engine, 500 at a time |
//! | memory | resident bytes of the table per pending job, its payload of 100 bytes included |
//!
//! Add a number to stop at a smaller size: `cargo bench --bench size -- 1000000`. The largest takes about 4 GB of
//! memory and of disk. Target: flat, which is to say that no cost at the largest size exceeds 1.5 times that at
//! the smallest.

use std::time::{Duration, Instant};

use beaver_actors::api::handler::Handlers;
use beaver_actors::engine::Engine;
use beaver_actors::ids::{KindName, Timestamp, Token, WorkerId};
use beaver_actors::jobs::{Command, EventKind, JobSpec, JobTable, Policy, Retention};
use beaver_bench_kit::allocator::Allocator;
use beaver_bench_kit::engine::{on_system, options, start};
use beaver_bench_kit::figures::number;
use beaver_bench_kit::files::temp_dir;
use beaver_bench_kit::jobs::{self, Jobs};
use beaver_bench_kit::memory::resident;
use beaver_bench_kit::remote::fetch_and_ack;
use beaver_bench_kit::{asked, machine_header, target};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const SIZES: [usize; 7] = [10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];
/// Without `--bench`: only checks that everything still works.
const SIZE_IN_SHORT: usize = 10_000;
const KIND: &str = "mail";
/// Jobs that are measured at each size.
const MEASURED: usize = 50_000;
/// Measurements of each figure, of which the median counts.
const ROUNDS: usize = 5;
const REQUEST: usize = 1_000;
const CLIENTS: usize = 4;
/// A job may cost this many times as much at the largest size as at the smallest.
const GROWTH_MAX: f64 = 1.5;

/// What a job costs at one size, in seconds, and its bytes.
struct Cost {
    table: f64,
    bytes: f64,
    enqueue: f64,
    fetch_and_ack: f64,
}

fn main() {
    let largest = if asked::is_to_measure() { asked::number().unwrap_or(usize::MAX) } else { SIZE_IN_SHORT };
    let sizes: Vec<usize> = SIZES.into_iter().filter(|size| *size <= largest).collect();
    println!("{}", machine_header::of(temp_dir().path()));
    let table = of_table(&sizes);
    let engine = on_system(of_engine(&sizes));
    let costs: Vec<Cost> = table
        .into_iter()
        .zip(engine)
        .map(|((table, bytes), (enqueue, fetch_and_ack))| Cost { table, bytes, enqueue, fetch_and_ack })
        .collect();

    println!("| pending | table, µs | enqueue, µs | fetch + ack, µs | bytes |\n|---|---|---|---|---|");
    for (size, cost) in sizes.iter().zip(&costs) {
        let [table, enqueue, fetch] =
            [cost.table, cost.enqueue, cost.fetch_and_ack].map(|seconds| number(seconds * 1e6));
        println!("| {} | {table} | {enqueue} | {fetch} | {:.0} |", number(*size as f64), cost.bytes);
    }
    let growth = |name, of: fn(&Cost) -> f64| {
        if let ([smallest, .., largest], [first, .., last]) = (sizes.as_slice(), costs.as_slice()) {
            let what = format!("{name}, at {largest} of that at {smallest}");
            println!("{}", target::line(&what, of(last) / of(first), "times", ..=GROWTH_MAX));
        }
    };
    growth("fetch + ack, durable", |cost| cost.fetch_and_ack);
    growth("enqueue, durable", |cost| cost.enqueue);
    growth("job table alone", |cost| cost.table);
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

/// Seconds a job, and bytes, at each size.
fn of_table(sizes: &[usize]) -> Vec<(f64, f64)> {
    let mut jobs = Jobs::of(KIND);
    // Finished jobs would be counted as memory of pending ones.
    let policy = Policy { completed: Retention { count: 0, age: Duration::ZERO }, ..Policy::default() };
    let kind = KindName::parse(KIND).expect("a good name");
    let mut table = JobTable::new(policy, std::slice::from_ref(&kind));
    let mut dice = fastrand::Rng::with_seed(1);
    let empty = resident("self");
    let mut have = 0;
    let mut costs = Vec::new();
    for &size in sizes {
        while have < size {
            let chunk = jobs.take(REQUEST.min(size - have));
            have += chunk.len();
            chunk.into_iter().for_each(|spec| add(&mut table, spec, &mut dice));
        }
        let bytes = (resident("self") - empty) as f64 / size as f64;
        let rounds = (0..ROUNDS).map(|_| {
            let chunk = jobs.take(MEASURED.min(size));
            let count = chunk.len();
            let started = Instant::now();
            for spec in chunk {
                add(&mut table, spec, &mut dice);
                run_next(&mut table, &mut dice);
            }
            started.elapsed().as_secs_f64() / count as f64
        });
        costs.push((median(rounds.collect()), bytes));
    }
    costs
}

const NOW: Timestamp = Timestamp(1_000);

fn add(table: &mut JobTable, spec: JobSpec, dice: &mut fastrand::Rng) {
    let event = table.decide(Command::Enqueue(Box::new(spec)), NOW, dice);
    table.apply(table.last().next(), event.expect("accepted").expect("a new job")).expect("it fits");
}

/// Dispatches the first in line, acks it and forgets it.
fn run_next(table: &mut JobTable, dice: &mut fastrand::Rng) {
    let dispatch = table.decide(Command::Dispatch { worker: WorkerId(0) }, NOW, dice);
    let dispatch = dispatch.expect("allowed").expect("one is ready");
    let EventKind::Dispatch { job, .. } = &dispatch.kind else { panic!("{dispatch:?} is no dispatch") };
    let job = job.clone();
    let seq = table.last().next();
    table.apply(seq, dispatch).expect("it fits");
    let ack = table.decide(
        Command::Ack { job, token: Token { epoch: table.epoch(), seq }, result: None },
        NOW,
        dice,
    );
    table.apply(seq.next(), ack.expect("accepted").expect("it was in flight")).expect("it fits");
    if let Ok(Some(forget)) = table.decide(Command::Forget, NOW, dice) {
        table.apply(table.last().next(), forget).expect("it fits");
    }
}

/// Seconds a job at each size: enqueue; fetch and ack.
async fn of_engine(sizes: &[usize]) -> Vec<(f64, f64)> {
    let dir = temp_dir();
    // Without a handler of its own: jobs stay pending until a remote worker fetches them.
    let engine = start(options(dir.path(), 0), Handlers::new()).await;
    let mut jobs = Jobs::of(KIND);
    let mut have = 0;
    let mut costs = Vec::new();
    for &size in sizes {
        while have < size {
            let count = MEASURED.min(size - have);
            enqueue(&engine, requests(&mut jobs, count)).await;
            have += count;
        }
        let count = MEASURED.min(size);
        let (mut enqueues, mut fetches) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let requests = requests(&mut jobs, count);
            let started = Instant::now();
            enqueue(&engine, requests).await;
            enqueues.push(started.elapsed().as_secs_f64() / count as f64);
            let started = Instant::now();
            fetch_and_ack(&engine, jobs::QUEUE, count).await;
            fetches.push(started.elapsed().as_secs_f64() / count as f64);
        }
        costs.push((median(enqueues), median(fetches)));
    }
    engine.abort().await;
    costs
}

fn requests(jobs: &mut Jobs, count: usize) -> Vec<Vec<JobSpec>> {
    (0..count.div_ceil(REQUEST)).map(|nth| jobs.take(REQUEST.min(count - nth * REQUEST))).collect()
}

async fn enqueue(engine: &Engine, mut requests: Vec<Vec<JobSpec>>) {
    let share = requests.len().div_ceil(CLIENTS);
    let mut clients = Vec::new();
    while !requests.is_empty() {
        let (engine, mine) = (engine.clone(), requests.split_off(requests.len().saturating_sub(share)));
        clients.push(tokio::spawn(async move {
            for request in mine {
                engine.enqueue(request).await.expect("accepted");
            }
        }));
    }
    for client in clients {
        client.await.expect("no client panics");
    }
}
