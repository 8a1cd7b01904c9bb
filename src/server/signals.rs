//! The signals that tell a server to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use super::error::ServerError;

/// The signals that mean "stop".
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// One of them, as it came.
#[derive(Clone, Copy)]
pub(super) struct ReceivedSignal {
    pub(crate) name: &'static str,
    number: i32,
}

impl Signals {
    pub(crate) fn listen() -> Result<Signals, ServerError> {
        let listen = |kind| {
            signal(kind).map_err(|error| ServerError::new(format!("cannot listen for signals: {error}")))
        };
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) -> ReceivedSignal {
        let (name, kind) = tokio::select! {
            Some(()) = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
            Some(()) = self.terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            else => std::future::pending().await,
        };
        ReceivedSignal { name, number: kind.as_raw_value() }
    }
}

impl ReceivedSignal {
    /// Ends the process as the signal would: what was acknowledged is on disk, and running jobs run again.
    pub(crate) fn end_process(self) -> ! {
        warn!(
            "{} again: ending at once; jobs that are running will run again after the next start",
            self.name
        );
        std::process::exit(128 + self.number)
    }
}
