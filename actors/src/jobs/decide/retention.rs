//! Which finished jobs are forgotten, and when.

use crate::ids::{Seq, Timestamp};
use crate::jobs::event::EventKind;
use crate::jobs::model::job::Status;
use crate::jobs::model::policy::{Retention, millis};
use crate::jobs::table::{FINISHED, JobTable, finished_index};

/// Most jobs of each status that one `Forget` drops.
const FORGOTTEN_AT_ONCE_MAX: u64 = 1_000;
/// Jobs that are too old are looked for at most this often.
const FORGET_PAUSE_MS: u64 = 1_000;

impl JobTable {
    pub(super) fn decide_forget(&self, now: Timestamp) -> Option<EventKind> {
        let [completed, dead, cancelled] = FINISHED.map(|status| self.forget_through(status, now));
        let nothing = [completed, dead, cancelled] == [Seq::ZERO; 3];
        (!nothing).then_some(EventKind::Forget { completed, dead, cancelled })
    }

    /// Where the finished jobs end that `status` should no longer keep; zero when it may keep all.
    fn forget_through(&self, status: Status, now: Timestamp) -> Seq {
        let retention = self.retention(status);
        let list = &self.finished[finished_index(status)];
        let surplus = match self.is_over_count(status) {
            true => list.len() - retention.count,
            false => 0,
        };
        let age_ms = millis(retention.age);
        let clock = &self.sections.clock;
        // Nothing is too old by a clock that may be wrong.
        let is_doubted = clock.doubted_since.is_some();
        let mut through = Seq::ZERO;
        for (nth, slot) in (0..FORGOTTEN_AT_ONCE_MAX).zip(list.iter(&self.links)) {
            let finish = self.finish_of(slot);
            let is_old = !is_doubted && clock.ended_at(finish).plus_ms(age_ms) <= now;
            if nth >= surplus && !is_old {
                break;
            }
            through = finish.seq;
        }
        through
    }

    /// When the oldest finished job may be forgotten; now, if there are too many.
    pub(in crate::jobs) fn next_forget(&self) -> Option<Timestamp> {
        let clock = &self.sections.clock;
        let of = |status| {
            let slot = self.finished[finished_index(status)].head()?;
            if self.is_over_count(status) {
                return Some(self.last_at);
            }
            let ended_at = clock.ended_at(self.finish_of(slot));
            let due = ended_at.plus_ms(millis(self.retention(status).age)).0;
            // Rounded up, so that a stream of jobs is forgotten a second's worth at a time.
            let due = due.saturating_add(FORGET_PAUSE_MS - 1) / FORGET_PAUSE_MS * FORGET_PAUSE_MS;
            clock.doubted_since.is_none().then_some(Timestamp(due))
        };
        FINISHED.into_iter().filter_map(of).min()
    }

    /// A little over is allowed, so that not every finished job brings a `Forget` of its own.
    fn is_over_count(&self, status: Status) -> bool {
        let count = self.retention(status).count;
        let slack = (count / 10).min(FORGOTTEN_AT_ONCE_MAX - 1);
        self.finished[finished_index(status)].len() > count.saturating_add(slack)
    }

    fn retention(&self, status: Status) -> Retention {
        match status {
            Status::Dead => self.policy.dead,
            Status::Cancelled => self.policy.cancelled,
            _ => self.policy.completed,
        }
    }
}
