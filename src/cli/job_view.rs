//! What the API said of a job or of the whole queue at one moment, to be compared with a later moment.

use beaver_actors::jobs::failure::FailedAttempt;
use beaver_actors::jobs::{FailureKind, Status};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::unreadable;
use super::exit::CliFailure;

/// The part of a server's status that the sum needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Glance {
    /// Jobs in any status.
    pub(crate) known: u64,
    /// Jobs that may still run.
    pub(crate) unfinished: u64,
    pub(crate) completed: u64,
    pub(crate) recovery_ms: f64,
}

/// A job at one moment.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Sighting {
    pub(crate) status: Status,
    pub(crate) attempt: u32,
    pub(crate) finished_at: Option<String>,
    errors: Vec<FailedAttempt>,
}

impl Glance {
    /// Reads the answer of `/api/v1/status`.
    ///
    /// # Errors
    /// It has another shape.
    pub(crate) fn read(answer: &RawValue) -> Result<Glance, CliFailure> {
        let status: Value = serde_json::from_str(answer.get()).map_err(|_| unreadable("status", answer))?;
        let of = |wanted: Status| status["jobs"][wanted.as_str()].as_u64();
        let sum = |finished: bool| {
            Status::ALL
                .iter()
                .filter(|one| one.is_finished() == finished)
                .map(|&one| of(one))
                .sum::<Option<u64>>()
        };
        let glance = || {
            let (unfinished, finished) = (sum(false)?, sum(true)?);
            Some(Glance {
                known: unfinished + finished,
                unfinished,
                completed: of(Status::Completed)?,
                recovery_ms: status["recovery"]["duration_ms"].as_f64()?,
            })
        };
        glance().ok_or_else(|| unreadable("status", answer))
    }
}

impl Sighting {
    /// Reads the answer of `/api/v1/jobs/{id}`.
    ///
    /// # Errors
    /// It has another shape.
    pub(crate) fn read(job: &RawValue) -> Result<Sighting, CliFailure> {
        Sighting::deserialize(job).map_err(|_| unreadable("job", job))
    }

    /// Whether a server ended in the middle of one of its runs.
    #[must_use]
    pub(crate) fn was_interrupted(&self) -> bool {
        self.errors.iter().any(|failed| failed.failure.kind == FailureKind::Lost)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;

    #[test]
    fn a_glance_adds_up_all_statuses() {
        let status = json!({
            "jobs": {"pending": 1, "scheduled": 2, "in_flight": 3, "retrying": 4, "completed": 5, "dead": 6,
                     "cancelled": 7},
            "recovery": {"duration_ms": 1.5},
        });
        let expected = Glance { known: 28, unfinished: 10, completed: 5, recovery_ms: 1.5 };
        let read = |status| Glance::read(&to_raw_value(&status).unwrap());
        assert_eq!(read(status).unwrap(), expected);
        assert!(read(json!({"jobs": {"pending": 1}})).is_err());
    }
}
