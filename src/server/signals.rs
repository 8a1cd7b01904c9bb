//! What signals tell a server: to stop, to read its configuration again, or nothing.
//!
//! | signal | does |
//! |---|---|
//! | SIGTERM, SIGINT, SIGQUIT, SIGPWR, SIGXCPU | stops it properly; one that comes [a moment](SECOND_COUNTS_AFTER) after the first ends it at once |
//! | SIGHUP | reads the configuration again |
//! | SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO | nothing |
//!
//! By default each of them would end the process like SIGKILL.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::error::ServerError;

/// A terminal or `timeout` sends the same signal to a process and to its group: two at once are one.
const SECOND_COUNTS_AFTER: Duration = Duration::from_millis(300);

/// What a signal means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Stop,
    Reload,
    Nothing,
}

const SIGNALS: [(Signal, &str, Meaning); 12] = [
    (Signal::TERM, "SIGTERM", Meaning::Stop),
    (Signal::INT, "SIGINT", Meaning::Stop),
    (Signal::QUIT, "SIGQUIT", Meaning::Stop),
    (Signal::POWER, "SIGPWR", Meaning::Stop),
    (Signal::XCPU, "SIGXCPU", Meaning::Stop),
    (Signal::HUP, "SIGHUP", Meaning::Reload),
    (Signal::USR1, "SIGUSR1", Meaning::Nothing),
    (Signal::USR2, "SIGUSR2", Meaning::Nothing),
    (Signal::ALARM, "SIGALRM", Meaning::Nothing),
    (Signal::VTALARM, "SIGVTALRM", Meaning::Nothing),
    (Signal::PROF, "SIGPROF", Meaning::Nothing),
    (Signal::IO, "SIGIO", Meaning::Nothing),
];

/// All that a server listens to.
pub(super) struct Signals<R> {
    streams: Vec<SignalStream>,
    reload: R,
    /// When the first signal to stop came.
    stopping_since: Option<Instant>,
}

/// A signal to stop, as it came.
#[derive(Clone, Copy)]
pub(super) struct ReceivedSignal {
    pub(crate) name: &'static str,
    number: i32,
}

impl<R: FnMut()> Signals<R> {
    /// Listens; SIGHUP calls `reload`.
    pub(crate) fn listen(reload: R) -> Result<Signals<R>, ServerError> {
        let listen = |(kind, ..): &(Signal, &str, Meaning)| {
            signal(SignalKind::from_raw(kind.as_raw()))
                .map_err(|error| ServerError::new(format!("cannot listen for signals: {error}")))
        };
        let streams = SIGNALS.iter().map(listen).collect::<Result<_, _>>()?;
        Ok(Signals { streams, reload, stopping_since: None })
    }

    /// The next signal to stop that counts. The others are dealt with meanwhile.
    pub(crate) async fn next_stop(&mut self) -> ReceivedSignal {
        loop {
            let (kind, name, meaning) = self.next().await;
            match (meaning, self.stopping_since) {
                (Meaning::Reload, _) => (self.reload)(),
                (Meaning::Nothing, _) => info!("{name} means nothing to this server"),
                (Meaning::Stop, Some(since)) if since.elapsed() < SECOND_COUNTS_AFTER => {
                    debug!("{name}: it is one with the signal just before");
                }
                (Meaning::Stop, _) => {
                    self.stopping_since.get_or_insert_with(Instant::now);
                    return ReceivedSignal { name, number: kind.as_raw() };
                }
            }
        }
    }

    async fn next(&mut self) -> (Signal, &'static str, Meaning) {
        poll_fn(|cx| {
            let is_here = |stream: &mut SignalStream| matches!(stream.poll_recv(cx), Poll::Ready(Some(())));
            match self.streams.iter_mut().position(is_here) {
                Some(which) => Poll::Ready(SIGNALS[which]),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl ReceivedSignal {
    /// Ends the process as the signal would: what was acknowledged is on disk, and running jobs run again.
    pub(crate) fn end_process(self) -> ! {
        warn!(
            "{} again: ending at once; jobs that are running will run again after the next start, unless they may run only once",
            self.name
        );
        std::process::exit(128 + self.number)
    }
}
