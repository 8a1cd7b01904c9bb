//! Finds texts of jobs that are not in memory: in the newest images, or in the log behind them.
//!
//! The position of the event that brought a text says where: the newest image holds everything up to its own position, the
//! log what is behind it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::jobs::model::payload::ImageTexts;
use crate::jobs::{Payload, PayloadStore, TextAt, UnreadablePayload};
use crate::wal::index::LogIndex;

/// Hears of a text that is not as it was written.
type OnDamage = Box<dyn Fn(&UnreadablePayload) + Send + Sync>;

/// Both places, as they are now.
pub struct StoredPayloads {
    log: Arc<LogIndex>,
    images: RwLock<Option<Arc<dyn ImageTexts>>>,
    /// Hears when what is read is not what was written.
    on_damage: OnceLock<OnDamage>,
    /// Whether it wants to hear of more.
    is_watched: AtomicBool,
}

impl StoredPayloads {
    /// Without images: those come with [`StoredPayloads::set_images`].
    #[must_use]
    pub fn new(log: Arc<LogIndex>) -> StoredPayloads {
        StoredPayloads {
            log,
            images: RwLock::default(),
            on_damage: OnceLock::new(),
            is_watched: AtomicBool::new(true),
        }
    }

    /// There are newer images. To be called before anything is deleted that they take the place of.
    pub fn set_images(&self, images: Arc<dyn ImageTexts>) {
        *self.images.write().unwrap_or_else(PoisonError::into_inner) = Some(images);
    }

    /// Who hears when what is read is not what was written: once, until it is [watched](StoredPayloads::watch_damage) again.
    pub fn on_damage(&self, hears: impl Fn(&UnreadablePayload) + Send + Sync + 'static) {
        // There is one engine around it.
        let _ = self.on_damage.set(Box::new(hears));
    }

    /// Whether the next damage is to be told.
    pub fn watch_damage(&self, is_watched: bool) {
        self.is_watched.store(is_watched, Ordering::Relaxed);
    }

    fn note(&self, error: UnreadablePayload) -> UnreadablePayload {
        if error.is_lost
            && let Some(on_damage) = self.on_damage.get()
            && self.is_watched.swap(false, Ordering::Relaxed)
        {
            on_damage(&error);
        }
        error
    }

    /// The log's part.
    #[must_use]
    pub fn log(&self) -> &Arc<LogIndex> {
        &self.log
    }

    fn images(&self) -> Option<Arc<dyn ImageTexts>> {
        self.images.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read_with(&self, images: Option<&dyn ImageTexts>, at: TextAt) -> Result<Payload, UnreadablePayload> {
        let from_images = match images.filter(|images| at.seq <= images.last()) {
            Some(images) => images.read(at),
            None => Ok(None),
        };
        let damaged = match from_images {
            Ok(Some(payload)) => return Ok(payload),
            Ok(None) => None,
            Err(error) => Some(self.note(error)),
        };
        // The log often reaches further back than it must: what is damaged there may be whole here.
        match (self.log.read(at).map_err(|error| self.note(error)), damaged) {
            (Ok(Some(payload)), _) => Ok(payload),
            (Ok(None), Some(error)) | (Err(error), None) => Err(error),
            // While one of the places may be readable later, it is not lost.
            (Err(other), Some(error)) => Err(if other.is_lost { error } else { other }),
            (Ok(None), None) => {
                let problem = "neither the images nor the log hold it".to_owned();
                Err(UnreadablePayload { at, problem, is_lost: true })
            }
        }
    }
}

impl PayloadStore for StoredPayloads {
    fn read(&self, at: TextAt) -> Result<Payload, UnreadablePayload> {
        loop {
            let images = self.images();
            let found = self.read_with(images.as_deref(), at);
            // Newer images may have taken the place of a segment while it was looked for.
            let is_newest = self.images().as_ref().map(Arc::as_ptr) == images.as_ref().map(Arc::as_ptr);
            if found.is_ok() || is_newest {
                return found;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::ids::Seq;
    use crate::testing::SimStorage;

    /// Images up to a position, which hold this text.
    struct Images(Seq, Payload);

    impl ImageTexts for Images {
        fn last(&self) -> Seq {
            self.0
        }

        fn read(&self, _: TextAt) -> Result<Option<Payload>, UnreadablePayload> {
            Ok(Some(self.1.clone()))
        }
    }

    /// Images that are replaced in the moment in which they are asked.
    struct Replaced(Weak<StoredPayloads>, Arc<Images>);

    impl ImageTexts for Replaced {
        fn last(&self) -> Seq {
            self.0.upgrade().unwrap().set_images(self.1.clone());
            Seq::ZERO
        }

        fn read(&self, _: TextAt) -> Result<Option<Payload>, UnreadablePayload> {
            Ok(None)
        }
    }

    #[test]
    fn a_text_is_found_whose_segment_goes_while_it_is_looked_for() {
        let log = Arc::new(LogIndex::new(Arc::new(SimStorage::new()), "/data/wal".into()));
        let store = Arc::new(StoredPayloads::new(log));
        let newer = Arc::new(Images(Seq(9), Payload::empty()));
        store.set_images(Arc::new(Replaced(Arc::downgrade(&store), newer)));
        assert_eq!(store.read(TextAt::payload(Seq(7))), Ok(Payload::empty()));
        assert!(store.read(TextAt::payload(Seq(10))).is_err());
    }
}
