//! A program and everything it starts, as one process group that ends with the job.
//!
//! A group is addressed by a number, the process id of its leader, and the kernel gives that number to
//! somebody else once the leader was reaped and nobody is left in the group. So the order is always the same:
//! see the leader's end through a pidfd, which reaps nothing; kill the group; only then reap the leader.
//!
//! A program that leaves its group (`setsid`, a daemon) is not held: it runs on until the server has ended
//! and the [`watcher`](super::watcher) or the next boot finds it by its mark.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

use super::watcher_link::WatcherLink;

/// A running group. Dropping it kills everything in it.
pub(super) struct ProgramGroup {
    members: GroupMembers,
    leader_end: AsyncFd<OwnedFd>,
}

/// Apart from [`ProgramGroup`], so that the group is killed too if there is no pidfd to be had.
struct GroupMembers {
    id: Pid,
    leader: Child,
    is_reaped: bool,
    link: Arc<WatcherLink>,
}

impl ProgramGroup {
    /// Starts a program as the leader of a new group.
    pub(crate) fn start(command: &mut Command, link: Arc<WatcherLink>) -> io::Result<ProgramGroup> {
        link.starting();
        // Never a `pre_exec` here: it would make every start a plain fork (see `program.rs`).
        let leader = command.process_group(0).spawn()?;
        let id = leader.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let id = id.expect("a child that was not waited for has a process id");
        let members = GroupMembers { id, leader, is_reaped: false, link };
        members.link.started(id);
        let leader_end = watch(pidfd_open(id, PidfdFlags::NONBLOCK)?)?;
        Ok(ProgramGroup { members, leader_end })
    }

    /// The leader, for its pipes.
    pub(crate) fn leader(&mut self) -> &mut Child {
        &mut self.members.leader
    }

    /// Waits until the leader has ended, without reaping it. May be called again.
    pub(crate) async fn leader_ended(&self) -> io::Result<()> {
        self.leader_end.readable().await.map(drop)
    }

    /// Sends a signal to everybody in the group.
    pub(crate) fn signal(&self, signal: Signal) {
        self.members.signal(signal);
    }

    /// Kills the processes that are left and returns how the leader ended.
    pub(crate) async fn end(mut self) -> io::Result<ExitStatus> {
        self.members.kill();
        let status = self.members.leader.wait().await?;
        self.members.is_reaped = true;
        Ok(status)
    }
}

#[expect(
    deprecated,
    reason = "deprecated for types that answer with somebody else's descriptor; an OwnedFd never does, and \
              what replaces it is an unsafe function"
)]
fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

impl GroupMembers {
    fn signal(&self, signal: Signal) {
        // The leader is not reaped, so the number is ours. What can still fail is a program that took on
        // another user's rights, and there is nothing that we could do about that.
        kill_process_group(self.id, signal).ok();
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
        self.link.ended(self.id);
    }
}

impl Drop for GroupMembers {
    fn drop(&mut self) {
        if !self.is_reaped {
            // The runtime reaps the leader later.
            self.kill();
        }
    }
}
