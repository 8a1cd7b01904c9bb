//! What the state holds that is not a job: [`queues`], [`totals`], [`terms`], [`clock`].
//!
//! A section changes by the events that name what is in it, sums itself up for the state's digest, and stands in a snapshot
//! under a number and a version of its own; one that this version does not know is refused, not lost. A new section is a
//! file here with its `Section` (see `section`), and one line in the list at the end of this file.

pub mod clock;
pub mod queues;
mod section;
pub mod terms;
pub mod totals;

use crate::base::bytes::{Take, put_uint};
use crate::ids::{Epoch, Seq, Timestamp};
use crate::jobs::event::EventKind;
use clock::ClockRecord;
use queues::{QueueRecord, Queues};
pub(crate) use section::Section;
use terms::Terms;
use totals::Totals;

/// The sections themselves, each with its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    pub(crate) queues: Queues,
    pub(crate) totals: Totals,
    pub(crate) terms: Terms,
    pub(crate) clock: ClockRecord,
}

/// The sections as plain values, for tools and tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Every queue that exists, by name.
    pub queues: Vec<QueueRecord>,
    /// Attempts that have ended.
    pub totals: Totals,
    /// Which start of the server, in which history.
    pub terms: Terms,
    /// What is known of the clock.
    pub clock: ClockRecord,
}

/// Calls something with every section.
macro_rules! each_section {
    ($sections:expr, $section:ident => $do:expr) => {{
        let Sections { queues, totals, terms, clock } = $sections;
        {
            let $section = queues;
            $do
        }
        {
            let $section = totals;
            $do
        }
        {
            let $section = terms;
            $do
        }
        {
            let $section = clock;
            $do
        }
    }};
}

impl Sections {
    /// Changes all of them by an event.
    #[inline]
    pub(crate) fn apply(&mut self, when: (Seq, Timestamp), kind: &EventKind) {
        each_section!(self, section => section.apply(when, kind));
    }

    /// What they sum up to.
    #[must_use]
    #[inline]
    pub(crate) fn digest(&self) -> u64 {
        let mut sum = 0_u64;
        each_section!(self, section => sum = sum.wrapping_add(section.digest()));
        sum
    }

    /// The term that the state is in.
    #[must_use]
    #[inline]
    pub fn epoch(&self) -> Epoch {
        self.terms.epoch
    }

    /// As plain values.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let Sections { queues, totals, terms, clock } = self;
        Overview { queues: queues.records(), totals: *totals, terms: *terms, clock: clock.clone() }
    }

    /// Appends all: how many, then of each its number, its version, its length and its bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut count = 0;
        let mut all = Vec::new();
        each_section!(self, section => {
            let mut bytes = Vec::new();
            section.encode(&mut bytes);
            put_head(&mut all, section, bytes.len());
            all.extend_from_slice(&bytes);
            count += 1;
        });
        put_uint(out, count);
        out.extend_from_slice(&all);
    }

    /// The reverse of [`Sections::encode`].
    pub(crate) fn decode(take: &mut Take<'_>) -> Result<Sections, String> {
        let short = || "the sections end too early".to_owned();
        let mut sections = Sections::default();
        for _ in 0..take.uint().ok_or_else(short)? {
            let (id, version) = (take.uint().ok_or_else(short)?, take.uint().ok_or_else(short)?);
            let len = take.uint().and_then(|len| usize::try_from(len).ok()).ok_or_else(short)?;
            let bytes = take.bytes(len).ok_or_else(short)?;
            let mut found = None;
            each_section!(&mut sections, section => {
                if is_of(section, id, version) {
                    found = Some(read(bytes, section));
                }
            });
            found.ok_or_else(|| {
                format!("section {id} of version {version} is unknown: a newer beaver wrote it: run that one")
            })??;
        }
        Ok(sections)
    }
}

fn put_head<S: Section>(out: &mut Vec<u8>, _: &S, len: usize) {
    put_uint(out, S::ID);
    put_uint(out, S::VERSION);
    put_uint(out, len as u64);
}

fn is_of<S: Section>(_: &S, id: u64, version: u64) -> bool {
    (id, version) == (S::ID, S::VERSION)
}

fn read<S: Section>(bytes: &[u8], section: &mut S) -> Result<(), String> {
    let mut take = Take(bytes);
    *section = S::decode(&mut take)?;
    take.end().ok_or_else(|| format!("more bytes follow section {}", S::ID))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{QueueName, Term, Timeline};
    use crate::jobs::event::ClockStep;

    fn some() -> Sections {
        let mut sections = Sections::default();
        let queue = |name| QueueName::parse(name).unwrap();
        let epoch = Epoch { timeline: Timeline(7), term: Term(2) };
        for (seq, kind) in (1..).map(Seq).zip([
            EventKind::Term { epoch, parent: Timeline(7), branched_at: Seq::ZERO },
            EventKind::SetPaused { queue: queue("mail"), paused: true },
            EventKind::SetPaused { queue: queue("calls"), paused: true },
            EventKind::SetPaused { queue: queue("calls"), paused: false },
            EventKind::RemoveQueue { queue: queue("calls") },
            EventKind::SetClock {
                step: ClockStep::Back { from: Timestamp(9) },
                doubted_since: Some(Timestamp(3)),
                margin_ms: 0,
                backoff_max_ms: 0,
            },
        ]) {
            sections.apply((seq, Timestamp(seq.0)), &kind);
        }
        sections
    }

    #[test]
    fn sections_read_back_as_written_and_sum_up_to_the_same() {
        let mut bytes = Vec::new();
        some().encode(&mut bytes);
        let mut take = Take(&bytes);
        let read = Sections::decode(&mut take).unwrap();
        assert_eq!((&read, read.digest(), take.end()), (&some(), some().digest(), Some(())));
        for len in 0..bytes.len() {
            assert!(Sections::decode(&mut Take(&bytes[..len])).is_err(), "{len}");
        }
    }

    #[test]
    fn an_unknown_section_or_version_is_refused() {
        for (id, version) in [(99, 1), (Queues::ID, Queues::VERSION + 1)] {
            let mut bytes = Vec::new();
            put_uint(&mut bytes, 1);
            for number in [id, version, 0] {
                put_uint(&mut bytes, number);
            }
            let error = Sections::decode(&mut Take(&bytes)).unwrap_err();
            assert!(error.contains(&format!("section {id} of version {version}")), "{error}");
        }
    }
}
