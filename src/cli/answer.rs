//! What a server answered, read as far as a command needs it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::exit::{CliFailure, Exit};

/// A server's answer as far as it is shown.
pub(crate) fn answer_of<T: DeserializeOwned>(answer: Value) -> Result<T, CliFailure> {
    serde_json::from_value(answer).map_err(|error| {
        CliFailure::new(Exit::Failure, format!("the answer is not one of this version of beaver: {error}"))
            .hint("--json prints it as it is")
    })
}

/// What the API answered does not have the shape that it should have.
pub(crate) fn unreadable(what: &str, answer: &Value) -> CliFailure {
    CliFailure::new(Exit::Failure, format!("the server's {what} cannot be understood: {answer}"))
}
