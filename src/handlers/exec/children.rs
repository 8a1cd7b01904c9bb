//! The children of this process: those that it has started, and those that became its own.
//!
//! The first process of a container gets every orphan of it, and so does a child subreaper. Somebody has to take leave of
//! them when they have ended, or they stay as zombies until no process can be started any more. But a child that was
//! started here is waited for where it was started, and its end must not be taken away from there.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, child_subreaper, getpid, waitpid};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::process::{pids, stat};

/// Ends come in crowds, and one look serves for all. Nobody waits for an orphan.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// The children that were started here and have not been waited for.
static STARTED: Mutex<Option<HashSet<Pid>>> = Mutex::new(None);

/// Starts a child that is waited for at once, so that it is never a zombie for long. The handle ends with it.
///
/// # Errors
/// It cannot be started.
pub(super) fn start(command: &mut Command) -> io::Result<JoinHandle<()>> {
    // Held while it starts: nobody sees the child before it is noted.
    let mut started = started();
    let mut child = command.spawn()?;
    let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    let pid = pid.expect("a child that was not waited for has a process id");
    started.get_or_insert_default().insert(pid);
    drop(started);
    Ok(tokio::spawn(async move {
        // It can only fail if somebody else has reaped it: then it has ended as well.
        child.wait().await.ok();
        self::started().get_or_insert_default().remove(&pid);
    }))
}

fn started() -> MutexGuard<'static, Option<HashSet<Pid>>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether orphans become children of this process.
pub(crate) fn gets_orphans() -> bool {
    getpid().is_init() || child_subreaper().is_ok_and(|setting| setting.is_some())
}

/// Takes leave of orphans when they have ended, for ever.
pub(crate) async fn reap_orphans() {
    let mut child_ended = match signal(SignalKind::child()) {
        Ok(child_ended) => child_ended,
        Err(error) => return tracing::error!(%error, "orphans will stay as zombies"),
    };
    loop {
        match reap_once() {
            Ok(0) => {}
            Ok(reaped) => tracing::debug!(reaped, "orphans have ended"),
            Err(error) => tracing::warn!(%error, "cannot look for orphans that have ended"),
        }
        if child_ended.recv().await.is_none() {
            return;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Reaps, each by its own number, the children that have ended and were not started here; returns how many.
fn reap_once() -> io::Result<usize> {
    // Nothing is started meanwhile, so each zombie that is not noted is an orphan.
    let mut started = started();
    let started = started.get_or_insert_default();
    let own = getpid();
    let is_orphan = |pid: &Pid| {
        let has_ended = stat(*pid).is_ok_and(|stat| stat.is_zombie && stat.parent == Some(own));
        has_ended && !started.contains(pid)
    };
    let reaped = pids()?.filter(is_orphan).filter(|pid| {
        // The number is its own until here: nobody else reaps it.
        waitpid(Some(*pid), WaitOptions::NOHANG).is_ok_and(|ended| ended.is_some())
    });
    Ok(reaped.count())
}
