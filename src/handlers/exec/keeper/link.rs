//! The server's end: keepers that run a program, and those that wait for one.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio as ChildStdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use beaver_actors::base::failpoint;
use beaver_actors::ids::JobId;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::messages::{KeeperReport, KeeperReports, ProgramOrder, Stdio, send_start};
use super::process::SUBCOMMAND;
use crate::handlers::exec::children;
use crate::handlers::exec::mark::{KEEPER_VARIABLE, ProgramMark};

/// How a keeper is started.
#[derive(Clone, Debug)]
pub(crate) struct KeeperProgram {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

impl KeeperProgram {
    /// The program that this process runs, even if its file was replaced by a newer version since. It, and what it starts,
    /// may have this many file descriptors.
    pub(crate) fn this_one(descriptors: u64) -> KeeperProgram {
        let arguments = vec![SUBCOMMAND.into(), descriptors.to_string().into()];
        KeeperProgram { path: "/proc/self/exe".into(), arguments }
    }
}

/// The keepers of a server. There are never more than programs have run at the same time.
pub(crate) struct Keepers {
    program: KeeperProgram,
    mark: ProgramMark,
    idle: Mutex<Vec<KeeperLink>>,
    /// The jobs of which a program runs, or of which something may be left. The sender is dropped when nothing is.
    runs: Mutex<HashMap<JobId, watch::Receiver<()>>>,
}

/// An entry among these; dropping it takes it out.
struct RunEntry {
    job: JobId,
    keepers: Arc<Keepers>,
    _gone: watch::Sender<()>,
}

/// A keeper and the socket to it. When the socket is closed, the keeper ends.
struct KeeperLink {
    socket: UnixStream,
    reports: KeeperReports,
    /// Ends with the process.
    ended: JoinHandle<()>,
}

impl Keepers {
    pub(crate) fn new(program: KeeperProgram, mark: ProgramMark) -> Keepers {
        Keepers { program, mark, idle: Mutex::default(), runs: Mutex::default() }
    }

    /// Waits until nothing is left of an earlier run of this job: one that was given up, or whose lease was lost.
    pub(crate) async fn earlier_run_ended(&self, job: &JobId) {
        loop {
            let earlier = lock(&self.runs).get(job).cloned();
            let Some(mut earlier) = earlier else { return };
            // Fails when the sender is dropped: that is the news.
            while earlier.changed().await.is_ok() {}
        }
    }

    /// Gives a program to a keeper, once [the earlier run](Keepers::earlier_run_ended) of its job has ended.
    ///
    /// # Errors
    /// There is no keeper for it. Whether the program itself can be started is heard from its keeper.
    pub(crate) async fn start(
        self: &Arc<Keepers>,
        job: &JobId,
        program: &ProgramOrder,
        stdio: Stdio,
    ) -> io::Result<RunningProgram> {
        let keeper = match self.take_idle() {
            Some(keeper) => keeper,
            None => KeeperLink::start(&self.program, &self.mark).await?,
        };
        // From here on it may run, even if this is given up half way.
        let mut running = RunningProgram { in_hand: Some((keeper, self.register(job.clone()))) };
        if let Some((keeper, _)) = &mut running.in_hand {
            send_start(&mut keeper.socket, program, &stdio).await?;
        }
        Ok(running)
    }

    fn take_idle(&self) -> Option<KeeperLink> {
        // One that has died meanwhile is of no use.
        std::iter::from_fn(|| lock(&self.idle).pop()).find(KeeperLink::is_there)
    }

    fn register(self: &Arc<Keepers>, job: JobId) -> RunEntry {
        let (sender, receiver) = watch::channel(());
        lock(&self.runs).insert(job.clone(), receiver);
        RunEntry { job, keepers: Arc::clone(self), _gone: sender }
    }
}

impl Drop for RunEntry {
    fn drop(&mut self) {
        // Before the sender, which is a field.
        lock(&self.keepers.runs).remove(&self.job);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KeeperLink {
    async fn start(program: &KeeperProgram, mark: &ProgramMark) -> io::Result<KeeperLink> {
        failpoint::pass("keeper.start")?;
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // Nothing of ours but the socket: not our directory, not our output (somebody may wait for its end), not
        // our environment, not our group (Ctrl+C).
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .arg0("beaver")
            .env_clear()
            .env(KEEPER_VARIABLE, mark.to_string())
            .current_dir("/")
            .process_group(0)
            .stdin(OwnedFd::from(theirs))
            .stdout(ChildStdio::null())
            .stderr(ChildStdio::null());
        let ended = children::start(&mut command)?;
        // It holds our copy of the keeper's end, which would hide that the keeper is gone.
        drop(command);
        let mut keeper =
            KeeperLink { socket: UnixStream::from_std(ours)?, reports: KeeperReports::default(), ended };
        match keeper.reports.next(&mut keeper.socket).await? {
            Some(KeeperReport::Idle { left: 0 }) => Ok(keeper),
            // What it lacked it cannot say; mostly it is memory or descriptors.
            _ => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    /// An idle keeper says nothing, so anything that can be read is its end.
    fn is_there(&self) -> bool {
        let read = self.socket.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends one byte. It fits into the socket: few are ever sent.
    fn tell(&self, order: u8) {
        // A keeper that is gone is noticed when its next report is waited for.
        self.socket.try_write(&[order]).ok();
    }
}

/// What is heard of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard {
    /// It could not be started.
    NotStarted { errno: i32 },
    /// It has ended; what it started may be left.
    Ended(ExitStatus),
    /// Nothing is left of it but this many processes that its keeper may not end.
    Gone { left: u32 },
    /// Its keeper is gone, so that nobody knows.
    KeeperLost,
}

/// A program under its keeper. Dropping it before it is gone kills it with all that it started.
pub(crate) struct RunningProgram {
    /// None once there is nothing left to end.
    in_hand: Option<(KeeperLink, RunEntry)>,
}

impl RunningProgram {
    /// Tells the keeper to end everything: SIGTERM, and SIGKILL after the program's grace.
    pub(crate) fn stop(&self) {
        if let Some((keeper, _)) = &self.in_hand {
            keeper.tell(b't');
        }
    }

    /// What happens next. After [`Heard::NotStarted`], [`Heard::Gone`] and [`Heard::KeeperLost`], nothing does. Safe
    /// to drop and ask again.
    ///
    /// # Errors
    /// The socket cannot be read, or is not understood.
    pub(crate) async fn next(&mut self) -> io::Result<Heard> {
        let Some((keeper, _)) = &mut self.in_hand else { return Ok(Heard::KeeperLost) };
        let report = keeper.reports.next(&mut keeper.socket).await?;
        if let Some(KeeperReport::Ended(status)) = report {
            return Ok(Heard::Ended(status));
        }
        if let Some((keeper, run)) = self.in_hand.take()
            && matches!(report, Some(KeeperReport::NotStarted { .. } | KeeperReport::Idle { left: 0 }))
        {
            lock(&run.keepers.idle).push(keeper);
        }
        Ok(match report {
            Some(KeeperReport::NotStarted { errno }) => Heard::NotStarted { errno },
            Some(KeeperReport::Idle { left }) => Heard::Gone { left },
            Some(KeeperReport::Ended(_)) | None => Heard::KeeperLost,
        })
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        let Some((keeper, run)) = self.in_hand.take() else { return };
        keeper.tell(b'k');
        drop(keeper.socket);
        // Without a runtime the process is about to end, and no job runs again in it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                // It can only fail if the runtime ends, and with it this process.
                keeper.ended.await.ok();
                drop(run);
            });
        }
    }
}
