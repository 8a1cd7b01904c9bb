//! One text, one spelling: JSON may write every character in several ways, and what is looked for is the character.

use std::borrow::Cow;
use std::fmt::Write as _;

use beaver_actors::base::surrogates::{ESCAPE_BYTES, unit_at};

/// JSON in which each string is spelled in the shortest way: only `"`, `\` and control characters have escapes.
/// What is half of a character stays as it is.
#[must_use]
pub(super) fn shortest(json: &str) -> Cow<'_, str> {
    let Some(first) = json.find('\\') else { return Cow::Borrowed(json) };
    let mut out = String::with_capacity(json.len());
    let (mut copied, mut at) = (0, first);
    loop {
        out.push_str(&json[copied..at]);
        copied = at + put_escape(&json[at..], &mut out);
        match json[copied..].find('\\') {
            Some(next) => at = copied + next,
            None => break,
        }
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

/// Appends the character of the escape that `json` begins with; how long that is.
fn put_escape(json: &str, out: &mut String) -> usize {
    let Some((escape, character, bytes)) = read_escape(json) else {
        // No JSON: the backslash stands for itself.
        out.push('\\');
        return 1;
    };
    match character {
        Some('"') => out.push_str("\\\""),
        Some('\\') => out.push_str("\\\\"),
        Some('\n') => out.push_str("\\n"),
        Some('\r') => out.push_str("\\r"),
        Some('\t') => out.push_str("\\t"),
        Some('\u{8}') => out.push_str("\\b"),
        Some('\u{c}') => out.push_str("\\f"),
        Some(control @ '\0'..='\x1f') => {
            write!(out, "\\u{:04x}", u32::from(control)).expect("memory takes every write");
        }
        Some(other) => out.push(other),
        None => out.push_str(escape),
    }
    bytes
}

/// The escape that `json` begins with, what it stands for unless that is half of a character, and its length.
fn read_escape(json: &str) -> Option<(&str, Option<char>, usize)> {
    let simple = |character| Some((&json[..2], Some(character), 2));
    match json.as_bytes().get(1)? {
        b'"' => simple('"'),
        b'\\' => simple('\\'),
        b'/' => simple('/'),
        b'b' => simple('\u{8}'),
        b'f' => simple('\u{c}'),
        b'n' => simple('\n'),
        b'r' => simple('\r'),
        b't' => simple('\t'),
        b'u' => {
            let units = [unit_at(json, 0)?, unit_at(json, ESCAPE_BYTES).unwrap_or_default()];
            let character = char::decode_utf16(units).next()?.ok();
            let bytes = character.map_or(1, char::len_utf16) * ESCAPE_BYTES;
            Some((&json[..ESCAPE_BYTES], character, bytes))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 86.
    #[test]
    fn every_spelling_of_a_text_is_the_shortest_one() {
        for (json, expected) in [
            (r#"["plain"]"#, r#"["plain"]"#),
            (r#"["https:\/\/a","\u002f"]"#, r#"["https://a","/"]"#),
            (r#""caf\u00e9 caf\u00E9""#, r#""café café""#),
            (r#""\ud83d\ude00\uD83D\uDE00""#, r#""😀😀""#),
            (r#""\u0022\u005c\u005C""#, r#""\"\\\\""#),
            (r#""\"\\u00e9""#, r#""\"\\u00e9""#),
            (r#""\n\u000a\u0009\b\u0008\f\u000C\r\u000d""#, r#""\n\n\t\b\b\f\f\r\r""#),
            (r#""\u0000\u001F\u007f""#, "\"\\u0000\\u001f\u{7f}\""),
            (r#""\ud83d alone \ude00""#, r#""\ud83d alone \ude00""#),
            (r#""\ud83d\u0041""#, r#""\ud83dA""#),
            ("\\", "\\"),
            ("\\é\\u12", "\\é\\u12"),
        ] {
            assert_eq!(shortest(json), expected, "{json}");
        }
    }
}
