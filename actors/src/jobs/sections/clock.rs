//! What is known of the clock that moments come from: whether it was set back, whether that was taken back, whether it is
//! doubted.

use crate::base::bytes::{Take, put_uint};
use crate::ids::{Seq, Timestamp};
use crate::jobs::event::{ClockStep, EventKind};
use crate::jobs::model::job::Finish;
use crate::jobs::sections::section::Section;
use crate::jobs::table::digest;

/// Steps back that were taken back are remembered one by one up to this many; of more, the oldest two count as one.
const BEHIND_MAX: usize = 16;

/// What is known of the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockRecord {
    /// The last step back: what came before it may be stamped too late.
    pub set_back: Option<SetBack>,
    /// Steps back that were taken back: what came in them is stamped too early.
    pub behind: Vec<Behind>,
    /// While the time is doubted: the last moment that was believed.
    pub doubted_since: Option<Timestamp>,
}

/// A step back of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetBack {
    /// The event that tells of it.
    pub seq: Seq,
    /// What the clock said before.
    pub from: Timestamp,
    /// What it said then.
    pub at: Timestamp,
}

/// A stretch of the log in which the clock was behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The event that it begins with.
    pub first: Seq,
    /// The event that it ends with.
    pub last: Seq,
    /// What the clock said when it was right again.
    pub until: Timestamp,
}

impl ClockRecord {
    /// When a job ended, by what is known: in doubt too late, so that nothing is forgotten too early.
    pub(crate) fn ended_at(&self, finish: Finish) -> Timestamp {
        let Finish { seq, at } = finish;
        let behind = self.behind.iter().find(|behind| behind.first < seq && seq < behind.last);
        let at = behind.map_or(at, |behind| at.max(behind.until));
        match self.set_back {
            Some(back) if seq < back.seq => at.min(back.at),
            _ => at,
        }
    }

    fn add_behind(&mut self, behind: Behind) {
        self.behind.push(behind);
        if self.behind.len() > BEHIND_MAX {
            let oldest = self.behind.remove(0);
            self.behind[0].first = oldest.first;
        }
    }

    /// As it is written: 1 and a step back, or 0; 1 and since when it is doubted, or 0; how many stretches it was behind, and
    /// these.
    fn numbers(&self) -> Vec<u64> {
        let mut numbers = vec![u64::from(self.set_back.is_some())];
        numbers.extend(self.set_back.iter().flat_map(|back| [back.seq.0, back.from.0, back.at.0]));
        numbers.push(u64::from(self.doubted_since.is_some()));
        numbers.extend(self.doubted_since.iter().map(|since| since.0));
        numbers.push(self.behind.len() as u64);
        numbers.extend(self.behind.iter().flat_map(|it| [it.first.0, it.last.0, it.until.0]));
        numbers
    }
}

impl Section for ClockRecord {
    const ID: u64 = 4;
    const VERSION: u64 = 1;

    #[inline]
    fn apply(&mut self, (seq, at): (Seq, Timestamp), kind: &EventKind) {
        let EventKind::SetClock { step, doubted_since, .. } = kind else { return };
        self.doubted_since = *doubted_since;
        match *step {
            ClockStep::None => {}
            ClockStep::Back { from } => self.set_back = Some(SetBack { seq, from, at }),
            ClockStep::Again => {
                if let Some(back) = self.set_back.take() {
                    self.add_behind(Behind { first: back.seq, last: seq, until: at });
                }
            }
        }
    }

    #[inline]
    fn digest(&self) -> u64 {
        match *self == ClockRecord::default() {
            true => 0,
            false => digest::of_clock(&self.numbers()),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.numbers().into_iter().for_each(|number| put_uint(out, number));
    }

    fn decode(take: &mut Take<'_>) -> Result<ClockRecord, String> {
        let mut read = || {
            let is_there = |number: u64| (number <= 1).then_some(number == 1);
            let set_back = match is_there(take.uint()?)? {
                true => Some(SetBack {
                    seq: Seq(take.uint()?),
                    from: Timestamp(take.uint()?),
                    at: Timestamp(take.uint()?),
                }),
                false => None,
            };
            let doubted_since = match is_there(take.uint()?)? {
                true => Some(Timestamp(take.uint()?)),
                false => None,
            };
            let count = usize::try_from(take.uint()?).ok().filter(|count| *count <= BEHIND_MAX)?;
            let mut behind = Vec::new();
            for _ in 0..count {
                let (first, last) = (Seq(take.uint()?), Seq(take.uint()?));
                behind.push(Behind { first, last, until: Timestamp(take.uint()?) });
            }
            Some(ClockRecord { set_back, behind, doubted_since })
        };
        read().ok_or_else(|| "the section of the clock is not what it should be".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 67: a machine without a clock of its own begins in 1970 at each of its starts.
    #[test]
    fn however_often_the_clock_was_behind_nothing_seems_to_have_ended_too_early() {
        let mut clock = ClockRecord::default();
        let set = |step, at| {
            let kind = EventKind::SetClock { step, doubted_since: None, margin_ms: 0, backoff_max_ms: 0 };
            (kind, Timestamp(at))
        };
        for start in 1..=40 {
            let (begun, right) = (Seq(100 * start), 1_000_000 + 1_000 * start);
            let (kind, at) = set(ClockStep::Back { from: Timestamp(right - 1_000) }, 0);
            clock.apply((begun, at), &kind);
            assert_eq!(clock.ended_at(Finish { seq: Seq(begun.0 + 1), at }), at, "it is not known yet");
            let (kind, at) = set(ClockStep::Again, right);
            clock.apply((Seq(begun.0 + 50), at), &kind);
            for (seq, least) in [(begun.0 - 1, right - 1_000), (begun.0 + 1, right), (101, 1_001_000)] {
                let stamp = if seq % 100 == 1 { 5 } else { right - 1_000 };
                assert!(clock.ended_at(Finish { seq: Seq(seq), at: Timestamp(stamp) }).0 >= least, "{start}");
            }
            let mut bytes = Vec::new();
            clock.encode(&mut bytes);
            assert_eq!(ClockRecord::decode(&mut Take(&bytes)).as_ref(), Ok(&clock));
            assert!(clock.behind.len() <= BEHIND_MAX && clock.digest() != 0);
        }
    }
}
