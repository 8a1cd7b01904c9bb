//! What remote workers say before, during and after the time in which the server did not listen: it was stopped, killed or
//! suspended, or its clock was set. What was said in time counts, and nothing without retries runs twice.

use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::Handlers;
use beaver_actors::base::clock::Clock as _;
use beaver_actors::engine::{AttemptEnd, Claim, Ending, Engine, EngineError, Environment, SetAction};
use beaver_actors::ids::{JobId, RemoteName, Token};
use beaver_actors::jobs::{Backoff, Failure, FailureKind, Filter, JobSpec, Rejection, Status};
use beaver_actors::testing::{ManualClock, SimStorage};

use crate::harness::{enqueue, job_in, on_system, options, pass_awake, queue};

/// Longer than the time between two heartbeats.
const LEASE: Duration = Duration::from_secs(20);
/// Longer than the lease.
const AWAY: Duration = Duration::from_secs(60);
/// Some steps of the clock.
const SOON: Duration = Duration::from_secs(1);
/// The pause between two attempts: longer than any lease that is spared.
const BACKOFF_MS: u64 = 600_000;
/// How long a clock that was set forward must say so until it is believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(11);

/// Why nobody listens, or nobody knows what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Stopped,
    Killed,
    Suspended,
    SetForward,
    SetBack,
    /// By more than a year.
    SetFarForward,
    SetFarBack,
}

/// When the worker says that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Before,
    /// It is the first thing that the server hears.
    During,
    /// Within the time that the lease gets back.
    After,
    /// The job waits for its next attempt, or is dead.
    TooLate,
    /// Another worker has the job, or it is dead.
    MuchTooLate,
}

struct Place {
    disk: SimStorage,
    clock: Arc<ManualClock>,
    engine: Engine,
}

impl Place {
    async fn new() -> Place {
        let (disk, clock) = (SimStorage::new(), Arc::default());
        let engine = Place::start(&disk, &clock).await;
        Place { disk, clock, engine }
    }

    async fn start(disk: &SimStorage, clock: &Arc<ManualClock>) -> Engine {
        let environment =
            Environment { storage: Arc::new(disk.clone()), clock: clock.clone(), ..Environment::default() };
        let engine = Engine::start_on(environment, options(), Handlers::new());
        engine.ready().await.unwrap();
        engine
    }

    async fn pass(&self, time: Duration) {
        // If it was suspended, it notices that now, and not after the first step.
        self.engine.status().await.unwrap();
        pass_awake(&self.engine, &self.clock, time).await;
    }

    /// Lets time pass until the job is in this status, which it must be soon.
    async fn pass_until(&self, job: &JobId, status: Status) {
        for _ in 0..20 {
            if self.status(job).await.0 == status {
                return;
            }
            self.pass(SOON).await;
        }
        panic!("{:?} and not {status:?}", self.status(job).await);
    }

    async fn be_away(&mut self, away: Away) {
        match away {
            Away::Suspended => self.clock.advance(AWAY),
            Away::SetForward | Away::SetBack | Away::SetFarForward | Away::SetFarBack => {
                const HOUR_MS: i64 = 3_600_000;
                let step_ms = match away {
                    Away::SetForward => HOUR_MS,
                    Away::SetBack => -HOUR_MS,
                    Away::SetFarForward => 400 * 24 * HOUR_MS,
                    _ => -400 * 24 * HOUR_MS,
                };
                // Else what is done is old, and forgotten.
                self.clock.set_synchronised(step_ms.abs() == HOUR_MS);
                let wall = self.clock.now().0.checked_add_signed(step_ms).unwrap();
                self.clock.set_wall(beaver_actors::ids::Timestamp(wall));
                self.pass(BELIEVED_AFTER).await;
            }
            Away::Stopped | Away::Killed => {
                match away {
                    Away::Stopped => assert_eq!(self.engine.stop(None).await, Ending::Clean),
                    _ => {
                        self.disk.cut_power();
                        self.engine.abort().await;
                    }
                }
                self.clock.advance(AWAY);
                self.engine = Place::start(&self.disk, &self.clock).await;
            }
        }
    }

    async fn fetch(&self, name: &str) -> Option<(JobId, Token)> {
        let fetched = self.engine.fetch([queue("a")].into(), worker(name), Duration::ZERO);
        let (job, token) = fetched.await.unwrap()?.accept();
        Some((job.id, token))
    }

    async fn succeed(&self, job: &JobId, name: &str, token: Option<Token>) -> Result<(), EngineError> {
        let claim = Claim { worker: worker(name), token };
        self.engine.report(job.clone(), claim, AttemptEnd::Success(None)).await
    }

    async fn fail(&self, job: &JobId, name: &str, token: Option<Token>) -> Result<(), EngineError> {
        let claim = Claim { worker: worker(name), token };
        let end = AttemptEnd::Failure(Failure::new(FailureKind::Error, "no"), None);
        self.engine.report(job.clone(), claim, end).await
    }

    /// A job that `ada` has had for five seconds.
    async fn held(&self, max_retry: u32) -> (JobId, Token) {
        let spec = JobSpec {
            timeout: Some(LEASE),
            max_retry: Some(max_retry),
            backoff: Backoff::Fixed { delay_ms: BACKOFF_MS },
            ..job_in("a", "mail")
        };
        let id = enqueue(&self.engine, spec).await;
        let (job, token) = self.fetch("ada").await.expect("a job");
        assert_eq!(job, id);
        self.pass(Duration::from_secs(5)).await;
        (job, token)
    }

    async fn status(&self, job: &JobId) -> (Status, u32, u32) {
        let view = self.engine.job(job.clone()).await.unwrap();
        (view.status, view.attempt.0, view.failed)
    }
}

fn worker(name: &str) -> RemoteName {
    RemoteName::parse(name).unwrap()
}

async fn one_way(away: Away, said: Said, max_retry: u32, knows: bool) {
    let told = format!("{away:?}, ACK {said:?}, max_retry {max_retry}, knows its token: {knows}");
    let mut place = Place::new().await;
    let (job, token) = place.held(max_retry).await;
    let token = knows.then_some(token);
    if said == Said::Before {
        place.succeed(&job, "ada", token).await.unwrap();
    }
    place.be_away(away).await;
    let is_late = matches!(said, Said::TooLate | Said::MuchTooLate);
    if said == Said::After {
        place.pass(2 * SOON).await;
    }
    if is_late {
        place.pass(LEASE).await;
        let given_up = if max_retry == 0 { Status::Dead } else { Status::Retrying };
        place.pass_until(&job, given_up).await;
        assert_eq!(place.status(&job).await, (given_up, 1, 1), "{told}");
        assert!(place.fail(&job, "ada", token).await.is_err(), "{told}");
    }
    if said == Said::MuchTooLate && max_retry > 0 {
        // While a clock that is behind is waited for, a pause takes a tenth longer.
        place.clock.advance(Duration::from_millis(BACKOFF_MS + BACKOFF_MS / 8));
        place.pass_until(&job, Status::Pending).await;
        let (again, others) = place.fetch("bob").await.expect("its next attempt");
        assert_eq!(again, job);
        let refused = place.succeed(&job, "ada", token).await.unwrap_err();
        assert!(matches!(refused, EngineError::Rejected(Rejection::NotHeld { .. })), "{told}: {refused}");
        assert_eq!(place.status(&job).await, (Status::InFlight, 2, 1), "{told}");
        place.succeed(&job, "bob", Some(others)).await.unwrap();
        return;
    }
    if said != Said::Before {
        let counts = place.succeed(&job, "ada", token).await;
        if is_late && max_retry == 0 {
            let dead = Rejection::Finished { job: job.clone(), status: "dead" };
            assert_eq!(counts, Err(dead.into()), "{told}");
            assert_eq!(place.status(&job).await, (Status::Dead, 1, 1), "{told}");
            return;
        }
        assert_eq!(counts, Ok(()), "{told}");
    }
    assert_eq!(place.status(&job).await, (Status::Completed, 1, u32::from(is_late)), "{told}");
    assert!(place.fetch("bob").await.is_none(), "{told}: it runs once");
}

/// Rows 67 and 83.
#[test]
fn an_ack_in_time_counts_whatever_kept_the_server_and_nothing_without_retries_runs_twice() {
    let every_way = |away| async move {
        for said in [Said::Before, Said::During, Said::After, Said::TooLate, Said::MuchTooLate] {
            // Over a connection that it has made anew, a worker is known by its name alone.
            for (max_retry, knows) in [(0, true), (0, false), (3, true), (3, false)] {
                one_way(away, said, max_retry, knows).await;
            }
        }
    };
    std::thread::scope(|scope| {
        let clock = [Away::SetForward, Away::SetBack, Away::SetFarForward, Away::SetFarBack];
        for away in [Away::Stopped, Away::Killed, Away::Suspended].into_iter().chain(clock) {
            scope.spawn(move || on_system(move || every_way(away)));
        }
    });
}

/// Row 83: a failure that was reported in time counts as one, with its reason.
#[test]
fn a_failure_that_is_told_after_the_server_was_away_counts_with_its_reason() {
    on_system(|| async {
        for away in [Away::Stopped, Away::Killed, Away::Suspended, Away::SetForward] {
            let mut place = Place::new().await;
            let (job, token) = place.held(0).await;
            place.be_away(away).await;
            place.fail(&job, "ada", Some(token)).await.unwrap();
            let view = place.engine.job(job).await.unwrap();
            assert_eq!((view.status, &*view.errors[0].failure.message), (Status::Dead, "no"), "{away:?}");
        }
    });
}

/// Row 83: only one of the server's pauses after the other can keep a job from a worker that is gone for good.
#[test]
fn a_worker_that_is_gone_keeps_its_job_no_longer_than_its_lease_after_the_server_is_back() {
    on_system(|| async {
        for away in [Away::Stopped, Away::Killed, Away::Suspended] {
            let mut place = Place::new().await;
            let (job, _) = place.held(1).await;
            place.be_away(away).await;
            place.pass(LEASE - SOON).await;
            assert_eq!(place.status(&job).await, (Status::InFlight, 1, 0), "{away:?}");
            place.pass(2 * SOON).await;
            place.pass_until(&job, Status::Retrying).await;
            assert_eq!(place.status(&job).await, (Status::Retrying, 1, 1), "{away:?}");
        }
    });
}

/// Rows 83 and 89: who puts a job back by hand wants it to run again, even if its last worker says that it is done.
#[test]
fn a_success_that_is_told_late_counts_until_somebody_puts_the_job_back() {
    on_system(|| async {
        let place = Place::new().await;
        let (job, token) = place.held(0).await;
        let only = Filter { ids: Some(vec![job.clone()]), ..Filter::default() };
        assert_eq!(place.engine.act(SetAction::Requeue, Status::InFlight, only).await, Ok(1));
        for token in [None, Some(token)] {
            assert!(place.succeed(&job, "ada", token).await.is_err());
        }
        assert_eq!(place.status(&job).await, (Status::Pending, 1, 0));
        let (again, others) = place.fetch("bob").await.expect("it is there again");
        assert_eq!(again, job);
        place.succeed(&job, "bob", Some(others)).await.unwrap();

        let (other, token) = place.held(1).await;
        place.fail(&other, "ada", Some(token)).await.unwrap();
        let stranger = place.succeed(&other, "bob", None).await;
        assert!(stranger.is_err(), "it was never bob's");
        place.succeed(&other, "ada", Some(token)).await.unwrap();
        assert_eq!(place.status(&other).await.0, Status::Completed);
    });
}
