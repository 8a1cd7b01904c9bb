//! A job on its way to a server: one line that [`parse_jobs`](super::parse_jobs) reads back.

use std::time::Duration;

use beaver_actors::jobs::{Backoff, Exhausted, JobSpec, Start};
use serde::Serialize;
use serde_json::json;

/// Appends `spec` as one line of JSON, line end included.
///
/// A relative start stays relative: the delay counts from when the server accepts the job.
pub fn write_line(spec: &JobSpec, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"queue\":");
    write_json(spec.queue.as_str(), out);
    out.extend_from_slice(b",\"kind\":");
    write_json(spec.kind.as_str(), out);
    if let Some(id) = &spec.id {
        out.extend_from_slice(b",\"id\":");
        write_json(id, out);
    }
    out.extend_from_slice(b",\"priority\":");
    write_json(&spec.priority, out);
    match spec.start {
        Start::Now => {}
        Start::After(delay) => {
            out.extend_from_slice(b",\"delay\":");
            write_json(&millis(delay), out);
        }
        Start::At(moment) => {
            out.extend_from_slice(b",\"run_at\":");
            write_json(&moment, out);
        }
    }
    if let Some(timeout) = spec.timeout {
        out.extend_from_slice(b",\"timeout\":");
        write_json(&millis(timeout), out);
    }
    if let Some(max_retry) = spec.max_retry {
        out.extend_from_slice(b",\"max_retry\":");
        write_json(&max_retry, out);
    }
    write_backoff(spec.backoff, out);
    match spec.exhausted {
        Exhausted::Dead => {}
        Exhausted::Drop => out.extend_from_slice(b",\"exhausted\":\"drop\""),
    }
    if let Some(custom) = &spec.custom {
        out.extend_from_slice(b",\"custom\":");
        out.extend_from_slice(custom.as_str().as_bytes());
    }
    // A payload is compact JSON already, so it has no line end either.
    out.extend_from_slice(b",\"payload\":");
    out.extend_from_slice(spec.payload.as_str().as_bytes());
    out.extend_from_slice(b"}\n");
}

fn write_backoff(backoff: Backoff, out: &mut Vec<u8>) {
    let value = match backoff {
        Backoff::Server => return,
        Backoff::Quartic => json!("quartic"),
        Backoff::Fixed { delay_ms } => json!({"kind": "fixed", "delay": delay_ms}),
        Backoff::Exponential { first_ms, max_ms, jitter_percent } => {
            json!({"kind": "exponential", "first": first_ms, "max": max_ms, "jitter_percent": jitter_percent})
        }
    };
    out.extend_from_slice(b",\"backoff\":");
    write_json(&value, out);
}

fn write_json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value)
        .expect("text and numbers are always JSON, and memory takes every write");
}

/// Rounded up, so that a timeout below one millisecond does not become none.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
