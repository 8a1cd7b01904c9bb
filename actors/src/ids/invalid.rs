//! What is wrong with a name, a number or a moment that a person or a program gave.

/// A name that a person gave is not acceptable. Says which, what is wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} {problem}")]
pub struct InvalidName {
    what: &'static str,
    given: String,
    problem: String,
}

impl InvalidName {
    pub(super) fn new(what: &'static str, given: &str, problem: impl Into<String>) -> InvalidName {
        // A 10 KB id must not become a 10 KB message.
        let mut shown: String = given.chars().take(40).collect();
        if shown.len() < given.len() {
            shown.push('…');
        }
        InvalidName { what, given: shown, problem: problem.into() }
    }
}

/// Whether a text can be shown in a line, and is not too long.
pub(super) fn printable(what: &'static str, text: &str, bytes_max: usize) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::new(what, text, "is empty"));
    }
    if text.len() > bytes_max {
        return Err(InvalidName::new(
            what,
            text,
            format!("has {} bytes, and at most {bytes_max} are allowed", text.len()),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidName::new(what, text, "has a control character"));
    }
    Ok(())
}
