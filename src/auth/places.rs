//! How many connections are served at the same time, and how many others are told that there is no place for them.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Surplus connections that are listened to while they are told so, at the same time: an eighth of those that are served,
/// within these bounds. Those beyond are told at once and closed.
const GOODBYES_MIN: usize = 2;
const GOODBYES_MAX: usize = 64;

/// How many connections are served at the same time, and why not more.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ConnectionLimits {
    /// File descriptors that the process may have.
    pub descriptors: u64,
    /// Of these, kept for the log, the snapshots and the programs of jobs.
    pub kept_back: u64,
    /// Connections over HTTP.
    pub http: usize,
    /// Connections of remote workers and producers; none if there is no server for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faktory: Option<usize>,
    /// Connections of monitoring at `faktory_web_port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<usize>,
    /// All of them together, as they are configured.
    #[serde(skip)]
    pub wished: usize,
}

/// Descriptors that this many places take, with those of surplus connections.
pub(crate) fn descriptors_for(connections_max: usize) -> u64 {
    (connections_max + goodbyes_max(connections_max)) as u64
}

/// The most places that this many descriptors are enough for.
pub(crate) fn places_in(descriptors: u64) -> usize {
    let most = usize::try_from(descriptors).unwrap_or(usize::MAX / 2);
    // An eighth more is taken, within bounds: one of these three is it.
    let tried = [most.saturating_sub(GOODBYES_MAX), most * 8 / 9, most.saturating_sub(GOODBYES_MIN)];
    let fits = |places: &usize| descriptors_for(*places) <= descriptors;
    tried.into_iter().filter(fits).max().unwrap_or(0)
}

fn goodbyes_max(connections_max: usize) -> usize {
    (connections_max / 8).clamp(GOODBYES_MIN, GOODBYES_MAX)
}

/// The places of one server.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    goodbyes: Arc<Semaphore>,
}

/// What a new connection gets. Dropping it frees the place.
pub(crate) enum ConnectionPlace {
    /// It is served as long as this lives.
    Served(OwnedSemaphorePermit),
    /// It is only told that it is not; with none, at once.
    Surplus(Option<OwnedSemaphorePermit>),
}

impl Places {
    pub(crate) fn new(connections_max: usize) -> Places {
        Places {
            free: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            goodbyes: Arc::new(Semaphore::new(goodbyes_max(connections_max))),
        }
    }

    /// Never waits.
    pub(crate) fn take(&self) -> ConnectionPlace {
        match Arc::clone(&self.free).try_acquire_owned() {
            Ok(place) => ConnectionPlace::Served(place),
            Err(_) => ConnectionPlace::Surplus(Arc::clone(&self.goodbyes).try_acquire_owned().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_given_back_is_taken_again_and_goodbyes_end_at_their_limit() {
        let places = Places::new(1);
        let served = places.take();
        assert!(matches!(served, ConnectionPlace::Served(_)));
        let goodbyes: Vec<_> = (0..GOODBYES_MIN).map(|_| places.take()).collect();
        assert!(goodbyes.iter().all(|place| matches!(place, ConnectionPlace::Surplus(Some(_)))));
        assert!(matches!(places.take(), ConnectionPlace::Surplus(None)));
        drop(served);
        assert!(matches!(places.take(), ConnectionPlace::Served(_)));
    }

    #[test]
    fn so_many_places_are_made_as_there_are_descriptors_for() {
        for descriptors in 3..3_000 {
            let places = places_in(descriptors);
            assert!(descriptors_for(places) <= descriptors, "{places} places in {descriptors}");
            assert!(
                descriptors_for(places + 2) > descriptors,
                "{places} places are too few for {descriptors}"
            );
        }
    }
}
