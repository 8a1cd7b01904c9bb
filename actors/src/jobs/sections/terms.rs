//! Which start of the server, in which history, the state is in.

use crate::base::bytes::{Take, put_uint};
use crate::ids::{Epoch, Seq, Term, Timeline, Timestamp};
use crate::jobs::event::EventKind;
use crate::jobs::sections::section::Section;
use crate::jobs::table::digest;

/// The last event `TERM`; leases are stamped with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// What is given now is of this term.
    pub epoch: Epoch,
    /// The timeline that this one is a copy of; itself, if it is none.
    pub parent: Timeline,
    /// Up to where the two are the same.
    pub branched_at: Seq,
}

impl Section for Terms {
    const ID: u64 = 3;
    const VERSION: u64 = 1;

    fn apply(&mut self, _: (Seq, Timestamp), kind: &EventKind) {
        if let EventKind::Term { epoch, parent, branched_at } = *kind {
            *self = Terms { epoch, parent, branched_at };
        }
    }

    fn digest(&self) -> u64 {
        match self.epoch.is_none() {
            true => 0,
            false => digest::of_term(self.epoch),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Terms { epoch: Epoch { timeline, term }, parent, branched_at } = self;
        [u64::from(timeline.0), u64::from(term.0), u64::from(parent.0), branched_at.0]
            .into_iter()
            .for_each(|number| put_uint(out, number));
    }

    fn decode(take: &mut Take<'_>) -> Result<Terms, String> {
        let mut read = || {
            let (timeline, term) = (Timeline(take.uint32()?), Term(take.uint32()?));
            Some(Terms {
                epoch: Epoch { timeline, term },
                parent: Timeline(take.uint32()?),
                branched_at: Seq(take.uint()?),
            })
        };
        read().ok_or_else(|| "the section of terms ends too early".to_owned())
    }
}
