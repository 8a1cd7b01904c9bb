//! What the layers of a state come to, by which it is told whether they are to be put together.

use std::sync::Arc;

use crate::snapshot::layer::Layer;

/// What all layers of a state come to.
pub(super) struct Weight {
    /// Bytes of the one that holds everything.
    full: u64,
    /// Of all, on disk and before they were compressed.
    bytes: u64,
    raw: u64,
    jobs: u64,
    gone: u64,
}

impl Weight {
    pub fn of(full: &Layer, changes: &[Arc<Layer>]) -> Weight {
        let all = || std::iter::once(full).chain(changes.iter().map(|layer| &**layer));
        let sum = |of: fn(&Layer) -> u64| all().map(of).sum();
        Weight {
            full: full.bytes(),
            bytes: sum(Layer::bytes),
            raw: sum(Layer::raw_total),
            jobs: sum(Layer::jobs_total),
            gone: sum(Layer::gone_total),
        }
    }

    /// Whether the layers upon the one that holds everything come to more than one part in `parts`: of its bytes, or of all
    /// jobs by the number that they say are gone.
    pub fn outweighs(&self, parts: u64) -> bool {
        self.bytes - self.full > self.full / parts || self.gone > self.jobs / parts
    }

    /// Whether the disk would hold about twice what is alive, or more, while all of them become a new one: of payloads
    /// that hardly compress, there must not be as many changes before.
    pub fn is_tight(&self) -> bool {
        self.is_too_little_for(self.bytes + self.alive(self.bytes))
    }

    /// Whether this many bytes on disk are about twice what is alive, or more.
    pub fn is_too_little_for(&self, held: u64) -> bool {
        let alive = self.alive(self.raw);
        held > 2 * alive - alive / 8
    }

    /// The part of something that belongs to jobs that are not gone.
    fn alive(&self, bytes: u64) -> u64 {
        let jobs = u128::from(self.jobs.max(1));
        (u128::from(bytes) * jobs.saturating_sub(u128::from(self.gone)) / jobs) as u64
    }
}
