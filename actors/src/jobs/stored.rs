//! Small values as they are written on disk, in the log and in images alike. Numbers are only ever added.

use crate::ids::RemoteName;
use crate::jobs::{Backoff, Exhausted};

/// A back-off as a number and up to three values; what it does not have is 0.
pub(crate) type BackoffFields = (u8, u64, u64, u8);

/// A back-off as it is written.
pub(crate) fn backoff_fields(backoff: Backoff) -> BackoffFields {
    match backoff {
        Backoff::Server => (0, 0, 0, 0),
        Backoff::Quartic => (1, 0, 0, 0),
        Backoff::Fixed { delay_ms } => (2, delay_ms, 0, 0),
        Backoff::Exponential { first_ms, max_ms, jitter_percent } => (3, first_ms, max_ms, jitter_percent),
    }
}

/// The reverse of [`backoff_fields`].
pub(crate) fn backoff_of((number, first, second, third): BackoffFields) -> Result<Backoff, String> {
    Ok(match number {
        0 => Backoff::Server,
        1 => Backoff::Quartic,
        2 => Backoff::Fixed { delay_ms: first },
        3 => Backoff::Exponential { first_ms: first, max_ms: second, jitter_percent: third },
        _ => return Err(format!("unknown back-off {number}")),
    })
}

/// What becomes of an exhausted job, as it is written.
pub(crate) fn exhausted_number(exhausted: Exhausted) -> u8 {
    match exhausted {
        Exhausted::Dead => 0,
        Exhausted::Drop => 1,
    }
}

/// The reverse of [`exhausted_number`].
pub(crate) fn exhausted_of(number: u8) -> Result<Exhausted, String> {
    match number {
        0 => Ok(Exhausted::Dead),
        1 => Ok(Exhausted::Drop),
        _ => Err(format!("unknown end of an exhausted job {number}")),
    }
}

/// A remote worker by its name; the empty one stands for those without.
pub(crate) fn remote_of(name: &str) -> Result<RemoteName, String> {
    match name {
        "" => Ok(RemoteName::anonymous()),
        name => RemoteName::parse(name).map_err(|error| error.to_string()),
    }
}
