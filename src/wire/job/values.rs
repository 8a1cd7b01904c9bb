//! Values as they stand in the text, in any field.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::config::{BadDuration, DURATION_MAX, read_duration as read_text};
use crate::suggest::shortened;

/// The text that a value is; borrowed unless it was written with escapes.
pub(super) fn text_of(value: &RawValue) -> Result<Cow<'_, str>, String> {
    let json = value.get();
    let quoted = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    match quoted {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        Some(_) => serde_json::from_str(json)
            .map(Cow::Owned)
            .map_err(|_| format!("{} has an escape that stands for no character", shortened(json))),
        None => Err(format!("{} is not a string", shortened(json))),
    }
}

/// `"30s"`, or a number of milliseconds.
pub(super) fn read_duration(value: &RawValue) -> Result<Duration, String> {
    let duration = match value.get().parse::<u64>() {
        Ok(ms) if Duration::from_millis(ms) > DURATION_MAX => Err(BadDuration::TooLong),
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) => text_of(value).map_err(|_| BadDuration::Unreadable).and_then(|text| read_text(&text)),
    };
    duration.map_err(|error| format!("{} {error}", shortened(value.get())))
}
