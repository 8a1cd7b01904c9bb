//! Whether new jobs are accepted now, for those who only ask: JobManagerActor says it, and anybody may look.

use std::sync::{Mutex, PoisonError};

use crate::base::metrics::Metrics;
use crate::jobs::Rejection;

/// Why a new job would be rejected, if it would.
#[derive(Debug, Default)]
pub struct Intake(Mutex<Option<Rejection>>);

impl Intake {
    /// Says it.
    pub(crate) fn tell(&self, refusal: Option<Rejection>, metrics: &Metrics) {
        metrics.accepts_jobs.set(u64::from(refusal.is_none()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// # Errors
    /// The rejection that a new job would get.
    pub(crate) fn look(&self) -> Result<(), Rejection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }
}
