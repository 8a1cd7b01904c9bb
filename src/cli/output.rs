//! Stdout for results: buffered, and ending quietly when its reader leaves. Stderr for what is said about them.

use std::fmt::{self, Display};
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde::Serialize;

use super::exit::CliFailure;
use crate::plain::{plain_json, plain_lines};

/// Stdout while a command prints its result. Nothing is sure to be out before [`Output::finish`].
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    /// Takes stdout for this command.
    #[must_use]
    pub(crate) fn stdout() -> Output {
        Output(BufWriter::new(io::stdout().lock()))
    }

    /// Prints one line, or several. Nothing in it can steer the terminal.
    ///
    /// # Errors
    /// Stdout cannot be written, or its reader left ([`CliFailure::reader_left`]).
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), CliFailure> {
        writeln!(self.0, "{}", plain_lines(&line.to_string())).map_err(|error| CliFailure::of_stdout(&error))
    }

    /// Prints text as it is; on a terminal, it cannot steer it.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CliFailure> {
        let text = if io::stdout().is_terminal() { plain_lines(text) } else { text.into() };
        self.0.write_all(text.as_bytes()).map_err(|error| CliFailure::of_stdout(&error))
    }

    /// Prints a value as one line of JSON.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), CliFailure> {
        self.json_row(value).map_err(|error| CliFailure::of_stdout(&error))
    }

    /// As [`Output::json`], for a writer that wants the error as it is.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub(crate) fn json_row(&mut self, value: &impl Serialize) -> io::Result<()> {
        writeln!(self.0, "{}", plain_json(&serde_json::to_string(value)?))
    }

    /// Hands the last bytes over.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn finish(mut self) -> Result<(), CliFailure> {
        self.0.flush().map_err(|error| CliFailure::of_stdout(&error))
    }
}

/// Says something on stderr that is neither result nor trouble.
pub(crate) fn note(text: fmt::Arguments<'_>) {
    // A stderr that is gone does not stop a command whose result may still be read.
    let _ = writeln!(io::stderr(), "note: {}", plain_lines(&text.to_string()));
}
