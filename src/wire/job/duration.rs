//! Durations as people write them: `30s`, `5m`, `1h30m`, `250ms`, `7d`.

use std::time::Duration;

use beaver_actors::jobs::NO_TIMEOUT;
use jiff::{Span, SpanRelativeTo};

/// Nothing in a queue is meant to wait or to run longer than a hundred years; more is a slip of units.
const DURATION_MAX: Duration = NO_TIMEOUT;

/// A text or number is not a usable duration. Says what would be; the caller names what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadDuration {
    /// Neither of the two ways to write one.
    #[error("is not a duration such as \"30s\", \"5m\", \"1h30m\" or a whole number of milliseconds")]
    Unreadable,
    /// Before now.
    #[error("is negative")]
    Negative,
    /// More than a hundred years.
    #[error("is longer than 100 years")]
    TooLong,
}

/// Reads `30s`, `5m`, `1h30m`, `250ms`, `7d` (days have 24 hours). Parts of a millisecond are rounded up.
///
/// # Errors
/// See [`BadDuration`].
pub(crate) fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let span: Span = text.trim().parse().map_err(|_| BadDuration::Unreadable)?;
    let exact = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| BadDuration::Unreadable)?;
    let exact = Duration::try_from(exact).map_err(|_| BadDuration::Negative)?;
    // Everything after this counts in milliseconds; a short timeout must not become none.
    let ms = exact.as_nanos().div_ceil(1_000_000);
    from_millis(u64::try_from(ms).map_err(|_| BadDuration::TooLong)?)
}

/// A duration given as a number.
pub(super) fn from_millis(ms: u64) -> Result<Duration, BadDuration> {
    let duration = Duration::from_millis(ms);
    if duration > DURATION_MAX { Err(BadDuration::TooLong) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_durations_in_many_ways() {
        for (text, ms) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
            ("7d", 7 * 86_400_000),
            ("100us", 1),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_by_name() {
        for (text, error) in [
            ("", BadDuration::Unreadable),
            ("5", BadDuration::Unreadable),
            ("soon", BadDuration::Unreadable),
            ("1 month", BadDuration::Unreadable),
            ("-5m", BadDuration::Negative),
            ("5m ago", BadDuration::Negative),
            ("2000000h", BadDuration::TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text}");
        }
        assert_eq!(from_millis(u64::MAX), Err(BadDuration::TooLong));
    }
}
