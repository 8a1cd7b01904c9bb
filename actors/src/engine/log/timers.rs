//! What the log's loop does by itself, when it is time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Something that the log does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogTimer {
    /// Try again to write what the full disk did not take.
    WriteAgain,
    /// Make durable what was confirmed without a sync.
    Sync,
    /// Ask the file system again for the next segment.
    LookForSpace,
    /// Leave a mark of what is durable: the log has fallen idle.
    Mark,
    /// Let the witness say how far the log has got: it does not fall idle.
    Testify,
}

/// When it does what: each at most once.
#[derive(Debug, Default)]
pub(super) struct LogTimers {
    planned: Vec<(Instant, LogTimer)>,
    /// Set to the first of them, once there has been one.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl LogTimers {
    /// Plans it for `after` from now. If it is planned already, that time stands.
    pub fn plan(&mut self, timer: LogTimer, after: Duration) {
        if !self.planned.iter().any(|(_, planned)| *planned == timer) {
            self.planned.push((Instant::now() + after, timer));
        }
    }

    /// Plans it for `after` from now, and no longer for the time that it was planned for.
    pub fn put_off(&mut self, timer: LogTimer, after: Duration) {
        self.cancel(timer);
        self.plan(timer, after);
    }

    /// It is planned no longer.
    pub fn cancel(&mut self, timer: LogTimer) {
        self.planned.retain(|(_, planned)| *planned != timer);
    }

    /// Whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// The first that is planned, as soon as it is time. It is planned no longer then.
    pub fn poll_due(&mut self, task: &mut Context<'_>) -> Poll<LogTimer> {
        let Some(first) = (0..self.planned.len()).min_by_key(|index| self.planned[*index].0) else {
            return Poll::Pending;
        };
        let (at, _) = self.planned[first];
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if alarm.deadline() != at {
            alarm.as_mut().reset(at);
        }
        ready!(alarm.as_mut().poll(task));
        Poll::Ready(self.planned.swap_remove(first).1)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Runs it in simulated time.
    fn on_runtime(test: impl AsyncFnOnce()) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap().block_on(test());
    }

    async fn due(timers: &mut LogTimers) -> LogTimer {
        poll_fn(|task| timers.poll_due(task)).await
    }

    #[test]
    fn what_is_planned_is_due_in_the_order_of_time_and_once() {
        on_runtime(async || {
            let (mut timers, start) = (LogTimers::default(), Instant::now());
            timers.plan(LogTimer::WriteAgain, 250 * MS);
            timers.plan(LogTimer::Mark, 5 * MS);
            timers.plan(LogTimer::Sync, 100 * MS);
            timers.plan(LogTimer::LookForSpace, 250 * MS);
            let order = [
                (LogTimer::Mark, 5),
                (LogTimer::Sync, 100),
                (LogTimer::WriteAgain, 250),
                (LogTimer::LookForSpace, 250),
            ];
            for (timer, ms) in order {
                assert_eq!((due(&mut timers).await, start.elapsed()), (timer, ms * MS));
            }
            assert!(timers.is_empty());
        });
    }

    /// So that a log that never falls idle is witnessed all the same.
    #[test]
    fn what_is_planned_again_keeps_its_time_until_it_was_due() {
        on_runtime(async || {
            let (mut timers, start) = (LogTimers::default(), Instant::now());
            for ms in [5, 10] {
                timers.plan(LogTimer::Testify, 5 * MS);
                tokio::time::advance(2 * MS).await;
                timers.plan(LogTimer::Testify, 5 * MS);
                assert_eq!((due(&mut timers).await, start.elapsed()), (LogTimer::Testify, ms * MS));
            }
            assert!(timers.is_empty());
        });
    }

    #[test]
    fn what_is_put_off_is_due_after_the_last_time_and_what_is_cancelled_never() {
        on_runtime(async || {
            let (mut timers, start) = (LogTimers::default(), Instant::now());
            timers.plan(LogTimer::Testify, 20 * MS);
            for _ in 0..3 {
                timers.put_off(LogTimer::Mark, 5 * MS);
                tokio::time::advance(2 * MS).await;
            }
            assert_eq!((due(&mut timers).await, start.elapsed()), (LogTimer::Mark, 9 * MS));
            timers.cancel(LogTimer::Testify);
            assert!(timers.is_empty());
        });
    }

    #[test]
    fn what_is_planned_while_something_later_is_waited_for_comes_first() {
        on_runtime(async || {
            let (mut timers, start) = (LogTimers::default(), Instant::now());
            timers.plan(LogTimer::LookForSpace, 250 * MS);
            assert!(tokio::time::timeout(20 * MS, due(&mut timers)).await.is_err());
            timers.plan(LogTimer::Mark, 5 * MS);
            assert_eq!((due(&mut timers).await, start.elapsed()), (LogTimer::Mark, 25 * MS));
            assert_eq!((due(&mut timers).await, start.elapsed()), (LogTimer::LookForSpace, 250 * MS));
        });
    }
}
