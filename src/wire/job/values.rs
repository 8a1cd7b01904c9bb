//! Values as they stand in the text, in any field.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Visitor};
use serde_json::value::RawValue;

use super::duration::{BadDuration, from_millis, parse_duration};
use crate::suggest::shortened;

/// A field's name; borrowed unless it was written with escapes.
pub(super) struct Name<'t>(pub(crate) Cow<'t, str>);

impl<'t> serde::Deserialize<'t> for Name<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Name<'t>, D::Error> {
        struct NameVisitor;
        impl<'t> Visitor<'t> for NameVisitor {
            type Value = Name<'t>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, name: &'t str) -> Result<Name<'t>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Name<'t>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

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
        Ok(ms) => from_millis(ms),
        Err(_) => text_of(value).map_err(|_| BadDuration::Unreadable).and_then(|text| parse_duration(&text)),
    };
    duration.map_err(|error| format!("{} {error}", shortened(value.get())))
}
