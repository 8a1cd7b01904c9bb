//! The state at a position, as an image that holds everything and the layers on top of it give it.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use crate::base::threads;
use crate::ids::Seq;
use crate::jobs::model::profile::Profile;
use crate::jobs::record::JobRecord;
use crate::jobs::sections::Sections;
use crate::jobs::table::packed_job::PackedJob;
use crate::snapshot::SnapshotError;
use crate::snapshot::format::{ImageHeader, LayerMeta};
use crate::snapshot::layer::{Layer, PageReader};
use crate::snapshot::merge::{Merge, Merged};
use crate::snapshot::page::Page;
use crate::snapshot::policy::LayerFigures;

/// Pages that have been read and wait to be taken.
const PAGES_AHEAD: usize = 16;

/// A state that can be read: layers of which the first holds everything.
pub struct State {
    header: ImageHeader,
    /// The oldest first; at least one.
    layers: Vec<Arc<Layer>>,
}

impl State {
    /// Of layers that follow each other, the oldest first; at least one.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn of(layers: Vec<Arc<Layer>>) -> State {
        let header = *layers.last().expect("a state has a layer").header();
        State { header, layers }
    }

    /// What its newest layer is of.
    #[must_use]
    pub fn header(&self) -> &ImageHeader {
        &self.header
    }

    /// What it holds beside its jobs.
    #[must_use]
    pub fn sections(&self) -> &Sections {
        &self.meta().sections
    }

    /// What its newest layer says beside the jobs.
    pub(super) fn meta(&self) -> &LayerMeta {
        self.layers.last().expect("a state has a layer").meta()
    }

    /// Its layers, the oldest first.
    #[must_use]
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// Size of all of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes()).sum()
    }

    /// What the policy looks at, of each of its layers.
    pub(super) fn figures(&self) -> Vec<LayerFigures> {
        self.layers.iter().map(|layer| layer.figures()).collect()
    }

    /// Its pages, from the front to the back. Memory: one page of each layer.
    #[must_use]
    pub fn into_pages(self) -> Pages {
        Pages { merge: Merge::of(&self.layers), jobs: 0 }
    }
}

/// Streams through a state.
pub struct Pages {
    merge: Merge,
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
                Some(Merged::Jobs(page)) => {
                    self.jobs += page.jobs.len() as u64;
                    return Ok(Some(page));
                }
                Some(Merged::Gone(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Hands all pages to `take`, each when it is asked for.
    ///
    /// # Errors
    /// See [`SnapshotError`]; what was made of the pages before is dropped.
    pub(super) fn hand_to<T>(
        &mut self,
        take: impl FnOnce(&mut dyn Iterator<Item = Page>) -> T,
    ) -> Result<T, SnapshotError> {
        let mut end = Ok(());
        let made = take(&mut std::iter::from_fn(|| {
            self.next_page().unwrap_or_else(|error| {
                end = Err(error);
                None
            })
        }));
        end.map(|()| made)
    }

    /// The same, where one thread reads, checks and unpacks while this one takes. Nothing depends on how far it is.
    ///
    /// # Errors
    /// See [`SnapshotError`]; what was made of the pages before is dropped.
    pub(super) fn hand_to_while_reading<T>(
        &mut self,
        take: impl FnOnce(&mut dyn Iterator<Item = Page>) -> T,
    ) -> Result<T, SnapshotError> {
        let (sender, receiver) = sync_channel(PAGES_AHEAD);
        let reader = &mut *self;
        let mut take = Some(take);
        let made = std::thread::scope(|scope| {
            let read = move || {
                while let Some(page) = reader.next_page()? {
                    // The receiver is gone: it has found something wrong.
                    if sender.send(page).is_err() {
                        break;
                    }
                }
                Ok(())
            };
            let reading = threads::builder().and_then(|builder| builder.spawn_scoped(scope, read)).ok()?;
            let made = take.take().map(|take| take(&mut receiver.iter()))?;
            drop(receiver);
            let end = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Some(end.map(|()| made))
        });
        match (made, take) {
            (Some(made), _) => made,
            // The system has no thread to give.
            (None, Some(take)) => self.hand_to(take),
            (None, None) => unreachable!("who has taken has made something"),
        }
    }

    /// Jobs read so far.
    #[must_use]
    pub fn jobs(&self) -> u64 {
        self.jobs
    }

    /// The jobs of the next page, each by itself.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn next_records(&mut self) -> Result<Option<Vec<JobRecord>>, SnapshotError> {
        Ok(self.next_page()?.map(|page| page.records().collect()))
    }
}

/// Finds single jobs in layers. Asked in the order of their numbers, it reads each page once.
pub(super) struct Finder<'a> {
    layers: &'a [Arc<Layer>],
    held: Vec<HeldPages>,
}

/// The pages of one layer that were read last, by their index.
#[derive(Default)]
struct HeldPages {
    reader: PageReader,
    page: Option<(usize, Page)>,
    gone: Option<(usize, Vec<Seq>)>,
}

impl<'a> Finder<'a> {
    pub fn new(layers: &'a [Arc<Layer>]) -> Finder<'a> {
        Finder { layers, held: layers.iter().map(|_| HeldPages::default()).collect() }
    }

    /// The job with this number, if it is not gone.
    pub fn find(&mut self, number: Seq) -> Result<Option<(Profile, PackedJob)>, SnapshotError> {
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
            if let Ok(at) = page.jobs.binary_search_by_key(&number, |job| job.enqueued_seq) {
                let job = page.jobs[at].clone();
                return Ok(Some((page.profiles[job.profile.0 as usize].clone(), job)));
            }
        }
        Ok(None)
    }
}
