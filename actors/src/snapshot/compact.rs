//! Layers are put together, so that a state never has many, and never more that is outdated than that is not.
//!
//! It is done step by step, as slowly as its owner likes: requests that are served meanwhile are not slowed down. What is
//! put together stays as it is until the result is published; a crash costs only the work.

use crate::ids::{Seq, Timestamp};
use crate::snapshot::SnapshotError;
use crate::snapshot::format::{ImageHeader, LayerMeta};
use crate::snapshot::layer::{Layer, PageReader};
use crate::snapshot::merge::{Merge, Merged};
use crate::snapshot::policy::CompactionAction;
use crate::snapshot::store::SnapshotStore;
use crate::snapshot::texts::TextPages;
use crate::snapshot::writer::LayerWriter;

/// Layers that are being put together.
pub struct Compaction {
    store: SnapshotStore,
    header: ImageHeader,
    meta: LayerMeta,
    phase: CompactionPhase,
}

enum CompactionPhase {
    Merging {
        merge: Merge,
        texts: TextPages,
        layer: Box<LayerWriter>,
    },
    /// What was written is read back before it is published.
    Verifying {
        layer: Box<Layer>,
        reader: PageReader,
        next: usize,
    },
    Published,
    /// A step ended with an error.
    Failed,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionStep {
    /// This many bytes were read or written, and there is more to do.
    More(u64),
    /// The new layer is there.
    Published,
}

impl Compaction {
    /// Begins, if the [policy](crate::snapshot::policy::Layering) says that it is time.
    ///
    /// # Errors
    /// The storage reported an error, or a layer is damaged.
    pub fn begin_if_due(store: &SnapshotStore, now: Timestamp) -> Result<Option<Compaction>, SnapshotError> {
        let Some(state) = store.newest_without(&[])? else { return Ok(None) };
        let layers = state.layers();
        let inputs = match store.layering().compaction(&state.figures()) {
            CompactionAction::Leave => return Ok(None),
            CompactionAction::MergeAll => layers,
            CompactionAction::MergeChanges(range) => &layers[range],
        };
        let [oldest, .., newest] = inputs else { panic!("fewer than two layers are put together") };
        let header = ImageHeader { parent: oldest.header().parent, taken_at: now, ..*newest.header() };
        let meta = newest.meta().clone();
        let (layer, _) = store.begin(&header)?;
        let phase = CompactionPhase::Merging {
            merge: Merge::of(inputs),
            texts: TextPages::new(layers.to_vec()),
            layer: Box::new(layer),
        };
        Ok(Some(Compaction { store: store.clone(), header, meta, phase }))
    }

    /// Does the next few milliseconds of it.
    ///
    /// # Errors
    /// The storage reported an error, or a layer is damaged. Nothing was published, and nothing will be.
    ///
    /// # Panics
    /// An earlier step ended with an error.
    pub fn step(&mut self) -> Result<CompactionStep, SnapshotError> {
        let phase = std::mem::replace(&mut self.phase, CompactionPhase::Failed);
        let (phase, step) = self.advance(phase)?;
        self.phase = phase;
        Ok(step)
    }

    fn advance(&self, phase: CompactionPhase) -> Result<(CompactionPhase, CompactionStep), SnapshotError> {
        match phase {
            CompactionPhase::Merging { mut merge, texts, mut layer } => {
                let before = layer.bytes();
                let goes_on = merge_some(&mut merge, &texts, &mut layer)?;
                // What is written has been read as well.
                let step = CompactionStep::More((layer.bytes() - before) * 2);
                let phase = match goes_on {
                    true => CompactionPhase::Merging { merge, texts, layer },
                    false => self.finish_layer(*layer)?,
                };
                Ok((phase, step))
            }
            CompactionPhase::Verifying { layer, mut reader, next } => {
                if let Some(bytes) = layer.check_block(&mut reader, next)? {
                    let phase = CompactionPhase::Verifying { layer, reader, next: next + 1 };
                    return Ok((phase, CompactionStep::More(bytes)));
                }
                self.store.publish(&self.header)?;
                Ok((CompactionPhase::Published, CompactionStep::Published))
            }
            CompactionPhase::Published => Ok((CompactionPhase::Published, CompactionStep::Published)),
            CompactionPhase::Failed => panic!("putting layers together goes on after an error"),
        }
    }

    fn finish_layer(&self, layer: LayerWriter) -> Result<CompactionPhase, SnapshotError> {
        if self.header.parent == Seq::ZERO && layer.jobs_total() != self.meta.jobs {
            let (found, expected) = (layer.jobs_total(), self.meta.jobs);
            let problem = format!("the layers give {found} jobs and say that there are {expected}");
            return Err(SnapshotError::Log(problem));
        }
        layer.finish(&self.meta)?;
        let layer = Box::new(self.store.open_unfinished(&self.header)?);
        Ok(CompactionPhase::Verifying { layer, reader: PageReader::default(), next: 0 })
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        if !matches!(self.phase, CompactionPhase::Published) {
            self.store.give_up(&self.header);
        }
    }
}

/// A page of jobs, or one number. Whether there is more.
fn merge_some(merge: &mut Merge, texts: &TextPages, layer: &mut LayerWriter) -> Result<bool, SnapshotError> {
    match merge.next()? {
        Some(Merged::Jobs(page)) => {
            for job in page.jobs {
                layer.add_from(texts, &page.profiles[job.profile.0 as usize], job)?;
            }
            Ok(true)
        }
        Some(Merged::Gone(number)) => {
            // No layer before this one has it, if this one owns it.
            if !layer.owns(number) {
                layer.gone(number)?;
            }
            Ok(true)
        }
        None => Ok(false),
    }
}
