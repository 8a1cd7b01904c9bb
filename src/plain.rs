//! Text of unknown origin on its way to a terminal: it cannot steer it, nor make anything look like something else.
//!
//! Escaped are the control characters, those of Unicode (U+0080 to U+009F) like those of ASCII, and what turns the
//! direction of text or breaks lines. The escapes are those of JSON, so JSON stays JSON.

use std::borrow::Cow;
use std::fmt::Write as _;

/// On one line.
pub(crate) fn plain(text: &str) -> String {
    escaped(text, is_harmful).into_owned()
}

/// On as many lines as it has.
pub(crate) fn plain_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_harmful(c))
}

/// A line of the log, with its end. Where it has colours, what begins them is left in: texts are free of it by then.
pub(crate) fn plain_line(line: &str, is_coloured: bool) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    escaped(text, |c| !(is_coloured && c == ESCAPE) && is_harmful(c)).into_owned() + end
}

/// JSON, of which only strings can have such characters: everything in it is still said, but by its number. Marks of
/// direction are left alone: JSON is for programs.
pub(crate) fn plain_json(json: &str) -> Cow<'_, str> {
    escaped(json, |c| c != '\n' && c.is_control())
}

const ESCAPE: char = '\u{1b}';

fn is_harmful(c: char) -> bool {
    let turns_or_breaks = matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns_or_breaks
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Nearly all text is left as it is.
    let Some(first) = text.find(&is_escaped) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        match c {
            _ if !is_escaped(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ => write!(out, "\\u{:04x}", u32::from(c)).expect("memory takes every write"),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 91.
    #[test]
    fn text_cannot_steer_a_terminal_or_turn_its_direction() {
        assert_eq!(plain("a\x1b[2Jb\nc\té \u{7f}"), "a\\u001b[2Jb\\nc\\té \\u007f");
        assert_eq!(plain("\u{9b}31m \u{85}"), "\\u009b31m \\u0085");
        assert_eq!(plain("exe.\u{202e}fdp\u{2069}\u{200f}\u{61c}"), "exe.\\u202efdp\\u2069\\u200f\\u061c");
        assert_eq!(plain("a\u{2028}b"), "a\\u2028b");
        assert_eq!(plain("ordinary, également 日本 🦫 שלום"), "ordinary, également 日本 🦫 שלום");
        for c in (0..=0x9f).filter_map(char::from_u32).filter(|c| c.is_control()) {
            assert!(!plain(&c.to_string()).contains(c), "{c:?}");
        }
    }

    #[test]
    fn lines_and_colours_stay_where_they_are_meant() {
        assert_eq!(plain_lines("a\nb\r\u{9b}\n"), "a\nb\\r\\u009b\n");
        assert_eq!(
            plain_line("\x1b[32mINFO\x1b[0m a\nb \u{9b}\n", true),
            "\x1b[32mINFO\x1b[0m a\\nb \\u009b\n"
        );
        assert_eq!(plain_line("\x1b[32mINFO\n", false), "\\u001b[32mINFO\n");
    }

    #[test]
    fn json_says_the_same_as_before() {
        let json = "{\"a\u{9b}\":\"\u{85}\u{7f} \u{202e}\"}";
        let plain = plain_json(json);
        assert_eq!(plain, "{\"a\\u009b\":\"\\u0085\\u007f \u{202e}\"}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&plain), read(json));
    }
}
