//! The limit that is learned: new jobs are turned away while there is more to do already than can be done in the time
//! that a request may wait.
//!
//! A count of requests alone says little, for one of them may carry a thousand jobs, or megabytes. So every request has
//! a *cost* (itself, each job that it adds, each KiB of them), the cost of all that wait is summed, and how much may
//! wait is learned from how long requests really wait for their answer. Requests are worked off at some rate, and all
//! that holds them up shows in it (the processor, the disk, connections that are served on the same thread); that rate,
//! times how long a request may wait, is what may wait (Little's law). One request at a time is timed, so a long queue of
//! requests costs no more looks at the clock than a short one.
//!
//! What counts is the cost *ahead* of a request: one that finds nothing waiting is let in however heavy it is. Half of the
//! limit is for light requests alone, so that a few that add thousands of jobs at a time do not shut out the many that
//! add one. Only new jobs are turned away: a report makes room, and a question is how one sees what is wrong.
//!
//! A disk that is slow however little it is given must not be given less for that, since requests share an fdatasync: so
//! the limit has a least value, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::base::clock::Clock;

/// Assumed rate until the first measurement, in cost per millisecond (`docs/decisions/0020-small-measurements.md`).
const COST_PER_MS: u64 = 1_000;
/// The rate is never taken to be less than this part of that.
const SLOWEST_PART: u64 = 10;
/// One measurement divides the limit by this at most: a machine that stood still for a moment says nothing about its
/// speed.
const SHRINK_MAX: u64 = 8;
/// When less than this part of the limit waits, a short wait does not show that more could.
const TELLING_PART: u64 = 4;
/// From this part of the limit on, the engine is crowded: enough waits to keep the disk busy.
const CROWDED_PART: u64 = 8;
/// A request that costs more than this is heavy.
const HEAVY_COST: u64 = 64;
/// Cost of a question: to say how the server stands takes about as long as this number of jobs.
const QUESTION_COST: u64 = 16;
/// The limit grows by at most this part of it per measurement.
const GROWTH_PART: u64 = 16;

/// Says which new jobs are let in; see the head of this file.
pub(crate) struct AdmissionLimiter {
    clock: Arc<dyn Clock>,
    wait_max: Duration,
    /// Cost of all requests that wait for an answer.
    waiting: AtomicU64,
    /// New jobs are turned away when it is this much.
    limit: AtomicU64,
    /// Whether a request is being timed.
    is_timing: AtomicBool,
}

/// What one request adds to what waits. Dropping it takes that back.
#[derive(Debug)]
pub(crate) struct LimiterPermit {
    limiter: Arc<AdmissionLimiter>,
    cost: u64,
    timed: Option<Timed>,
}

/// A request whose wait is measured.
#[derive(Clone, Copy, Debug)]
struct Timed {
    since: Duration,
    /// Cost that was waiting when it came.
    ahead: u64,
}

impl AdmissionLimiter {
    /// One that keeps the wait of new jobs below about `wait_max`.
    pub fn new(clock: Arc<dyn Clock>, wait_max: Duration) -> Arc<AdmissionLimiter> {
        let limit = limit_at_first(wait_max).into();
        Arc::new(AdmissionLimiter { clock, wait_max, waiting: 0.into(), limit, is_timing: false.into() })
    }

    /// How long new jobs may wait for their answer.
    pub fn wait_max(&self) -> Duration {
        self.wait_max
    }

    /// A permit for new jobs, unless too much waits already.
    pub fn admit_jobs(self: &Arc<AdmissionLimiter>, jobs: usize, bytes: usize) -> Option<LimiterPermit> {
        let cost = cost(jobs, bytes);
        let limit = self.limit_for(cost);
        let get_in = |ahead| (ahead < limit).then_some(ahead + cost);
        let ahead = self.waiting.fetch_update(Relaxed, Relaxed, get_in);
        ahead.ok().map(|ahead| self.permit(cost, ahead))
    }

    /// A permit for a report, which is never turned away.
    pub fn admit_report(self: &Arc<AdmissionLimiter>, bytes: usize) -> LimiterPermit {
        let cost = cost(0, bytes);
        let ahead = self.waiting.fetch_add(cost, Relaxed);
        self.permit(cost, ahead)
    }

    /// A permit for any other request, which is never turned away. It is not timed: it may take long for reasons of its
    /// own.
    pub fn admit_other(self: &Arc<AdmissionLimiter>) -> LimiterPermit {
        self.waiting.fetch_add(QUESTION_COST, Relaxed);
        LimiterPermit { limiter: self.clone(), cost: QUESTION_COST, timed: None }
    }

    /// Whether a client that has asked for much already should leave the rest to others.
    pub fn is_crowded(&self) -> bool {
        self.waiting.load(Relaxed) >= self.limit.load(Relaxed) / CROWDED_PART
    }

    /// Whether a new job of this size would be turned away now.
    pub fn is_full(&self, bytes: usize) -> bool {
        self.waiting.load(Relaxed) >= self.limit_for(cost(1, bytes))
    }

    fn limit_for(&self, cost: u64) -> u64 {
        let limit = self.limit.load(Relaxed);
        if cost > HEAVY_COST { limit / 2 } else { limit }
    }

    fn permit(self: &Arc<AdmissionLimiter>, cost: u64, ahead: u64) -> LimiterPermit {
        let is_timed = !self.is_timing.load(Relaxed) && !self.is_timing.swap(true, Relaxed);
        let timed = is_timed.then(|| Timed { since: self.clock.ticks(), ahead });
        LimiterPermit { limiter: self.clone(), cost, timed }
    }

    /// A request that was timed has its answer.
    fn learn(&self, Timed { since, ahead }: Timed, behind: u64) {
        let wait = self.clock.ticks().saturating_sub(since);
        // In its time, what was ahead has been worked off, and what is behind has come; where requests come in bursts, one
        // of the two may be next to nothing.
        let revised = revised(self.limit.load(Relaxed), self.wait_max, wait, ahead.max(behind));
        // Nobody else changes it: only one is timed.
        self.limit.store(revised, Relaxed);
        self.is_timing.store(false, Relaxed);
    }
}

impl std::fmt::Debug for AdmissionLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let AdmissionLimiter { waiting, limit, .. } = self;
        f.debug_struct("AdmissionLimiter")
            .field("waiting", waiting)
            .field("limit", limit)
            .finish_non_exhaustive()
    }
}

impl Drop for LimiterPermit {
    fn drop(&mut self) {
        let behind = self.limiter.waiting.fetch_sub(self.cost, Relaxed) - self.cost;
        if let Some(timed) = self.timed {
            self.limiter.learn(timed, behind);
        }
    }
}

fn cost(jobs: usize, bytes: usize) -> u64 {
    1 + jobs as u64 + (bytes >> 10) as u64
}

/// The limit before anything is known.
fn limit_at_first(wait_max: Duration) -> u64 {
    u64::try_from(wait_max.as_millis()).unwrap_or(u64::MAX).saturating_mul(COST_PER_MS).max(COST_PER_MS)
}

/// The limit after one request has had to wait for `wait` while `cost` waited with it.
fn revised(limit: u64, wait_max: Duration, wait: Duration, cost: u64) -> u64 {
    let fitting = u128::from(cost) * wait_max.as_nanos() / wait.as_nanos().max(1);
    let fitting = u64::try_from(fitting).unwrap_or(u64::MAX);
    let at_first = limit_at_first(wait_max);
    let least = at_first / SLOWEST_PART;
    if wait > wait_max {
        // The cause is not how much waits if that is little.
        return if cost > least { fitting.clamp(limit / SHRINK_MAX, limit).max(least) } else { limit };
    }
    if cost >= limit / TELLING_PART {
        // By little at a time: the faster requests are answered, the more measurements there are.
        fitting.clamp(limit, limit.saturating_add(limit / GROWTH_PART))
    } else {
        // What made the limit lower than at first is over.
        limit.max(limit.saturating_mul(2).min(at_first))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::ids::Timestamp;

    const WAIT_MAX: Duration = Duration::from_millis(100);
    const AT_FIRST: u64 = 100_000;

    #[derive(Default)]
    struct ByHand(Mutex<Duration>);

    impl Clock for ByHand {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }

        fn ticks(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    /// Answers requests one after the other, in a time that follows from their cost.
    struct Desk {
        clock: Arc<ByHand>,
        limiter: Arc<AdmissionLimiter>,
        per_cost: Duration,
        /// When they came.
        waiting: VecDeque<(Duration, LimiterPermit)>,
        refused: u64,
        waits: Vec<Duration>,
    }

    impl Desk {
        fn new(per_cost: Duration) -> Desk {
            let clock = Arc::new(ByHand::default());
            let limiter = AdmissionLimiter::new(clock.clone(), WAIT_MAX);
            Desk { clock, limiter, per_cost, waiting: VecDeque::new(), refused: 0, waits: Vec::new() }
        }

        fn ask(&mut self, jobs: usize) -> bool {
            let permit = self.limiter.admit_jobs(jobs, 0);
            let is_in = permit.is_some();
            self.refused += u64::from(!is_in);
            let came = self.clock.ticks();
            self.waiting.extend(permit.map(|permit| (came, permit)));
            is_in
        }

        fn pass(&self, time: Duration) {
            *self.clock.0.lock().unwrap() += time;
        }

        /// Answers the next request. False if there is none.
        fn work(&mut self) -> bool {
            let Some((came, permit)) = self.waiting.pop_front() else { return false };
            self.pass(self.per_cost * u32::try_from(permit.cost).unwrap());
            self.waits.push(self.clock.ticks() - came);
            true
        }

        /// Ten times as many requests, of `jobs` jobs each, as can be answered.
        fn overload(&mut self, jobs: usize, time: Duration) {
            let until = self.clock.ticks() + time;
            while self.clock.ticks() < until {
                for _ in 0..10 {
                    self.ask(jobs);
                }
                self.work();
            }
        }

        fn limit(&self) -> u64 {
            self.limiter.limit.load(Relaxed)
        }
    }

    #[test]
    fn at_ten_times_the_load_those_let_in_wait_about_as_long_as_they_may_however_fast_the_server_is() {
        for (micros, jobs) in [(1, 10), (1, 1_000), (4, 10), (8, 100), (8, 1_000)] {
            let mut desk = Desk::new(Duration::from_micros(micros));
            desk.overload(jobs, Duration::from_secs(3));
            desk.waits.clear();
            desk.overload(jobs, Duration::from_secs(2));
            let mut waits = std::mem::take(&mut desk.waits);
            waits.sort();
            let (middle, p99) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
            let what = format!(
                "{micros} us per unit of cost, {jobs} jobs: {middle:?}, {p99:?}, limit {}",
                desk.limit()
            );
            // The last one was let in before the limit was reached, and takes its own time.
            let one = desk.per_cost * u32::try_from(cost(jobs, 0)).unwrap();
            assert!(p99 <= WAIT_MAX * 5 / 4 + one, "{what}");
            // And there is always something to do.
            assert!(middle >= WAIT_MAX / 4, "{what}");
            assert!(desk.refused > 0, "{what}");
        }
    }

    #[test]
    fn one_that_finds_nobody_is_let_in_however_heavy_it_is_and_the_next_one_is_not() {
        let mut desk = Desk::new(Duration::from_micros(1));
        assert!(desk.ask(1 << 30));
        assert!(!desk.ask(1));
        assert!(desk.work());
        assert!(desk.ask(1), "nothing waits any more");
    }

    #[test]
    fn heavy_requests_leave_half_of_the_limit_to_light_ones() {
        let mut desk = Desk::new(Duration::from_micros(1));
        while desk.ask(1_000) {}
        for _ in 0..1_000 {
            assert!(desk.ask(10) && !desk.ask(1_000));
        }
    }

    #[test]
    fn bytes_count_like_jobs() {
        let desk = Desk::new(Duration::from_micros(1));
        let _large = desk.limiter.admit_jobs(1, 100 << 20).unwrap();
        assert!(desk.limiter.admit_jobs(1, 0).is_none());
    }

    #[test]
    fn reports_are_always_let_in_and_count_like_the_others() {
        let desk = Desk::new(Duration::from_micros(1));
        let reports: Vec<_> = (0..2 * AT_FIRST).map(|_| desk.limiter.admit_report(0)).collect();
        assert!(desk.limiter.admit_jobs(1, 0).is_none());
        assert_eq!(
            desk.limiter.waiting.load(Relaxed),
            2 * AT_FIRST,
            "a request that is turned away leaves no trace"
        );
        drop(reports);
        assert_eq!(desk.limiter.waiting.load(Relaxed), 0);
        assert!(desk.limiter.admit_jobs(1, 0).is_some());
    }

    #[test]
    fn after_the_load_the_limit_is_what_it_was_before() {
        let mut desk = Desk::new(Duration::from_micros(8));
        desk.overload(100, Duration::from_secs(3));
        assert!(desk.limit() < AT_FIRST / 6, "{}", desk.limit());
        let stopped = desk.clock.ticks();
        while desk.work() {}
        assert!(desk.clock.ticks() - stopped < WAIT_MAX * 2);
        for _ in 0..5 {
            assert!(desk.ask(1) && desk.work());
        }
        assert_eq!(desk.limit(), AT_FIRST);
    }

    #[test]
    fn a_pause_lowers_the_limit_for_a_moment_at_most_and_not_at_all_if_few_wait() {
        let mut desk = Desk::new(Duration::from_micros(1));
        for (jobs, is_lowered) in [(1, false), (40_000, true)] {
            assert!(desk.ask(jobs) && desk.ask(jobs));
            desk.pass(Duration::from_secs(10));
            while desk.work() {}
            assert_eq!(desk.limit() < AT_FIRST, is_lowered, "{jobs} jobs: {}", desk.limit());
        }
        for _ in 0..4 {
            assert!(desk.ask(1) && desk.work());
        }
        assert_eq!(desk.limit(), AT_FIRST);
    }

    #[test]
    fn a_disk_that_is_always_slow_still_gets_enough_at_a_time() {
        let mut desk = Desk::new(Duration::ZERO);
        for _ in 0..100 {
            while desk.ask(1) {}
            let together = desk.limiter.waiting.load(Relaxed);
            assert!(together >= AT_FIRST / SLOWEST_PART, "{together}");
            desk.pass(Duration::from_secs(1));
            while desk.work() {}
        }
    }

    #[test]
    fn a_fast_machine_lets_more_in_once_a_long_queue_of_requests_has_shown_it() {
        let mut desk = Desk::new(Duration::from_nanos(100));
        for _ in 0..1_000 {
            assert!(desk.ask(1) && desk.work());
        }
        assert_eq!(desk.limit(), AT_FIRST, "while little waits, nothing is learned");
        desk.overload(1_000, Duration::from_secs(2));
        assert!(desk.limit() > AT_FIRST * 5, "{}", desk.limit());
    }

    #[test]
    fn one_at_a_time_is_timed() {
        let desk = Desk::new(Duration::from_micros(1));
        let first = desk.limiter.admit_jobs(1, 0).unwrap();
        assert!(first.timed.is_some() && desk.limiter.admit_jobs(1, 0).unwrap().timed.is_none());
        drop(first);
        assert!(desk.limiter.admit_jobs(1, 0).unwrap().timed.is_some());
    }
}
