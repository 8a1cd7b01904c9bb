//! Layers as one state: their jobs in the order of their numbers, of each the newest word.

use std::sync::Arc;
use std::vec::IntoIter;

use crate::ids::Seq;
use crate::jobs::model::profile::Profile;
use crate::jobs::table::packed_job::PackedJob;
use crate::snapshot::SnapshotError;
use crate::snapshot::layer::{Layer, PageReader};
use crate::snapshot::page::Page;

/// A piece of the state that layers give together.
pub(super) enum Merged {
    /// Jobs that follow each other.
    Jobs(Page),
    /// This job is gone, which only a layer says that changes a state.
    Gone(Seq),
}

/// Streams through layers, the oldest first in the list. Memory: one page of each.
pub(super) struct Merge {
    streams: Vec<Stream>,
}

struct Stream {
    layer: Arc<Layer>,
    reader: PageReader,
    profiles: Arc<[Profile]>,
    jobs: IntoIter<PackedJob>,
    gone: IntoIter<Seq>,
    /// Index of the next page of jobs.
    next_jobs: usize,
    next_gone: usize,
}

impl Merge {
    /// Of these layers, the oldest first.
    pub fn of(layers: &[Arc<Layer>]) -> Merge {
        Merge { streams: layers.iter().map(|layer| Stream::of(layer.clone())).collect() }
    }

    /// The next jobs, as many as come from one page without any other layer's word between them.
    pub fn next(&mut self) -> Result<Option<Merged>, SnapshotError> {
        // Where the layer with the least number stands, and the least of all others.
        let mut least: Option<(Seq, usize, bool)> = None;
        let mut limit = Seq(u64::MAX);
        for (nth, stream) in self.streams.iter_mut().enumerate() {
            stream.fill()?;
            let heads = [
                (stream.jobs.as_slice().first().map(|job| job.enqueued_seq), false),
                (stream.gone.as_slice().first().copied(), true),
            ];
            for (number, is_gone) in heads {
                let Some(number) = number else { continue };
                match least {
                    // The newer layer has the last word.
                    Some((so_far, ..)) if number > so_far => limit = limit.min(number),
                    Some((so_far, ..)) => {
                        limit = limit.min(so_far);
                        least = Some((number, nth, is_gone));
                    }
                    None => least = Some((number, nth, is_gone)),
                }
            }
        }
        let Some((number, nth, is_gone)) = least else { return Ok(None) };
        if limit == number {
            // Older layers have something to say of it, too.
            for stream in &mut self.streams[..nth] {
                stream.pass(number);
            }
            limit = number.next();
        }
        let stream = &mut self.streams[nth];
        if is_gone {
            stream.gone.next();
            return Ok(Some(Merged::Gone(number)));
        }
        let jobs = stream.jobs.as_slice();
        let jobs = match jobs.last().is_some_and(|last| last.enqueued_seq < limit) {
            true => std::mem::take(&mut stream.jobs).collect(),
            false => {
                let count = jobs.partition_point(|job| job.enqueued_seq < limit);
                stream.jobs.by_ref().take(count).collect()
            }
        };
        Ok(Some(Merged::Jobs(Page { profiles: stream.profiles.clone(), jobs })))
    }
}

impl Stream {
    fn of(layer: Arc<Layer>) -> Stream {
        Stream {
            layer,
            reader: PageReader::default(),
            profiles: Arc::new([]),
            jobs: IntoIter::default(),
            gone: IntoIter::default(),
            next_jobs: 0,
            next_gone: 0,
        }
    }

    /// Reads the next page of what has run out.
    fn fill(&mut self) -> Result<(), SnapshotError> {
        if self.jobs.as_slice().is_empty()
            && let Some(block) = self.layer.jobs.get(self.next_jobs)
        {
            let page = self.layer.page(&mut self.reader, block)?;
            (self.profiles, self.jobs) = (page.profiles, page.jobs.into_iter());
            self.next_jobs += 1;
        }
        if self.gone.as_slice().is_empty()
            && let Some(block) = self.layer.gone.get(self.next_gone)
        {
            self.gone = self.layer.gone_page(&mut self.reader, block)?.into_iter();
            self.next_gone += 1;
        }
        Ok(())
    }

    /// Leaves out what it says of this job.
    fn pass(&mut self, number: Seq) {
        if self.jobs.as_slice().first().is_some_and(|job| job.enqueued_seq == number) {
            self.jobs.next();
        }
        if self.gone.as_slice().first() == Some(&number) {
            self.gone.next();
        }
    }
}
