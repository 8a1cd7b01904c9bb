//! The server's host: what `beaver run` puts together, both its listeners, in a simulated environment.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use beaver::internals::{
    FwpServer, FwpState, HttpServer, HttpState, JobDefaults, Listener, Memory, Registry, Settings,
};
use beaver_actors::api::handler::{HandlerFuture, Handlers, JobError, JobHandler, JobRun};
use beaver_actors::api::options::EngineOptions;
use beaver_actors::base::clock::Clock;
use beaver_actors::engine::{Ending, Engine, Environment};
use beaver_actors::ids::{KindName, QueueName, Timestamp};
use beaver_actors::internals::engine::threads::Threads;
use beaver_actors::jobs::{Payload, Retention};
use turmoil::net::{TcpListener, TcpStream};

use crate::world::{World, pass};

pub const PORT: u16 = 9090;
pub const FWP_PORT: u16 = 7419;
/// What local workers know how to do.
pub const KIND: &str = "work";
/// 2026-01-01T00:00:00Z
const EPOCH_MS: u64 = 1_767_225_600_000;

/// The simulation's time, and a wall clock that faults can set.
pub struct SimClock(pub Arc<World>);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(right_time().0.saturating_add_signed(self.0.clock_skew_ms.load(SeqCst)))
    }

    fn ticks(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_default()
    }

    fn is_synchronised(&self) -> bool {
        self.0.clock_skew_ms.load(SeqCst) == 0
    }
}

/// What a wall clock shows that nobody has set.
pub fn right_time() -> Timestamp {
    Timestamp(EPOCH_MS + turmoil::sim_elapsed().unwrap_or_default().as_millis() as u64)
}

struct SimListener(TcpListener);

impl Listener for SimListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}

/// What [`options`] give a job.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What a lease lasts beyond that.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

/// Sleeps, fails, panics, overruns its timeout or even its lease, as the payload says. Its result is the number of
/// its attempt.
struct Work(Arc<World>);

impl JobHandler for Work {
    fn run(&self, mut job: JobRun) -> HandlerFuture {
        let world = self.0.clone();
        Box::pin(async move {
            let (sleep_ms, how): (u64, String) = job.payload.read()?;
            world.began(&job.id.to_string(), job.attempt.0, job.token);
            pass(Duration::from_millis(sleep_ms)).await;
            match (how.as_str(), job.attempt.0) {
                ("fail", 1) => Err(JobError::new("as asked")),
                ("panic", 1) => panic!("a job panics, as asked"),
                ("overrun", 1) => Err(JobError::new(format!("{:?}", job.stop.stopped().await))),
                // The job has been given to somebody else by the time at which this one reports.
                ("outlive", 1) => {
                    pass(TIMEOUT + LEASE_MARGIN - Duration::from_millis(sleep_ms / 2)).await;
                    Ok(None)
                }
                (_, attempt) => Ok(Some(Payload::parse(&attempt.to_string())?)),
            }
        })
    }

    fn grace(&self) -> Option<Duration> {
        Some(2 * LEASE_MARGIN)
    }
}

/// Small segments and frequent snapshots, so that a short run has many.
pub fn options() -> EngineOptions {
    let mut options = EngineOptions::in_dir("/data");
    options.segment_bytes = 32 << 10;
    options.worker_count = 4;
    options.snapshot_interval = Duration::from_secs(3);
    options.policy.timeout = TIMEOUT;
    options.policy.lease_margin = LEASE_MARGIN;
    // Faults must not use up the attempts of a job: then "dead" would hide what is lost.
    options.policy.max_retry = 1_000;
    options.policy.retry_backoff = Duration::from_millis(50);
    options.policy.retry_backoff_max = Duration::from_secs(1);
    let for_ever = Retention { count: u64::MAX, age: Duration::from_secs(1 << 40) };
    (options.policy.completed, options.policy.dead, options.policy.cancelled) =
        (for_ever, for_ever, for_ever);
    options
}

/// One life of the server: until the engine ends. Crashes end it from outside.
pub async fn serve(world: Arc<World>) -> turmoil::Result {
    let boot = world.boots.fetch_add(1, SeqCst);
    let kind = KindName::parse(KIND)?;
    let handlers = Handlers::new().with(kind.clone(), Work(world.clone()));
    let environment = Environment {
        storage: Arc::new(world.disk.clone()),
        clock: Arc::new(SimClock(world.clone())),
        dice: fastrand::Rng::with_seed(world.seed.wrapping_mul(1_000).wrapping_add(boot)),
        threads: Threads::Callers,
    };
    let engine = Engine::start_on(environment, options(), handlers);
    *world.engine.lock().expect("nobody panics while holding it") = Some(engine.clone());
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let listener = TcpListener::bind(address).await?;
    let clock = Arc::new(SimClock(world.clone()));
    let registry = Registry::new(clock.clone());
    let state = HttpState {
        engine: engine.clone(),
        defaults: JobDefaults {
            kind: Some(kind),
            queue: QueueName::parse("default")?,
            payload_bytes_max: 1 << 20,
            jobs_bytes_max: 1 << 24,
        },
        limits: Settings::default().http,
        remote: registry.clone(),
        memory: Memory::of(&Settings::default()),
        connections: None,
    };
    let http = HttpServer::on(SimListener(listener), address).spawn(state);
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, FWP_PORT));
    let listener = TcpListener::bind(address).await?;
    let state = FwpState {
        engine: engine.clone(),
        registry,
        clock,
        password: None,
        tls: None,
        payload_bytes_max: 1 << 20,
        limits: Settings::default().fwp.limits,
        memory: Memory::of(&Settings::default()),
    };
    let fwp = FwpServer::on(SimListener(listener), address).spawn(state);
    let ending = engine.stopped().await;
    if let Ending::Failed { message, .. } = &ending {
        world.note(format!("server ended: {message}"));
    }
    http.shut_down(Duration::ZERO).await;
    fwp.shut_down(Duration::ZERO).await;
    Ok(())
}
