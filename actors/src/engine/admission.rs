//! Who may still get in line: new jobs are turned away while there is more to do already than can be done in the time
//! that a request may wait.
//!
//! A count of requests alone says little, for one of them may carry a thousand jobs, or megabytes. So every request has
//! a weight in *units* (itself, each job that it adds, each KiB of them), the units in line are counted, and how many
//! may be there is learned from how long requests really wait for their answer: the line moves at so many units per
//! second, whatever holds it up (the processor, the disk, connections that are served on the same thread), and so many
//! fit into the time (Little's law). One request at a time is timed, so a long line costs no more looks at the clock
//! than a short one.
//!
//! What counts is the line *ahead* of a request: one that finds nobody is let in however heavy it is. Half of the line is
//! for light ones alone, so that a few that add thousands of jobs at a time do not shut out the many that add one. Only
//! new jobs are turned away: a report makes room, and a look is how one sees what is wrong.
//!
//! A disk that is slow whatever it is given must not be given less for that, since requests share an fdatasync: so the
//! line has a least length, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::base::clock::Clock;

/// As fast as the line is taken to move until it is known better: about as fast as it does on one core of an EPYC.
const UNITS_PER_MS: u64 = 1_000;
/// It is never taken to move more slowly than at this part of that.
const SLOWEST_PART: u64 = 10;
/// By how much one look may shorten the line: a machine that stood still for a moment says nothing about its speed.
const SHRINK_MAX: u64 = 8;
/// A line that is shorter than this part of what is allowed does not show that more could be.
const TELLING_PART: u64 = 4;
/// From this part of what is allowed on, the line is crowded: enough to keep the disk busy.
const CROWDED_PART: u64 = 8;
/// A request of more units than this is heavy.
const HEAVY_UNITS: u64 = 64;
/// What a look at the queue counts as: to say how it stands takes about as long as so many jobs.
const OTHER_UNITS: u64 = 16;
/// By which part of it one look may lengthen a line that has shown it.
const GROWTH_PART: u64 = 16;

/// Requests that wait for an answer.
pub(crate) struct Line {
    clock: Arc<dyn Clock>,
    wait_max: Duration,
    /// Units in line.
    waiting: AtomicU64,
    /// New jobs are turned away when so many are.
    limit: AtomicU64,
    /// Whether a request is being timed.
    is_timing: AtomicBool,
}

/// A place in line. Dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Ticket {
    line: Arc<Line>,
    units: u64,
    timed: Option<Timed>,
}

/// A request whose wait is measured.
#[derive(Clone, Copy, Debug)]
struct Timed {
    since: Duration,
    ahead: u64,
}

impl Line {
    /// An empty one in which new jobs wait for at most about `wait_max`.
    pub fn new(clock: Arc<dyn Clock>, wait_max: Duration) -> Arc<Line> {
        let limit = units_at_first(wait_max).into();
        Arc::new(Line { clock, wait_max, waiting: 0.into(), limit, is_timing: false.into() })
    }

    /// How long new jobs may wait.
    pub fn wait_max(&self) -> Duration {
        self.wait_max
    }

    /// A place for new jobs, unless the line is too long.
    pub fn enter(self: &Arc<Line>, jobs: usize, bytes: usize) -> Option<Ticket> {
        let units = units(jobs, bytes);
        let limit = self.limit_for(units);
        let get_in = |ahead| (ahead < limit).then_some(ahead + units);
        let ahead = self.waiting.fetch_update(Relaxed, Relaxed, get_in);
        ahead.ok().map(|ahead| self.ticket(units, ahead))
    }

    /// A place for a report, which is never turned away.
    pub fn enter_report(self: &Arc<Line>, bytes: usize) -> Ticket {
        let units = units(0, bytes);
        let ahead = self.waiting.fetch_add(units, Relaxed);
        self.ticket(units, ahead)
    }

    /// A place for any other request. It is not timed: there may be reasons of its own why it takes long.
    pub fn enter_other(self: &Arc<Line>) -> Ticket {
        self.waiting.fetch_add(OTHER_UNITS, Relaxed);
        Ticket { line: self.clone(), units: OTHER_UNITS, timed: None }
    }

    /// Whether who has much in line already should leave the rest of it to others.
    pub fn is_crowded(&self) -> bool {
        self.waiting.load(Relaxed) >= self.limit.load(Relaxed) / CROWDED_PART
    }

    /// Whether new jobs of so many bytes would be turned away now.
    pub fn is_full(&self, bytes: usize) -> bool {
        self.waiting.load(Relaxed) >= self.limit_for(units(1, bytes))
    }

    fn limit_for(&self, units: u64) -> u64 {
        let limit = self.limit.load(Relaxed);
        if units > HEAVY_UNITS { limit / 2 } else { limit }
    }

    fn ticket(self: &Arc<Line>, units: u64, ahead: u64) -> Ticket {
        let is_timed = !self.is_timing.load(Relaxed) && !self.is_timing.swap(true, Relaxed);
        let timed = is_timed.then(|| Timed { since: self.clock.ticks(), ahead });
        Ticket { line: self.clone(), units, timed }
    }

    /// A request that was timed has its answer.
    fn learn(&self, Timed { since, ahead }: Timed, behind: u64) {
        let wait = self.clock.ticks().saturating_sub(since);
        // Whatever moved the line meanwhile moved those ahead and made room for those behind; of a line that fills and
        // empties in turns, one of the two may be next to nothing.
        let revised = revised(self.limit.load(Relaxed), self.wait_max, wait, ahead.max(behind));
        // Nobody else changes it: only one is timed.
        self.limit.store(revised, Relaxed);
        self.is_timing.store(false, Relaxed);
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Line { waiting, limit, .. } = self;
        f.debug_struct("Line").field("waiting", waiting).field("limit", limit).finish_non_exhaustive()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let behind = self.line.waiting.fetch_sub(self.units, Relaxed) - self.units;
        if let Some(timed) = self.timed {
            self.line.learn(timed, behind);
        }
    }
}

fn units(jobs: usize, bytes: usize) -> u64 {
    1 + jobs as u64 + (bytes >> 10) as u64
}

/// How many units may be in line before anything is known.
fn units_at_first(wait_max: Duration) -> u64 {
    u64::try_from(wait_max.as_millis()).unwrap_or(u64::MAX).saturating_mul(UNITS_PER_MS).max(UNITS_PER_MS)
}

/// How many units may be in line, after one request has waited for so long in a line of so many.
fn revised(limit: u64, wait_max: Duration, wait: Duration, units: u64) -> u64 {
    let fitting = u128::from(units) * wait_max.as_nanos() / wait.as_nanos().max(1);
    let fitting = u64::try_from(fitting).unwrap_or(u64::MAX);
    let at_first = units_at_first(wait_max);
    let least = at_first / SLOWEST_PART;
    if wait > wait_max {
        // It was not the length of the line if that is short.
        return if units > least { fitting.clamp(limit / SHRINK_MAX, limit).max(least) } else { limit };
    }
    match units >= limit / TELLING_PART {
        // By little at a time: there are more looks at a line while it moves fast.
        true => fitting.clamp(limit, limit.saturating_add(limit / GROWTH_PART)),
        // Whatever made the line shorter than at first is over.
        false => limit.max(limit.saturating_mul(2).min(at_first)),
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

    /// Whoever serves the line, and takes so long for a unit.
    struct Desk {
        clock: Arc<ByHand>,
        line: Arc<Line>,
        per_unit: Duration,
        /// When they came.
        waiting: VecDeque<(Duration, Ticket)>,
        refused: u64,
        waits: Vec<Duration>,
    }

    impl Desk {
        fn new(per_unit: Duration) -> Desk {
            let clock = Arc::new(ByHand::default());
            let line = Line::new(clock.clone(), WAIT_MAX);
            Desk { clock, line, per_unit, waiting: VecDeque::new(), refused: 0, waits: Vec::new() }
        }

        fn ask(&mut self, jobs: usize) -> bool {
            let ticket = self.line.enter(jobs, 0);
            let is_in = ticket.is_some();
            self.refused += u64::from(!is_in);
            let came = self.clock.ticks();
            self.waiting.extend(ticket.map(|ticket| (came, ticket)));
            is_in
        }

        fn pass(&self, time: Duration) {
            *self.clock.0.lock().unwrap() += time;
        }

        /// Answers the next request. False if there is none.
        fn work(&mut self) -> bool {
            let Some((came, ticket)) = self.waiting.pop_front() else { return false };
            self.pass(self.per_unit * u32::try_from(ticket.units).unwrap());
            self.waits.push(self.clock.ticks() - came);
            true
        }

        /// Ten times as many requests of so many jobs as can be done.
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
            self.line.limit.load(Relaxed)
        }
    }

    #[test]
    fn at_ten_times_the_load_those_let_in_wait_about_as_long_as_they_may_whatever_a_unit_takes() {
        for (micros, jobs) in [(1, 10), (1, 1_000), (4, 10), (8, 100), (8, 1_000)] {
            let mut desk = Desk::new(Duration::from_micros(micros));
            desk.overload(jobs, Duration::from_secs(3));
            desk.waits.clear();
            desk.overload(jobs, Duration::from_secs(2));
            let mut waits = std::mem::take(&mut desk.waits);
            waits.sort();
            let (middle, p99) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
            let what =
                format!("{micros} us a unit, {jobs} jobs: {middle:?}, {p99:?}, limit {}", desk.limit());
            // The last one got in before the line was too long, and is done itself.
            let one = desk.per_unit * u32::try_from(units(jobs, 0)).unwrap();
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
        assert!(desk.ask(1), "the line is empty");
    }

    #[test]
    fn heavy_ones_leave_half_of_the_line_to_light_ones() {
        let mut desk = Desk::new(Duration::from_micros(1));
        while desk.ask(1_000) {}
        for _ in 0..1_000 {
            assert!(desk.ask(10) && !desk.ask(1_000));
        }
    }

    #[test]
    fn bytes_count_like_jobs() {
        let desk = Desk::new(Duration::from_micros(1));
        let _large = desk.line.enter(1, 100 << 20).unwrap();
        assert!(desk.line.enter(1, 0).is_none());
    }

    #[test]
    fn reports_get_in_whatever_the_line_and_are_a_part_of_it() {
        let desk = Desk::new(Duration::from_micros(1));
        let reports: Vec<_> = (0..2 * AT_FIRST).map(|_| desk.line.enter_report(0)).collect();
        assert!(desk.line.enter(1, 0).is_none());
        assert_eq!(desk.line.waiting.load(Relaxed), 2 * AT_FIRST, "who is turned away leaves no trace");
        drop(reports);
        assert_eq!(desk.line.waiting.load(Relaxed), 0);
        assert!(desk.line.enter(1, 0).is_some());
    }

    #[test]
    fn after_the_load_the_line_is_as_long_as_ever() {
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
    fn a_pause_shortens_the_line_for_a_moment_at_most_and_not_at_all_if_few_wait() {
        let mut desk = Desk::new(Duration::from_micros(1));
        for (jobs, is_shortened) in [(1, false), (40_000, true)] {
            assert!(desk.ask(jobs) && desk.ask(jobs));
            desk.pass(Duration::from_secs(10));
            while desk.work() {}
            assert_eq!(desk.limit() < AT_FIRST, is_shortened, "{jobs} jobs: {}", desk.limit());
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
            let together = desk.line.waiting.load(Relaxed);
            assert!(together >= AT_FIRST / SLOWEST_PART, "{together}");
            desk.pass(Duration::from_secs(1));
            while desk.work() {}
        }
    }

    #[test]
    fn a_fast_machine_lets_more_in_once_a_long_line_has_shown_it() {
        let mut desk = Desk::new(Duration::from_nanos(100));
        for _ in 0..1_000 {
            assert!(desk.ask(1) && desk.work());
        }
        assert_eq!(desk.limit(), AT_FIRST, "short lines say nothing");
        desk.overload(1_000, Duration::from_secs(2));
        assert!(desk.limit() > AT_FIRST * 5, "{}", desk.limit());
    }

    #[test]
    fn one_at_a_time_is_timed() {
        let desk = Desk::new(Duration::from_micros(1));
        let first = desk.line.enter(1, 0).unwrap();
        assert!(first.timed.is_some() && desk.line.enter(1, 0).unwrap().timed.is_none());
        drop(first);
        assert!(desk.line.enter(1, 0).unwrap().timed.is_some());
    }
}
