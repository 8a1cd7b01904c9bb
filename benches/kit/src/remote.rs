//! Remote workers without a network: jobs fetched and acked through the engine.

use std::sync::Arc;
use std::time::Duration;

use beaver_actors::engine::{AttemptEnd, Claim, Engine};
use beaver_actors::ids::{QueueName, RemoteName};

/// Each has one job at a time.
const WORKERS: usize = 500;

/// Every worker fetches a job, then every worker acks its job, until `count` jobs are done. Returns the bytes of their
/// payloads.
pub async fn fetch_and_ack(engine: &Engine, queue: &str, count: usize) -> usize {
    let queues: Arc<[QueueName]> = [QueueName::parse(queue).expect("a good name")].into();
    let worker = RemoteName::parse("bench").expect("a good name");
    let (mut left, mut bytes) = (count, 0);
    while left > 0 {
        let now = WORKERS.min(left);
        let fetches: Vec<_> =
            (0..now).map(|_| engine.fetch(queues.clone(), worker.clone(), Duration::ZERO)).collect();
        let mut acks = Vec::with_capacity(now);
        for fetch in fetches {
            let (job, token) = fetch.await.expect("it serves").expect("there is one").accept();
            bytes += job.payload.as_str().len();
            let claim = Claim { worker: worker.clone(), token: Some(token) };
            acks.push(engine.report(job.id, claim, AttemptEnd::Success(None)));
        }
        for ack in acks {
            ack.await.expect("its lease holds");
        }
        left -= now;
    }
    bytes
}
