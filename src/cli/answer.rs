//! The part of a server's answer that a command needs.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::exit::{CliFailure, Exit};

/// The part of a server's answer that is shown. One with a job in it comes as text: payloads are shown as they are.
pub(crate) fn answer_of<'a, T: Deserialize<'a>>(
    answer: impl Deserializer<'a, Error = serde_json::Error>,
) -> Result<T, CliFailure> {
    T::deserialize(answer).map_err(|error| {
        CliFailure::new(Exit::Failure, format!("the answer is not one of this version of beaver: {error}"))
            .hint("--json prints it as it is")
    })
}

/// What the API answered does not have the shape that it should have.
pub(crate) fn unreadable(what: &str, answer: &RawValue) -> CliFailure {
    CliFailure::new(Exit::Failure, format!("the server's {what} cannot be understood: {answer}"))
}
