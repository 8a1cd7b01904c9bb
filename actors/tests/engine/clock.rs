//! A clock that is wrong for a while: what is due by it runs, nothing is forgotten by it, and when it is right again everything
//! is as if it had been right before.

use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::Handlers;
use beaver_actors::base::clock::Clock as _;
use beaver_actors::engine::{AttemptEnd, Claim, Ending, Engine, Environment};
use beaver_actors::ids::{JobId, RemoteName, Timestamp};
use beaver_actors::jobs::{Backoff, Failure, FailureKind, JobSpec, JobView, Start, Status};
use beaver_actors::testing::{ManualClock, SimStorage};

use crate::harness::{enqueue, job, on_system, options, pass_awake, queue};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SOON: Duration = Duration::from_secs(3);
/// How long dead jobs are kept here.
const KEPT: Duration = Duration::from_secs(10 * 24 * 60 * 60);
const LEASE: Duration = Duration::from_secs(20);
const BACKOFF: Duration = Duration::from_secs(600);

/// A store that is started again and again, each time with the clock at some day.
struct Place {
    disk: SimStorage,
    clock: Arc<ManualClock>,
    first_day: Timestamp,
    engine: Option<Engine>,
}

impl Place {
    fn new() -> Place {
        let clock = Arc::new(ManualClock::default());
        Place { disk: SimStorage::new(), first_day: clock.now(), clock, engine: None }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it was started")
    }

    /// Stops it and starts it on this day, of a machine that says that its clock is right or does not.
    async fn start(&mut self, day: i64, is_synchronised: bool) {
        if let Some(engine) = self.engine.take() {
            assert_eq!(engine.stop(None).await, Ending::Clean);
        }
        let day_ms = i64::try_from(DAY.as_millis()).unwrap();
        let wall = self.first_day.0.checked_add_signed(day * day_ms).unwrap();
        self.clock.set_wall(Timestamp(wall));
        self.clock.set_synchronised(is_synchronised);
        let environment = Environment {
            storage: Arc::new(self.disk.clone()),
            clock: self.clock.clone(),
            ..Environment::default()
        };
        let mut options = options();
        options.policy.dead.age = KEPT;
        let engine = Engine::start_on(environment, options, Handlers::new());
        engine.ready().await.unwrap();
        self.engine = Some(engine);
        self.pass(SOON).await;
    }

    async fn pass(&self, time: Duration) {
        pass_awake(self.engine(), &self.clock, time).await;
    }

    /// Lets long time pass at once, and a little more.
    async fn pass_days(&self, days: u32) {
        self.clock.advance(DAY * days);
        self.pass(SOON).await;
    }

    async fn dead_job(&self) -> JobId {
        let spec = JobSpec { max_retry: Some(0), timeout: Some(LEASE), ..job("mail") };
        let id = enqueue(self.engine(), spec).await;
        self.fail(&id).await;
        assert_eq!(self.status(&id).await, Some(Status::Dead));
        id
    }

    async fn take(&self, id: &JobId) -> Claim {
        let worker = RemoteName::parse("ada").unwrap();
        let fetched = self.engine().fetch([queue("default")].into(), worker.clone(), Duration::ZERO);
        let (job, token) = fetched.await.unwrap().expect("a job").accept();
        assert_eq!(job.id, *id);
        Claim { worker, token: Some(token) }
    }

    async fn fail(&self, id: &JobId) {
        let claim = self.take(id).await;
        let end = AttemptEnd::Failure(Failure::new(FailureKind::Error, "no"), None);
        self.engine().report(id.clone(), claim, end).await.unwrap();
    }

    async fn at(&self, days: u64) -> JobId {
        let start = Start::At(self.first_day.plus_ms(days * DAY.as_millis() as u64));
        enqueue(self.engine(), JobSpec { start, ..job("mail") }).await
    }

    async fn view(&self, id: &JobId) -> Option<JobView> {
        self.engine().job(id.clone()).await.ok()
    }

    async fn status(&self, id: &JobId) -> Option<Status> {
        self.view(id).await.map(|view| view.status)
    }

    async fn is_doubted(&self) -> bool {
        self.engine().status().await.unwrap().clock.doubted_since.is_some()
    }
}

/// Row 67.
#[test]
fn one_start_with_a_clock_far_ahead_forgets_nothing_and_afterwards_jobs_wait_for_their_moment_again() {
    on_system(|| async {
        for is_synchronised in [false, true] {
            let mut place = Place::new();
            place.start(0, true).await;
            let (dead, next_week, later) = (place.dead_job().await, place.at(8).await, place.at(500).await);

            place.start(400, is_synchronised).await;
            assert_eq!(place.is_doubted().await, !is_synchronised);
            let kept = (!is_synchronised).then_some(Status::Dead);
            assert_eq!(place.status(&dead).await, kept, "a machine that vouches for its clock is believed");
            assert_eq!(place.status(&next_week).await, Some(Status::Pending), "what is due runs");
            assert_eq!(place.status(&later).await, Some(Status::Scheduled));

            place.start(0, true).await;
            let status = place.engine().status().await.unwrap();
            assert_eq!((status.clock.doubted_since, status.clock.set_back_to.is_some()), (None, true));
            assert_eq!(place.status(&dead).await, kept);
            let in_two_days = place.at(2).await;
            let view = place.view(&in_two_days).await.unwrap();
            assert!(view.created_at.since_ms(place.first_day) < 60_000, "{}", view.created_at);
            place.pass_days(1).await;
            assert_eq!(place.status(&in_two_days).await, Some(Status::Scheduled));
            place.pass_days(2).await;
            assert_eq!(place.status(&in_two_days).await, Some(Status::Pending));
            assert_eq!(place.status(&dead).await, kept);
            place.pass_days(8).await;
            assert_eq!(place.status(&dead).await, None, "it is old now");
        }
    });
}

/// Row 67.
#[test]
fn what_began_while_the_clock_was_ahead_ends_as_if_it_had_been_right() {
    on_system(|| async {
        let mut place = Place::new();
        place.start(0, true).await;
        place.start(400, false).await;
        let dead = place.dead_job().await;
        let spec = JobSpec {
            timeout: Some(LEASE),
            max_retry: Some(3),
            backoff: Backoff::Fixed { delay_ms: BACKOFF.as_millis() as u64 },
            ..job("mail")
        };
        let retrying = enqueue(place.engine(), spec.clone()).await;
        place.fail(&retrying).await;
        let held = enqueue(place.engine(), spec).await;
        place.take(&held).await;

        place.start(0, true).await;
        let now = place.clock.now();
        let deadline = place.view(&held).await.unwrap().deadline.unwrap();
        assert!(deadline <= now.plus_ms(LEASE.as_millis() as u64), "{deadline}");
        let next = place.view(&retrying).await.unwrap().run_at.unwrap();
        assert!(next > now && next <= now.plus_ms(BACKOFF.as_millis() as u64), "{next}");
        place.pass(LEASE).await;
        assert_eq!(place.status(&held).await, Some(Status::Retrying));
        place.clock.advance(BACKOFF);
        place.pass(SOON).await;
        assert_eq!(place.status(&retrying).await, Some(Status::Pending));
        place.pass_days(9).await;
        assert_eq!(place.status(&dead).await, Some(Status::Dead));
        place.pass_days(1).await;
        assert_eq!(place.status(&dead).await, None, "ten days after the clock was right again");
    });
}

/// Row 67.
#[test]
fn no_restart_makes_a_doubted_clock_believed_but_a_person_or_the_machine_does() {
    on_system(|| async {
        for by_a_person in [true, false] {
            let mut place = Place::new();
            place.start(0, true).await;
            let dead = place.dead_job().await;
            for day in [30, 30, 31, 45] {
                place.start(day, false).await;
                assert!(place.is_doubted().await, "day {day}");
                assert_eq!(place.status(&dead).await, Some(Status::Dead), "day {day}");
            }
            // Nor does a snapshot, which holds it.
            place.pass(Duration::from_secs(70)).await;
            assert!(place.is_doubted().await);
            if by_a_person {
                assert_eq!(place.engine().trust_clock().await, Ok(1));
                place.pass(SOON).await;
            } else {
                place.clock.set_synchronised(true);
                place.pass(Duration::from_secs(70)).await;
            }
            assert!(!place.is_doubted().await);
            assert_eq!(place.status(&dead).await, None, "by a person: {by_a_person}");
            assert_eq!(place.engine().trust_clock().await, Ok(0), "nobody doubts it any more");
        }
    });
}

/// Row 67: a machine without a clock of its own begins in the past until it has asked for the time.
#[test]
fn what_ended_while_the_clock_was_behind_is_not_forgotten_when_it_is_right_again() {
    on_system(|| async {
        let mut place = Place::new();
        place.start(0, true).await;
        let before = place.dead_job().await;
        for days in [1, 2] {
            place.start(-1_000, false).await;
            let dead = place.dead_job().await;
            place.start(days, true).await;
            assert!(!place.is_doubted().await);
            for id in [&before, &dead] {
                assert_eq!(place.status(id).await, Some(Status::Dead));
            }
            // Also when it is set while the server runs.
            place.start(-1_000, false).await;
            let dead = place.dead_job().await;
            place.clock.set_wall(place.first_day.plus_ms(days as u64 * DAY.as_millis() as u64));
            place.clock.set_synchronised(true);
            place.pass(Duration::from_secs(15)).await;
            for id in [&before, &dead] {
                assert_eq!(place.status(id).await, Some(Status::Dead));
            }
        }
        place.pass_days(10).await;
        assert_eq!(place.status(&before).await, None, "it is old now");
    });
}

/// Row 67.
#[test]
fn a_clock_that_is_set_back_by_days_while_the_server_runs_is_followed_and_so_are_those_who_wait() {
    on_system(|| async {
        let mut place = Place::new();
        place.start(400, true).await;
        let tomorrow = place.at(1).await;
        assert_eq!(place.status(&tomorrow).await, Some(Status::Pending), "it is past");
        place.clock.set_wall(place.first_day);
        let worker = RemoteName::parse("ada").unwrap();
        let waits = place.engine().fetch([queue("elsewhere")].into(), worker, Duration::from_secs(60));
        let waits = tokio::task::spawn_local(waits);
        place.pass(Duration::from_secs(12)).await;
        let status = place.engine().status().await.unwrap();
        assert!(status.clock.set_back_to.is_some_and(|to| to.since_ms(place.first_day) < 60_000));
        let tomorrow = place.at(1).await;
        assert_eq!(place.status(&tomorrow).await, Some(Status::Scheduled));
        assert!(!waits.is_finished());
        place.pass(Duration::from_secs(60)).await;
        assert!(waits.await.unwrap().unwrap().is_none(), "it has waited for as long as it wanted");
    });
}
