//! The server's host: what `beaver run` puts together, on simulated seams.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use beaver::config::Settings;
use beaver::http::{HttpServer, HttpState, Listener};
use beaver::job_json::JobDefaults;
use beaver_actors::clock::Clock;
use beaver_actors::engine::{Ending, Engine, Seams};
use beaver_actors::ids::{KindName, QueueName, Timestamp};
use beaver_actors::jobs::{Payload, Retention};
use beaver_actors::options::EngineOptions;
use beaver_actors::supervisor::Threads;
use beaver_actors::worker::handler::{HandlerFuture, Handlers, JobError, JobHandler, JobRun};
use turmoil::net::{TcpListener, TcpStream};

use crate::world::World;

pub const PORT: u16 = 9090;
/// 2026-01-01T00:00:00Z
const EPOCH_MS: u64 = 1_767_225_600_000;

/// The simulation's time, and a wall clock that faults can set.
pub struct SimClock(pub Arc<World>);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let ms = EPOCH_MS + self.ticks().as_millis() as u64;
        Timestamp(ms.saturating_add_signed(self.0.clock_skew_ms.load(SeqCst)))
    }

    fn ticks(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_default()
    }
}

struct SimListener(TcpListener);

impl Listener for SimListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}

/// Sleeps, fails, panics or overruns its timeout, as the payload says.
struct Work(Arc<World>);

impl JobHandler for Work {
    fn run(&self, job: JobRun) -> HandlerFuture {
        let world = self.0.clone();
        Box::pin(async move {
            let (sleep_ms, how): (u64, String) = job.payload.read()?;
            world.began(&job.id.to_string(), job.attempt.0, job.token.0);
            tokio::time::sleep(Duration::from_millis(sleep_ms)).await;
            match (how.as_str(), job.attempt.0) {
                ("fail", 1) => Err(JobError::new("as asked")),
                ("panic", 1) => panic!("a job panics, as asked"),
                ("overrun", 1) => std::future::pending().await,
                _ => Ok(Some(Payload::empty())),
            }
        })
    }
}

fn options() -> EngineOptions {
    let mut options = EngineOptions::in_dir("/data");
    options.segment_bytes = 32 << 10;
    options.worker_count = 4;
    options.snapshot_interval = Duration::from_secs(3);
    options.policy.timeout = Duration::from_secs(2);
    options.policy.lease_margin = Duration::from_secs(1);
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
    let kind = KindName::parse("work")?;
    let handlers = Handlers::new().with(kind.clone(), Work(world.clone()));
    let seams = Seams {
        storage: Arc::new(world.disk.clone()),
        clock: Arc::new(SimClock(world.clone())),
        dice: fastrand::Rng::with_seed(world.seed.wrapping_mul(1_000).wrapping_add(boot)),
        threads: Threads::Callers,
    };
    let engine = Engine::start_on(seams, options(), handlers);
    *world.engine.lock().expect("nobody panics while holding it") = Some(engine.clone());
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let listener = TcpListener::bind(address).await?;
    let state = HttpState {
        engine: engine.clone(),
        defaults: JobDefaults {
            kind,
            queue: QueueName::parse("default")?,
            payload_bytes_max: 1 << 20,
            jobs_bytes_max: 1 << 24,
        },
        limits: Settings::default().http,
    };
    let http = HttpServer::on(SimListener(listener), address).spawn(state);
    let ending = engine.stopped().await;
    if let Ending::Failed { message, .. } = &ending {
        world.note(format!("server ended: {message}"));
    }
    http.shut_down(Duration::ZERO).await;
    Ok(())
}
