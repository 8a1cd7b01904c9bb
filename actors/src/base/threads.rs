//! Threads for work that may also be done without one: when the system has none to give, it takes longer, and nothing fails.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use crate::base::failpoint;

/// What starts a thread.
///
/// # Errors
/// The one that a test asked for, as the system would report it.
pub(crate) fn builder() -> io::Result<Builder> {
    failpoint::pass("thread.start")?;
    Ok(Builder::new())
}

/// Does some work on a thread of its own; here and now if the system has none.
pub(crate) fn beside_or_here(work: Box<dyn FnOnce() + Send>) {
    // What does not start takes its work with it.
    let shared = Arc::new(Mutex::new(Some(work)));
    let take = |shared: &Mutex<Option<Box<dyn FnOnce() + Send>>>| {
        shared.lock().unwrap_or_else(PoisonError::into_inner).take()
    };
    let there = shared.clone();
    let started = builder().and_then(|builder| {
        builder.spawn(move || {
            if let Some(work) = take(&there) {
                work();
            }
        })
    });
    if let Err(error) = started
        && let Some(work) = take(&shared)
    {
        tracing::warn!(%error, "the system has no thread to give: what was to be done beside everything else holds it up");
        work();
    }
}
