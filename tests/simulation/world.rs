//! One run: the hosts, the time, what everybody saw, and the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use beaver_actors::engine::Engine;
use beaver_actors::ids::Token;
use beaver_actors::jobs::Status;
use beaver_actors::testing::SimStorage;
use beaver_actors::tools::oracle::{Oracle, Outcome, Verdict};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::faults::Faults;
use crate::ledger::{Counts, Ledger};
use crate::{client, operator, remote, rest, server};

/// Clients that speak HTTP.
const CLIENTS: u64 = 2;
/// Machines with clients that speak the work protocol.
const REMOTES: u64 = 2;
const OPERATOR: &str = "operator";
/// One of this many runs is left to time when the faults have ended.
const PATIENT_ONES: u64 = 10;
/// Within this time everything may go wrong.
const SAFETY_PHASE: Duration = Duration::from_secs(8);
/// A run that takes longer hangs.
const RUN_MAX: Duration = Duration::from_secs(300);

/// What all hosts of a run share.
pub struct World {
    pub seed: u64,
    pub disk: SimStorage,
    pub clock_skew_ms: AtomicI64,
    pub boots: AtomicU64,
    pub engine: Mutex<Option<Engine>>,
    phase: watch::Sender<Phase>,
    seen: Mutex<SeenByAll>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Everything may go wrong.
    Faulty,
    /// Nothing goes wrong any more.
    Healed,
    /// All that clients had asked for has ended.
    Drained,
}

#[derive(Default)]
pub struct SeenByAll {
    pub oracle: Oracle,
    pub ledger: Ledger,
    /// Numbers everything that happens.
    order: u64,
    jobs: BTreeSet<String>,
    /// Jobs that were asked for together: all of them are there, or none.
    batches: Vec<Vec<String>>,
    cancelled: BTreeSet<String>,
    ends: BTreeMap<String, Status>,
    /// The disk when everything had ended.
    rest: Option<SimStorage>,
    trace: Vec<String>,
}

/// What came of one run, or of many.
#[derive(Default)]
pub struct Report {
    pub verdict: Verdict,
    pub remote: Counts,
    pub faults: u64,
    pub boots: u64,
    pub took_simulated: Duration,
    /// Everything that was seen, in order.
    pub trace: Vec<String>,
}

impl Report {
    pub fn add(&mut self, other: &Report) {
        self.verdict.acknowledged += other.verdict.acknowledged;
        self.verdict.recovered += other.verdict.recovered;
        self.verdict.duplicated += other.verdict.duplicated;
        self.remote.add(&other.remote);
        self.faults += other.faults;
        self.boots += other.boots;
        self.took_simulated += other.took_simulated;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { verdict, remote, faults, boots, took_simulated, .. } = self;
        write!(
            f,
            "{faults} faults, {boots} boots, {:.0} s simulated; {verdict}; {remote}",
            took_simulated.as_secs_f64()
        )
    }
}

impl World {
    pub fn see<T>(&self, what: String, change: impl FnOnce(&mut SeenByAll, u64) -> T) -> T {
        let mut seen = self.seen.lock().expect("nobody panics while holding it");
        seen.order += 1;
        let order = seen.order;
        let at = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        seen.trace.push(format!("{at} {what}"));
        change(&mut seen, order)
    }

    /// What was seen so far, for a person who looks into a run that does not end.
    pub fn tell(&self) {
        let seen = self.seen.lock().expect("nobody panics while holding it");
        eprintln!("{}", seen.trace.join("\n"));
    }

    pub fn note(&self, what: String) {
        self.see(what, |_, _| ());
    }

    pub fn asked(&self, id: &str) {
        self.see(format!("asked {id}"), |seen, _| {
            seen.jobs.insert(id.to_owned());
            seen.oracle.asked(id);
        });
    }

    pub fn answered(&self, ids: &[String], outcome: Outcome) {
        self.see(format!("answered {ids:?} {outcome:?}"), |seen, _| {
            seen.batches.push(ids.to_vec());
            if outcome == Outcome::Acknowledged {
                seen.ledger.added();
            }
            ids.iter().for_each(|id| seen.oracle.answered(id, outcome));
        });
    }

    pub fn began(&self, id: &str, attempt: u32, token: Token) {
        let what = format!("began {id} attempt {attempt} token {token}");
        self.see(what, |seen, order| {
            seen.ledger.began(id, attempt, token);
            seen.oracle.began(id, attempt, token, order);
        });
    }

    pub fn observed(&self, id: &str, status: Status) {
        self.see(format!("observed {id} {}", status.as_str()), |seen, order| {
            seen.oracle.observed(id, status, order);
        });
    }

    pub fn cancelled(&self, id: &str) {
        self.see(format!("cancelled {id}"), |seen, _| seen.cancelled.insert(id.to_owned()));
    }

    pub fn ended(&self, id: &str, status: Status) {
        self.see(format!("ended {id} {}", status.as_str()), |seen, _| {
            seen.oracle.ended(id, status);
            seen.ends.insert(id.to_owned(), status);
        });
    }

    /// Everything has ended: what the disk holds now must give this state for ever.
    pub fn is_at_rest(&self) {
        self.see("at rest".to_owned(), |seen, _| seen.rest = Some(self.disk.fork()));
    }

    pub fn known_jobs(&self) -> Vec<String> {
        self.seen.lock().expect("nobody panics while holding it").jobs.iter().cloned().collect()
    }

    /// Whether what waits is left to time when the faults have ended.
    pub fn is_patient(&self) -> bool {
        self.seed % PATIENT_ONES == 1
    }

    pub fn is_healed(&self) -> bool {
        *self.phase.borrow() >= Phase::Healed
    }

    pub async fn healed(&self) {
        self.reached(Phase::Healed).await;
    }

    pub fn is_drained_now(&self) {
        self.note("drained".to_owned());
        self.phase.send_replace(Phase::Drained);
    }

    pub fn is_drained(&self) -> bool {
        *self.phase.borrow() == Phase::Drained
    }

    /// Whether all has ended, as soon as it has, or after this time.
    pub async fn is_drained_within(&self, time: Duration) -> bool {
        timeout(time, self.reached(Phase::Drained)).await.is_ok()
    }

    async fn reached(&self, phase: Phase) {
        let reached = self.phase.subscribe().wait_for(|now| *now >= phase).await.is_ok();
        assert!(reached, "whoever waits holds the sender");
    }
}

/// Runs one seed to its end.
///
/// # Panics
/// The queue did not keep its word, or did not end.
pub fn run(seed: u64) -> Report {
    let world = Arc::new(World {
        seed,
        disk: SimStorage::new(),
        clock_skew_ms: AtomicI64::new(0),
        boots: AtomicU64::new(0),
        engine: Mutex::new(None),
        phase: watch::Sender::new(Phase::Faulty),
        seen: Mutex::default(),
    });
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(RUN_MAX)
        .tick_duration(Duration::from_millis(10))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(1))
        .build();
    {
        let world = world.clone();
        sim.host("server", move || server::serve(world.clone()));
    }
    for number in 0..CLIENTS {
        sim.client(client_name(number), client::work(world.clone(), number));
    }
    for number in 0..REMOTES {
        sim.client(remote_name(number), remote::live(world.clone(), number));
    }
    sim.client(OPERATOR, operator::operate(world.clone()));
    sim.client("drain", client::drain(world.clone()));
    let mut faults = Faults::new(seed);
    loop {
        let elapsed = sim.elapsed();
        if elapsed < SAFETY_PHASE {
            faults.step(&mut sim, &world);
        } else if !world.is_healed() {
            faults.heal(&mut sim, &world);
            world.phase.send_replace(Phase::Healed);
        }
        faults.restart_if_ended(&mut sim, &world);
        if sim.step().unwrap_or_else(|error| panic!("seed {seed}: {error}")) {
            break;
        }
    }
    let took_simulated = sim.elapsed();
    drop(sim);
    let mut seen = std::mem::take(&mut *world.seen.lock().expect("nobody panics while holding it"));
    let verdict = seen.oracle.verdict();
    assert!(verdict.holds(), "seed {seed}: {verdict}\n{}", seen.trace.join("\n"));
    let (remote, broken) = seen.ledger.judge(&seen.ends);
    assert!(broken.is_empty(), "seed {seed}: {}\n{}", broken.join("; "), seen.trace.join("\n"));
    for batch in &seen.batches {
        let there = batch.iter().filter(|id| seen.ends.contains_key(*id)).count();
        assert!(there == 0 || there == batch.len(), "seed {seed}: {there} of the batch {batch:?} are there");
    }
    for id in &seen.cancelled {
        assert_eq!(seen.ends.get(id), Some(&Status::Cancelled), "seed {seed}: job {id} was cancelled");
    }
    rest::judge(seed, &seen.rest.expect("the run came to its end"), &seen.ends);
    let boots = world.boots.load(SeqCst);
    Report { verdict, remote, faults: faults.count, boots, took_simulated, trace: seen.trace }
}

/// Lets simulated time pass: something takes this long, or begins this much later. Nobody waits for anything with it.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Lets simulated time pass, as many milliseconds as the dice say.
pub async fn pause(dice: &mut fastrand::Rng, ms: Range<u64>) {
    pass(Duration::from_millis(dice.u64(ms))).await;
}

pub fn client_name(number: u64) -> String {
    format!("client-{number}")
}

fn remote_name(number: u64) -> String {
    format!("remote-{number}")
}

/// Everybody whose link to the server may break.
pub fn clients() -> impl Iterator<Item = String> {
    let remotes = (0..REMOTES).map(remote_name);
    (0..CLIENTS).map(client_name).chain(remotes).chain([OPERATOR.to_owned()])
}
