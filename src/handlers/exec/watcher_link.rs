//! The server's end of the pipe to its [`watcher`](super::watcher).

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Pid;

use super::mark::ProgramMark;
use super::watcher::{Message, SUBCOMMAND};

/// A watcher that cannot be kept up is not started again for every job.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How a watcher is started.
#[derive(Clone, Debug)]
pub(super) struct WatcherProgram {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Shortest time from one start to the next.
    pub(crate) restart_pause: Duration,
}

impl WatcherProgram {
    /// The program that this process runs, even if its file was replaced by a newer version since.
    pub(crate) fn this_one() -> WatcherProgram {
        WatcherProgram {
            path: "/proc/self/exe".into(),
            arguments: vec![SUBCOMMAND.into()],
            restart_pause: RESTART_PAUSE,
        }
    }
}

/// Keeps a watcher informed of the process groups that run. It is started before the first of them, and again
/// with the next one if it dies.
pub(super) struct WatcherLink {
    program: WatcherProgram,
    mark: ProgramMark,
    state: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    watcher: Option<Child>,
    started_at: Option<Instant>,
    groups: HashSet<Pid>,
}

impl WatcherLink {
    pub(crate) fn new(program: WatcherProgram, mark: ProgramMark) -> WatcherLink {
        WatcherLink { program, mark, state: Mutex::default() }
    }

    /// To be called before a group is started. The watcher comes first: if the server is killed before it can
    /// name the group, the programs in it are still found by their mark.
    ///
    /// A watcher that is not there is a warning, not an error: leftovers would be found at the next boot.
    pub(crate) fn starting(&self) {
        self.keep_watcher(&mut self.lock());
    }

    /// To be called as soon as a group runs.
    pub(crate) fn started(&self, group: Pid) {
        let mut state = self.lock();
        state.groups.insert(group);
        state.tell(&Message::Started(group));
        self.keep_watcher(&mut state);
    }

    /// To be called when a group has ended, *before* its leader is reaped: from then on the number may be
    /// somebody else's.
    pub(crate) fn ended(&self, group: Pid) {
        let mut state = self.lock();
        state.groups.remove(&group);
        state.tell(&Message::Ended(group));
    }

    /// Starts a watcher if there is none.
    fn keep_watcher(&self, state: &mut LinkState) {
        if state.watcher.is_some() || !self.may_start(state) {
            return;
        }
        state.started_at = Some(Instant::now());
        match self.start(&state.groups) {
            Ok(watcher) => state.watcher = Some(watcher),
            Err(error) => tracing::warn!(
                %error, program = %self.program.path.display(),
                "no watcher: if this server is killed, programs of its jobs run on until the next boot"
            ),
        }
    }

    fn may_start(&self, state: &LinkState) -> bool {
        state.started_at.is_none_or(|started_at| started_at.elapsed() >= self.program.restart_pause)
    }

    fn start(&self, groups: &HashSet<Pid>) -> io::Result<Child> {
        // Nothing of ours but the pipe: not our directory, not our output (somebody may wait for its end),
        // not our environment (a mark in it would make the watcher a leftover), not our group (Ctrl+C).
        let mut watcher = Command::new(&self.program.path)
            .args(&self.program.arguments)
            .arg0("beaver")
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // A watcher that does not read must not make a worker wait. Lines this short are written whole or
        // not.
        let told =
            fcntl_setfl(pipe(&mut watcher), OFlags::NONBLOCK).map_err(io::Error::from).and_then(|()| {
                tell(&mut watcher, &Message::Mark(self.mark.clone()))?;
                groups.iter().try_for_each(|group| tell(&mut watcher, &Message::Started(*group)))
            });
        match told {
            Ok(()) => Ok(watcher),
            Err(error) => {
                dismiss(watcher);
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkState {
    fn dismiss_watcher(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            dismiss(watcher);
        }
    }

    fn tell(&mut self, message: &Message) {
        let Some(watcher) = &mut self.watcher else { return };
        if let Err(error) = tell(watcher, message) {
            tracing::warn!(%error, "the watcher of exec jobs is gone; the next job starts another one");
            self.dismiss_watcher();
        }
    }
}

fn tell(watcher: &mut Child, message: &Message) -> io::Result<()> {
    pipe(watcher).write_all(format!("{message}\n").as_bytes())
}

fn pipe(watcher: &mut Child) -> &mut std::process::ChildStdin {
    watcher.stdin.as_mut().expect("a watcher is started with a pipe, and nobody takes it")
}

/// Ends a watcher that is of no use any more. The kill comes before the pipe closes: one that is merely slow
/// would take the closed pipe for the death of the server and end everything that runs.
fn dismiss(mut watcher: Child) {
    let pipe = watcher.stdin.take();
    // Both can only fail if it was reaped already, and nobody else does that.
    watcher.kill().ok();
    watcher.wait().ok();
    drop(pipe);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::exec::testing::{Notes, any_mark};

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).unwrap()
    }

    /// A link whose watcher passes on what it is told, prefixed with its own process id.
    fn link_to(notes: &Notes) -> WatcherLink {
        let script = format!("while read -r line; do echo $$ $line > '{}'; done", notes.path().display());
        let program = WatcherProgram {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            restart_pause: Duration::ZERO,
        };
        WatcherLink::new(program, any_mark())
    }

    async fn next(notes: &mut Notes) -> (Pid, String) {
        let line = notes.next().await;
        let (watcher, message) = line.split_once(' ').unwrap();
        (pid(watcher.parse().unwrap()), message.to_owned())
    }

    #[tokio::test]
    async fn the_watcher_hears_the_mark_first_and_then_of_every_group() {
        let mut notes = Notes::new();
        let link = link_to(&notes);
        link.started(pid(70));
        link.started(pid(71));
        link.ended(pid(70));
        let (watcher, mark) = next(&mut notes).await;
        assert_eq!(mark, format!("={}", link.mark));
        for message in ["+70", "+71", "-70"] {
            assert_eq!(next(&mut notes).await, (watcher, message.to_owned()));
        }
    }

    #[tokio::test]
    async fn the_watcher_is_there_before_the_first_group() {
        let mut notes = Notes::new();
        let link = link_to(&notes);
        link.starting();
        let (watcher, mark) = next(&mut notes).await;
        assert_eq!(mark, format!("={}", link.mark));
        link.started(pid(70));
        assert_eq!(next(&mut notes).await, (watcher, "+70".to_owned()));
    }

    #[tokio::test]
    async fn a_watcher_that_died_is_replaced_and_hears_of_the_groups_that_still_run() {
        let mut notes = Notes::new();
        let link = link_to(&notes);
        link.started(pid(70));
        link.started(pid(71));
        link.ended(pid(70));
        let (first, _) = next(&mut notes).await;
        for _ in 0..3 {
            assert_eq!(next(&mut notes).await.0, first);
        }

        // Reaped here, so that it is surely gone and its end of the pipe with it.
        let mut watcher = link.lock().watcher.take().unwrap();
        watcher.kill().unwrap();
        let pipe = watcher.stdin.take();
        watcher.wait().unwrap();
        watcher.stdin = pipe;
        link.lock().watcher = Some(watcher);

        link.started(pid(72));
        let (second, mark) = next(&mut notes).await;
        assert_ne!(second, first);
        assert_eq!(mark, format!("={}", link.mark));
        let mut groups = [next(&mut notes).await, next(&mut notes).await];
        groups.sort_by_key(|(_, message)| message.clone());
        assert_eq!(groups, [(second, "+71".to_owned()), (second, "+72".to_owned())]);
    }

    #[tokio::test]
    async fn a_watcher_that_does_not_listen_is_replaced_instead_of_waited_for() {
        let program = WatcherProgram {
            path: "/bin/sleep".into(),
            arguments: vec!["300".into()],
            restart_pause: Duration::ZERO,
        };
        let link = WatcherLink::new(program, any_mark());
        link.started(pid(70));
        let deaf = link.lock().watcher.as_ref().unwrap().id();
        // More than any pipe holds.
        let lines = (1 << 20) / "-71\n".len();
        let replaced = (0..lines).any(|_| {
            link.ended(pid(71));
            link.lock().watcher.is_none()
        });
        assert!(replaced);
        link.started(pid(72));
        assert_ne!(link.lock().watcher.as_ref().unwrap().id(), deaf);
        link.lock().dismiss_watcher();
    }

    #[test]
    fn a_watcher_that_cannot_be_started_stops_no_job() {
        let program = WatcherProgram {
            path: "/nowhere/beaver".into(),
            arguments: Vec::new(),
            restart_pause: Duration::ZERO,
        };
        let link = WatcherLink::new(program, any_mark());
        link.started(pid(70));
        link.ended(pid(70));
        assert!(link.lock().watcher.is_none() && link.lock().groups.is_empty());
    }
}
