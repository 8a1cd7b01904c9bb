//! What the tests of this module share: programs that are surely gone afterwards, and news from them.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader as AsyncBufReader};
use tokio::net::unix::pipe;

use super::keeper::KeeperProgram;
use super::mark::{self, ProgramMark, ServerMark};
use super::process::{self, Process};

/// This test program, as a keeper: see `tests::keeper_of_these_tests`.
pub(crate) fn test_keeper() -> KeeperProgram {
    let entry = "handlers::exec::tests::keeper_of_these_tests";
    KeeperProgram {
        path: "/proc/self/exe".into(),
        arguments: [entry, "--exact", "--nocapture"].map(OsString::from).into(),
    }
}

/// No test waits longer than this for something that must happen.
pub(crate) const SURELY: Duration = Duration::from_secs(30);
/// A script that says that it is up and then waits for ever, without starting another program.
pub(crate) const WAITS: &str = "echo up; read line";

/// A mark that no other test has.
pub(crate) fn any_mark() -> ProgramMark {
    ProgramMark::of_this_server(tempfile::tempdir().unwrap().path()).unwrap()
}

/// A server that has ended.
pub(crate) fn gone_server() -> ServerMark {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = Pid::from_child(&child);
    let start_ticks = process::stat(pid).unwrap().start_ticks;
    child.wait().unwrap();
    ServerMark { pid, start_ticks }
}

/// Waits until nothing of a process is left that could run.
pub(crate) fn assert_ends(pid: Pid) {
    // One that cannot be opened was reaped already.
    if let Ok(process) = Process::open(pid) {
        assert!(process.ends_by(Instant::now() + SURELY), "process {pid} is still there");
    }
}

/// A shell script as the leader of its own group. The group is killed when the test ends, well or not.
pub(crate) struct TestProgram(Child);

impl TestProgram {
    /// Starts it and waits for its first line of output.
    pub(crate) fn start(script: &str) -> TestProgram {
        TestProgram::launch(Command::new("sh").args(["-c", script]))
    }

    /// The same with a mark in its environment.
    pub(crate) fn start_marked(mark: &ProgramMark, script: &str) -> TestProgram {
        TestProgram::launch(Command::new("sh").args(["-c", script]).env(mark::VARIABLE, mark.to_string()))
    }

    fn launch(command: &mut Command) -> TestProgram {
        let command = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = TestProgram(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(program.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        program
    }

    pub(crate) fn group(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) fn signal_that_ended_it(&mut self) -> i32 {
        assert_ends(self.group());
        self.0.wait().unwrap().signal().unwrap()
    }
}

impl Drop for TestProgram {
    fn drop(&mut self) {
        // Once reaped, the number may be somebody else's.
        if self.is_running() {
            kill_process_group(self.group(), Signal::KILL).unwrap();
            self.0.wait().unwrap();
        }
    }
}

/// A named pipe through which programs tell a test, line by line, how far they are.
pub(crate) struct Notes {
    dir: TempDir,
    lines: AsyncBufReader<pipe::Receiver>,
}

impl Notes {
    pub(crate) fn new() -> Notes {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        // Open for writing too, so that it does not end when one writer has gone.
        let receiver = pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
        Notes { dir, lines: AsyncBufReader::new(receiver) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("notes")
    }

    pub(crate) async fn next(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(SURELY, self.lines.read_line(&mut line)).await;
        read.expect("no news").unwrap();
        line.trim_end().to_owned()
    }

    /// A line that is a process id.
    pub(crate) async fn next_pid(&mut self) -> Pid {
        process::parse_pid(&self.next().await).unwrap()
    }
}
