//! Layers are put together, so that a state never has many, and never more that is outdated than that is not.
//!
//! It is done step by step, as slowly as its owner likes: requests that are served meanwhile are not slowed down. What is
//! put together stays as it is until the result is published; a crash costs only the work.

use std::sync::Arc;

use crate::ids::{Seq, Timestamp};
use crate::snapshot::SnapshotError;
use crate::snapshot::chain::{LayerName, chain_to, positions};
use crate::snapshot::format::{ImageHeader, LayerMeta};
use crate::snapshot::layer::{Layer, PageReader};
use crate::snapshot::merge::{Merge, Next};
use crate::snapshot::payloads::PayloadPages;
use crate::snapshot::store::SnapshotStore;
use crate::snapshot::weight::Weight;
use crate::snapshot::writer::LayerWriter;

/// Layers that are being put together.
pub struct Compaction {
    store: SnapshotStore,
    header: ImageHeader,
    meta: LayerMeta,
    phase: Phase,
    done: bool,
}

enum Phase {
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
pub enum Step {
    /// This many bytes were read or written, and there is more to do.
    More(u64),
    /// The new layer is there.
    Published,
}

impl Compaction {
    /// Begins, if it is time: the layers upon the one that holds everything outweigh half of it (a fifth, if it hardly
    /// compresses), or are too many.
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
        let inputs = due(&layers, store.layering().layers_max);
        if inputs.is_empty() {
            return Ok(None);
        }
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
        let phase = Phase::Merging { merge, payloads, layer: Box::new(layer) };
        Ok(Some(Compaction { store: store.clone(), header, meta, phase, done: false }))
    }

    /// Does the next few milliseconds of it.
    ///
    /// # Errors
    /// The storage reported an error, or a layer is damaged. Nothing was published, and nothing will be.
    pub fn step(&mut self) -> Result<Step, SnapshotError> {
        match &mut self.phase {
            Phase::Merging { merge, payloads, layer } => {
                let before = layer.bytes();
                let goes_on = merge_some(merge, payloads, layer)?;
                // What is written has been read as well.
                let bytes = (layer.bytes() - before) * 2;
                if !goes_on {
                    self.finish_layer()?;
                }
                Ok(Step::More(bytes))
            }
            Phase::Verifying { layer, reader, next } => {
                if let Some(bytes) = layer.check_block(reader, *next)? {
                    *next += 1;
                    return Ok(Step::More(bytes));
                }
                self.store.publish(&self.header)?;
                (self.phase, self.done) = (Phase::Published, true);
                Ok(Step::Published)
            }
            Phase::Published => Ok(Step::Published),
        }
    }

    fn finish_layer(&mut self) -> Result<(), SnapshotError> {
        let Phase::Merging { layer, .. } = std::mem::replace(&mut self.phase, Phase::Published) else {
            return Ok(());
        };
        if self.header.parent == Seq::ZERO && layer.jobs_total() != self.meta.jobs {
            let (found, expected) = (layer.jobs_total(), self.meta.jobs);
            let problem = format!("the layers give {found} jobs and say that there are {expected}");
            return Err(SnapshotError::Log(problem));
        }
        layer.finish(&self.meta)?;
        let layer = Box::new(self.store.open_unfinished(&self.header)?);
        self.phase = Phase::Verifying { layer, reader: PageReader::default(), next: 0 };
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
        Some(Next::Jobs(page)) => {
            for job in page.jobs {
                let profile = &page.profiles[job.profile.0 as usize];
                layer.add(profile, job, |text| payloads.get(text))?;
            }
            Ok(true)
        }
        Some(Next::Gone(number)) => {
            // No layer before this one has it, if this one owns it.
            if !layer.owns(number) {
                layer.gone(number)?;
            }
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Which of the layers of a state are to be put together, the oldest first; none if they are fine as they are.
fn due(layers: &[Arc<Layer>], layers_max: usize) -> std::ops::Range<usize> {
    let Some((full, changes)) = layers.split_first().filter(|(_, changes)| !changes.is_empty()) else {
        return 0..0;
    };
    let weight = Weight::of(full, changes);
    if weight.outweighs(2) || weight.outweighs(5) && weight.is_tight() {
        return 0..layers.len();
    }
    if changes.len() <= layers_max {
        return 0..0;
    }
    // The newest stays by itself: the log behind the one before it is kept, so that it can be lost. Of the others,
    // those that are about as small as all that came later together.
    let end = layers.len() - 1;
    let mut start = end - 2;
    let mut later: u64 = layers[start..end].iter().map(|layer| layer.bytes()).sum();
    while start > 1 && layers[start - 1].bytes() <= later * 2 {
        start -= 1;
        later += layers[start].bytes();
    }
    start..end
}
