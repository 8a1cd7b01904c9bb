//! Programs that outlived the server that started them.
//!
//! They are recognised by the mark in their environment and ended through a pidfd, which is race-free. A
//! program that wiped its environment is not found here; the [`watcher`](super::watcher) knows it by its
//! process group.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::mark::{self, ProgramMark, StoreMark};
use super::process::{self, Process};

/// A program may start another one while we look, and has no environment for the microseconds in which it
/// becomes another one. So we look again until nobody was found this many times in a row,
const QUIET_PASSES: u32 = 2;
/// and give up after this many times.
const PASSES_MAX: u32 = 10;
/// How long those that were killed in one pass may take to be gone.
const PASS_TIME: Duration = Duration::from_secs(1);

/// Kills what earlier servers of this data directory left behind and returns how many processes that were.
///
/// To be called at boot before jobs run again, so that no job runs beside its own earlier attempt. Does
/// nothing if no `exec` job ever ran here. The programs of a server that still works are left alone. Blocks
/// for some milliseconds, at most ten seconds.
///
/// # Errors
/// `/proc` or the data directory's identity cannot be read.
pub(crate) fn end_leftovers(data_dir: &Path) -> io::Result<usize> {
    let Some(store) = StoreMark::open(data_dir)? else { return Ok(0) };
    let ended = end_carriers(|mark| mark.store == store && !mark.server.is_alive())?;
    if ended > 0 {
        tracing::warn!(processes = ended, "ended programs that an earlier server left running");
    }
    Ok(ended)
}

/// The mark that a process was started with.
pub(super) fn mark_of(process: &Process) -> Option<ProgramMark> {
    ProgramMark::parse(&process.variable(mark::VARIABLE)?)
}

/// Kills every process with a mark that is ours; returns how many ended.
pub(super) fn end_carriers(is_ours: impl Fn(&ProgramMark) -> bool) -> io::Result<usize> {
    let mut ended = HashSet::new();
    let mut quiet_passes = 0;
    for _ in 0..PASSES_MAX {
        let killed: Vec<_> = process::others()?
            .filter(|process| mark_of(process).is_some_and(|mark| is_ours(&mark)))
            .filter(|process| process.signal(Signal::KILL).is_ok())
            .collect();
        quiet_passes = if killed.is_empty() { quiet_passes + 1 } else { 0 };
        if quiet_passes == QUIET_PASSES {
            return Ok(ended.len());
        }
        let deadline = Instant::now() + PASS_TIME;
        ended.extend(killed.iter().filter(|process| process.ends_by(deadline)).map(|process| process.pid));
    }
    tracing::error!(
        ended = ended.len(),
        "programs of an earlier server are still running and cannot be ended"
    );
    Ok(ended.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::exec::testing::{TestProgram, WAITS, gone_server};

    #[test]
    fn leftovers_of_this_data_directory_are_ended_and_nobody_else_is() {
        let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let working = ProgramMark::of_this_server(here.path()).unwrap();
        let left_over = ProgramMark { server: gone_server(), ..working.clone() };
        let foreign =
            ProgramMark { server: gone_server(), ..ProgramMark::of_this_server(elsewhere.path()).unwrap() };

        let mut ours = TestProgram::start_marked(&left_over, "sleep 300 & echo up; wait");
        let mut foreign = TestProgram::start_marked(&foreign, WAITS);
        let mut of_working_server = TestProgram::start_marked(&working, WAITS);

        assert_eq!(end_leftovers(here.path()).unwrap(), 2, "a shell and what it started");
        assert_eq!(ours.signal_that_ended_it(), 9);
        assert!(foreign.is_running());
        assert!(of_working_server.is_running());
        assert_eq!(end_leftovers(here.path()).unwrap(), 0);
    }

    #[test]
    fn a_data_directory_that_never_saw_an_exec_job_has_no_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(end_leftovers(dir.path()).unwrap(), 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was created");
    }
}
