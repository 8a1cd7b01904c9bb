//! How many connections are served at the same time, and how many others are told that there is no place for them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Surplus connections that are told so at the same time; those beyond are closed without a word.
const GOODBYES_MAX: usize = 64;

/// The places of one server.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    goodbyes: Arc<Semaphore>,
}

/// What a new connection gets. Dropping it frees the place.
pub(crate) enum ConnectionPlace {
    /// It is served as long as this lives.
    Served(OwnedSemaphorePermit),
    /// It is only told that it is not; with none, not even that.
    Surplus(Option<OwnedSemaphorePermit>),
}

impl Places {
    pub(crate) fn new(connections_max: usize) -> Places {
        Places {
            free: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            goodbyes: Arc::new(Semaphore::new(GOODBYES_MAX)),
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
        let goodbyes: Vec<_> = (0..GOODBYES_MAX).map(|_| places.take()).collect();
        assert!(goodbyes.iter().all(|place| matches!(place, ConnectionPlace::Surplus(Some(_)))));
        assert!(matches!(places.take(), ConnectionPlace::Surplus(None)));
        drop(served);
        assert!(matches!(places.take(), ConnectionPlace::Served(_)));
    }
}
