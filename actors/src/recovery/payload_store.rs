//! Finds payloads that are not in memory: in the newest images, or in the log behind them.
//!
//! A job's number says all: the newest image holds everything up to its position, the log what is behind it.

use std::sync::{Arc, PoisonError, RwLock};

use crate::ids::Seq;
use crate::jobs::model::payload::ImagePayloads;
use crate::jobs::{Payload, PayloadStore, UnreadablePayload};
use crate::wal::index::LogIndex;

/// Both places, as they are now.
pub struct StoredPayloads {
    log: Arc<LogIndex>,
    images: RwLock<Option<Arc<dyn ImagePayloads>>>,
}

impl StoredPayloads {
    /// Without images: those come with [`StoredPayloads::set_images`].
    #[must_use]
    pub fn new(log: Arc<LogIndex>) -> StoredPayloads {
        StoredPayloads { log, images: RwLock::default() }
    }

    /// There are newer images. To be called before anything is deleted that they take the place of.
    pub fn set_images(&self, images: Arc<dyn ImagePayloads>) {
        *self.images.write().unwrap_or_else(PoisonError::into_inner) = Some(images);
    }

    /// The log's part.
    #[must_use]
    pub fn log(&self) -> &Arc<LogIndex> {
        &self.log
    }
}

impl PayloadStore for StoredPayloads {
    fn read(&self, number: Seq) -> Result<Payload, UnreadablePayload> {
        let images = self.images.read().unwrap_or_else(PoisonError::into_inner).clone();
        let from_images = match images.filter(|images| number <= images.last()) {
            Some(images) => images.read(number),
            None => Ok(None),
        };
        let damaged = match from_images {
            Ok(Some(payload)) => return Ok(payload),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        // The log often reaches further back than it must: what is damaged there may be whole here.
        match (self.log.read(number), damaged) {
            (Ok(Some(payload)), _) => Ok(payload),
            (_, Some(error)) | (Err(error), None) => Err(error),
            (Ok(None), None) => {
                let problem = "neither the images nor the log hold it".to_owned();
                Err(UnreadablePayload { number, problem })
            }
        }
    }
}
