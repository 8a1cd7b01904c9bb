//! What the producer of an `exec` job asks for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use beaver_actors::api::handler::JobError;
use beaver_actors::jobs::Payload;
use serde::Deserialize;

use super::variables;
use crate::handlers::fields::read_object;

/// The payload of an `exec` job. A field that is not here is an error: a mistyped `evn` must not be lost
/// silently.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecPayload {
    /// Program and arguments, as they are; no shell looks at them.
    pub(crate) command: Vec<String>,
    /// What the program reads from its standard input; without it, nothing.
    pub(crate) stdin: Option<String>,
    /// The program's environment, beside the job's own variables.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Where the program runs; without it, where the server runs.
    pub(crate) cwd: Option<PathBuf>,
}

impl ExecPayload {
    /// Reads and checks a payload. What is checked here would otherwise fail later with less to go by.
    pub(crate) fn read(payload: &Payload) -> Result<ExecPayload, JobError> {
        let wanted: ExecPayload = read_object(payload)?;
        match wanted.problem() {
            Some(problem) => Err(JobError::new(format!("payload: {problem}"))),
            None => Ok(wanted),
        }
    }

    fn problem(&self) -> Option<String> {
        if self.command.first().is_none_or(String::is_empty) {
            return Some("command names no program".to_owned());
        }
        if let Some(index) = self.command.iter().position(|word| word.contains('\0')) {
            return Some(format!("command[{index}] has a NUL character"));
        }
        if self.cwd.as_ref().is_some_and(|cwd| cwd.as_os_str().as_encoded_bytes().contains(&0)) {
            return Some("cwd has a NUL character".to_owned());
        }
        self.env.iter().find_map(|(name, value)| {
            if variables::ALL.contains(&name.as_str()) {
                return Some(format!("env may not set {name}: beaver does"));
            }
            if name.is_empty() || name.contains(['=', '\0']) {
                return Some(format!("env has a variable named {name:?}, which no program could read"));
            }
            value.contains('\0').then(|| format!("env.{name} has a NUL character"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(payload: &str) -> String {
        ExecPayload::read(&Payload::parse(payload).unwrap()).expect_err(payload).message
    }

    #[test]
    fn a_complete_payload_is_read() {
        let text = r#"{"command":["cat","-"],"stdin":"hi","env":{"A":"1"},"cwd":"/tmp"}"#;
        let wanted = ExecPayload::read(&Payload::parse(text).unwrap()).unwrap();
        assert_eq!(wanted.command, ["cat", "-"]);
        assert_eq!(wanted.stdin.as_deref(), Some("hi"));
        assert_eq!(wanted.env["A"], "1");
        assert_eq!(wanted.cwd, Some("/tmp".into()));
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        for (payload, named) in [
            (r#"{"command":["true"],"evn":{}}"#, "unknown field `evn`"),
            (r"{}", "missing field `command`"),
            (r#"{"command":"true"}"#, "expected a sequence"),
            (r#"[["true"],null,{},null]"#, "not an object"),
            (r#"{"command":[]}"#, "command names no program"),
            (r#"{"command":[""]}"#, "command names no program"),
            (r#"{"command":["a","b\u0000"]}"#, "command[1] has a NUL"),
            (r#"{"command":["a"],"cwd":"\u0000"}"#, "cwd has a NUL"),
            (r#"{"command":["a"],"env":{"":"x"}}"#, r#"a variable named """#),
            (r#"{"command":["a"],"env":{"A=B":"x"}}"#, r#"a variable named "A=B""#),
            (r#"{"command":["a"],"env":{"A":"\u0000"}}"#, "env.A has a NUL"),
            (r#"{"command":["a"],"env":{"BEAVER_TOKEN":"1"}}"#, "may not set BEAVER_TOKEN"),
        ] {
            assert!(refusal(payload).contains(named), "{payload}: {}", refusal(payload));
        }
    }
}
