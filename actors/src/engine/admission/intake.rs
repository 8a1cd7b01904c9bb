//! Whether new jobs are accepted now, for those who only ask: JobManagerActor says it, and anybody may look.

use std::sync::{Arc, Mutex, PoisonError};

use crate::base::metrics::Metrics;
use crate::jobs::Rejection;
use crate::storage::patient::Shortage;

/// Why a new job would be rejected, if it would.
#[derive(Debug, Default)]
pub struct Intake {
    refusal: Mutex<Option<Rejection>>,
    /// Comes and goes without the manager.
    pub(crate) shortage: Arc<Shortage>,
}

impl Intake {
    /// Says it.
    pub(crate) fn tell(&self, refusal: Option<Rejection>, metrics: &Metrics) {
        metrics.accepts_jobs.set(u64::from(refusal.is_none()));
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// # Errors
    /// The rejection that a new job would get.
    pub(crate) fn look(&self) -> Result<(), Rejection> {
        let told = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match told.filter(|refusal| *refusal != Rejection::Shortage) {
            Some(refusal) => Err(refusal),
            None if self.shortage.is_on() => Err(Rejection::Shortage),
            None => Ok(()),
        }
    }
}
