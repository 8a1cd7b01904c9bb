//! Patterns with `*`, `?`, `[..]` and `\x`, as Redis has them, over the JSON text of a job.
//!
//! A pattern is cut at its stars. Its parts are then looked for from left to right, each at the first place where
//! it fits: an earlier place never hurts what follows, so nothing is ever tried twice. A part without `?` and `[..]`
//! takes time linear in the text, any other at most its own length times as much.
//!
//! `?` and `[..]` stand for one character (Redis: one byte).

/// Longest pattern that is taken from outside, in bytes: one that is longer only costs time.
const PATTERN_BYTES_MAX: usize = 1_000;

/// A pattern is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is longer than {PATTERN_BYTES_MAX} bytes")]
pub(crate) struct PatternTooLong;

/// A pattern, ready to be matched.
#[derive(Clone, Debug)]
pub struct Glob {
    /// What stands between the stars, without empty ones.
    parts: Vec<GlobPart>,
    /// Whether something may come before the first part.
    open_start: bool,
    /// Whether something may come after the last part.
    open_end: bool,
}

#[derive(Clone, Debug)]
enum GlobPart {
    Text(String),
    Atoms(Vec<Atom>),
}

#[derive(Clone, Debug)]
enum Atom {
    Char(char),
    Any,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a pattern that somebody sent.
    ///
    /// # Errors
    /// It is too long.
    pub(crate) fn read(pattern: &str) -> Result<Glob, PatternTooLong> {
        if pattern.len() > PATTERN_BYTES_MAX { Err(PatternTooLong) } else { Ok(Glob::new(pattern)) }
    }

    /// Reads a pattern. Every text is one: a bracket that is never closed ends with the pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Glob {
        let mut glob = Glob { parts: Vec::new(), open_start: false, open_end: false };
        let mut atoms = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            glob.open_end = c == '*';
            match c {
                '*' => {
                    glob.open_start |= glob.parts.is_empty() && atoms.is_empty();
                    glob.end_part(&mut atoms);
                }
                '?' => atoms.push(Atom::Any),
                '[' => atoms.push(class(&mut chars)),
                '\\' => atoms.push(Atom::Char(chars.next().unwrap_or('\\'))),
                c => atoms.push(Atom::Char(c)),
            }
        }
        glob.end_part(&mut atoms);
        glob
    }

    fn end_part(&mut self, atoms: &mut Vec<Atom>) {
        let atoms = std::mem::take(atoms);
        let text: Option<String> = atoms.iter().map(Atom::as_char).collect();
        match text {
            Some(text) if text.is_empty() => {}
            Some(text) => self.parts.push(GlobPart::Text(text)),
            None => self.parts.push(GlobPart::Atoms(atoms)),
        }
    }

    /// Whether the pattern fits all of `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some((last, others)) = self.parts.split_last() else {
            return self.open_start || text.is_empty();
        };
        let mut rest = text;
        for (index, part) in others.iter().enumerate() {
            let end = match index {
                0 if !self.open_start => part.at_start(rest),
                _ => part.find(rest),
            };
            let Some(end) = end else { return false };
            rest = &rest[end..];
        }
        let is_anchored = others.is_empty() && !self.open_start;
        match (is_anchored, self.open_end) {
            (true, true) => last.at_start(rest).is_some(),
            (true, false) => last.at_start(rest) == Some(rest.len()),
            (false, true) => last.find(rest).is_some(),
            (false, false) => last.is_at_end(rest),
        }
    }
}

impl GlobPart {
    /// How many bytes it takes at the start of `text`.
    fn at_start(&self, text: &str) -> Option<usize> {
        match self {
            GlobPart::Text(part) => text.starts_with(part.as_str()).then_some(part.len()),
            GlobPart::Atoms(atoms) => {
                let mut chars = text.chars();
                let fits = atoms.iter().all(|atom| chars.next().is_some_and(|c| atom.fits(c)));
                fits.then(|| text.len() - chars.as_str().len())
            }
        }
    }

    /// Where it ends at the first place where it fits.
    fn find(&self, text: &str) -> Option<usize> {
        match self {
            GlobPart::Text(part) => text.find(part.as_str()).map(|at| at + part.len()),
            GlobPart::Atoms(_) => text
                .char_indices()
                .find_map(|(start, _)| self.at_start(&text[start..]).map(|length| start + length)),
        }
    }

    fn is_at_end(&self, text: &str) -> bool {
        match self {
            GlobPart::Text(part) => text.ends_with(part.as_str()),
            GlobPart::Atoms(atoms) => {
                let mut chars = text.chars().rev();
                atoms.iter().rev().all(|atom| chars.next().is_some_and(|c| atom.fits(c)))
            }
        }
    }
}

impl Atom {
    fn as_char(&self) -> Option<char> {
        match self {
            Atom::Char(c) => Some(*c),
            Atom::Any | Atom::Class { .. } => None,
        }
    }

    fn fits(&self, c: char) -> bool {
        match self {
            Atom::Char(wanted) => *wanted == c,
            Atom::Any => true,
            Atom::Class { negated, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *negated
            }
        }
    }
}

/// The rest of `[..]`, its closing bracket included.
fn class(chars: &mut std::str::Chars<'_>) -> Atom {
    let negated = chars.as_str().starts_with('^');
    if negated {
        chars.next();
    }
    let mut ranges = Vec::new();
    while let Some(c) = chars.next() {
        let first = match c {
            ']' => break,
            '\\' => chars.next().unwrap_or('\\'),
            c => c,
        };
        let mut ahead = chars.clone();
        let last = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if last != ']' => {
                *chars = ahead;
                last
            }
            _ => first,
        };
        ranges.push((first.min(last), first.max(last)));
    }
    Atom::Class { negated, ranges }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_redis() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("**", "", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("abc", "ab", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("*ab", "aab", true),
            ("*ab*ab", "ab", false),
            ("*ab*ab", "abab", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxcxxbxxaxx", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "é", true),
            ("*?b", "ab", true),
            ("*?b", "b", false),
            ("a?*", "a", false),
            ("[abc]", "b", true),
            ("[abc]", "d", false),
            ("[^abc]", "d", true),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", true),
            ("[a-]", "-", true),
            ("*[0-9]", "job7", true),
            ("[\\]]", "]", true),
            ("[ab", "b", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            (r#"*"jobtype":"mail"*"#, r#"{"jid":"1","jobtype":"mail","args":[]}"#, true),
            (r#"*"jobtype":"mai"*"#, r#"{"jid":"1","jobtype":"mail","args":[]}"#, false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), fits, "{pattern:?} on {text:?}");
        }
    }

    /// The definition, tried in every way, for short texts.
    fn fits_slowly(pattern: &[Atom], stars: &[usize], text: &[char]) -> bool {
        if stars.first() == Some(&0) {
            let rest: Vec<usize> = stars[1..].to_vec();
            return (0..=text.len()).any(|skipped| fits_slowly(pattern, &rest, &text[skipped..]));
        }
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((atom, pattern)), Some((c, text))) if atom.fits(*c) => {
                let stars: Vec<usize> = stars.iter().map(|star| star - 1).collect();
                fits_slowly(pattern, &stars, text)
            }
            _ => false,
        }
    }

    #[test]
    fn random_patterns_fit_what_the_definition_says() {
        let seed = 7;
        let mut dice = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let (mut pattern, mut atoms, mut stars) = (String::new(), Vec::new(), Vec::new());
            for _ in 0..dice.usize(..7) {
                match dice.u8(..6) {
                    0 | 1 => {
                        pattern.push('*');
                        stars.push(atoms.len());
                    }
                    2 => {
                        pattern.push('?');
                        atoms.push(Atom::Any);
                    }
                    n => {
                        let c = if n == 3 { 'a' } else { 'b' };
                        pattern.push(c);
                        atoms.push(Atom::Char(c));
                    }
                }
            }
            let text: Vec<char> = (0..dice.usize(..8)).map(|_| if dice.bool() { 'a' } else { 'b' }).collect();
            let expected = fits_slowly(&atoms, &stars, &text);
            let text: String = text.into_iter().collect();
            assert_eq!(Glob::new(&pattern).matches(&text), expected, "seed {seed}: {pattern:?} on {text:?}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_does_not_explode() {
        let text = "a".repeat(100_000);
        let pattern = "a*".repeat(450) + "b";
        assert!(!Glob::new(&pattern).matches(&text));
        assert!(!Glob::new(&("*?".repeat(400) + "[b]")).matches(&text));
    }
}
