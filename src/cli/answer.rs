//! The part of a server's answer that a command needs.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::exit::{CliFailure, Exit};

/// The part of a server's answer that is shown.
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
