//! What the tests of the actors share: handlers made of functions, engines on a simulated disk, waiting for events.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::{HandlerFuture, Handlers, JobError, JobHandler, JobRun, StopReason};
use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::{Engine, Environment, Threads};
use beaver_actors::ids::{JobId, KindName, QueueName};
use beaver_actors::jobs::{JobSpec, JobView, Payload, Status};
use beaver_actors::testing::{ManualClock, SimStorage};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A handler made of a function.
pub(crate) struct Does<F>(pub F, pub Option<Duration>);

impl<F, R> JobHandler for Does<F>
where
    F: Fn(JobRun) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Option<Payload>, JobError>> + Send + 'static,
{
    fn run(&self, job: JobRun) -> HandlerFuture {
        Box::pin((self.0)(job))
    }

    fn grace(&self) -> Option<Duration> {
        self.1
    }
}

/// A handler that runs until it is told to stop and then fails; and what is heard from it: `None` when it begins, then
/// why it shall stop.
pub(crate) fn runs_until_stopped() -> (impl JobHandler, UnboundedReceiver<Option<StopReason>>) {
    let (tell, heard) = unbounded_channel();
    let run = move |mut job: JobRun| {
        let tell = tell.clone();
        async move {
            tell.send(None).unwrap();
            tell.send(Some(job.stop.stopped().await)).unwrap();
            Err(JobError::new("stopped"))
        }
    };
    (Does(run, Some(Duration::from_secs(5))), heard)
}

pub(crate) fn kind(name: &str) -> KindName {
    KindName::parse(name).unwrap()
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::parse(name).unwrap()
}

pub(crate) fn job(name: &str) -> JobSpec {
    job_in("default", name)
}

pub(crate) fn job_in(line: &str, name: &str) -> JobSpec {
    JobSpec::new(queue(line), kind(name), Payload::empty())
}

pub(crate) fn options() -> EngineOptions {
    let mut options = EngineOptions::in_dir("/data");
    options.segment_bytes = 256 << 10;
    options.worker_count = 4;
    options.drain_timeout = Duration::from_secs(5);
    options.policy.retry_backoff = Duration::from_millis(1);
    options
}

/// Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test on an actix system.
pub(crate) fn on_system<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F) {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    actix_rt::System::with_tokio_rt(runtime).block_on(async move {
        tokio::time::timeout(PATIENCE, test()).await.expect("the test ends within a minute");
    });
}

/// Runs a test on this thread in simulated time, which moves on to the next timer when nobody has anything left to do.
/// Its engines come from [`ready_here`].
pub(crate) fn in_simulated_time<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(PATIENCE, test()).await.expect("the test ends within a simulated minute");
    });
}

/// Lets this much simulated time pass, and everything that is due in it happen.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

pub(crate) fn start(disk: &SimStorage, options: EngineOptions, handlers: Handlers) -> Engine {
    let environment = Environment {
        storage: Arc::new(disk.clone()),
        dice: fastrand::Rng::with_seed(1),
        ..Environment::default()
    };
    Engine::start_on(environment, options, handlers)
}

pub(crate) async fn ready(disk: &SimStorage, options: EngineOptions, handlers: Handlers) -> Engine {
    let engine = start(disk, options, handlers);
    engine.ready().await.unwrap();
    engine
}

/// An engine whose actors all live on this thread, so that nothing happens while it does something else.
pub(crate) async fn ready_here(disk: &SimStorage, options: EngineOptions, handlers: Handlers) -> Engine {
    let environment =
        Environment { storage: Arc::new(disk.clone()), threads: Threads::Callers, ..Environment::default() };
    let engine = Engine::start_on(environment, options, handlers);
    engine.ready().await.unwrap();
    engine
}

/// Lets time pass while the engine is awake: in steps that are short enough not to pass for a pause.
pub(crate) async fn pass_awake(engine: &Engine, clock: &ManualClock, time: Duration) {
    // An answer may come before its turn ends, so that two steps are one to the engine.
    const STEP: Duration = Duration::from_millis(250);
    let mut left = time;
    while !left.is_zero() {
        let step = left.min(STEP);
        clock.advance(step);
        // Answered at the end of a turn, which does what is due.
        engine.status().await.unwrap();
        left -= step;
    }
}

pub(crate) async fn enqueue(engine: &Engine, spec: JobSpec) -> JobId {
    engine.enqueue(vec![spec]).await.unwrap().remove(0).id
}

/// The job as soon as it is in this status.
pub(crate) async fn when(engine: &Engine, id: &JobId, status: Status) -> JobView {
    until(engine, async || {
        let view = engine.job(id.clone()).await.unwrap();
        let is_it = view.status == status;
        assert!(is_it || !view.status.is_finished(), "{view:?} will never be {status:?}");
        is_it.then_some(view)
    })
    .await
}

/// What a look finds, as soon as it finds something. It looks again whenever the engine has changed.
pub(crate) async fn until<T>(engine: &Engine, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut changes = engine.changes();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        changes.changed().await.expect("the engine that changes is held by the caller");
    }
}
