//! Filling a queue.

use std::collections::VecDeque;

use beaver_actors::engine::Engine;
use beaver_actors::jobs::JobSpec;

const REQUEST: u64 = 1_000;
/// Requests under way at the same time.
const UNDER_WAY: usize = 4;

/// Enqueues `jobs` jobs, which `take` makes, in requests of 1,000. All are durable when it returns.
pub async fn enqueue(engine: &Engine, jobs: u64, mut take: impl FnMut(usize) -> Vec<JobSpec>) {
    let mut answers = VecDeque::new();
    let mut left = jobs;
    while left > 0 {
        let now = REQUEST.min(left);
        answers.push_back(engine.enqueue(take(now as usize)));
        left -= now;
        if answers.len() == UNDER_WAY {
            answers.pop_front().expect("there are some").await.expect("accepted");
        }
    }
    for answer in answers {
        answer.await.expect("accepted");
    }
}
