//! A job on its way to a server: one line that [`parse_jobs`](super::parse_jobs) reads back.

use std::time::Duration;

use beaver_actors::jobs::{Backoff, Exhausted, JobSpec, Start};
use serde_json::{Value, json};

use crate::wire::append::{self, field, raw_field};

/// Appends `spec` as one line of JSON, line end included.
///
/// A relative start stays relative: the delay counts from when the server accepts the job.
pub fn write_line(spec: &JobSpec, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"queue\":");
    append::value(out, spec.queue.as_str());
    field(out, "kind", spec.kind.as_str());
    if let Some(id) = &spec.id {
        field(out, "id", id);
    }
    field(out, "priority", &spec.priority);
    match spec.start {
        Start::Now => {}
        Start::After(delay) => field(out, "delay", &millis(delay)),
        Start::At(moment) => field(out, "run_at", &moment),
    }
    if let Some(timeout) = spec.timeout {
        field(out, "timeout", &millis(timeout));
    }
    if let Some(max_retry) = spec.max_retry {
        field(out, "max_retry", &max_retry);
    }
    if let Some(backoff) = shown_backoff(spec.backoff) {
        field(out, "backoff", &backoff);
    }
    match spec.exhausted {
        Exhausted::Dead => {}
        Exhausted::Drop => field(out, "exhausted", "drop"),
    }
    if let Some(custom) = &spec.custom {
        raw_field(out, "custom", custom.as_str());
    }
    // A payload is compact JSON already, so it has no line end either.
    raw_field(out, "payload", spec.payload.as_str());
    out.extend_from_slice(b"}\n");
}

fn shown_backoff(backoff: Backoff) -> Option<Value> {
    match backoff {
        Backoff::Server => None,
        Backoff::Quartic => Some(json!("quartic")),
        Backoff::Fixed { delay_ms } => Some(json!({"kind": "fixed", "delay": delay_ms})),
        Backoff::Exponential { first_ms, max_ms, jitter_percent } => Some(
            json!({"kind": "exponential", "first": first_ms, "max": max_ms, "jitter_percent": jitter_percent}),
        ),
    }
}

/// Rounded up, so that a timeout below one millisecond does not become none.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
