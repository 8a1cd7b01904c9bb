//! Moments.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ids::invalid::InvalidName;

/// A moment: milliseconds since 1970-01-01 UTC. People read and write it as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// What a moment looks like.
const NOT_A_MOMENT: &str = "is not an RFC 3339 moment such as 2026-11-21T09:30:00Z";
/// Digits of a second that are looked at: nanoseconds.
const FRACTION_DIGITS_MAX: usize = 9;

impl Timestamp {
    /// The last moment that can be kept and shown: the end of the year 9999 in every time zone.
    pub const LAST: Timestamp = Timestamp(253_402_207_200_000);

    /// The moment `ms` milliseconds later; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment, 0 if `earlier` is not earlier.
    #[must_use]
    pub fn since_ms(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(moment) => write!(f, "{moment:.3}"),
            None => write!(f, "{} ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = InvalidName;

    /// Reads RFC 3339 in every spelling that programs use. Before 1970 is 1970: it means a time long past, such as the
    /// year 1 where a program had none.
    fn from_str(text: &str) -> Result<Timestamp, InvalidName> {
        let refused = |problem: String| InvalidName::new("time", text, problem);
        let ms = match year(text.trim_ascii()) {
            Some(year) if year > 9_999 => i128::MAX,
            Some(year) if year < 0 => 0,
            _ => read_ms(text.trim_ascii()).ok_or_else(|| refused(NOT_A_MOMENT.to_owned()))?,
        };
        match u64::try_from(ms.max(0)) {
            Ok(ms) if ms <= Timestamp::LAST.0 => Ok(Timestamp(ms)),
            _ => {
                Err(refused(format!("is too late: the last moment that can be kept is {}", Timestamp::LAST)))
            }
        }
    }
}

/// The year of a text that begins with a sign, as programs write those that need more than four digits.
fn year(text: &str) -> Option<i64> {
    let (year, _) = text.get(1..).filter(|_| text.starts_with(['+', '-']))?.split_once('-')?;
    let digits = (year.len() == 6 && year.bytes().all(|byte| byte.is_ascii_digit())).then_some(year)?;
    let year: i64 = digits.parse().ok()?;
    Some(if text.starts_with('-') { -year } else { year })
}

/// Milliseconds since 1970, of any year that can be written.
fn read_ms(text: &str) -> Option<i128> {
    let text = with_short_fraction(text);
    let pieces = Pieces::parse(text.as_bytes()).ok()?;
    let offset = match pieces.offset()? {
        PiecesOffset::Zulu => 0,
        PiecesOffset::Numeric(numeric) => numeric.offset().seconds(),
        _ => return None,
    };
    let (date, time): (Date, Time) = (pieces.date(), pieces.time()?);
    let epoch = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    Some(date.to_datetime(time).duration_since(epoch).as_millis() - i128::from(offset) * 1_000)
}

/// RFC 3339 allows any number of digits behind the second, and some programs write more than nanoseconds.
fn with_short_fraction(text: &str) -> Cow<'_, str> {
    let Some((before, fraction)) = text.split_once('.') else { return Cow::Borrowed(text) };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    match digits > FRACTION_DIGITS_MAX {
        false => Cow::Borrowed(text),
        true => Cow::Owned(format!("{before}.{}{}", &fraction[..FRACTION_DIGITS_MAX], &fraction[digits..])),
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_u64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
        }
        u64::deserialize(deserializer).map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_read_and_shown_as_rfc_3339() {
        let moment: Timestamp = "2026-11-21T09:30:00.250Z".parse().unwrap();
        assert_eq!(moment.to_string(), "2026-11-21T09:30:00.250Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    /// Row 88.
    #[test]
    fn every_spelling_of_rfc_3339_is_read_and_long_past_is_1970() {
        for (text, read) in [
            ("2026-11-21T09:30:00Z", "2026-11-21T09:30:00.000Z"),
            ("2026-11-21t09:30:00z", "2026-11-21T09:30:00.000Z"),
            ("2026-11-21 09:30:00Z", "2026-11-21T09:30:00.000Z"),
            ("2026-11-21T09:30Z", "2026-11-21T09:30:00.000Z"),
            (" 2026-11-21T09:30:00.1Z\n", "2026-11-21T09:30:00.100Z"),
            ("2026-11-21T09:30:00.123456789Z", "2026-11-21T09:30:00.123Z"),
            ("2026-11-21T09:30:00.123456789012+00:00", "2026-11-21T09:30:00.123Z"),
            ("2026-11-21T10:30:00+01:00", "2026-11-21T09:30:00.000Z"),
            ("2026-11-21T10:30:00+0100", "2026-11-21T09:30:00.000Z"),
            ("2026-11-21T10:30:00+01", "2026-11-21T09:30:00.000Z"),
            ("2026-11-21T09:30:00-00:00", "2026-11-21T09:30:00.000Z"),
            ("2026-11-20T09:31:00-23:59", "2026-11-21T09:30:00.000Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z"),
            ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
            ("0000-01-01T00:00:00+14:00", "1970-01-01T00:00:00.000Z"),
            ("-000001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
            ("-271821-04-20T00:00:00.000Z", "1970-01-01T00:00:00.000Z"),
            ("1969-07-20T20:17:40Z", "1970-01-01T00:00:00.000Z"),
            ("1969-12-31T23:30:00-01:00", "1970-01-01T00:30:00.000Z"),
            ("9999-12-30T22:00:00.000Z", "9999-12-30T22:00:00.000Z"),
            ("9999-12-31T12:00:00+14:00", "9999-12-30T22:00:00.000Z"),
        ] {
            assert_eq!(
                text.parse::<Timestamp>().map(|moment| moment.to_string()),
                Ok(read.to_owned()),
                "{text}"
            );
        }
        assert!(jiff::Timestamp::from_millisecond(Timestamp::LAST.0.cast_signed() + 1).is_err());
    }

    /// Row 88.
    #[test]
    fn too_late_is_said_apart_from_what_is_no_moment() {
        let refused = |text: &str| text.parse::<Timestamp>().unwrap_err().to_string();
        for text in ["9999-12-31T23:59:59Z", "9999-12-31T12:00:00+01:00", "+275760-09-13T00:00:00.000Z"] {
            assert!(
                refused(text)
                    .ends_with("too late: the last moment that can be kept is 9999-12-30T22:00:00.000Z")
            );
        }
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T09:30:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-21T25:00:00Z",
            "1790000000",
            "+12-1",
            "2026-11-21T09:30:00+Z",
            "2026-11-21T09:30:00Z[",
        ] {
            assert!(refused(text).ends_with(NOT_A_MOMENT), "{text}");
        }
    }
}
