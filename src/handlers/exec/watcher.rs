//! The watcher: a small process that ends the programs of a server that was killed.
//!
//! A server that is killed cannot tidy up. So it keeps a child, `beaver exec-watcher`, at the other end of a
//! pipe and tells it which process groups run. When the pipe closes, the server is gone, however it died, and
//! the watcher ends those groups: SIGTERM, a short grace, SIGKILL. After an orderly stop no group is left,
//! and the watcher just ends.
//!
//! One line each, written whole:
//!
//! | line | meaning |
//! |---|---|
//! | `=MARK` | the mark that programs of this server carry; first line |
//! | `+GROUP` | this group runs now |
//! | `-GROUP` | this group has ended; its leader is not yet reaped, so the number is still its own |
//!
//! No program slips through while it is being started: until it is a program of its own, and so has the mark,
//! it holds a copy of the server's end, and the pipe stays open.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::mark::ProgramMark;
use super::orphans::{end_carriers, mark_of};
use super::process::{self, Process};

/// What a server starts itself as to have its watcher; of no use to people.
pub(crate) const SUBCOMMAND: &str = "exec-watcher";
/// Between SIGTERM and SIGKILL. Short: the next server may be starting already.
const GRACE: Duration = Duration::from_secs(1);

/// Body of the hidden subcommand `beaver exec-watcher`: listens on stdin until it closes, then ends what
/// runs.
pub(crate) fn run() -> ExitCode {
    watch(io::stdin().lock(), GRACE);
    ExitCode::SUCCESS
}

/// What a server tells its watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Mark(ProgramMark),
    Started(Pid),
    Ended(Pid),
}

impl Message {
    fn parse(line: &str) -> Option<Message> {
        // As a group, 1 would mean every process that there is.
        let group = |text: &str| process::parse_pid(text).filter(|pid| !pid.is_init());
        match line.split_at_checked(1)? {
            ("=", mark) => ProgramMark::parse(mark).map(Message::Mark),
            ("+", pid) => group(pid).map(Message::Started),
            ("-", pid) => group(pid).map(Message::Ended),
            _ => None,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Mark(mark) => write!(f, "={mark}"),
            Message::Started(group) => write!(f, "+{group}"),
            Message::Ended(group) => write!(f, "-{group}"),
        }
    }
}

fn watch(mut input: impl BufRead, grace: Duration) {
    let mut charge = Charge::default();
    let mut line = String::new();
    while input.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        // A line without its end is none: half a number would be somebody else's.
        if let Some(message) = line.strip_suffix('\n').and_then(Message::parse) {
            charge.note(message);
        }
        line.clear();
    }
    charge.end(grace);
}

/// What a watcher answers for.
#[derive(Default)]
struct Charge {
    mark: Option<ProgramMark>,
    /// The leader of each group that runs. While a leader lives, the group's number means this group.
    leaders: HashMap<Pid, Process>,
}

impl Charge {
    fn note(&mut self, message: Message) {
        match message {
            Message::Mark(mark) => self.mark = Some(mark),
            Message::Ended(group) => drop(self.leaders.remove(&group)),
            Message::Started(group) => {
                // No pidfd left: its programs are still found by their mark.
                if let Ok(leader) = Process::open(group) {
                    self.leaders.insert(group, leader);
                }
            }
        }
    }

    /// Ends every group and every other process that carries the mark.
    fn end(self, grace: Duration) {
        let (in_groups, astray) = self.find_processes();
        self.signal_groups(Signal::TERM);
        // A stopped process takes no SIGTERM until it goes on.
        self.signal_groups(Signal::CONT);
        signal_each(&astray, Signal::TERM);

        let deadline = Instant::now() + grace;
        let everybody = || in_groups.iter().chain(&astray);
        // Processes that are not gone by then are killed next.
        everybody().all(|process| process.ends_by(deadline));

        self.signal_groups(Signal::KILL);
        signal_each(everybody(), Signal::KILL);
        if let Some(ours) = &self.mark {
            // There is nobody to tell if this fails: the next boot looks again.
            end_carriers(|mark| mark == ours).ok();
        }
    }

    /// Those in a group whose leader lives, and those who carry the mark outside of such a group.
    fn find_processes(&self) -> (Vec<Process>, Vec<Process>) {
        let Ok(processes) = process::others() else { return Default::default() };
        let in_group = |process: &Process| {
            let group = process.stat().ok().and_then(|stat| stat.group);
            group.and_then(|group| self.leaders.get(&group)).is_some_and(|leader| !leader.has_ended())
        };
        let is_marked = |process: &Process| self.mark.is_some() && mark_of(process) == self.mark;
        processes
            .filter(|process| in_group(process) || is_marked(process))
            .partition(|process| in_group(process))
    }

    /// Only groups whose leader lives: then the number is theirs. (Between look and signal lie microseconds,
    /// and a number comes round again only after all others were used.)
    fn signal_groups(&self, signal: Signal) {
        for (group, _) in self.leaders.iter().filter(|(_, leader)| !leader.has_ended()) {
            // It may be gone by now, which is as good.
            kill_process_group(*group, signal).ok();
        }
    }
}

fn signal_each<'a>(processes: impl IntoIterator<Item = &'a Process>, signal: Signal) {
    // One that has ended by now gets nothing: a pidfd never means somebody else.
    processes.into_iter().for_each(|process| drop(process.signal(signal)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::exec::testing::{TestProgram, WAITS, any_mark};

    const LONG: Duration = Duration::from_secs(60);

    fn watch_lines(messages: &[Message], grace: Duration) {
        let text: String = messages.iter().map(|message| format!("{message}\n")).collect();
        watch(text.as_bytes(), grace);
    }

    #[test]
    fn a_message_reads_back_as_itself_and_dangerous_numbers_are_none() {
        let pid = Pid::from_raw(4711).unwrap();
        for message in [Message::Mark(any_mark()), Message::Started(pid), Message::Ended(pid)] {
            assert_eq!(Message::parse(&message.to_string()), Some(message));
        }
        for line in ["", "+", "+1", "+0", "-1", "+-5", "+99999999999", "4711", "+4711x", "é"] {
            assert_eq!(Message::parse(line), None, "{line}");
        }
    }

    #[test]
    fn groups_that_run_when_the_server_dies_are_ended_and_others_are_not() {
        let mut running = TestProgram::start(WAITS);
        let mut ended = TestProgram::start(WAITS);
        let mut never_ours = TestProgram::start(WAITS);
        watch_lines(
            &[
                Message::Mark(any_mark()),
                Message::Started(running.group()),
                Message::Started(ended.group()),
                Message::Ended(ended.group()),
            ],
            LONG,
        );
        assert_eq!(running.signal_that_ended_it(), 15);
        assert!(ended.is_running());
        assert!(never_ours.is_running());
    }

    #[test]
    fn a_group_that_ignores_sigterm_is_killed_after_the_grace() {
        let mut stubborn = TestProgram::start("trap '' TERM; echo up; sleep 300 & wait");
        watch_lines(&[Message::Started(stubborn.group())], Duration::from_millis(200));
        assert_eq!(stubborn.signal_that_ended_it(), 9);
    }

    #[test]
    fn a_stopped_group_is_ended_too() {
        let mut stopped = TestProgram::start(WAITS);
        kill_process_group(stopped.group(), Signal::STOP).unwrap();
        watch_lines(&[Message::Started(stopped.group())], LONG);
        assert_eq!(stopped.signal_that_ended_it(), 15);
    }

    #[test]
    fn a_program_that_left_its_group_is_found_by_its_mark() {
        let mark = any_mark();
        let mut astray = TestProgram::start_marked(&mark, WAITS);
        watch_lines(&[Message::Mark(mark)], LONG);
        assert_eq!(astray.signal_that_ended_it(), 15);
    }

    #[test]
    fn half_a_line_is_not_obeyed() {
        let mut running = TestProgram::start(WAITS);
        watch(format!("+{}", running.group()).as_bytes(), LONG);
        assert!(running.is_running());
    }
}
