//! Finds texts of jobs that are not in memory: in the newest images, or in the log behind them.
//!
//! The position of the event that brought a text says where: the newest image holds everything up to its own position, the
//! log what is behind it.

use std::sync::{Arc, PoisonError, RwLock};

use crate::jobs::model::payload::ImageTexts;
use crate::jobs::{Payload, PayloadStore, TextAt, UnreadablePayload};
use crate::wal::index::LogIndex;

/// Both places, as they are now.
pub struct StoredPayloads {
    log: Arc<LogIndex>,
    images: RwLock<Option<Arc<dyn ImageTexts>>>,
}

impl StoredPayloads {
    /// Without images: those come with [`StoredPayloads::set_images`].
    #[must_use]
    pub fn new(log: Arc<LogIndex>) -> StoredPayloads {
        StoredPayloads { log, images: RwLock::default() }
    }

    /// There are newer images. To be called before anything is deleted that they take the place of.
    pub fn set_images(&self, images: Arc<dyn ImageTexts>) {
        *self.images.write().unwrap_or_else(PoisonError::into_inner) = Some(images);
    }

    /// The log's part.
    #[must_use]
    pub fn log(&self) -> &Arc<LogIndex> {
        &self.log
    }
}

impl PayloadStore for StoredPayloads {
    fn read(&self, at: TextAt) -> Result<Payload, UnreadablePayload> {
        let images = self.images.read().unwrap_or_else(PoisonError::into_inner).clone();
        let from_images = match images.filter(|images| at.seq <= images.last()) {
            Some(images) => images.read(at),
            None => Ok(None),
        };
        let damaged = match from_images {
            Ok(Some(payload)) => return Ok(payload),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        // The log often reaches further back than it must: what is damaged there may be whole here.
        match (self.log.read(at), damaged) {
            (Ok(Some(payload)), _) => Ok(payload),
            (_, Some(error)) | (Err(error), None) => Err(error),
            (Ok(None), None) => {
                let problem = "neither the images nor the log hold it".to_owned();
                Err(UnreadablePayload { at, problem })
            }
        }
    }
}
