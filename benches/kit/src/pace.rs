//! Latency at a rate that the client sets, whether the server keeps up or not.
//!
//! Requests are due at random moments (a Poisson process, the same one for every server). One that cannot be
//! sent when it is due, because all connections still wait for an answer or because the client itself is late, waits
//! on the client's side. Its latency counts from the moment at which it was due. A client that waits for the server
//! before it asks again would leave out just those requests that had to wait
//! ("coordinated omission").

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::client::{Connection, ConnectionSet, OTHER};

/// The same random moments for every server.
const SEED: u64 = 5;

/// When requests are due, and for how long.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Requests per second, on average.
    pub rate: f64,
    /// None is due after this.
    pub time: Duration,
    /// A request without an answer after this time is given up, and counts as having taken until then.
    pub patience: Duration,
}

/// What a run at a [`Pace`] gave.
pub struct Paced {
    /// Of each request, shortest first.
    pub latencies: Vec<Duration>,
    /// From the start to the last answer.
    pub took: Duration,
    /// Requests without an answer.
    pub given_up: usize,
}

/// Sends requests at the pace and hears the answers.
///
/// # Errors
/// As [`drive`](crate::client::drive).
pub fn drive(connections: &mut [Connection], pace: Pace) -> Result<Paced> {
    let mut set = ConnectionSet::new(connections)?;
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    set.watch(&timer)?;
    let mut events = Vec::with_capacity(set.len() + 1);
    let mut free: VecDeque<usize> = (0..set.len()).collect();
    // When the request that each connection is at was due.
    let mut asked = vec![Duration::ZERO; set.len()];
    // When the requests were due that are not sent yet.
    let mut waiting = VecDeque::new();
    let mut latencies = Vec::new();
    let mut dues = dues(pace).peekable();
    let started = Instant::now();
    loop {
        let now = started.elapsed();
        while let Some(due) = dues.next_if(|due| *due <= now) {
            waiting.push_back(due);
        }
        while !waiting.is_empty()
            && let Some(number) = free.pop_front()
        {
            asked[number] = waiting.pop_front().unwrap_or(now);
            set.turn(number)?;
        }
        match dues.peek() {
            None if set.busy == 0 => break,
            // Sending took time, and the next one is due already.
            Some(due) if *due <= started.elapsed() => {}
            due => {
                let wake = due.copied().unwrap_or(pace.patience);
                set_timer(&timer, wake.saturating_sub(started.elapsed()))?;
                set.wait(&mut events)?;
            }
        }
        if started.elapsed() >= pace.patience {
            break;
        }
        for event in events.drain(..).filter(|event| event.data.u64() != OTHER) {
            let number = usize::try_from(event.data.u64())?;
            if set.go_on(number)? {
                latencies.push(started.elapsed().saturating_sub(asked[number]));
                free.push_back(number);
            }
        }
    }
    let took = started.elapsed();
    let is_asking = |number: &usize| !free.contains(number);
    let unanswered = (0..set.len()).filter(is_asking).map(|number| asked[number]);
    let lost: Vec<_> = unanswered.chain(waiting).chain(dues).collect();
    latencies.extend(lost.iter().map(|due| took.saturating_sub(*due)));
    latencies.sort();
    Ok(Paced { latencies, took, given_up: lost.len() })
}

/// The moments at which requests are due, from the start.
fn dues(pace: Pace) -> impl Iterator<Item = Duration> {
    let mut dice = fastrand::Rng::with_seed(SEED);
    let mut at = 0.0;
    std::iter::from_fn(move || {
        at -= (1.0 - dice.f64()).ln() / pace.rate;
        Some(Duration::from_secs_f64(at)).filter(|at| *at < pace.time)
    })
}

/// Sets the timer to fire once after `after`, instead of what it was set to before.
fn set_timer(timer: impl rustix::fd::AsFd, after: Duration) -> Result<()> {
    // Zero would mean never.
    let after = after.max(Duration::from_nanos(1));
    let it_value = Timespec::try_from(after)?;
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
    Ok(())
}
