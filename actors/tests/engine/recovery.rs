//! The whole engine through crashes: what was acknowledged is there, what was completed is not run again.

use std::collections::BTreeMap;
use std::time::Duration;

use beaver_actors::engine::FailCause;
use beaver_actors::ids::{JobId, Seq, Timestamp, Token};
use beaver_actors::internals::wal::{Group, codec};
use beaver_actors::jobs::{Command, Event, EventKind, Status};
use beaver_actors::testing::{SimStorage, StepEngine};

#[test]
fn job_acked_before_the_crash_is_not_run_again() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let job = beaver.enqueue("mail");
    beaver.dispatch_and_ack(&job);
    beaver.sync();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.status_of(&job), Some(Status::Completed));
    assert_eq!(beaver.dispatch(0), None);
}

#[test]
fn a_job_in_flight_at_the_crash_runs_again_under_a_larger_token_and_its_attempt_counts() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let job = beaver.enqueue("mail");
    let later = beaver.enqueue("mail");
    let (_, before) = beaver.dispatch(0).unwrap();
    beaver.sync();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.recovery.interrupted, 1);
    let view = beaver.table().view(&job).unwrap();
    assert_eq!((view.status, view.attempt.0, view.errors.len()), (Status::Pending, 1, 1));
    // It is where it was in line, and the report of its first worker comes to nothing.
    let (again, after) = beaver.dispatch(1).unwrap();
    assert_eq!(again, job);
    assert!(after > before);
    assert!(beaver.ack(&job, before).is_err());
    beaver.ack(&job, after).unwrap();
    assert_eq!(beaver.dispatch(1).unwrap().0, later);
}

#[test]
fn a_job_that_brings_the_server_down_each_time_is_dead_when_its_attempts_are_used_up() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let job = beaver.enqueue("mail");
    for _ in 0..4 {
        assert_eq!(beaver.dispatch(0).unwrap().0, job);
        beaver.sync();
        beaver.crash_keeping_only_synced_bytes();
    }
    assert_eq!(beaver.status_of(&job), Some(Status::Dead));
}

#[test]
fn scheduled_and_retrying_jobs_keep_their_moment_through_a_crash() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let mut spec = StepEngine::spec("mail");
    spec.id = Some(JobId::parse("later").unwrap());
    spec.start = beaver_actors::jobs::Start::After(Duration::from_secs(3600));
    beaver.execute(Command::Enqueue(Box::new(spec))).unwrap();
    let failing = beaver.enqueue("mail");
    let (_, token) = beaver.dispatch(0).unwrap();
    beaver.fail(&failing, token).unwrap();
    beaver.sync();
    let image = beaver.image();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
    beaver.advance(Duration::from_secs(2));
    assert_eq!(beaver.dispatch(0).unwrap().0, failing);
    assert_eq!(beaver.dispatch(0), None);
    beaver.advance(Duration::from_secs(3600));
    assert_eq!(beaver.dispatch(0).unwrap().0.to_string(), "later");
}

/// Row 57: state and log that were not made by the same rules are noticed.
#[test]
fn every_256th_event_sums_up_the_state_and_replay_refuses_another_sum() {
    let mut beaver = StepEngine::on(SimStorage::new());
    for _ in 0..300 {
        beaver.enqueue("mail");
    }
    beaver.sync();
    let image = beaver.image();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);

    let mut beaver = StepEngine::on(SimStorage::new());
    beaver.enqueue("mail");
    let wrong = Event { at: Timestamp(1), job_seq: Seq::ZERO, kind: EventKind::Digest { digest: 1 } };
    let mut group = Group { first: Seq(3), count: 1, bytes: Vec::new() };
    codec::encode(&wrong, &mut group.bytes);
    beaver.log().append(&[group], Timestamp(1)).1.unwrap();
    beaver.sync();
    let error = beaver.boot().unwrap_err();
    assert_eq!(error.cause, FailCause::Damaged);
    assert!(error.message.contains("event 3 (DIGEST)") && error.message.contains("sums up to"), "{error}");
}

/// Rows 2 and 3 in small: a power cut or a kill after any step, any number of times.
#[test]
fn random_work_with_crashes_at_any_step_loses_nothing_that_was_synced_and_repeats_nothing_that_was_acked() {
    for seed in 0..40 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let options = StepEngine::on(SimStorage::new()).options;
        let mut beaver = StepEngine::with(SimStorage::new(), options, seed).unwrap();
        let mut held: Vec<(JobId, Token)> = Vec::new();
        // What a client may rely on, because a sync followed it.
        let mut relied: BTreeMap<String, Status> = BTreeMap::new();
        let mut written: BTreeMap<String, Status> = BTreeMap::new();
        let mut last_token = None;
        for step in 0..400 {
            match dice.u32(0..20) {
                0..=6 => {
                    let job = beaver.enqueue("mail");
                    written.insert(job.to_string(), Status::Pending);
                }
                7..=11 => {
                    if let Some((job, token)) = beaver.dispatch(0) {
                        assert_ne!(
                            relied.get(&job.to_string()),
                            Some(&Status::Completed),
                            "seed {seed} step {step}"
                        );
                        assert!(Some(token) > last_token, "seed {seed} step {step}");
                        // A worker only starts when the dispatch is durable.
                        relied.append(&mut written);
                        beaver.sync();
                        last_token = Some(token);
                        held.push((job, token));
                    }
                }
                12..=14 if !held.is_empty() => {
                    let (job, token) = held.swap_remove(dice.usize(0..held.len()));
                    if beaver.ack(&job, token).is_ok() {
                        written.insert(job.to_string(), Status::Completed);
                    }
                }
                15 if beaver.table().last().0 > 0 => drop(beaver.snapshot().unwrap()),
                16..=17 => {
                    beaver.sync();
                    relied.append(&mut written);
                }
                18 => beaver.advance(Duration::from_millis(dice.u64(0..40_000))),
                _ => {
                    match dice.bool() {
                        true => beaver.crash_keeping_only_synced_bytes(),
                        false => beaver.crash_keeping_everything(),
                    }
                    written.clear();
                    for (job, status) in &relied {
                        let now = beaver.status_of(&JobId::parse(job).unwrap());
                        let now = now.unwrap_or_else(|| panic!("seed {seed} step {step}: {job} is lost"));
                        if *status == Status::Completed {
                            assert_eq!(now, Status::Completed, "seed {seed} step {step}: {job}");
                        }
                    }
                }
            }
        }
    }
}
