//! More than can be done: who is told so, and what becomes of the others.
//!
//! All actors live on the thread of the test, so nothing is answered until the test waits for it.

use std::time::Duration;

use beaver_actors::api::handler::Handlers;
use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::{AttemptEnd, Claim, EngineError};
use beaver_actors::ids::RemoteName;
use beaver_actors::jobs::{JobSpec, Payload};
use beaver_actors::testing::SimStorage;

use crate::harness::{in_simulated_time, job, options, ready_here};

/// So short that about a thousand jobs are too many to wait for.
fn hasty() -> EngineOptions {
    EngineOptions { request_wait_max: Duration::from_millis(1), ..options() }
}

fn jobs(count: usize) -> Vec<JobSpec> {
    vec![job("later"); count]
}

#[test]
fn new_jobs_behind_too_many_others_are_answered_busy_and_none_of_them_is_done() {
    in_simulated_time(|| async {
        let engine = ready_here(&SimStorage::new(), hasty(), Handlers::new()).await;
        let (first, second) = (engine.enqueue(jobs(400)), engine.enqueue(jobs(700)));
        // Answered without a wait: the others have not even had their turn.
        assert_eq!(engine.enqueue(jobs(1)).await, Err(EngineError::Busy));
        assert_eq!(engine.enqueue(jobs(600)).await, Err(EngineError::Busy));
        assert_eq!(engine.refuse_if_busy(100), Err(EngineError::Busy));
        assert_eq!(engine.metrics().requests_busy.get(), 3);
        assert_eq!((first.await.unwrap().len(), second.await.unwrap().len()), (400, 700));
        assert_eq!(engine.status().await.unwrap().jobs.total(), 1_100);
    });
}

#[test]
fn few_requests_are_too_many_if_they_are_large() {
    in_simulated_time(|| async {
        let engine = ready_here(&SimStorage::new(), hasty(), Handlers::new()).await;
        let [first, second] = [450, 600].map(|kibibytes| {
            let mut large = job("later");
            large.payload = Payload::from_value(&"x".repeat(kibibytes << 10)).unwrap();
            engine.enqueue(vec![large])
        });
        assert_eq!(engine.enqueue(jobs(1)).await, Err(EngineError::Busy));
        assert!(first.await.is_ok() && second.await.is_ok());
    });
}

#[test]
fn a_huge_request_that_finds_nobody_is_accepted() {
    in_simulated_time(|| async {
        let engine = ready_here(&SimStorage::new(), hasty(), Handlers::new()).await;
        for _ in 0..3 {
            assert_eq!(engine.enqueue(jobs(20_000)).await.map(|answers| answers.len()), Ok(20_000));
        }
        assert_eq!(engine.metrics().requests_busy.get(), 0);
    });
}

#[test]
fn reports_and_looks_are_taken_while_new_jobs_are_not() {
    in_simulated_time(|| async {
        let engine = ready_here(&SimStorage::new(), hasty(), Handlers::new()).await;
        let worker = RemoteName::parse("w1").unwrap();
        let fetch =
            || engine.fetch([crate::harness::queue("default")].into(), worker.clone(), Duration::ZERO);
        engine.enqueue(jobs(1)).await.unwrap();
        let (held, token) = fetch().await.unwrap().unwrap().accept();
        let many = engine.enqueue(jobs(2_000));
        assert_eq!(engine.enqueue(jobs(1)).await, Err(EngineError::Busy));
        let claim = Claim { worker: worker.clone(), token: Some(token) };
        let report = engine.report(held.id.clone(), claim, AttemptEnd::Success(None));
        let (status, seen) = (engine.status(), engine.job(held.id.clone()));
        assert!(fetch().await.unwrap().is_some());
        assert!(report.await.is_ok() && status.await.is_ok() && seen.await.is_ok() && many.await.is_ok());
    });
}

#[test]
fn after_the_load_as_much_is_accepted_as_before() {
    in_simulated_time(|| async {
        let engine = ready_here(&SimStorage::new(), hasty(), Handlers::new()).await;
        for round in 0..50 {
            let asked: Vec<_> = (0..100).map(|_| engine.enqueue(jobs(100))).collect();
            let (mut accepted, mut busy) = (0, 0);
            for answer in asked {
                match answer.await {
                    Ok(_) => accepted += 1,
                    Err(EngineError::Busy) => busy += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(accepted > 0 && busy > 0, "round {round}: {accepted} accepted, {busy} busy");
        }
        // A few one after the other, and the line is as long as at first.
        for _ in 0..10 {
            engine.enqueue(jobs(1)).await.unwrap();
        }
        let asked: Vec<_> = (0..5).map(|_| engine.enqueue(jobs(100))).collect();
        for answer in asked {
            assert!(answer.await.is_ok());
        }
    });
}

#[test]
fn who_is_crowded_out_by_the_count_of_requests_is_told_before_anybody_is_refused() {
    in_simulated_time(|| async {
        let options = EngineOptions { requests_max: 8, ..options() };
        let engine = ready_here(&SimStorage::new(), options, Handlers::new()).await;
        assert!(!engine.is_crowded());
        let waiting: Vec<_> = (0..2).map(|_| engine.enqueue(jobs(1))).collect();
        assert!(engine.is_crowded() && engine.refuse_if_busy(100).is_ok());
        for answer in waiting {
            answer.await.unwrap();
        }
        assert!(!engine.is_crowded());
    });
}
