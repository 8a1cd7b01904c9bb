//! Halves of characters in the text of JSON: `\ud83d` alone is allowed by its grammar, and no reader can make text of it.

/// Where the first escape at or behind `from` stands that is half of a surrogate pair without its other half.
///
/// `json` need not be JSON. Cost: one search for a backslash, and another one behind each.
#[must_use]
pub fn lone_surrogate(json: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        // What follows a backslash may be the beginning of a longer character, if this is not JSON.
        at = json.ceil_char_boundary(at);
        at += json.get(at..)?.find('\\')?;
        at += match (unit_at(json, at), unit_at(json, at + ESCAPE_BYTES)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 2 * ESCAPE_BYTES,
            (Some(0xD800..=0xDFFF), _) => return Some(at),
            (Some(_), _) => ESCAPE_BYTES,
            (None, _) => 2,
        };
    }
}

/// Length of an escape such as `\u00e9`.
pub const ESCAPE_BYTES: usize = 6;

/// The number in the escape that begins here, if one does.
#[must_use]
pub fn unit_at(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE_BYTES)?.strip_prefix("\\u")?;
    // A sign is no digit, although numbers may have one.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_pair_is_found_wherever_it_stands_and_whole_ones_are_not() {
        for (json, found) in [
            (r#""plain""#, None),
            (r#""\u00e9\ud83d\ude00\uD83D\uDE00""#, None),
            (r#""\\ud83d""#, None),
            (r#""\\\ud83d""#, Some(3)),
            (r#""\ud83d""#, Some(1)),
            (r#""\ude00""#, Some(1)),
            (r#""\ude00\ud83d""#, Some(1)),
            (r#""\ud83d\ud83d\ude00""#, Some(1)),
            (r#""\ud83d\ude00\ude00""#, Some(13)),
            (r#""\ud83d\\ude00""#, Some(1)),
            (r#"{"\udfff":1}"#, Some(2)),
            ("\\é\\ud800", Some(3)),
            ("\\ud8", None),
            ("\\u+d80\\", None),
            ("\\", None),
        ] {
            assert_eq!(lone_surrogate(json, 0), found, "{json}");
        }
        assert_eq!(lone_surrogate(r#""\ud83d \udfff""#, 1 + ESCAPE_BYTES), Some(8));
    }
}
