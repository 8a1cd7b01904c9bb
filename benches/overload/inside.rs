//! In this process: one thread that hands requests over, at a rate of its own or as fast as they are answered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use beaver_actors::engine::{Answer, Engine, EngineError};
use beaver_actors::jobs::JobSpec;
use beaver_actors::jobs::command::Enqueued;

use beaver_bench_kit::engine::{on_system, options, start};
use beaver_bench_kit::jobs::Jobs;
use beaver_bench_kit::quantiles::Sorted;
use beaver_bench_kit::{memory, noop};

use super::report::{Load, Row};
use super::{OVERLOAD, Settings, print};

/// Requests under way while the capacity is measured: enough for several fdatasyncs.
const UNDER_WAY_JOBS: usize = 4_000;
/// One in this number of refusals is timed: reading the clock takes longer than a refusal.
const TIMED_REFUSALS: u64 = 8;
/// Pause when no request is due.
const NAP: Duration = Duration::from_micros(50);

/// How requests arrive.
#[derive(Clone, Copy)]
enum Arrivals {
    /// This number at a time, the next as soon as one is answered.
    AtATime(usize),
    /// This number a second, whether or not earlier ones are answered.
    PerSecond(f64),
}

/// Notes when the engine releases an answer: the engine's own thread calls this, so no wake-up of a client is included.
struct TimedAnswer {
    since: Instant,
    is_answered: AtomicBool,
    took: Arc<Mutex<Vec<Duration>>>,
}

impl Wake for TimedAnswer {
    fn wake(self: Arc<Self>) {
        let took = self.since.elapsed();
        if !self.is_answered.swap(true, Release) {
            self.took.lock().expect("no holder panics").push(took);
        }
    }
}

/// Requests that the engine has taken, first come first.
#[derive(Default)]
struct UnderWay(VecDeque<(Arc<TimedAnswer>, Answer<Vec<Enqueued>>)>);

impl UnderWay {
    /// Removes those at the front that are answered.
    fn drop_answered(&mut self) {
        while self.0.front().is_some_and(|(released, _)| released.is_answered.load(Acquire)) {
            let Some((_, mut answer)) = self.0.pop_front() else { return };
            match Pin::new(&mut answer).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(_)) => {}
                other => panic!("a request that was accepted gave {other:?}"),
            }
        }
    }
}

/// Hands requests of `batch` jobs over during `time`.
fn offer(engine: &Engine, specs: &[JobSpec], batch: usize, arrivals: Arrivals, time: Duration) -> Load {
    let took = Arc::new(Mutex::new(Vec::new()));
    let mut load = Load::default();
    let mut under_way = UnderWay::default();
    let mut batches = specs.chunks_exact(batch).cycle();
    let started = Instant::now();
    loop {
        under_way.drop_answered();
        let now = Instant::now();
        let elapsed = now - started;
        if elapsed >= time {
            break;
        }
        let is_due = match arrivals {
            Arrivals::AtATime(count) => under_way.0.len() < count,
            Arrivals::PerSecond(rate) => (load.offered as f64) < elapsed.as_secs_f64() * rate,
        };
        if !is_due {
            thread::sleep(NAP);
            continue;
        }
        let request = batches.next().expect("it begins again").to_vec();
        load.offered += 1;
        let since = Instant::now();
        let mut answer = engine.enqueue(request);
        let released = Arc::new(TimedAnswer { since, is_answered: false.into(), took: took.clone() });
        match Pin::new(&mut answer).poll(&mut Context::from_waker(&Waker::from(released.clone()))) {
            Poll::Pending => under_way.0.push_back((released, answer)),
            Poll::Ready(Err(EngineError::Busy)) => {
                load.busy += 1;
                if load.busy.is_multiple_of(TIMED_REFUSALS) {
                    load.busy_took.push(since.elapsed());
                }
            }
            Poll::Ready(Ok(_)) => released.wake(),
            Poll::Ready(Err(other)) => panic!("{other}"),
        }
    }
    load.time = started.elapsed();
    while !under_way.0.is_empty() {
        under_way.drop_answered();
        thread::sleep(NAP);
    }
    load.accepted_took = std::mem::take(&mut *took.lock().expect("no holder panics"));
    load.accepted = load.accepted_took.len() as u64;
    load
}

/// How long after the load the first of [`super::IN_A_ROW`] requests in a row is sent that take at most `normal`.
fn recovery(engine: &Engine, specs: &[JobSpec], normal: Duration) -> Duration {
    let stopped = Instant::now();
    let (mut recovered, mut in_a_row) = (Duration::ZERO, 0);
    for spec in specs.iter().cycle().take(1_000) {
        let since = Instant::now();
        let answer = tokio::runtime::Handle::current().block_on(engine.enqueue(vec![spec.clone()]));
        if answer.is_ok() && since.elapsed() <= normal {
            in_a_row += 1;
        } else if in_a_row < super::IN_A_ROW {
            (in_a_row, recovered) = (0, stopped.elapsed());
        }
    }
    recovered
}

/// Measures requests of one size; prints its rows.
pub(crate) fn measure(batch: usize, settings: &Settings) {
    let specs = Jobs::of(noop::KIND).take(20_000);
    println!("\nin this process, {batch} jobs a request");
    println!("{}", Row::HEADING);
    let (mut p99_at_half, mut capacity) = (Duration::ZERO, 0.0);
    for times in [1.0, 0.5, OVERLOAD] {
        // Each begins with an empty table.
        let dir = super::temp_dir(settings);
        let specs = specs.clone();
        let (time, is_first) = (settings.time, capacity == 0.0);
        let arrivals = if is_first {
            Arrivals::AtATime(UNDER_WAY_JOBS.div_ceil(batch))
        } else {
            Arrivals::PerSecond(capacity * times)
        };
        let (load, grown, recovered) = on_system(async {
            let mut engine_options = options(dir.path(), 0);
            engine_options.request_wait_max = settings.wait_max.unwrap_or(engine_options.request_wait_max);
            let engine = start(engine_options, noop::handlers()).await;
            let client = engine.clone();
            let measured = tokio::task::spawn_blocking(move || {
                offer(&client, &specs, batch, Arrivals::AtATime(10), time / 10);
                memory::forget_peak("self");
                let before = memory::peak("self");
                let load = offer(&client, &specs, batch, arrivals, time);
                let grown = memory::peak("self").saturating_sub(before);
                let recovered = (times > 1.0).then(|| recovery(&client, &specs, p99_at_half * 2));
                (load, grown, recovered)
            });
            let measured = measured.await.expect("the client does not panic");
            engine.abort().await;
            measured
        });
        let per_second = load.accepted as f64 / load.time.as_secs_f64();
        if is_first {
            capacity = per_second;
        }
        let name = match (is_first, times > 1.0) {
            (true, _) => "as much as it takes".to_owned(),
            (_, false) => "half of that".to_owned(),
            (_, true) => format!("{OVERLOAD} times that"),
        };
        println!("{}", Row { name, load: &load, batch, capacity, grown });
        let accepted = Sorted::of(load.accepted_took);
        match recovered {
            None if !is_first => p99_at_half = Duration::from_secs_f64(accepted.micros(0.99) / 1e6),
            None => {}
            Some(recovered) => {
                print("accepted/s, of the capacity", per_second / capacity, "", 0.8..);
                print(
                    "p99 of what is accepted",
                    accepted.micros(0.99) / 1e3,
                    "ms",
                    ..=super::ACCEPTED_P99_MS,
                );
                if !load.busy_took.is_empty() {
                    let refused = Sorted::of(load.busy_took);
                    print("p99 of \"busy\"", refused.micros(0.99) / 1e3, "ms", ..=super::BUSY_P99_MS);
                }
                print("as fast as at half load after", recovered.as_secs_f64() * 1e3, "ms", ..=1_000.0);
            }
        }
    }
}
