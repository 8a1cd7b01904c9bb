//! INFO: the server at a glance, in the shape that dashboards and clients of the protocol know.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use beaver_actors::base::clock::Clock;
use beaver_actors::engine::{EngineStatus, QueueStatus};
use beaver_actors::ids::Timestamp;
use beaver_actors::jobs::Status;
use serde::{Serialize, Serializer};

use crate::remote::registry::Registry;

/// The version of the protocol's original that is spoken; clients compare it.
const PROTOCOL_RELEASE: &str = "1.10.0";
const DESCRIPTION: &str = "beaver, FWP-compatible";
/// Queues that INFO names one by one; it counts all.
pub(crate) const QUEUES_SHOWN: usize = 1_000;

/// What the engine does not know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// When the answer is given.
    pub(crate) now: Timestamp,
    /// How long the server has listened.
    pub(crate) uptime: Duration,
    /// Of workers and producers, open now.
    pub(crate) connections: usize,
    /// Commands so far.
    pub(crate) commands: u64,
    /// Workers that are known.
    pub(crate) workers: usize,
    /// Workers that were given up.
    pub(crate) reaped: u64,
}

impl Facts {
    /// As they are now.
    pub(crate) fn of(registry: &Registry, clock: &dyn Clock) -> Facts {
        let (workers, reaped) = registry.workers();
        Facts {
            now: clock.now(),
            uptime: registry.uptime(),
            connections: registry.connections(),
            commands: registry.commands(),
            workers,
            reaped,
        }
    }

    fn server(&self) -> InfoServer {
        InfoServer {
            description: DESCRIPTION,
            faktory_version: PROTOCOL_RELEASE,
            // Clients take 0 for "no answer".
            uptime: self.uptime.as_secs().max(1),
            connections: self.connections,
            command_count: self.commands,
            used_memory_mb: resident_mib(),
        }
    }
}

#[derive(Serialize)]
struct Info<'s> {
    now: Timestamp,
    server_utc_time: String,
    faktory: InfoQueues<'s>,
    server: InfoServer,
}

#[derive(Serialize)]
struct InfoQueues<'s> {
    queues: BTreeMap<&'s str, u64>,
    sets: Sets,
    tasks: Tasks,
    total_failures: u64,
    total_processed: u64,
    total_enqueued: u64,
    total_queues: usize,
}

#[derive(Serialize)]
struct Sets {
    scheduled: u64,
    retries: u64,
    dead: u64,
    working: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tasks {
    scheduled: Scan,
    retries: Scan,
    dead: Scan,
    busy: Watch,
    workers: Watch,
}

/// Nothing is scanned here: every job has a timer of its own. Only the size says something.
#[derive(Default, Serialize)]
struct Scan {
    enqueued: u64,
    cycles: u64,
    size: u64,
    wall_time_sec: Seconds,
}

/// Written as the protocol's original does: whole ones without a fraction, which some clients read as integers.
#[derive(Clone, Copy, Default)]
struct Seconds(f64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.fract() == 0.0 {
            true => serializer.serialize_u64(self.0 as u64),
            false => serializer.serialize_f64(self.0),
        }
    }
}

#[derive(Serialize)]
struct Watch {
    size: u64,
    reaped: u64,
}

#[derive(Serialize)]
struct InfoServer {
    description: &'static str,
    faktory_version: &'static str,
    uptime: u64,
    connections: usize,
    command_count: u64,
    used_memory_mb: u64,
}

/// The answer to INFO.
#[must_use]
pub(crate) fn info(status: &EngineStatus, facts: &Facts) -> Vec<u8> {
    let scan = |status_of: Status| Scan { size: status.jobs.of(status_of), ..Scan::default() };
    let queues: BTreeMap<&str, u64> =
        status.queues.iter().map(|queue| (queue.queue.as_str(), queue.jobs.of(Status::Pending))).collect();
    let working = status.jobs.of(Status::InFlight);
    let info = Info {
        now: facts.now,
        server_utc_time: utc_time(facts.now),
        faktory: InfoQueues {
            total_enqueued: status.jobs.of(Status::Pending),
            total_queues: queues.len() + status.left_out.queues as usize,
            queues,
            sets: Sets {
                scheduled: status.jobs.of(Status::Scheduled),
                retries: status.jobs.of(Status::Retrying),
                dead: status.jobs.of(Status::Dead),
                working,
            },
            tasks: Tasks {
                scheduled: scan(Status::Scheduled),
                retries: scan(Status::Retrying),
                dead: scan(Status::Dead),
                busy: Watch { size: working, reaped: 0 },
                workers: Watch { size: facts.workers as u64, reaped: facts.reaped },
            },
            total_failures: status.totals.failed,
            total_processed: status.totals.processed,
        },
        server: facts.server(),
    };
    serde_json::to_vec(&info).expect("text and numbers are always JSON")
}

/// The part of INFO that is known without asking the engine.
#[must_use]
pub(super) fn health(facts: &Facts) -> Vec<u8> {
    #[derive(Serialize)]
    struct Health {
        now: Timestamp,
        server: InfoServer,
    }
    let health = Health { now: facts.now, server: facts.server() };
    serde_json::to_vec(&health).expect("text and numbers are always JSON")
}

fn utc_time(now: Timestamp) -> String {
    let seconds = now.0 / 1_000 % (24 * 60 * 60);
    format!("{:02}:{:02}:{:02} UTC", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Memory of this process, where the system tells.
fn resident_mib() -> u64 {
    let pages = || -> Option<u64> {
        std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
    };
    (pages().unwrap_or(0) * rustix::param::page_size() as u64) >> 20
}

/// How long the oldest pending job of each of some queues has waited, in seconds; 0 for an empty queue.
#[must_use]
pub(crate) fn latencies(queues: &[QueueStatus], names: &[String]) -> Vec<u8> {
    // A line may name millions, and there may be thousands of queues: each is looked up, not looked for.
    let known: HashMap<&str, u64> =
        queues.iter().map(|queue| (queue.queue.as_str(), queue.latency_ms)).collect();
    let latency_ms = |name: &str| known.get(name).copied().unwrap_or_default();
    let seconds = |name: &str| Seconds(latency_ms(name) as f64 / 1_000.0);
    let latencies: BTreeMap<&str, Seconds> =
        names.iter().map(|name| (name.as_str(), seconds(name))).collect();
    serde_json::to_vec(&latencies).expect("text and numbers are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_written_with_two_digits_each() {
        assert_eq!(utc_time("2026-11-21T09:05:07.999Z".parse().unwrap()), "09:05:07 UTC");
        assert_eq!(utc_time(Timestamp(0)), "00:00:00 UTC");
    }

    #[test]
    fn seconds_are_written_without_a_fraction_that_they_do_not_have() {
        let written = [0.0, 2.0, 0.32].map(|seconds| serde_json::to_string(&Seconds(seconds)).unwrap());
        assert_eq!(written, ["0", "2", "0.32"]);
    }

    #[test]
    fn this_process_takes_some_memory() {
        assert!(resident_mib() > 0);
    }
}
