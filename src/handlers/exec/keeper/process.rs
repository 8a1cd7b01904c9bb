//! The keeper as a process of its own.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, getrlimit, kill_process_group,
    set_child_subreaper, setrlimit, wait,
};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::descendants::signal_descendants;
use super::messages::{KeeperReport, Order, ProgramOrder, Stdio, next_order, send_report};

/// What a server starts itself as to have a keeper; of no use to people.
pub(crate) const SUBCOMMAND: &str = "exec-keeper";
/// Between SIGTERM and SIGKILL when the server is gone. Short: the next one waits for this at its start.
const GRACE_WITHOUT_SERVER: Duration = Duration::from_secs(1);
/// Until those are looked for again that were born while the others were killed. Doubles up to a second: what the
/// kernel cannot end now, such as a process that waits for a dead file server, is not worth the processor.
const KILL_AGAIN: Duration = Duration::from_millis(5);
const KILL_AGAIN_MAX: Duration = Duration::from_secs(1);
/// What would end a keeper, and is meant for the server or for programs: the server decides about both. They are
/// caught and not ignored, because a program inherits what is ignored.
const NOT_FOR_KEEPERS: [Signal; 8] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::PIPE,
];

/// Body of the hidden subcommand `beaver exec-keeper`: runs the programs that it is given through the socket that
/// is its stdin, until that closes. Its argument is the number of file descriptors that it may have: a server has more.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let descriptors = arguments.last().and_then(|text| text.to_str()?.parse().ok());
    if let Some(descriptors) = descriptors {
        let limit = Rlimit { current: Some(descriptors), ..getrlimit(Resource::Nofile) };
        // It may always be lowered; what it is otherwise does no harm to most programs.
        setrlimit(Resource::Nofile, limit).ok();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // There is nobody to tell why: the server sees that the socket is closed.
    match runtime.and_then(|runtime| runtime.block_on(keep())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn keep() -> io::Result<()> {
    set_child_subreaper(Some(getpid()))?;
    for kind in NOT_FOR_KEEPERS {
        drop(signal(SignalKind::from_raw(kind.as_raw()))?);
    }
    let child_ended = signal(SignalKind::child())?;
    let socket = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let mut keeper = Keeper { socket: UnixStream::from_std(socket)?, child_ended, has_server: true };
    keeper.say(KeeperReport::Idle { left: 0 }).await;
    while keeper.has_server {
        match hear(&mut keeper.socket).await {
            Some(Order::Start(program, stdio)) => keeper.run(program, stdio).await,
            // Meant for the program that has just ended.
            Some(Order::Stop | Order::Kill) => {}
            None => break,
        }
    }
    Ok(())
}

struct Keeper {
    socket: UnixStream,
    child_ended: SignalStream,
    has_server: bool,
}

/// What is done about a program and all that it started.
enum EndStage {
    /// Nothing yet.
    Runs,
    /// They were sent SIGTERM.
    Terminated { kill_at: Instant },
    /// They are sent SIGKILL until nobody is left.
    Killed { again_at: Instant, pause: Duration },
}

impl EndStage {
    fn next_at(&self) -> Option<Instant> {
        match self {
            EndStage::Runs => None,
            EndStage::Terminated { kill_at } => Some(*kill_at),
            EndStage::Killed { again_at, .. } => Some(*again_at),
        }
    }

    fn kill() -> EndStage {
        EndStage::Killed { again_at: Instant::now(), pause: KILL_AGAIN }
    }
}

impl Keeper {
    /// Runs a program, and says what becomes of it.
    async fn run(&mut self, program: ProgramOrder, stdio: Stdio) {
        let stop_grace = program.stop_grace;
        let last = match start(program, stdio) {
            Ok(leader) => KeeperReport::Idle { left: self.attend(leader, stop_grace).await },
            Err(error) => KeeperReport::NotStarted {
                errno: error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error()),
            },
        };
        self.say(last).await;
    }

    /// Stays until nothing is left that this process may end; returns how many are left that it may not.
    async fn attend(&mut self, leader: Pid, stop_grace: Duration) -> u32 {
        let mut leader = Some(leader);
        let mut stage = EndStage::Runs;
        loop {
            loop {
                match wait(WaitOptions::NOHANG) {
                    Ok(Some((pid, status))) if Some(pid) == leader => {
                        leader = None;
                        self.say(KeeperReport::Ended(exit_status(status))).await;
                    }
                    Ok(Some(_)) | Err(Errno::INTR) => {}
                    Ok(None) => break,
                    // No child is left, and so nobody at all.
                    Err(_) => return 0,
                }
            }
            if let EndStage::Killed { again_at, pause } = &mut stage
                && *again_at <= Instant::now()
            {
                let signalled = signal_descendants(getpid(), &[Signal::KILL], |_| true);
                if signalled.reached == 0 && signalled.refused > 0 {
                    return signalled.refused;
                }
                *again_at = Instant::now() + *pause;
                *pause = (*pause * 2).min(KILL_AGAIN_MAX);
            }
            let next_at = stage.next_at();
            tokio::select! {
                _ = self.child_ended.recv() => {}
                order = hear(&mut self.socket), if self.has_server => match order {
                    Some(Order::Kill) => stage = EndStage::kill(),
                    Some(_) if matches!(stage, EndStage::Runs) => stage = terminate(leader, stop_grace),
                    // Once is enough: a program that tidies up may start others for it.
                    Some(_) => {}
                    None => {
                        self.has_server = false;
                        stage = match stage {
                            EndStage::Runs => terminate(leader, GRACE_WITHOUT_SERVER),
                            EndStage::Terminated { kill_at } => {
                                let kill_at = kill_at.min(Instant::now() + GRACE_WITHOUT_SERVER);
                                EndStage::Terminated { kill_at }
                            }
                            killed @ EndStage::Killed { .. } => killed,
                        };
                    }
                },
                () = sleep_until(next_at.unwrap_or_else(Instant::now)), if next_at.is_some() => {
                    if matches!(stage, EndStage::Terminated { .. }) {
                        stage = EndStage::kill();
                    }
                }
            }
        }
    }

    async fn say(&mut self, report: KeeperReport) {
        // A server that is gone is noticed when nothing is heard of it any more.
        send_report(&mut self.socket, report).await.ok();
    }
}

/// The next order. A server that is not understood is none. While a program runs, orders are single bytes, so that
/// nothing is lost if this is dropped.
async fn hear(socket: &mut UnixStream) -> Option<Order> {
    next_order(socket).await.ok().flatten()
}

/// Starts the program as the leader of a process group. Closes our ends of its pipes.
fn start(program: ProgramOrder, [stdin, stdout, stderr]: Stdio) -> io::Result<Pid> {
    let (file, arguments) = program.command.split_first().expect("an order without a command is none");
    let child = Command::new(file)
        .args(arguments)
        .current_dir(&program.directory)
        .env_clear()
        .envs(program.variables.iter().map(|(name, value)| (name, value)))
        .process_group(0)
        .stdin::<OwnedFd>(stdin)
        .stdout::<OwnedFd>(stdout)
        .stderr::<OwnedFd>(stderr)
        .spawn()?;
    // Not waited for through `Child`: all children are reaped in one place.
    Ok(Pid::from_child(&child))
}

/// SIGTERM for everybody. The program's own group is told in one call, so that none of it is missed.
fn terminate(leader: Option<Pid>, grace: Duration) -> EndStage {
    // A stopped process takes no SIGTERM until it goes on.
    let signals = [Signal::TERM, Signal::CONT];
    if let Some(group) = leader {
        for signal in signals {
            // It is not reaped, so the number is its own. What may not be reached is left for the second look.
            kill_process_group(group, signal).ok();
        }
    }
    signal_descendants(getpid(), &signals, |stat| leader.is_none() || stat.group != leader);
    EndStage::Terminated { kill_at: Instant::now() + grace }
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    ExitStatus::from_raw(status.as_raw())
}
