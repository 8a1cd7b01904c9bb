//! Texts of jobs that are in images: payloads, results, failures.
//!
//! A text is in the layer of the log's stretch in which its event is, even if later layers have the job itself again;
//! in that layer it is found by the number of its job. One of no bytes, which no JSON is, was lost: a [rescue](super::rescue) did
//! not find it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::Seq;
use crate::jobs::model::payload::ImageTexts;
use crate::jobs::{Payload, TextAt, UnreadablePayload};
use crate::snapshot::SnapshotError;
use crate::snapshot::layer::{Layer, PageReader, TextPage};

/// Pages that are held decompressed. Jobs are mostly wanted in the order in which they came, by a few queues at a
/// time, and a page is 64 KiB or the texts of one job.
const PAGES_HELD: usize = 8;

/// The texts in a state's layers.
pub struct TextPages {
    /// The oldest first.
    layers: Vec<Arc<Layer>>,
    held: Mutex<VecDeque<Held>>,
}

struct Held {
    layer: usize,
    nth: usize,
    page: Arc<TextPage>,
}

impl TextPages {
    /// Those of layers that make a state, the oldest first.
    #[must_use]
    pub fn new(layers: Vec<Arc<Layer>>) -> TextPages {
        TextPages { layers, held: Mutex::default() }
    }

    /// The layers that make the state, the oldest first.
    #[must_use]
    #[cfg(feature = "testing")]
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// The text that is there; none if no layer has it apart from its job.
    ///
    /// Its page stays in memory for a while. Cost: up to two reads of the file, and a decompression.
    ///
    /// # Errors
    /// The page is damaged, or the storage reported an error.
    pub fn find(&self, text: TextAt) -> Result<Option<Payload>, SnapshotError> {
        let at = self.layers.partition_point(|layer| layer.header().last < text.seq);
        let Some(layer) = self.layers.get(at).filter(|layer| layer.header().parent < text.seq) else {
            return Ok(None);
        };
        let Some(nth) = layer.text_page_of(text.job) else { return Ok(None) };
        let is_it = |held: &Held| held.layer == at && held.nth == nth;
        let held = self.held().iter().find(|held| is_it(held)).map(|held| held.page.clone());
        let page = match held {
            Some(page) => page,
            None => {
                // Nobody waits for this: who wants the same page meanwhile reads it as well.
                let page = Arc::new(layer.text_page(&mut PageReader::default(), nth)?);
                let mut held = self.held();
                if held.len() >= PAGES_HELD {
                    held.pop_front();
                }
                held.push_back(Held { layer: at, nth, page: page.clone() });
                page
            }
        };
        Ok(page.get(text))
    }

    /// A text that must be there.
    pub(super) fn get(&self, text: TextAt) -> Result<Payload, SnapshotError> {
        self.find(text)?.ok_or_else(|| SnapshotError::Log(format!("{text} is in none of its layers")))
    }

    fn held(&self) -> std::sync::MutexGuard<'_, VecDeque<Held>> {
        // Nothing here can be left half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ImageTexts for TextPages {
    fn last(&self) -> Seq {
        self.layers.last().map_or(Seq::ZERO, |layer| layer.header().last)
    }

    fn read(&self, at: TextAt) -> Result<Option<Payload>, UnreadablePayload> {
        // Lost when this layer was made, and told then. The log may have it all the same.
        let found = self.find(at).map(|text| text.filter(|text| !text.as_str().is_empty()));
        found.map_err(|error| {
            let is_lost = matches!(error, SnapshotError::Corrupted { .. });
            UnreadablePayload { at, problem: error.to_string(), is_lost }
        })
    }
}
