//! Requests through the engine that are sent when they are due, whether or not earlier ones have been answered: a slow
//! engine does not get fewer of them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use beaver_actors::engine::{Answer, Engine};
use beaver_actors::jobs::JobSpec;
use beaver_actors::jobs::command::Enqueued;

/// One moment for each request, in nanoseconds since a common start; 0 until it is noted.
pub struct Moments {
    start: Instant,
    at: Vec<AtomicU64>,
    noted: AtomicUsize,
}

impl Moments {
    /// None is noted yet.
    pub fn new(start: Instant, requests_max: usize) -> Arc<Moments> {
        let at = (0..requests_max).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Moments { start, at, noted: AtomicUsize::new(0) })
    }

    /// Notes that the moment of `request` is now. Only the first call for a request counts.
    pub fn note(&self, request: usize) {
        let now = u64::try_from(self.start.elapsed().as_nanos()).expect("a run is short");
        if self.at[request].compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.noted.fetch_add(1, Ordering::Release);
        }
    }

    /// From the common start to the moment of `request`.
    pub fn of(&self, request: usize) -> Duration {
        Duration::from_nanos(self.at[request].load(Ordering::Relaxed))
    }

    /// Returns when the moments of `requests` requests are noted.
    pub async fn all_noted(&self, requests: usize) {
        while self.noted.load(Ordering::Acquire) < requests {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Notes when the engine releases an answer: the engine's own thread calls this, so no wake-up of a client is included.
struct Released {
    request: usize,
    answers: Arc<Moments>,
}

impl Wake for Released {
    fn wake(self: Arc<Self>) {
        self.answers.note(self.request);
    }
}

/// The requests that [`send`] has sent.
pub struct Sent {
    /// How late each request was sent.
    pub late: Vec<Duration>,
    /// To be awaited after the run: each must be good.
    pub pending: Vec<Answer<Vec<Enqueued>>>,
}

/// Sends one request each `interval` from the common start of `answers` on, and notes there when it is answered.
///
/// Sleeps until each is due; when it wakes up late, it sends all that are due at once. Blocks its thread.
pub fn send(
    engine: &Engine,
    requests: impl IntoIterator<Item = Vec<JobSpec>>,
    interval: Duration,
    answers: &Arc<Moments>,
) -> Sent {
    let mut sent = Sent { late: Vec::new(), pending: Vec::new() };
    for (nth, request) in requests.into_iter().enumerate() {
        let waker = Waker::from(Arc::new(Released { request: nth, answers: answers.clone() }));
        let due = answers.start + interval * u32::try_from(nth).expect("a run is short");
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::sleep(left);
        }
        sent.late.push(due.elapsed());
        let mut answer = engine.enqueue(request);
        match Pin::new(&mut answer).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => sent.pending.push(answer),
            Poll::Ready(answer) => {
                answer.expect("the load is far from too much");
                answers.note(nth);
            }
        }
    }
    sent
}
