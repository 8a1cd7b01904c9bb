//! The runtime under every command that talks to a server or runs an engine.

use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{CliFailure, Exit};

/// Threads for connections and jobs' futures; the actors and the log have threads of their own.
const RUNTIME_THREADS: usize = 2;
/// Threads at most for what computes for long: passwords, signatures, large requests.
const COMPUTING_THREADS_MAX: usize = 16;
/// They stay once they are there: where the system has no more threads to give, those that are there do all.
const COMPUTING_THREADS_STAY: Duration = Duration::from_secs(u32::MAX as u64);

/// Runs `work` on an actix system over a multi-thread runtime, and returns what it returns.
///
/// What still runs afterwards is not waited for: the caller is about to end the process.
///
/// # Errors
/// The runtime cannot be started, or `work` failed.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, CliFailure>>) -> Result<T, CliFailure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("beaver-runtime")
        .max_blocking_threads(COMPUTING_THREADS_MAX)
        .thread_keep_alive(COMPUTING_THREADS_STAY)
        .enable_all()
        .build()
        .map_err(cannot_start)?;
    // The first one must be there before there may be none.
    runtime.spawn_blocking(|| ());
    // Dropping a runtime waits for its blocking threads, and one that is stuck in a job's code may never come
    // back. The engine has stopped by now, so nothing is lost by leaving them to the end of the process.
    let system = ManuallyDrop::new(actix_rt::System::with_tokio_rt(move || runtime));
    system.block_on(async {
        take_file_size_signals();
        work.await
    })
}

/// Runs `work` on this thread alone, for a command without an engine of its own. What still runs afterwards is dropped.
///
/// # Errors
/// The runtime cannot be started, or `work` failed.
pub(crate) fn block_on_one_thread<T>(
    work: impl Future<Output = Result<T, CliFailure>>,
) -> Result<T, CliFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot_start)?;
    runtime.block_on(work)
}

fn cannot_start(error: io::Error) -> CliFailure {
    CliFailure::new(Exit::Failure, format!("cannot start the runtime: {error}"))
}

/// A write beyond the limit on file sizes (`ulimit -f`) would end the process without a word. Once somebody
/// listens for the signal, the write fails instead, and that is told like any other storage failure.
fn take_file_size_signals() {
    let kind = SignalKind::from_raw(Signal::XFSZ.as_raw());
    if let Err(error) = signal(kind) {
        tracing::debug!(%error, "cannot listen for SIGXFSZ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_on_an_actix_system_and_its_failure_comes_back() {
        let registered = block_on(async { Ok(actix_rt::System::is_registered()) });
        assert!(registered.unwrap());
        let failed = block_on(async { Err::<(), _>(CliFailure::new(Exit::NotFound, "no job")) });
        assert_eq!(failed.unwrap_err().exit, Exit::NotFound);
    }
}
