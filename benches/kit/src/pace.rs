//! Latency at a rate that the client sets, whether the server keeps up or not.
//!
//! Requests are due at random moments (a Poisson process, the same one for every server), and one that cannot be
//! sent when it is due, because all connections still wait for an answer or because the client itself is late, waits
//! on the client's side. Its latency counts from the moment at which it was due. A client that waits for the server
//! before it makes up its mind to ask again would leave out just those requests that had to wait
//! ("coordinated omission").

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::client::{Connection, Line, OTHER};

/// Which random moments.
const SEED: u64 = 5;

/// When requests are due, and for how long.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Requests per second, on average.
    pub rate: f64,
    /// None is due after this.
    pub time: Duration,
    /// What has no answer by then is given up, and counts as having taken until then.
    pub patience: Duration,
}

/// What came of it.
pub struct Paced {
    /// Of each request, shortest first.
    pub latencies: Vec<Duration>,
    pub took: Duration,
    /// Requests without an answer.
    pub given_up: usize,
}

/// Asks at the pace and hears the answers.
pub fn drive(connections: &mut [Connection], pace: Pace) -> Result<Paced> {
    let mut line = Line::new(connections)?;
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    line.watch(&timer)?;
    let mut events = Vec::with_capacity(line.len() + 1);
    let mut free: VecDeque<usize> = (0..line.len()).collect();
    // When the request that each connection is at was due.
    let mut asked = vec![Duration::ZERO; line.len()];
    // Those that are due and not sent.
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
            line.turn(number)?;
        }
        match dues.peek() {
            None if line.busy == 0 => break,
            // Late by the time that sending took: there is something to send already.
            Some(due) if *due <= started.elapsed() => {}
            due => {
                let wake = due.copied().unwrap_or(pace.patience);
                set(&timer, wake.saturating_sub(started.elapsed()))?;
                line.wait(&mut events)?;
            }
        }
        if started.elapsed() >= pace.patience {
            break;
        }
        for event in events.drain(..).filter(|event| event.data.u64() != OTHER) {
            let number = usize::try_from(event.data.u64())?;
            if line.go_on(number)? {
                latencies.push(started.elapsed().saturating_sub(asked[number]));
                free.push_back(number);
            }
        }
    }
    let took = started.elapsed();
    let is_asking = |number: &usize| !free.contains(number);
    let unanswered = (0..line.len()).filter(is_asking).map(|number| asked[number]);
    let lost: Vec<_> = unanswered.chain(waiting).chain(dues).collect();
    latencies.extend(lost.iter().map(|due| took.saturating_sub(*due)));
    latencies.sort();
    Ok(Paced { latencies, took, given_up: lost.len() })
}

/// The moments, from the start.
fn dues(pace: Pace) -> impl Iterator<Item = Duration> {
    let mut dice = fastrand::Rng::with_seed(SEED);
    let mut at = 0.0;
    std::iter::from_fn(move || {
        at -= (1.0 - dice.f64()).ln() / pace.rate;
        Some(Duration::from_secs_f64(at)).filter(|at| *at < pace.time)
    })
}

/// Once, after so long; what it had been set to before is forgotten.
fn set(timer: impl rustix::fd::AsFd, after: Duration) -> Result<()> {
    // Zero would mean never.
    let after = after.max(Duration::from_nanos(1));
    let it_value = Timespec::try_from(after)?;
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
    Ok(())
}
