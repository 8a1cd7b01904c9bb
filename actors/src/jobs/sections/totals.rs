//! How many attempts have ended since the store was created.

use serde::Serialize;

use crate::base::bytes::{Take, put_uint};
use crate::ids::{Seq, Timestamp};
use crate::jobs::event::EventKind;
use crate::jobs::sections::section::Section;
use crate::jobs::table::digest;

/// How many attempts have ended since the store was created. One that counted as failed and turned out to have succeeded is
/// both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Attempts that succeeded or failed.
    pub processed: u64,
    /// Attempts that failed.
    pub failed: u64,
}

impl Section for Totals {
    const ID: u64 = 2;
    const VERSION: u64 = 1;

    #[inline]
    fn apply(&mut self, _: (Seq, Timestamp), kind: &EventKind) {
        let failed = match kind {
            EventKind::Ack { .. } => 0,
            EventKind::Retry { .. } | EventKind::Exhaust { .. } => 1,
            _ => return,
        };
        self.processed += 1;
        self.failed += failed;
    }

    #[inline]
    fn digest(&self) -> u64 {
        match *self == Totals::default() {
            true => 0,
            false => digest::of_totals(self.processed, self.failed),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(out, self.processed);
        put_uint(out, self.failed);
    }

    fn decode(take: &mut Take<'_>) -> Result<Totals, String> {
        let mut read = || Some(Totals { processed: take.uint()?, failed: take.uint()? });
        read().ok_or_else(|| "the section of totals ends too early".to_owned())
    }
}
