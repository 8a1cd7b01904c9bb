//! Layers are put together, so that a state never has many, and never more that is outdated than that is not.
//!
//! It is done step by step, as slowly as its owner likes: requests that are served meanwhile are not slowed down. What is
//! put together stays as it is until the result is published; a crash costs only the work.

use crate::ids::{Seq, Timestamp};
use crate::jobs::PayloadRef;
use crate::snapshot::SnapshotError;
use crate::snapshot::chain::{LayerName, chain_to, positions};
use crate::snapshot::format::{ImageHeader, LayerMeta};
use crate::snapshot::layer::{Layer, PageReader};
use crate::snapshot::merge::{Merge, Merged};
use crate::snapshot::payloads::PayloadPages;
use crate::snapshot::policy::CompactionAction;
use crate::snapshot::store::SnapshotStore;
use crate::snapshot::writer::LayerWriter;

/// Layers that are being put together.
pub struct Compaction {
    store: SnapshotStore,
    header: ImageHeader,
    meta: LayerMeta,
    phase: CompactionPhase,
    done: bool,
}

enum CompactionPhase {
    Merging {
        merge: Merge,
        payloads: PayloadPages,
        layer: Box<LayerWriter>,
    },
    /// What was written is read back before it is published.
    Verifying {
        layer: Box<Layer>,
        reader: PageReader,
        next: usize,
    },
    Published,
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
        let names = store.list()?;
        let chain = positions(&names).into_iter().find_map(|last| chain_to(&names, last));
        let chain = chain.filter(|chain| chain.len() > 1).unwrap_or_default();
        let mut layers = Vec::with_capacity(chain.len());
        for name in &chain {
            layers.push(store.open(*name)?);
        }
        let figures: Vec<_> = layers.iter().map(|layer| layer.figures()).collect();
        let inputs = match store.layering().compaction(&figures) {
            CompactionAction::Leave => return Ok(None),
            CompactionAction::MergeAll => 0..layers.len(),
            CompactionAction::MergeChanges(range) => range,
        };
        let (first, newest) = (&layers[inputs.start], &layers[inputs.end - 1]);
        let parent = first.header().parent;
        let name = LayerName { last: newest.header().last, parent };
        if names.contains(&name) {
            return Ok(None);
        }
        let header = ImageHeader { parent, taken_at: now, ..*newest.header() };
        let meta = newest.meta().clone();
        let (layer, _) = store.begin(&header)?;
        let merge = Merge::of(&layers[inputs]);
        let payloads = PayloadPages::new(layers);
        let phase = CompactionPhase::Merging { merge, payloads, layer: Box::new(layer) };
        Ok(Some(Compaction { store: store.clone(), header, meta, phase, done: false }))
    }

    /// Does the next few milliseconds of it.
    ///
    /// # Errors
    /// The storage reported an error, or a layer is damaged. Nothing was published, and nothing will be.
    pub fn step(&mut self) -> Result<CompactionStep, SnapshotError> {
        match &mut self.phase {
            CompactionPhase::Merging { merge, payloads, layer } => {
                let before = layer.bytes();
                let goes_on = merge_some(merge, payloads, layer)?;
                // What is written has been read as well.
                let bytes = (layer.bytes() - before) * 2;
                if !goes_on {
                    self.finish_layer()?;
                }
                Ok(CompactionStep::More(bytes))
            }
            CompactionPhase::Verifying { layer, reader, next } => {
                if let Some(bytes) = layer.check_block(reader, *next)? {
                    *next += 1;
                    return Ok(CompactionStep::More(bytes));
                }
                self.store.publish(&self.header)?;
                (self.phase, self.done) = (CompactionPhase::Published, true);
                Ok(CompactionStep::Published)
            }
            CompactionPhase::Published => Ok(CompactionStep::Published),
        }
    }

    fn finish_layer(&mut self) -> Result<(), SnapshotError> {
        let CompactionPhase::Merging { layer, .. } =
            std::mem::replace(&mut self.phase, CompactionPhase::Published)
        else {
            return Ok(());
        };
        if self.header.parent == Seq::ZERO && layer.jobs_total() != self.meta.jobs {
            let (found, expected) = (layer.jobs_total(), self.meta.jobs);
            let problem = format!("the layers give {found} jobs and say that there are {expected}");
            return Err(SnapshotError::Log(problem));
        }
        layer.finish(&self.meta)?;
        let layer = Box::new(self.store.open_unfinished(&self.header)?);
        self.phase = CompactionPhase::Verifying { layer, reader: PageReader::default(), next: 0 };
        Ok(())
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        if !self.done {
            self.store.give_up(&self.header);
        }
    }
}

/// A page of jobs, or one number. Whether there is more.
fn merge_some(
    merge: &mut Merge,
    payloads: &PayloadPages,
    layer: &mut LayerWriter,
) -> Result<bool, SnapshotError> {
    match merge.next()? {
        Some(Merged::Jobs(page)) => {
            for job in page.jobs {
                let payload = match job.payload {
                    PayloadRef::Stored { .. } if layer.owns(job.enqueued_seq) => {
                        Some(payloads.get(job.enqueued_seq)?)
                    }
                    _ => None,
                };
                layer.add(&page.profiles[job.profile.0 as usize], job, payload.as_ref())?;
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
