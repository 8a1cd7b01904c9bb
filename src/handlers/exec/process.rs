//! Processes of this machine, held by a pidfd so that a signal never reaches a stranger.
//!
//! A process id may be given to somebody else as soon as its process was reaped; a pidfd means the same
//! process for ever. What is read below `/proc/PID` after the pidfd was opened is about that process as
//! long as a signal through the pidfd still arrives: nobody can have taken over its id.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process that was there when it was looked up.
pub(super) struct Process {
    pub(crate) pid: Pid,
    pidfd: OwnedFd,
}

/// What the kernel tells about a process in `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// It has ended, and waits to be reaped.
    pub(crate) is_zombie: bool,
    /// The process that reaps it.
    pub(crate) parent: Option<Pid>,
    /// Its process group; none once it is on its way out.
    pub(crate) group: Option<Pid>,
    /// When it started, in clock ticks since the machine started.
    pub(crate) start_ticks: u64,
}

impl Process {
    /// Takes hold of a process; a zombie counts as one.
    pub(crate) fn open(pid: Pid) -> io::Result<Process> {
        Ok(Process { pid, pidfd: pidfd_open(pid, PidfdFlags::empty())? })
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Waits until it has ended, at most until `deadline`. Blocks.
    pub(crate) fn ends_by(&self, deadline: Instant) -> bool {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timespec(left))) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// One variable of the environment that it was started with.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).ok()?;
        let value = environment
            .split(|byte| *byte == 0)
            .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        String::from_utf8(value.to_vec()).ok()
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        stat(self.pid)
    }
}

/// Everybody but the calling process.
pub(super) fn others() -> io::Result<impl Iterator<Item = Process>> {
    let own = rustix::process::getpid();
    Ok(pids()?.filter(move |pid| *pid != own).filter_map(|pid| Process::open(pid).ok()))
}

/// The numbers of all processes.
pub(super) fn pids() -> io::Result<impl Iterator<Item = Pid>> {
    Ok(fs::read_dir("/proc")?.filter_map(|entry| parse_pid(entry.ok()?.file_name().to_str()?)))
}

/// Reads a process id: zero and below are none.
pub(super) fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().filter(|number| *number > 0).and_then(Pid::from_raw)
}

pub(super) fn stat(pid: Pid) -> io::Result<Stat> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read(&path)?;
    parse_stat(&String::from_utf8_lossy(&text))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path} is not understood")))
}

/// See `proc_pid_stat(5)`: `pid (name) state parent group ...`, the start time being field 22.
fn parse_stat(text: &str) -> Option<Stat> {
    // A program chooses its own name, brackets and blanks included: the last bracket closes it.
    let (_, after_name) = text.rsplit_once(") ")?;
    let fields: Vec<_> = after_name.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3);
    Some(Stat {
        is_zombie: matches!(*field(3)?, "Z" | "X"),
        parent: parse_pid(field(4)?),
        group: parse_pid(field(5)?),
        start_ticks: field(22)?.parse().ok()?,
    })
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::exec::testing::{TestProgram, WAITS, any_mark};

    #[test]
    fn a_hostile_program_name_does_not_shift_the_fields() {
        let text = "77 (a) R 1 (b c) S 1 70 71 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 8 9";
        let expected = Stat {
            is_zombie: false,
            parent: Pid::from_raw(1),
            group: Pid::from_raw(70),
            start_ticks: 123_456,
        };
        assert_eq!(parse_stat(text), Some(expected.clone()));
        let leaving = parse_stat(&text.replace(" S 1 70 71 ", " Z 0 -1 -1 ")).unwrap();
        assert_eq!(leaving, Stat { is_zombie: true, parent: None, group: None, ..expected });
        assert_eq!(parse_stat("77 (a"), None);
        assert_eq!(parse_stat("77 (a) S 1 70"), None);
    }

    #[test]
    fn a_child_is_found_with_its_group_and_environment_until_it_ends() {
        let mark = any_mark();
        let mut child = TestProgram::start_marked(&mark, WAITS);
        let process = others().unwrap().find(|process| process.pid == child.group()).unwrap();
        assert_eq!(process.stat().unwrap().group, Some(child.group()));
        assert_eq!(process.variable("BEAVER_STORE"), Some(mark.to_string()));
        assert_eq!(process.variable("BEAVER_STOR"), None);
        assert!(!process.ends_by(Instant::now()));
        process.signal(Signal::KILL).unwrap();
        assert_eq!(child.signal_that_ended_it(), 9);
        assert!(process.ends_by(Instant::now()));
        assert!(process.signal(Signal::KILL).is_err(), "not even if the number is somebody else's now");
    }
}
