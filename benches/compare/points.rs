//! The points that are measured, and how thoroughly.

use std::time::Duration;

use super::talk::BULK;

const CONNECTIONS: [usize; 3] = [1, 16, 128];
const PAYLOAD_BYTES: [usize; 2] = [100, 4096];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Push,
    Fetch,
    Bulk,
    Latency,
}

impl Scenario {
    /// `latency` comes after `push`, whose rates it needs.
    pub(crate) const ALL: [Scenario; 4] =
        [Scenario::Push, Scenario::Fetch, Scenario::Bulk, Scenario::Latency];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Push => "push",
            Scenario::Fetch => "fetch",
            Scenario::Bulk => "bulk",
            Scenario::Latency => "latency",
        }
    }
}

/// One row of the tables.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) scenario: Scenario,
    pub(crate) connections: usize,
    pub(crate) payload_bytes: usize,
}

impl Point {
    pub(crate) fn all() -> impl Iterator<Item = Point> {
        Scenario::ALL.into_iter().flat_map(|scenario| {
            PAYLOAD_BYTES.into_iter().flat_map(move |payload_bytes| {
                CONNECTIONS.map(|connections| Point { scenario, connections, payload_bytes })
            })
        })
    }

    pub(crate) fn name(self) -> String {
        format!("{}/{}/{}", self.scenario.name(), self.connections, self.payload_bytes)
    }

    /// Whether `filter` is its name or the first parts of it.
    pub(crate) fn fits(self, filter: &str) -> bool {
        self.name() == filter || self.name().starts_with(&format!("{}/", filter.trim_end_matches('/')))
    }
}

/// How much is measured.
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) latency_rounds: usize,
    pub(crate) warm_up: usize,
    pub(crate) time: Duration,
    pub(crate) jobs_max: u64,
    /// How often a run is repeated that other processes have disturbed.
    pub(crate) repeats_max: usize,
}

impl Effort {
    pub(crate) fn rounds_of(&self, scenario: Scenario) -> usize {
        match scenario {
            Scenario::Latency => self.latency_rounds,
            Scenario::Push | Scenario::Fetch | Scenario::Bulk => self.rounds,
        }
    }
}

pub(crate) const FULL: Effort = Effort {
    rounds: 9,
    latency_rounds: 21,
    warm_up: 1,
    time: Duration::from_millis(400),
    jobs_max: u64::MAX,
    repeats_max: 0,
};
pub(crate) const QUICK: Effort =
    Effort { rounds: 3, latency_rounds: 3, warm_up: 0, time: Duration::from_millis(300), ..FULL };
/// For `--test`: only checks that everything still works.
pub(crate) const TINY: Effort = Effort {
    rounds: 1,
    latency_rounds: 1,
    warm_up: 0,
    time: Duration::from_millis(200),
    jobs_max: 2 * BULK as u64,
    ..FULL
};
/// Connections and payload bytes of the points that [`TINY`] measures.
pub(crate) const TINY_POINTS: [(usize, usize); 2] = [(16, 100), (1, 4096)];
