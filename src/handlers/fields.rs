//! The fields of a payload, as handlers read them.

use beaver_actors::api::handler::JobError;
use beaver_actors::jobs::Payload;
use serde::Deserialize;

/// Reads a payload's fields. serde alone would take an array for them too, by position.
pub(super) fn read_object<'a, T: Deserialize<'a>>(payload: &'a Payload) -> Result<T, JobError> {
    if !payload.as_str().starts_with('{') {
        return Err(JobError::new("payload: not an object"));
    }
    payload.read().map_err(|error| JobError::new(format!("payload: {error}")))
}
