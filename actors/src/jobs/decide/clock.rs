//! What is held of the clock: whether it went back, and whether what it says is doubted.
//!
//! Small steps are none of this: time as the manager lives it makes up for them (see `base/clock.rs`).

use crate::ids::{Seq, Timestamp};
use crate::jobs::event::{ClockStep, Event, EventKind};
use crate::jobs::model::policy::millis;
use crate::jobs::sections::clock::ClockRecord;
use crate::jobs::table::JobTable;

/// A clock that is behind by more than this, in milliseconds, is followed back; behind by less, it is waited for.
pub const FOLLOWED_BACK_MS: u64 = 24 * 60 * 60 * 1_000;
/// A clock that is ahead by more than this, in milliseconds, is doubted unless the machine says that it is synchronised.
pub const DOUBTED_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

impl JobTable {
    /// What time it is when the clock says this: not before the last event, unless the clock is far behind it.
    #[must_use]
    pub fn time_by(&self, wall: Timestamp) -> Timestamp {
        if self.is_set_back(wall) { wall } else { wall.max(self.last_at) }
    }

    /// What is known of the clock.
    #[must_use]
    pub fn clock(&self) -> &ClockRecord {
        &self.sections.clock
    }

    fn is_set_back(&self, wall: Timestamp) -> bool {
        self.last_at.since_ms(wall) > FOLLOWED_BACK_MS
    }

    pub(super) fn decide_set_clock(
        &self,
        wall: Timestamp,
        expected: Timestamp,
        is_synchronised: bool,
    ) -> Option<Event> {
        if self.last == Seq::ZERO {
            return None;
        }
        let known = &self.sections.clock;
        let at = self.time_by(wall);
        let step = match known.set_back {
            _ if self.is_set_back(wall) => ClockStep::Back { from: self.last_at },
            Some(back) if at.since_ms(expected) >= back.from.since_ms(back.at) / 2 => ClockStep::Again,
            _ => ClockStep::None,
        };
        let believed = known.doubted_since.unwrap_or(expected);
        let is_doubted = !is_synchronised && at.since_ms(believed) > DOUBTED_MS;
        let doubted_since = is_doubted.then_some(believed);
        let is_news = step != ClockStep::None || doubted_since != known.doubted_since;
        is_news.then(|| Event { at, job_seq: Seq::ZERO, kind: self.set_clock(step, doubted_since) })
    }

    pub(super) fn decide_trust_clock(&self) -> Option<EventKind> {
        let is_doubted = self.sections.clock.doubted_since.is_some();
        is_doubted.then(|| self.set_clock(ClockStep::None, None))
    }

    fn set_clock(&self, step: ClockStep, doubted_since: Option<Timestamp>) -> EventKind {
        let margin_ms = millis(self.policy.lease_margin);
        let backoff_max_ms = millis(self.policy.retry_backoff_max);
        EventKind::SetClock { step, doubted_since, margin_ms, backoff_max_ms }
    }
}
