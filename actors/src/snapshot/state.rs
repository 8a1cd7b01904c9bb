//! The state at a position, as an image that holds everything and the layers on top of it give it.

use std::sync::Arc;

use crate::ids::Seq;
use crate::jobs::record::JobRecord;
use crate::jobs::sections::queues::Overview;
use crate::snapshot::SnapshotError;
use crate::snapshot::format::ImageHeader;
use crate::snapshot::layer::{Layer, PageReader};
use crate::snapshot::merge::{Merge, Next};
use crate::snapshot::old::OldImage;
use crate::snapshot::page::{Page, joined};

/// An image, whatever its schema.
pub enum Image {
    /// Of the schema that this beaver writes.
    Layer(Arc<Layer>),
    /// Of one before.
    Old(Box<OldImage>),
}

impl Image {
    /// What it is of.
    #[must_use]
    pub fn header(&self) -> &ImageHeader {
        match self {
            Image::Layer(layer) => layer.header(),
            Image::Old(image) => &image.header,
        }
    }

    /// Size of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Image::Layer(layer) => layer.bytes(),
            Image::Old(image) => image.bytes(),
        }
    }
}

/// A state that can be read: one old image, or layers of which the first holds everything.
pub struct State {
    pub(super) header: ImageHeader,
    /// The oldest first; none if it is an old image.
    pub(super) layers: Vec<Arc<Layer>>,
    old: Option<Box<OldImage>>,
}

impl State {
    /// Of images that follow each other, the oldest first; at least one.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn of(images: Vec<Image>) -> State {
        let header = *images.last().expect("a state has an image").header();
        let mut state = State { header, layers: Vec::with_capacity(images.len()), old: None };
        for image in images {
            match image {
                Image::Layer(layer) => state.layers.push(layer),
                Image::Old(image) => state.old = Some(image),
            }
        }
        state
    }

    /// What its newest layer is of.
    #[must_use]
    pub fn header(&self) -> &ImageHeader {
        &self.header
    }

    /// Its layers, the oldest first; none if an earlier version of beaver wrote it.
    #[must_use]
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// Size of all of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let old = self.old.as_ref().map_or(0, |image| image.bytes());
        old + self.layers.iter().map(|layer| layer.bytes()).sum::<u64>()
    }

    /// Its pages, from the front to the back. Memory: one page of each layer.
    #[must_use]
    pub fn into_pages(self) -> Pages {
        let overview = self.layers.last().map(|layer| layer.meta().overview.clone());
        let merge = match self.old {
            Some(image) => Merge::of_old(*image),
            None => Merge::of(&self.layers),
        };
        Pages { merge, overview, jobs: 0 }
    }
}

/// Streams through a state.
pub struct Pages {
    pub(super) merge: Merge,
    overview: Option<Overview>,
    jobs: u64,
}

impl Pages {
    /// The next jobs that are on one page; none after the last.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn next_page(&mut self) -> Result<Option<Page>, SnapshotError> {
        loop {
            match self.merge.next()? {
                Some(Next::Jobs(page)) => {
                    self.jobs += page.jobs.len() as u64;
                    return Ok(Some(page));
                }
                Some(Next::Gone(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Jobs read so far.
    #[must_use]
    pub fn jobs(&self) -> u64 {
        self.jobs
    }

    /// What it says beside the jobs, once they have all been read; images of the first schema say nothing.
    #[must_use]
    pub fn overview(&self) -> Option<&Overview> {
        self.overview.as_ref().or_else(|| self.merge.old_overview())
    }

    /// The jobs of the next page, each by itself.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn next_records(&mut self) -> Result<Option<Vec<JobRecord>>, SnapshotError> {
        Ok(self.next_page()?.map(|page| page.records().collect()))
    }
}

/// Finds single jobs in layers. Whoever asks in the order of their numbers has each page read once.
pub(super) struct Finder<'a> {
    layers: &'a [Arc<Layer>],
    held: Vec<Held>,
}

#[derive(Default)]
struct Held {
    reader: PageReader,
    page: Option<(usize, Page)>,
    gone: Option<(usize, Vec<Seq>)>,
}

impl<'a> Finder<'a> {
    pub fn new(layers: &'a [Arc<Layer>]) -> Finder<'a> {
        Finder { layers, held: layers.iter().map(|_| Held::default()).collect() }
    }

    /// The job with this number, if it is not gone.
    pub fn find(&mut self, number: Seq) -> Result<Option<JobRecord>, SnapshotError> {
        for (layer, held) in self.layers.iter().zip(&mut self.held).rev() {
            if number > layer.header().last {
                continue;
            }
            let nth = layer.gone.partition_point(|block| block.last < number);
            if layer.gone.get(nth).is_some_and(|block| block.first <= number) {
                if held.gone.as_ref().is_none_or(|(at, _)| *at != nth) {
                    held.gone = Some((nth, layer.gone_page(&mut held.reader, &layer.gone[nth])?));
                }
                if held.gone.as_ref().is_some_and(|(_, gone)| gone.binary_search(&number).is_ok()) {
                    return Ok(None);
                }
            }
            let nth = layer.jobs.partition_point(|block| block.last < number);
            if layer.jobs.get(nth).is_none_or(|block| block.first > number) {
                continue;
            }
            if held.page.as_ref().is_none_or(|(at, _)| *at != nth) {
                held.page = Some((nth, layer.page(&mut held.reader, &layer.jobs[nth])?));
            }
            let Some((_, page)) = &held.page else { continue };
            if let Ok(at) = page.jobs.binary_search_by_key(&number, |job| job.number) {
                let job = page.jobs[at].clone();
                return Ok(Some(joined(&page.profiles[job.profile as usize], job)));
            }
        }
        Ok(None)
    }
}
