//! Durations and sizes as people write them in a configuration file, and back.

use std::time::Duration;

use beaver_actors::jobs::NO_TIMEOUT;
use jiff::fmt::friendly::{Spacing, SpanPrinter};
use jiff::{Span, SpanRelativeTo};

/// A day is 24 hours here: nobody wants a timeout that depends on daylight saving.
const DAY_SECS: u64 = 24 * 60 * 60;

/// The names of sizes, largest first. Powers of two are what we print; powers of ten are read too.
const SIZES: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// `days` days as a duration.
pub(super) const fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY_SECS)
}

/// Text is no duration: what is wrong with it, as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadDuration {
    /// It is written in no known way.
    #[error("is not a duration such as 250ms, 30s, 1h30m or 7d (10 alone means 10 seconds)")]
    Unreadable,
    /// Before now.
    #[error("is negative")]
    Negative,
    /// How long these are depends on when they begin.
    #[error("uses weeks, months or years (write days: 7d is 7 times 24 hours)")]
    Calendar,
    /// Nobody means that.
    #[error("is longer than 100 years")]
    TooLong,
}

/// Nothing in a queue is meant to wait or to run longer than a hundred years; more is a slip of units.
pub(crate) const DURATION_MAX: Duration = NO_TIMEOUT;

/// Reads `30s`, `5m`, `1h30m`, `250ms`, `7d`, and `10` as seconds: the one rule for durations that are text. Parts of a
/// millisecond are rounded up.
///
/// # Errors
/// See [`BadDuration`].
pub(crate) fn read_duration(text: &str) -> Result<Duration, BadDuration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text.parse().map_err(|_| BadDuration::TooLong)?;
        let duration = Duration::from_secs(seconds);
        return if duration > DURATION_MAX { Err(BadDuration::TooLong) } else { Ok(duration) };
    }
    let span: Span = text.parse().map_err(|_| BadDuration::Unreadable)?;
    if span.is_negative() {
        return Err(BadDuration::Negative);
    }
    if span.get_weeks() != 0 || span.get_months() != 0 || span.get_years() != 0 {
        return Err(BadDuration::Calendar);
    }
    let exact = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| BadDuration::TooLong)?;
    let exact = Duration::try_from(exact).map_err(|_| BadDuration::Negative)?;
    // Everything after this counts in milliseconds; a short timeout must not become none.
    let ms = exact.as_nanos().div_ceil(1_000_000);
    let duration = Duration::from_millis(u64::try_from(ms).map_err(|_| BadDuration::TooLong)?);
    if duration > DURATION_MAX { Err(BadDuration::TooLong) } else { Ok(duration) }
}

/// Writes a duration so that [`read_duration`] reads it back.
pub(super) fn show_duration(duration: Duration) -> String {
    let is_whole_days = duration >= days(1) && duration == days(duration.as_secs() / DAY_SECS);
    if is_whole_days {
        return format!("{}d", duration.as_secs() / DAY_SECS);
    }
    SpanPrinter::new().spacing(Spacing::None).unsigned_duration_to_string(&duration)
}

/// Reads `64MiB`, `1MB` or a number of bytes. The error is what is wrong, as the end of a sentence.
pub(super) fn read_size(text: &str) -> Result<u64, String> {
    let wrong = || "is not a size such as 64MiB, 10MB or a number of bytes".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(wrong());
    }
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        unit => SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?.1,
    };
    // Only an overflow is left to go wrong, and then the largest number says "too large" further on.
    Ok(number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(factor))
}

/// Writes a size in the largest power of two that leaves a whole number.
pub(super) fn show_size(bytes: u64) -> String {
    let fitting = SIZES[..4].iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match fitting {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them_and_shown_so_that_they_read_back() {
        for (text, ms, shown) in [
            ("30s", 30_000, "30s"),
            ("5m", 300_000, "5m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1h 30m", 5_400_000, "1h30m"),
            ("90 seconds", 90_000, "1m30s"),
            ("250ms", 250, "250ms"),
            ("7d", 604_800_000, "7d"),
            ("1d12h", 129_600_000, "36h"),
            ("0s", 0, "0s"),
            ("10", 10_000, "10s"),
            ("0", 0, "0s"),
            ("1.5h", 5_400_000, "1h30m"),
            ("100us", 1, "1ms"),
        ] {
            let duration = read_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(ms), "{text}");
            assert_eq!(show_duration(duration), shown);
            assert_eq!(read_duration(shown).unwrap(), duration, "{shown}");
        }
    }

    #[test]
    fn a_wrong_duration_says_what_is_wrong_with_it() {
        for (text, problem) in [
            ("soon", BadDuration::Unreadable),
            ("", BadDuration::Unreadable),
            ("5 parsecs", BadDuration::Unreadable),
            ("-3s", BadDuration::Negative),
            ("5m ago", BadDuration::Negative),
            ("2w", BadDuration::Calendar),
            ("1 month", BadDuration::Calendar),
            ("2000000h", BadDuration::TooLong),
            ("99999999999999999999", BadDuration::TooLong),
        ] {
            assert_eq!(read_duration(text).unwrap_err(), problem, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_both_systems_and_shown_in_powers_of_two() {
        for (text, bytes, shown) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("64 MiB", 64 << 20, "64MiB"),
            ("1024mib", 1 << 30, "1GiB"),
            ("1MB", 1_000_000, "1000000"),
            ("65536", 65_536, "64KiB"),
            ("17B", 17, "17"),
            ("0", 0, "0"),
        ] {
            assert_eq!(read_size(text).unwrap(), bytes, "{text}");
            assert_eq!(show_size(bytes), shown);
            assert_eq!(read_size(shown).unwrap(), bytes, "{shown}");
        }
        for text in ["", "MiB", "1.5GiB", "-1", "64M", "64 Mi B"] {
            assert!(read_size(text).unwrap_err().contains("64MiB"), "{text}");
        }
        assert_eq!(read_size("99999999999999999999TiB").unwrap(), u64::MAX);
    }
}
