//! Kind `simulate`: sleeps, and fails now and then. For demos and benches.

use std::time::Duration;

use beaver_actors::api::handler::{HandlerFuture, JobError, JobHandler, JobRun};
use beaver_actors::jobs::Payload;
use fastrand::Rng;
use serde::Deserialize;

use super::fields::read_object;

/// How long a run sleeps at most when the payload does not say, in milliseconds.
const SLEEP_MS_MAX: u64 = 500;
/// How often a run fails when the payload does not say.
const FAIL_RATE: f64 = 0.1;

/// Sleeps `payload.sleep_ms` (else 0 to 500 ms), then fails with probability `payload.fail_rate` (else 0.1).
///
/// Other fields of the payload are the producer's own business.
pub(crate) struct Simulate;

impl JobHandler for Simulate {
    fn run(&self, job: JobRun) -> HandlerFuture {
        Box::pin(async move {
            let plan = SimulatedRun::of(&job.payload, &mut Rng::new())?;
            tokio::time::sleep(plan.sleep).await;
            match plan.failure {
                Some(message) => Err(JobError::new(message)),
                None => Ok(None),
            }
        })
    }
}

#[derive(Deserialize)]
struct Wishes {
    sleep_ms: Option<u64>,
    fail_rate: Option<f64>,
}

/// What one run will do: thrown before it starts, so that tests need not sleep.
struct SimulatedRun {
    sleep: Duration,
    failure: Option<String>,
}

impl SimulatedRun {
    fn of(payload: &Payload, dice: &mut Rng) -> Result<SimulatedRun, JobError> {
        let wishes: Wishes = read_object(payload)?;
        let fail_rate = wishes.fail_rate.unwrap_or(FAIL_RATE);
        if !(0.0..=1.0).contains(&fail_rate) {
            return Err(JobError::new(format!("payload: fail_rate {fail_rate} is not between 0 and 1")));
        }
        let sleep_ms = wishes.sleep_ms.unwrap_or_else(|| dice.u64(0..=SLEEP_MS_MAX));
        // The dice give [0, 1): a rate of 0 never fails, a rate of 1 always does.
        let fails = dice.f64() < fail_rate;
        Ok(SimulatedRun {
            sleep: Duration::from_millis(sleep_ms),
            failure: fails.then(|| format!("simulated failure (fail_rate {fail_rate})")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::run_of;

    fn plan(payload: &str, dice: &mut Rng) -> Result<SimulatedRun, String> {
        SimulatedRun::of(&Payload::parse(payload).unwrap(), dice).map_err(|error| error.message)
    }

    fn refusal(payload: &str) -> String {
        plan(payload, &mut Rng::with_seed(7)).err().expect(payload)
    }

    #[test]
    fn it_does_what_the_payload_says_and_ignores_unknown_fields() {
        let dice = &mut Rng::with_seed(7);
        for _ in 0..1000 {
            let calm = plan(r#"{"sleep_ms":1234,"fail_rate":0,"to":"ada@example.org"}"#, dice).unwrap();
            assert_eq!((calm.sleep.as_millis(), calm.failure), (1234, None));
            let doomed = plan(r#"{"fail_rate":1}"#, dice).unwrap();
            assert_eq!(doomed.failure.as_deref(), Some("simulated failure (fail_rate 1)"));
        }
    }

    #[test]
    fn without_a_wish_it_sleeps_at_most_half_a_second_and_fails_about_one_time_in_ten() {
        let dice = &mut Rng::with_seed(7);
        let plans: Vec<_> = (0..1000).map(|_| plan("{}", dice).unwrap()).collect();
        assert!(plans.iter().all(|plan| plan.sleep.as_millis() <= u128::from(SLEEP_MS_MAX)));
        assert!(plans.iter().any(|plan| plan.sleep.as_millis() > u128::from(SLEEP_MS_MAX / 2)));
        let failed = plans.iter().filter(|plan| plan.failure.is_some()).count();
        assert!((50..200).contains(&failed), "{failed} of 1000 failed");
    }

    #[test]
    fn wishes_that_make_no_sense_are_named() {
        assert!(refusal(r#"{"fail_rate":1.5}"#).contains("fail_rate 1.5 is not between 0 and 1"));
        assert!(refusal(r#"{"sleep_ms":"long"}"#).contains("expected u64"));
        assert!(refusal(r#"{"sleep_ms":-1}"#).contains("expected u64"));
        assert!(refusal("[0,0]").contains("not an object"));
    }

    #[tokio::test]
    async fn a_run_follows_its_plan() {
        let (_sender, calm) = run_of(r#"{"sleep_ms":0,"fail_rate":0}"#);
        assert!(Simulate.run(calm).await.unwrap().is_none());
        let (_sender, doomed) = run_of(r#"{"sleep_ms":0,"fail_rate":1}"#);
        assert!(Simulate.run(doomed).await.is_err());
    }
}
