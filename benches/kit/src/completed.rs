//! Waiting for the end of work.

use std::time::Duration;

use beaver_actors::engine::Engine;

/// Returns when `jobs` jobs have been completed since the engine's start, and that is durable.
pub async fn completed(engine: &Engine, jobs: u64) {
    while engine.metrics().jobs_completed.get() < jobs {
        // Not at every change of the engine: thousands of them a second would cost what is measured.
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    // Everything that was counted is durable before this answers.
    engine.status().await.expect("it serves");
}
