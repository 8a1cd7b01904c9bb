//! What the log of the program tells when the clock was set: to people, who may have to do something about it.

use tracing::{info, warn};

use crate::jobs::decide::clock::DOUBTED_MS;
use crate::jobs::event::ClockStep;
use crate::jobs::{Event, EventKind, JobTable};

/// Tells of a `SET_CLOCK` that is about to change this state.
pub(crate) fn tell(table: &JobTable, event: &Event) {
    let EventKind::SetClock { step, doubted_since, .. } = &event.kind else { return };
    let (now, was_doubted) = (event.at, table.clock().doubted_since.is_some());
    match step {
        ClockStep::Back { from } => warn!(
            %now, was = %from,
            "the clock went back: moments from before may be too late; leases and pauses between attempts are \
             shortened to what they would be now, and jobs that were due by the wrong time have run"
        ),
        ClockStep::Again => warn!(%now, "the clock is right again, and was behind before"),
        ClockStep::None => {}
    }
    match doubted_since {
        Some(since) if !was_doubted => warn!(
            %now, last_known = %since, days = DOUBTED_MS / 86_400_000,
            "the clock is days ahead of the last moment that is known, and the kernel does not say that it is synchronised: \
             what is due by it runs, but no finished job is forgotten for its age until it is synchronised or set back, or \
             until somebody says that it is right: `beaver clock confirm`"
        ),
        None if was_doubted => {
            info!(%now, "the clock is believed again: finished jobs are forgotten for their age")
        }
        _ => {}
    }
}
