//! Programs that have no keeper any more: that of a server that is gone, and the keeper with it.
//!
//! A [keeper](super::keeper) that still works is waited for: it knows everybody that it answers for. After that,
//! those that are left are recognised by the mark in their environment and ended through a pidfd, which is
//! race-free. This is the second line: a program that wiped its environment is not found here.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::mark::{self, KEEPER_VARIABLE, ProgramMark, StoreMark};
use super::process::{self, Process};
use super::variables;

/// A program may start another one while we look, and has no environment for the microseconds in which it
/// becomes another one. So we look again until nobody was found this many times in a row,
const QUIET_PASSES: u32 = 2;
/// and give up after this many times.
const PASSES_MAX: u32 = 10;
/// How long those that were killed in one pass may take to be gone.
const PASS_TIME: Duration = Duration::from_secs(1);
/// How long keepers of a server that is gone may take: they kill after a second.
const KEEPERS_TIME: Duration = Duration::from_secs(5);

/// Kills what earlier servers of this data directory left behind and returns how many processes that were.
///
/// To be called at boot before jobs run again, so that no job runs beside its own earlier attempt. Does
/// nothing if no `exec` job ever ran here. The programs of a server that still works are left alone. Blocks
/// for some milliseconds, at most fifteen seconds.
///
/// # Errors
/// `/proc` or the data directory's identity cannot be read.
pub(crate) fn end_leftovers(data_dir: &Path) -> io::Result<usize> {
    let Some(store) = StoreMark::open(data_dir)? else { return Ok(0) };
    let is_left_over = |mark: &ProgramMark| mark.store == store && !mark.server.is_alive();
    let deadline = Instant::now() + KEEPERS_TIME;
    let keepers = process::others()?
        .filter(|process| mark_in(process, KEEPER_VARIABLE).is_some_and(|m| is_left_over(&m)));
    let late = keepers.filter(|keeper| !keeper.ends_by(deadline)).count();
    if late > 0 {
        tracing::error!(
            late,
            "keepers of an earlier server are still ending its programs; jobs may run beside them"
        );
    }
    let ended = end_carriers(|process| mark_of(process).is_some_and(|mark| is_left_over(&mark)))?;
    if ended > 0 {
        tracing::warn!(processes = ended, "ended programs that an earlier server left running");
    }
    Ok(ended)
}

/// Kills what is left of a run whose keeper is gone, found by its mark and its token. Blocks, as above.
///
/// # Errors
/// `/proc` cannot be read.
pub(super) fn end_run(mark: &ProgramMark, token: &str) -> io::Result<usize> {
    end_carriers(|process| {
        mark_of(process).as_ref() == Some(mark)
            && process.variable(variables::TOKEN).as_deref() == Some(token)
    })
}

/// The mark that a program was started with.
fn mark_of(process: &Process) -> Option<ProgramMark> {
    mark_in(process, mark::VARIABLE)
}

fn mark_in(process: &Process, variable: &str) -> Option<ProgramMark> {
    ProgramMark::parse(&process.variable(variable)?)
}

/// Kills every process that is ours; returns how many ended.
fn end_carriers(is_ours: impl Fn(&Process) -> bool) -> io::Result<usize> {
    let mut ended = HashSet::new();
    let mut quiet_passes = 0;
    for _ in 0..PASSES_MAX {
        let killed: Vec<_> = process::others()?
            .filter(&is_ours)
            .filter(|process| process.signal(Signal::KILL).is_ok())
            .collect();
        quiet_passes = if killed.is_empty() { quiet_passes + 1 } else { 0 };
        if quiet_passes == QUIET_PASSES {
            return Ok(ended.len());
        }
        let deadline = Instant::now() + PASS_TIME;
        ended.extend(killed.iter().filter(|process| process.ends_by(deadline)).map(|process| process.pid));
    }
    tracing::error!(ended = ended.len(), "programs without a keeper are still running and cannot be ended");
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
