//! One run of a program, from its start until nothing of its group is left.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::{StopReason, StopSignal};
use rustix::process::Signal;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

use super::capture::Capture;
use super::group::ProgramGroup;
use super::watcher_link::WatcherLink;

/// When the leader has ended but others of its group still hold its output: how long we go on reading.
///
/// A leader that exits does not close the pipe, so without a bound one forgotten background program would
/// hold a worker for ever.
pub(super) const DRAIN: Duration = Duration::from_millis(500);

/// What is left of a run.
pub(super) struct FinishedProgram {
    pub(crate) status: ExitStatus,
    /// Why it was told to stop, if it was.
    pub(crate) stopped: Option<StopReason>,
    pub(crate) stdout: Capture,
    pub(crate) stderr: Capture,
    /// From the start to the end of the leader.
    pub(crate) duration: Duration,
}

/// Runs a program until its leader ends or it must stop, and then ends its whole group.
///
/// When `stop` fires: SIGTERM to the group, SIGKILL `stop_grace` later. Dropping the future kills the group
/// too.
pub(super) async fn run(
    mut command: Command,
    stdin: Option<String>,
    mut stop: StopSignal,
    stop_grace: Duration,
    link: Arc<WatcherLink>,
) -> io::Result<FinishedProgram> {
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut group = ProgramGroup::start(&mut command, link)?;
    let input = group.leader().stdin.take();
    let (out, err) = (group.leader().stdout.take(), group.leader().stderr.take());
    let (out, err) = out.zip(err).expect("both were asked for");

    let (mut stdout, mut stderr) = (Capture::default(), Capture::default());
    let end = {
        let mut output = pin!(async { tokio::join!(stdout.read(out), stderr.read(err)) });
        let mut life = pin!(async {
            tokio::select! {
                end = follow(&group, &mut stop, stop_grace) => end,
                never = feed(input, stdin) => match never {},
            }
        });
        tokio::select! {
            end = &mut life => {
                let end = end?;
                // Too late is as good as the end of the output: the group is killed next.
                timeout_at(end.drain_until, output).await.ok();
                end
            }
            _ = &mut output => life.await?,
        }
    };
    let status = group.end().await?;
    Ok(FinishedProgram { status, stopped: end.stopped, stdout, stderr, duration: end.at - started })
}

/// How the leader came to its end.
struct LeaderEnd {
    at: Instant,
    stopped: Option<StopReason>,
    /// Until then the others of its group may write.
    drain_until: Instant,
}

async fn follow(group: &ProgramGroup, stop: &mut StopSignal, stop_grace: Duration) -> io::Result<LeaderEnd> {
    let reason = tokio::select! {
        // Who has ended was not stopped.
        biased;
        ended = group.leader_ended() => {
            ended?;
            let at = Instant::now();
            return Ok(LeaderEnd { at, stopped: None, drain_until: at + DRAIN });
        }
        reason = stop.stopped() => reason,
    };
    group.signal(Signal::TERM);
    // A stopped process takes no SIGTERM until it goes on.
    group.signal(Signal::CONT);
    let kill_at = Instant::now() + stop_grace;
    if timeout_at(kill_at, group.leader_ended()).await.is_err() {
        group.signal(Signal::KILL);
    }
    group.leader_ended().await?;
    let at = Instant::now();
    // The grace is for the whole group: a shell dies at once, while what it started still tidies up.
    Ok(LeaderEnd { at, stopped: Some(reason), drain_until: kill_at.max(at + DRAIN) })
}

/// Writes the program's input and closes it. Never returns: input that nobody reads must not end or delay a
/// run.
async fn feed(pipe: Option<impl AsyncWrite + Unpin>, text: Option<String>) -> Infallible {
    if let Some((mut pipe, text)) = pipe.zip(text) {
        // A program need not read all of its input, or any: `head` does not either.
        pipe.write_all(text.as_bytes()).await.ok();
    }
    std::future::pending().await
}
