//! What was probably meant by a command line that cannot be read, by the habits of other tools.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::plain::plain;

/// Words of other queues and of the shell, and what they are called here.
const HABITS: [(&[&str], &str); 15] = [
    (&["add", "push", "submit", "queue", "put", "new", "schedule", "run-job"], "beaver enqueue -- PROGRAM"),
    (&["start", "serve", "server", "daemon", "up"], "beaver run"),
    (&["stop", "shutdown", "quit", "down"], "kill PID (SIGTERM), or systemctl stop"),
    (&["list", "ls", "job", "ps"], "beaver jobs list --status pending"),
    (&["show", "get", "describe", "info", "stats", "stat", "top"], "beaver status [ID]"),
    (&["rm", "remove", "delete", "del", "abort"], "beaver cancel ID"),
    (&["kill"], "beaver cancel ID, or beaver jobs kill --status pending --id ID"),
    (&["log", "logs", "cat", "tail", "follow"], "beaver output ID"),
    (&["retry", "restart", "requeue"], "beaver jobs run-now --status dead --id ID"),
    (&["dead"], "beaver jobs list --status dead"),
    (&["clear", "clean", "flush", "purge"], "beaver jobs discard --status dead --yes"),
    (&["pause"], "beaver queues pause QUEUE"),
    (&["resume", "unpause"], "beaver queues resume QUEUE"),
    (&["worker"], "beaver workers"),
    (&["check", "fsck", "repair", "verify"], "beaver doctor"),
];

/// What to try instead, if that can be told.
pub(crate) fn hint(error: &clap::Error, args: &[String]) -> Option<String> {
    let told = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let given = told(ContextKind::InvalidSubcommand)?.to_lowercase();
            let (_, here) = HABITS.iter().find(|(words, _)| words.contains(&given.as_str()))?;
            Some(format!("did you mean: {here}"))
        }
        ErrorKind::UnknownArgument if args.first().is_some_and(|command| command == "enqueue") => {
            let unknown = told(ContextKind::InvalidArg)?;
            let at = args.iter().position(|arg| arg == unknown).filter(|_| !unknown.starts_with('-'))?;
            let words = [&["beaver".to_owned()], &args[..at], &["--".to_owned()], &args[at..]].concat();
            let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
            Some(format!("a program goes behind --: {}", words.join(" ")))
        }
        _ => None,
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", plain(word).replace('\'', r"'\''")),
    }
}
