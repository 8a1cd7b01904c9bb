//! The handlers that beaver brings along: `simulate`, `noop`, and, where it is allowed, `exec`; `fields` reads payloads.

pub(crate) mod simulate;

pub(crate) mod noop;

pub(crate) mod exec;

mod fields;

use std::io;

use beaver_actors::api::handler::Handlers;
use beaver_actors::ids::KindName;

use exec::ExecHandler;
use noop::Noop;
use simulate::Simulate;

use crate::config::Settings;

/// The built-in handlers, by kind. Without `allow_exec`, jobs of kind `exec` wait; with it, everybody who may enqueue may
/// run programs as this user; each of these may have this many file `descriptors`.
///
/// # Errors
/// `exec` is allowed and the data directory's identity cannot be read or created, or `/proc` is missing.
pub(crate) fn built_in(settings: &Settings, descriptors: u64) -> io::Result<Handlers> {
    let handlers = Handlers::new().with(kind("simulate"), Simulate).with(kind("noop"), Noop);
    if !settings.allow_exec {
        return Ok(handlers);
    }
    let (data_dir, set) = (&settings.engine.data_dir, &settings.exec_env);
    let exec = ExecHandler::new(data_dir, settings.stop_grace, set, descriptors)?;
    Ok(handlers.with(Settings::exec_kind(), exec))
}

fn kind(name: &str) -> KindName {
    KindName::parse(name).expect("the kinds in this file are short words")
}

#[cfg(test)]
mod testing {
    use std::time::Duration;

    use beaver_actors::api::handler::{JobRun, StopSender, StopSignal};
    use beaver_actors::ids::{Attempt, JobId, KindName, QueueName};
    use beaver_actors::jobs::Payload;

    /// What names its lease.
    pub(crate) const TOKEN: &str = "9f3c01aa-00000003-0000000000001267";

    /// A first attempt with this payload; it is cancelled when the sender is dropped.
    pub(crate) fn run_of(payload: &str) -> (StopSender, JobRun) {
        let (sender, stop) = StopSignal::new();
        let run = JobRun {
            id: JobId::parse("order-17").unwrap(),
            queue: QueueName::parse("default").unwrap(),
            kind: KindName::parse("test").unwrap(),
            payload: Payload::parse(payload).unwrap(),
            attempt: Attempt(1),
            token: TOKEN.parse().unwrap(),
            timeout: Duration::from_secs(60),
            stop,
        };
        (sender, run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(allow_exec: bool) -> Vec<String> {
        let data_dir = tempfile::tempdir().unwrap();
        let mut settings = Settings { allow_exec, ..Settings::default() };
        settings.engine.data_dir = data_dir.path().join("not-there-yet");
        built_in(&settings, 1_024).unwrap().kinds().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn exec_is_there_only_when_it_is_allowed() {
        assert_eq!(kinds(false), ["noop", "simulate"]);
        assert_eq!(kinds(true), ["exec", "noop", "simulate"]);
    }
}
