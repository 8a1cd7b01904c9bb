//! Text that only people read, in JSON from outside: an error's message, the name of a machine. It is never a reason to
//! refuse what it came with: a report would be lost for a character.
//!
//! Bytes that are no UTF-8 and halves of surrogate pairs become U+FFFD, and what is not a string is shown as it is written.

use std::borrow::Cow;

use beaver_actors::base::surrogates::{ESCAPE_BYTES, lone_surrogate};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The escape of U+FFFD.
const REPLACEMENT: &str = "\\ufffd";

/// The text of JSON with U+FFFD for each half of a character in its strings.
pub(crate) fn mended(json: &str) -> Cow<'_, str> {
    let Some(mut lone) = lone_surrogate(json, 0) else { return Cow::Borrowed(json) };
    let mut whole = String::with_capacity(json.len());
    let mut copied = 0;
    loop {
        whole.push_str(&json[copied..lone]);
        whole.push_str(REPLACEMENT);
        copied = lone + ESCAPE_BYTES;
        match lone_surrogate(json, copied) {
            Some(next) => lone = next,
            None => break,
        }
    }
    whole.push_str(&json[copied..]);
    Cow::Owned(whole)
}

/// As [`mended`], for bytes that need not be UTF-8.
pub(crate) fn mended_bytes(json: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(json) {
        Cow::Borrowed(text) => mended(text),
        Cow::Owned(text) => Cow::Owned(mended(&text).into_owned()),
    }
}

/// Reads a text for people out of [`mended`] JSON; empty for `null`.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(text_of(<&RawValue>::deserialize(deserializer)?))
}

/// As [`text`], for a list; one that is none is a list of one, and `null` is an empty one.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let value = <&RawValue>::deserialize(deserializer)?;
    let list = serde_json::from_str::<Vec<&RawValue>>(value.get());
    Ok(match list {
        Ok(list) => list.into_iter().map(text_of).collect(),
        Err(_) if value.get() == "null" => Vec::new(),
        Err(_) => vec![text_of(value)],
    })
}

/// A number that is only shown, if it is one.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = <&RawValue>::deserialize(deserializer)?.get();
    let whole = || value.parse().ok();
    Ok(whole().or_else(|| value.parse::<f64>().ok().map(|number| number as i64)))
}

fn text_of(value: &RawValue) -> String {
    match value.get() {
        "null" => String::new(),
        written => serde_json::from_str(written).unwrap_or_else(|_| written.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Said {
        #[serde(deserialize_with = "text")]
        text: String,
        #[serde(deserialize_with = "texts")]
        texts: Vec<String>,
        #[serde(deserialize_with = "number")]
        number: Option<i64>,
    }

    fn said(json: &str) -> Said {
        serde_json::from_str(&mended(json)).unwrap()
    }

    /// Row 85.
    #[test]
    fn whatever_is_written_for_people_can_be_read() {
        for (json, read) in [
            (r#""plain \u00e9 \ud83d\ude00""#, "plain é 😀"),
            (r#""lost at \udc00 sea \ud83d""#, "lost at \u{fffd} sea \u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\\ud83d""#, "\\ud83d"),
            ("null", ""),
            ("1e400", "1e400"),
            (r#"{"a":"\ud800"}"#, r#"{"a":"\ufffd"}"#),
        ] {
            assert_eq!(said(&format!(r#"{{"text":{json}}}"#)).text, read, "{json}");
        }
        let texts = |json| said(&format!(r#"{{"texts":{json}}}"#)).texts;
        assert_eq!(texts(r#"["a",null,7,"\udbff"]"#), ["a", "", "7", "\u{fffd}"]);
        assert_eq!((texts("null"), texts(r#""one""#)), (Vec::<String>::new(), vec!["one".to_owned()]));
        let number = |json| said(&format!(r#"{{"number":{json}}}"#)).number;
        assert_eq!(
            (number("7"), number("7.9"), number("\"7\""), number("null")),
            (Some(7), Some(7), None, None)
        );
        assert_eq!(said("{}"), Said::default());
        assert_eq!(mended_bytes(b"\"caf\xe9 \\ud800\""), "\"caf\u{fffd} \\ufffd\"");
    }
}
