//! From "this job is durable" to "its handler starts", at 10,000 jobs/s: `cargo bench --bench latency`.
//!
//! Open loop: one job is due each 100 us, whether or not earlier ones are done, sent in a request of its own by one
//! thread that sleeps until it is due; when it wakes up late, it sends all that are due at once. 64 workers with a
//! handler that notes the moment of its first poll. All times are in microseconds, of one monotonic clock.
//!
//! | line | from | to |
//! |---|---|---|
//! | answer | the moment that the job was due | the engine releases the answer "it is durable" |
//! | start | the moment that the job was due | the handler starts |
//! | dispatch | the engine releases the answer | the handler starts |
//!
//! The release is noted by the waker that the engine's own thread calls, so no wake-up of the client is
//! included. With an idle worker the dispatch is logged together with the job, so both become durable at once and a
//! handler may start before the answer is released; that counts as 0. "start" hides nothing of the kind: it
//! includes the wait for the disk, and the time by which the producer is late.
//!
//! Targets, of "dispatch": p50 at most 100 us, p99 at most 1 ms.

use std::sync::Arc;
use std::time::{Duration, Instant};

use beaver_actors::api::handler::{HandlerFuture, Handlers, JobHandler, JobRun};
use beaver_actors::ids::KindName;
use beaver_actors::jobs::JobSpec;
use beaver_bench_kit::allocator::Allocator;
use beaver_bench_kit::engine::{on_system, options, start};
use beaver_bench_kit::figures::number;
use beaver_bench_kit::files::temp_dir;
use beaver_bench_kit::jobs::Jobs;
use beaver_bench_kit::open_loop::{self, Moments, Sent};
use beaver_bench_kit::quantiles::Sorted;
use beaver_bench_kit::{asked, machine_header, target};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const WORKERS: usize = 64;
const INTERVAL: Duration = Duration::from_micros(100);
const JOBS: usize = 100_000;
const JOBS_WARMING_UP: usize = 10_000;
/// Without `--bench`: only checks that everything still works.
const JOBS_IN_SHORT: usize = 1_000;
const KIND: &str = "note-the-time";

struct Noting(Arc<Moments>);

impl JobHandler for Noting {
    fn run(&self, job: JobRun) -> HandlerFuture {
        let starts = self.0.clone();
        Box::pin(async move {
            // The number stands at a fixed place of the payload: parsing JSON is not what is measured.
            let number = job.payload.as_str().get(6..14).and_then(|digits| digits.parse().ok());
            starts.note(number.expect("the payload begins with the job's number"));
            Ok(None)
        })
    }
}

struct Measured {
    /// From due to sent.
    late: Sorted,
    answer: Sorted,
    start: Sorted,
    dispatch: Vec<Duration>,
    /// Handlers that started before the answer was released.
    before: usize,
}

async fn run(jobs: usize) -> Measured {
    let dir = temp_dir();
    let requests: Vec<Vec<JobSpec>> = {
        let mut source = Jobs::of(KIND);
        (0..jobs).map(|_| source.take(1)).collect()
    };
    // The first job is due when engine and producer are ready.
    let first_due = Instant::now() + Duration::from_millis(500);
    let (answers, starts) = (Moments::new(first_due, jobs), Moments::new(first_due, jobs));
    let kind = KindName::parse(KIND).expect("a good name");
    let engine =
        start(options(dir.path(), WORKERS), Handlers::new().with(kind, Noting(starts.clone()))).await;
    let producer = {
        let (engine, answers) = (engine.clone(), answers.clone());
        tokio::task::spawn_blocking(move || open_loop::send(&engine, requests, INTERVAL, &answers))
    };
    let Sent { late, pending } = producer.await.expect("the producer does not panic");
    starts.all_noted(jobs).await;
    answers.all_noted(jobs).await;
    for answer in pending {
        answer.await.expect("accepted");
    }
    engine.abort().await;

    let since_due = |moments: &Moments| {
        let of = |job| moments.of(job).saturating_sub(INTERVAL * (job as u32));
        Sorted::of((0..jobs).map(of).collect())
    };
    let before = (0..jobs).filter(|&job| starts.of(job) < answers.of(job)).count();
    let dispatch = (0..jobs).map(|job| starts.of(job).saturating_sub(answers.of(job))).collect();
    Measured {
        late: Sorted::of(late),
        answer: since_due(&answers),
        start: since_due(&starts),
        dispatch,
        before,
    }
}

/// `p50 81 us, p90 120 us, p99 240 us, max 1,020 us`
fn line(all: &Sorted) -> String {
    let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|share| number(all.micros(share)));
    format!("p50 {p50} us, p90 {p90} us, p99 {p99} us, max {max} us")
}

/// The number of jobs by how long they took, in ranges that double.
fn histogram(all: &[Duration]) -> String {
    const BAR: usize = 50;
    let bounds: Vec<u64> = (0..15).map(|power| 10 << power).collect();
    let mut counts = vec![0_usize; bounds.len() + 1];
    for duration in all {
        counts[bounds.partition_point(|bound| u128::from(*bound) < duration.as_micros())] += 1;
    }
    let used = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    let row = |(range, count): (usize, &usize)| {
        let bound = bounds.get(range).map_or("more".to_owned(), |bound| format!("<= {bound} us"));
        format!("  {bound:>12} {count:>8} {}\n", "#".repeat((count * BAR).div_ceil(all.len())))
    };
    counts[..=used].iter().enumerate().map(row).collect()
}

fn main() {
    let in_short = !asked::is_to_measure();
    println!("{}", machine_header::of(temp_dir().path()));
    if !in_short {
        on_system(run(JOBS_WARMING_UP));
    }
    let jobs = if in_short { JOBS_IN_SHORT } else { JOBS };
    let Measured { late, answer, start, dispatch, before } = on_system(run(jobs));
    println!("{jobs} jobs, one each {} us, {WORKERS} workers", INTERVAL.as_micros());
    println!("  sent late: {}", line(&late));
    println!("  answer:    {}", line(&answer));
    println!("  start:     {}", line(&start));
    print!("dispatch (before the answer, so 0: {} of {jobs}):\n{}", before, histogram(&dispatch));
    let dispatch = Sorted::of(dispatch);
    println!("  dispatch:  {}", line(&dispatch));
    println!("{}", target::line("dispatch p50", dispatch.micros(0.5), "us", ..=100.0));
    println!("{}", target::line("dispatch p99", dispatch.micros(0.99), "us", ..=1_000.0));
    println!("{}", machine_header::of(temp_dir().path()));
}
