//! An engine of its own for each run, without snapshots in the middle of it.

use std::path::Path;
use std::time::Duration;

use beaver_actors::api::handler::Handlers;
use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::Engine;

/// The defaults (`durability: always`), with a snapshot interval longer than any run.
pub fn options(dir: &Path, workers: usize) -> EngineOptions {
    let mut options = EngineOptions::in_dir(dir);
    options.worker_count = workers;
    options.snapshot_interval = Duration::from_secs(24 * 60 * 60);
    options
}

/// Runs `work` as `beaver run` runs the engine: on an actix system over a tokio runtime of two threads.
pub fn on_system<T>(work: impl Future<Output = T>) -> T {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("threads can be started")
    };
    actix_rt::System::with_tokio_rt(runtime).block_on(work)
}

/// An engine that has recovered.
pub async fn start(options: EngineOptions, handlers: Handlers) -> Engine {
    let engine = Engine::start(options, handlers);
    engine.ready().await.expect("the directory can be opened");
    engine
}
