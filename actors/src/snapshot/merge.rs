//! Layers as one state: their jobs in the order of their numbers, of each the newest word.

use std::sync::Arc;
use std::vec::IntoIter;

use crate::ids::Seq;
use crate::jobs::record::JobRecord;
use crate::jobs::sections::queues::Overview;
use crate::snapshot::SnapshotError;
use crate::snapshot::layer::{Layer, PageReader};
use crate::snapshot::old::OldImage;
use crate::snapshot::page::{Page, PagedJob, ProfileRecord, parted};

/// What comes next.
pub(super) enum Next {
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
    source: Source,
    reader: PageReader,
    profiles: Arc<[ProfileRecord]>,
    jobs: IntoIter<PagedJob>,
    gone: IntoIter<Seq>,
    /// Which pages follow.
    next_jobs: usize,
    next_gone: usize,
}

enum Source {
    Layer(Arc<Layer>),
    Old(Box<OldImage>),
}

impl Merge {
    /// Of an image that is no layer.
    pub fn of_old(image: OldImage) -> Merge {
        Merge { streams: vec![Stream::of(Source::Old(Box::new(image)))] }
    }

    /// Of layers.
    pub fn of(layers: &[Arc<Layer>]) -> Merge {
        Merge { streams: layers.iter().map(|layer| Stream::of(Source::Layer(layer.clone()))).collect() }
    }

    /// What an old image says beside its jobs, once they have all been read.
    pub fn old_overview(&self) -> Option<&Overview> {
        match &self.streams.first()?.source {
            Source::Old(image) => image.overview(),
            Source::Layer(_) => None,
        }
    }

    /// The next jobs, as many as come from one page without any other layer's word between them.
    pub fn next(&mut self) -> Result<Option<Next>, SnapshotError> {
        // Where the layer with the least number stands, and the least of all others.
        let mut least: Option<(Seq, usize, bool)> = None;
        let mut limit = Seq(u64::MAX);
        for (nth, stream) in self.streams.iter_mut().enumerate() {
            stream.fill()?;
            let heads = [
                (stream.jobs.as_slice().first().map(|job| job.number), false),
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
            return Ok(Some(Next::Gone(number)));
        }
        let jobs = stream.jobs.as_slice();
        let jobs = match jobs.last().is_some_and(|last| last.number < limit) {
            true => std::mem::take(&mut stream.jobs).collect(),
            false => {
                let count = jobs.partition_point(|job| job.number < limit);
                stream.jobs.by_ref().take(count).collect()
            }
        };
        Ok(Some(Next::Jobs(Page { profiles: stream.profiles.clone(), jobs })))
    }
}

impl Stream {
    fn of(source: Source) -> Stream {
        Stream {
            source,
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
        match &mut self.source {
            Source::Layer(layer) => {
                if self.jobs.as_slice().is_empty()
                    && let Some(block) = layer.jobs.get(self.next_jobs)
                {
                    let page = layer.page(&mut self.reader, block)?;
                    (self.profiles, self.jobs) = (page.profiles, page.jobs.into_iter());
                    self.next_jobs += 1;
                }
                if self.gone.as_slice().is_empty()
                    && let Some(block) = layer.gone.get(self.next_gone)
                {
                    self.gone = layer.gone_page(&mut self.reader, block)?.into_iter();
                    self.next_gone += 1;
                }
            }
            Source::Old(image) => {
                // A chunk may be empty, for all that its reader knows.
                while self.jobs.as_slice().is_empty() && self.next_jobs == 0 {
                    match image.next_chunk()? {
                        Some(records) => {
                            let page = page_of(records);
                            (self.profiles, self.jobs) = (page.profiles, page.jobs.into_iter());
                        }
                        None => self.next_jobs = 1,
                    }
                }
            }
        }
        Ok(())
    }

    /// Leaves out what it says of this job.
    fn pass(&mut self, number: Seq) {
        if self.jobs.as_slice().first().is_some_and(|job| job.number == number) {
            self.jobs.next();
        }
        if self.gone.as_slice().first() == Some(&number) {
            self.gone.next();
        }
    }
}

/// Records as a page; neighbours that are of the same profile share it.
pub(super) fn page_of(records: Vec<JobRecord>) -> Page {
    let mut profiles: Vec<ProfileRecord> = Vec::new();
    let jobs = records.into_iter().map(|record| {
        let (profile, mut job) = parted(record);
        if profiles.last() != Some(&profile) {
            profiles.push(profile);
        }
        job.profile = profiles.len() as u32 - 1;
        job
    });
    let jobs = jobs.collect();
    Page { profiles: profiles.into(), jobs }
}
