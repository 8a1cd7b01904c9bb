//! What goes wrong, and when: drawn from the seed.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use beaver_actors::ids::{ChildId, WorkerId};
use turmoil::Sim;

use crate::world::{World, clients};

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Only what was synced remains.
    PowerCut,
    /// The process dies; the kernel keeps what was written.
    Kill,
    /// The next sync fails, and the engine must stop.
    FailedSync,
    /// No space, for a while.
    FullDisk,
    /// Messages between a client and the server are lost, for a while.
    Partition,
    /// They are held back and come all at once.
    Hold,
    /// The wall clock is set.
    Clock,
    /// A worker actor panics.
    WorkerCrash,
    /// The log's, the manager's or the snapshots' actor panics.
    ActorCrash,
}

const ALL: [Fault; 9] = [
    Fault::PowerCut,
    Fault::Kill,
    Fault::FailedSync,
    Fault::FullDisk,
    Fault::Partition,
    Fault::Hold,
    Fault::Clock,
    Fault::WorkerCrash,
    Fault::ActorCrash,
];

/// After about this many steps of the simulation, the messages of some link take another time.
const LATENCY_STEPS: u32 = 10;

/// The schedule of one run.
pub struct Faults {
    dice: fastrand::Rng,
    next_at: Duration,
    /// When each client's link is whole again.
    links: Vec<(String, Duration, Fault)>,
    space_back_at: Option<Duration>,
    up_again_at: Option<Duration>,
    pub count: u64,
}

impl Faults {
    pub fn new(seed: u64) -> Faults {
        let mut dice = fastrand::Rng::with_seed(!seed);
        let next_at = Duration::from_millis(dice.u64(200..2_000));
        Faults { dice, next_at, links: Vec::new(), space_back_at: None, up_again_at: None, count: 0 }
    }

    /// Does what is due now.
    pub fn step(&mut self, sim: &mut Sim<'_>, world: &Arc<World>) {
        let now = sim.elapsed();
        self.end_what_is_over(sim, world, now);
        self.change_a_latency(sim);
        if now < self.next_at {
            return;
        }
        self.next_at = now + Duration::from_millis(self.dice.u64(50..1_000));
        let fault = ALL[self.dice.usize(0..ALL.len())];
        self.count += 1;
        world.note(format!("fault {fault:?}"));
        let lasts = Duration::from_millis(self.dice.u64(100..3_000));
        match fault {
            Fault::PowerCut | Fault::Kill => self.crash(sim, world, fault, now),
            Fault::FailedSync => world.disk.fail_syncs(1),
            Fault::FullDisk => {
                world.disk.set_capacity(Some(world.disk.used()));
                self.space_back_at = Some(now + lasts);
            }
            Fault::Partition | Fault::Hold => {
                let client = clients().nth(self.dice.usize(0..clients().count())).expect("there are clients");
                if self.links.iter().any(|(other, ..)| *other == client) {
                    return;
                }
                match fault {
                    Fault::Hold => sim.hold(client.as_str(), "server"),
                    _ => sim.partition(client.as_str(), "server"),
                }
                self.links.push((client, now + lasts, fault));
            }
            // In some runs the clock is right.
            Fault::Clock if world.seed.is_multiple_of(3) => {}
            Fault::Clock => {
                // By hours, or back by days, but not both: a delay that is given while it is ahead is waited for when it is
                // followed back.
                let hours = match world.seed % 3 {
                    1 => self.dice.i64(-2..3),
                    _ => -24 * self.dice.i64(0..40),
                };
                world.clock_skew_ms.store(hours * 3_600_000, SeqCst);
            }
            Fault::WorkerCrash => {
                let worker = WorkerId(self.dice.u32(0..4));
                crash_actor(world, ChildId::Worker(worker));
            }
            Fault::ActorCrash => {
                let child = [ChildId::Wal, ChildId::Manager, ChildId::Snapshot][self.dice.usize(0..3)];
                crash_actor(world, child);
            }
        }
    }

    /// Messages of a link take as long as each other, until that changes: drawn one by one, how long they take would
    /// depend on the order in which a server that crashes lets go of its connections, which no seed decides.
    fn change_a_latency(&mut self, sim: &Sim<'_>) {
        if self.dice.u32(0..LATENCY_STEPS) == 0 {
            let client = clients().nth(self.dice.usize(0..clients().count())).expect("there are clients");
            sim.set_link_latency(client.as_str(), "server", Duration::from_millis(self.dice.u64(1..40)));
        }
    }

    /// The server is down for a moment; `restart_if_ended` starts it again.
    fn crash(&mut self, sim: &mut Sim<'_>, world: &World, fault: Fault, now: Duration) {
        sim.crash("server");
        match fault {
            Fault::PowerCut => world.disk.cut_power(),
            _ => world.disk.kill_process(),
        }
        self.up_again_at = Some(now + Duration::from_millis(self.dice.u64(5..800)));
    }

    /// A server that has ended, or was crashed, is started again.
    pub fn restart_if_ended(&mut self, sim: &mut Sim<'_>, world: &World) {
        if sim.is_host_running("server") {
            return;
        }
        // A server that has ended by itself is not started again in the same moment.
        let pause = Duration::from_millis(self.dice.u64(20..300));
        let at = *self.up_again_at.get_or_insert(sim.elapsed() + pause);
        if sim.elapsed() >= at {
            self.up_again_at = None;
            world.disk.kill_process();
            world.note("server starts".to_owned());
            sim.bounce("server");
        }
    }

    /// From now on nothing goes wrong.
    pub fn heal(&mut self, sim: &mut Sim<'_>, world: &World) {
        world.note("healed".to_owned());
        self.up_again_at = None;
        self.end_what_is_over(sim, world, Duration::MAX);
        world.disk.fail_syncs(0);
        world.disk.set_capacity(None);
        world.clock_skew_ms.store(0, SeqCst);
    }

    fn end_what_is_over(&mut self, sim: &mut Sim<'_>, world: &World, now: Duration) {
        self.links.retain(|(client, until, fault)| {
            let is_over = *until <= now;
            if is_over {
                match fault {
                    Fault::Hold => sim.release(client.as_str(), "server"),
                    _ => sim.repair(client.as_str(), "server"),
                }
            }
            !is_over
        });
        if self.space_back_at.is_some_and(|at| at <= now) {
            self.space_back_at = None;
            world.disk.set_capacity(None);
        }
    }
}

fn crash_actor(world: &World, child: ChildId) {
    if let Some(engine) = &*world.engine.lock().expect("nobody panics while holding it") {
        engine.crash(child);
    }
}
