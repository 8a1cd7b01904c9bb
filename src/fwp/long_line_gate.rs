//! Long lines, one after the other.
//!
//! A line with a thousand jobs takes a millisecond to read and parse, in which nobody else on this thread is served.
//! When a thousand clients send such lines at the same time, a client with a short one would wait for a second. So a
//! long line needs a *turn*, of which there are few; the others stay unread meanwhile, where the system holds them, and
//! everybody else is looked at between one turn and the next. Nobody keeps a turn who has nothing to read.
//!
//! Measured with 1,280 connections that send 1,000 jobs a line (`cargo bench --bench overload`, two cores of an EPYC):
//! 99 % of the answers to a client that sends one job a line came within 55 ms, and within 1,778 ms without them. Nor do
//! those who wait hold memory: 128 connections that send 1,000 jobs of 4 KiB a line were served 1.46 times as fast.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Longer lines need a turn.
pub(super) const LONG_BYTES: usize = 16 << 10;
/// Turns that are taken between two looks at everybody else.
const TURNS: usize = 4;

/// The gate of all connections.
#[derive(Clone)]
pub(super) struct LongLineGate(Arc<Semaphore>);

impl LongLineGate {
    pub(super) fn new() -> LongLineGate {
        LongLineGate(Arc::new(Semaphore::new(TURNS)))
    }

    /// For one connection, which waits at most `wait_max`.
    pub(super) fn of_one(&self, wait_max: Duration) -> LongLineTurn {
        LongLineTurn { gate: self.clone(), wait_max, due: None, state: TurnState::Without }
    }
}

/// One connection's turn, or its place in line for one: first come, first served.
pub(super) struct LongLineTurn {
    gate: LongLineGate,
    wait_max: Duration,
    /// How long this line may wait, over all turns that it takes: set when it waits for the first time.
    due: Option<Instant>,
    state: TurnState,
}

enum TurnState {
    Without,
    Waiting(Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>),
    Taken(
        #[expect(dead_code, reason = "only held: dropping it gives the turn to another")]
        OwnedSemaphorePermit,
    ),
    /// It has waited for as long as it may.
    Late,
}

impl LongLineTurn {
    /// Gets in line, if need be. Ready when the line may be read on: because it has its turn, or in order to be
    /// refused, since it has waited too long for one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let TurnState::Without = self.state {
            let gate = self.gate.0.clone();
            self.state = match gate.clone().try_acquire_owned() {
                Ok(permit) => TurnState::Taken(permit),
                Err(_) => {
                    let due = *self.due.get_or_insert_with(|| Instant::now() + self.wait_max);
                    TurnState::Waiting(Box::pin(async move {
                        timeout_at(due, gate.acquire_owned()).await.ok().and_then(Result::ok)
                    }))
                }
            };
        }
        self.comes(cx);
        match self.is_waiting() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Whether its wait is over now. Who waits and looks elsewhere asks this last, lest a turn that has come is left
    /// unused.
    pub(super) fn comes(&mut self, cx: &mut Context<'_>) -> bool {
        let TurnState::Waiting(waiting) = &mut self.state else { return false };
        let Poll::Ready(permit) = waiting.as_mut().poll(cx) else { return false };
        self.state = permit.map_or(TurnState::Late, TurnState::Taken);
        true
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, TurnState::Waiting(_))
    }

    /// Gives the turn to another, if this one has it.
    pub(super) fn pass_on(&mut self) {
        if let TurnState::Taken(_) = self.state {
            self.state = TurnState::Without;
        }
    }

    /// Whether the line that is taken now has waited too long; the next one begins anew.
    pub(super) fn take_late(&mut self) -> bool {
        self.due = None;
        let is_late = matches!(self.state, TurnState::Late);
        if is_late {
            self.state = TurnState::Without;
        }
        is_late
    }
}
