//! What a run leaves behind: the job's result, and why it failed if it did.

use std::os::unix::process::ExitStatusExt;

use beaver_actors::api::handler::JobError;
use beaver_actors::jobs::Payload;
use serde::Serialize;

use super::run::FinishedProgram;

/// Longest piece of stderr that is quoted in a failure's message, in characters.
const QUOTED_CHARS_MAX: usize = 200;

/// The result of an `exec` job. Either `exit_code` or `signal` is there.
#[derive(Serialize)]
struct ExecReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    stdout: String,
    stderr: String,
    /// All that was written, kept or not.
    stdout_bytes: u64,
    stderr_bytes: u64,
    duration_ms: u64,
}

impl FinishedProgram {
    /// Exit code 0 of a program that was not told to stop is success; the result is kept in any case.
    pub(crate) fn into_outcome(self) -> Result<Option<Payload>, JobError> {
        let report = ExecReport {
            exit_code: self.status.code(),
            signal: self.status.signal(),
            stdout_bytes: self.stdout.bytes(),
            stderr_bytes: self.stderr.bytes(),
            stdout: self.stdout.into_text(),
            stderr: self.stderr.into_text(),
            duration_ms: self.duration.as_millis().try_into().unwrap_or(u64::MAX),
        };
        let result = Payload::from_value(&report)?;
        let ending = match report.exit_code {
            Some(code) => format!("exit code {code}"),
            None => self.status.to_string(),
        };
        let message = match self.stopped {
            None if self.status.success() => return Ok(Some(result)),
            None => ending,
            // Even after exit code 0: most programs end that way when they are told to, with their work
            // undone.
            Some(reason) => format!("stopped ({reason}): {ending}"),
        };
        let message = match last_line(&report.stderr) {
            Some(line) => format!("{message}: {line}"),
            None => message,
        };
        Err(JobError { result: Some(result), ..JobError::new(message) })
    }
}

/// The last line that says something, fit for a message: no control characters, not too long.
fn last_line(text: &str) -> Option<String> {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let mut characters = line.chars().filter(|character| !character.is_control());
    let mut quoted: String = characters.by_ref().take(QUOTED_CHARS_MAX).collect();
    if characters.next().is_some() {
        quoted.push('…');
    }
    Some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_something_is_quoted_in_short() {
        assert_eq!(last_line("first\nlast \x1b[0m\n\n  \n").as_deref(), Some("last [0m"));
        assert_eq!(last_line(" \n\n"), None);
        let long = last_line(&"x".repeat(QUOTED_CHARS_MAX + 1)).unwrap();
        assert_eq!(long, "x".repeat(QUOTED_CHARS_MAX) + "…");
    }
}
