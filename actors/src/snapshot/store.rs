//! The directory of snapshots: publish, load, fall back to the one before.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ids::{Seq, Timestamp};
#[cfg(feature = "testing")]
use crate::jobs::record::JobRecord;
use crate::jobs::sections::Sections;
use crate::snapshot::SnapshotError;
use crate::snapshot::chain::{LayerName, chain_to, positions};
use crate::snapshot::fold::Delta;
use crate::snapshot::format::ImageHeader;
use crate::snapshot::layer::Layer;
use crate::snapshot::page::Page;
use crate::snapshot::policy::{Layering, NextLayer};
use crate::snapshot::state::State;
use crate::snapshot::writer::LayerWriter;
use crate::storage::{Storage, StoredFile, partial_of, publish, set_aside};

/// States larger than this are read on a thread of their own while the table is filled.
const APART_BYTES: u64 = 1 << 20;

/// The directory of layers, see [`crate::snapshot::chain`] for their names.
#[derive(Clone)]
pub struct SnapshotStore {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) dir: PathBuf,
    quarantine: PathBuf,
    layering: Layering,
}

/// A snapshot on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// What its newest layer is of.
    pub header: ImageHeader,
    /// Size of all of its layers.
    pub bytes: u64,
    /// Jobs in it.
    pub jobs: u64,
}

/// A snapshot that was loaded.
pub struct Loaded<T> {
    /// Which.
    pub info: SnapshotInfo,
    /// What was made of its jobs.
    pub value: T,
    /// Its layers, the oldest first.
    pub layers: Vec<Arc<Layer>>,
    /// Those newer ones that were passed over, and why.
    pub corrupted: PassedOver,
}

/// Layers that are corrupted, or lead nowhere since another one is, and how.
pub type PassedOver = Vec<(LayerName, SnapshotError)>;

impl SnapshotStore {
    /// The snapshots in `dir`; corrupted ones are moved to `quarantine`.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, dir: &Path, quarantine: &Path) -> SnapshotStore {
        let layering = Layering::default();
        SnapshotStore { storage, dir: dir.to_owned(), quarantine: quarantine.to_owned(), layering }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with(self, layering: Layering) -> SnapshotStore {
        SnapshotStore { layering, ..self }
    }

    /// When layers are written and merged.
    #[must_use]
    pub fn layering(&self) -> &Layering {
        &self.layering
    }

    /// The layers that are there, by their names: newest first, and what holds everything before what does not.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<LayerName>, SnapshotError> {
        let names = self.storage.list(&self.dir).map_err(SnapshotError::io(&self.dir, "list"))?;
        let mut names: Vec<_> = names.iter().filter_map(|name| LayerName::parse(name)).collect();
        names.sort_unstable_by(|one, other| other.last.cmp(&one.last).then(one.parent.cmp(&other.parent)));
        Ok(names)
    }

    /// Whether there is any snapshot.
    ///
    /// # Errors
    /// The directory cannot be read.
    #[cfg(feature = "testing")]
    pub fn exists(&self) -> Result<bool, SnapshotError> {
        Ok(!self.list()?.is_empty())
    }

    /// Opens one file.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn open(&self, name: LayerName) -> Result<Arc<Layer>, SnapshotError> {
        let (file, path) = self.open_file(name)?;
        let layer = Layer::open(file, &path)?;
        let ImageHeader { last, parent, .. } = *layer.header();
        if (last, parent) == (name.last, name.parent) {
            return Ok(Arc::new(layer));
        }
        let behind = if parent == Seq::ZERO { String::new() } else { format!("from {parent} on, ") };
        let problem = format!("it holds everything {behind}up to event {last}: was it renamed?");
        Err(SnapshotError::corrupted(&path, 0, problem))
    }

    /// The header of one file, and the file's size, even if the rest of it is damaged.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn header_of(&self, name: LayerName) -> Result<(ImageHeader, u64), SnapshotError> {
        let (file, path) = self.open_file(name)?;
        let bytes = file.len().map_err(SnapshotError::io(&path, "measure"))?;
        Ok((ImageHeader::read(&*file, &path)?, bytes))
    }

    pub(super) fn open_file(&self, name: LayerName) -> Result<(Box<dyn StoredFile>, PathBuf), SnapshotError> {
        let path = self.path_of(name);
        let file = self.storage.open_to_read(&path).map_err(SnapshotError::io(&path, "open"))?;
        Ok((file, path))
    }

    /// Opens the state that these layers give, the oldest first.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn open_chain(&self, chain: &[LayerName]) -> Result<State, SnapshotError> {
        let mut layers: Vec<Arc<Layer>> = Vec::with_capacity(chain.len());
        for name in chain {
            let layer = self.open(*name)?;
            if layers.last().is_some_and(|before| before.header().store != layer.header().store) {
                let problem = "it does not belong to the layer before it";
                return Err(SnapshotError::corrupted(&self.path_of(*name), 0, problem));
            }
            layers.push(layer);
        }
        Ok(State::of(layers))
    }

    /// Opens the state at a position; [`SnapshotError::NotFound`] if the layers that are there do not lead to it.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn open_state(&self, last: Seq) -> Result<State, SnapshotError> {
        let chain = chain_to(&self.list()?, last);
        self.open_chain(&chain.ok_or_else(|| SnapshotError::NotFound { dir: self.dir.clone() })?)
    }

    /// The newest state that can be opened without the layers in `without`.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn newest_without(&self, without: &[LayerName]) -> Result<Option<State>, SnapshotError> {
        let names: Vec<_> = self.list()?.into_iter().filter(|name| !without.contains(name)).collect();
        let chain = positions(&names).into_iter().find_map(|last| chain_to(&names, last));
        chain.map(|chain| self.open_chain(&chain)).transpose()
    }

    /// Loads the newest snapshot that is whole, and hands its jobs to `make`, page by page: of each what
    /// its jobs have in common has to be looked at only once.
    ///
    /// A corrupted one is passed over for the one before it and returned in the list of errors; the caller decides
    /// when to move it to quarantine with [`SnapshotStore::quarantine`].
    ///
    /// # Errors
    /// [`SnapshotError::NotFound`] if there is no snapshot that could be loaded;
    /// [`SnapshotError::IncompatibleVersion`] or [`SnapshotError::Io`] at once, since an older snapshot is no
    /// answer to those.
    pub fn load_pages<T>(
        &self,
        mut make: impl FnMut(&ImageHeader, &Sections, &mut dyn Iterator<Item = Page>) -> Result<T, String>,
    ) -> Result<Loaded<T>, (SnapshotError, PassedOver)> {
        let mut corrupted: PassedOver = Vec::new();
        let names = self.list().map_err(|error| (error, Vec::new()))?;
        for last in positions(&names) {
            loop {
                let is_usable = |name: &&LayerName| !corrupted.iter().any(|(bad, _)| bad == *name);
                let usable: Vec<_> = names.iter().filter(is_usable).copied().collect();
                let Some(chain) = chain_to(&usable, last) else { break };
                match self.load_chain(&chain, &mut make) {
                    Ok(loaded) => return Ok(Loaded { corrupted, ..loaded }),
                    Err((name, error @ SnapshotError::Corrupted { .. })) => corrupted.push((name, error)),
                    Err((_, error)) => return Err((error, corrupted)),
                }
            }
            let leads_nowhere =
                |name: &&LayerName| name.last == last && !corrupted.iter().any(|(bad, _)| bad == *name);
            let lost: Vec<_> = names.iter().filter(leads_nowhere).copied().collect();
            for name in lost {
                let problem = format!("the layers before it, up to event {}, are not whole", name.parent);
                corrupted.push((name, SnapshotError::corrupted(&self.path_of(name), 0, problem)));
            }
        }
        Err((SnapshotError::NotFound { dir: self.dir.clone() }, corrupted))
    }

    /// As [`SnapshotStore::load_pages`], job by job.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "testing")]
    pub fn load<T>(
        &self,
        mut make: impl FnMut(&ImageHeader, &Sections, &mut dyn Iterator<Item = JobRecord>) -> Result<T, String>,
    ) -> Result<Loaded<T>, (SnapshotError, PassedOver)> {
        self.load_pages(|header, sections, pages| make(header, sections, &mut pages.flat_map(Page::records)))
    }

    /// Says as well which layer is to blame for an error.
    fn load_chain<T>(
        &self,
        chain: &[LayerName],
        make: &mut impl FnMut(&ImageHeader, &Sections, &mut dyn Iterator<Item = Page>) -> Result<T, String>,
    ) -> Result<Loaded<T>, (LayerName, SnapshotError)> {
        let newest = *chain.last().expect("a chain has a layer");
        let blame = |error: SnapshotError| {
            let to_blame = |name: &&LayerName| matches!(&error, SnapshotError::Corrupted { path, .. } if *path == self.path_of(**name));
            (chain.iter().find(to_blame).copied().unwrap_or(newest), error)
        };
        let state = self.open_chain(chain).map_err(blame)?;
        let (header, layers, bytes) = (*state.header(), state.layers().to_vec(), state.bytes());
        let meta = state.meta().clone();
        let mut pages = state.into_pages();
        let take = |pages: &mut dyn Iterator<Item = Page>| make(&header, &meta.sections, pages);
        // A damaged file explains all other errors.
        let made = match bytes < APART_BYTES {
            true => pages.hand_to(take),
            false => pages.hand_to_while_reading(take),
        }
        .map_err(blame)?;
        if self.layering.confirms_payloads(bytes) {
            layers.iter().try_for_each(|layer| layer.confirm_all_texts()).map_err(blame)?;
        }
        let value =
            made.map_err(|problem| (newest, SnapshotError::corrupted(&self.path_of(newest), 0, problem)))?;
        if meta.jobs != pages.jobs() {
            let (expected, found) = (meta.jobs, pages.jobs());
            let problem = format!("its layers give {found} jobs, and there should be {expected}");
            return Err((newest, SnapshotError::corrupted(&self.path_of(newest), 0, problem)));
        }
        let info = SnapshotInfo { header, bytes, jobs: pages.jobs() };
        Ok(Loaded { info, value, layers, corrupted: Vec::new() })
    }

    /// Writes the snapshot that follows `before`: a layer that holds everything, or only what changed.
    ///
    /// Temp file, fsync, read back and verified, rename, directory fsync: it is there as a whole or not at all.
    ///
    /// # Errors
    /// A layer before is corrupted or does not fit, or the storage reported an error. Nothing was published.
    pub fn write(
        &self,
        before: Option<State>,
        delta: Delta,
        store: [u8; 16],
        now: Timestamp,
    ) -> Result<SnapshotInfo, SnapshotError> {
        let is_change = self.layering.next_layer(before.as_ref().map(State::bytes)) == NextLayer::Changes;
        let (parent, bytes_before) = match &before {
            Some(before) if is_change => (before.header().last, before.bytes()),
            _ => (Seq::ZERO, 0),
        };
        let header = ImageHeader { store, last: delta.last, last_at: delta.last_at, taken_at: now, parent };
        let (bytes, jobs) = self.publish_layer(&header, |mut layer| {
            let meta = match before {
                Some(before) if is_change => delta.write_changes(&before, &mut layer)?,
                before => delta.write_full(before, &mut layer)?,
            };
            Ok((layer.finish(&meta)?, meta.jobs))
        })?;
        Ok(SnapshotInfo { header, bytes: bytes_before + bytes, jobs })
    }

    fn publish_layer<T>(
        &self,
        header: &ImageHeader,
        write: impl FnOnce(LayerWriter) -> Result<T, SnapshotError>,
    ) -> Result<T, SnapshotError> {
        let (writer, partial) = self.begin(header)?;
        let result = write(writer).and_then(|written| {
            self.verify(&partial)?;
            self.publish(header)?;
            Ok(written)
        });
        if result.is_err() {
            self.give_up(header);
        }
        result
    }

    /// Begins a layer under a name that boot would remove.
    pub(super) fn begin(&self, header: &ImageHeader) -> Result<(LayerWriter, PathBuf), SnapshotError> {
        self.storage.create_dir(&self.dir).map_err(SnapshotError::io(&self.dir, "create"))?;
        let partial = partial_of(&self.path_of(name_of(header)));
        let file = self.storage.create(&partial).map_err(SnapshotError::io(&partial, "create"))?;
        Ok((LayerWriter::begin(file, &partial, header), partial))
    }

    /// Gives a layer that was written and verified its name.
    pub(super) fn publish(&self, header: &ImageHeader) -> Result<(), SnapshotError> {
        let path = self.path_of(name_of(header));
        publish(&*self.storage, &partial_of(&path), &path).map_err(SnapshotError::io(&path, "publish"))
    }

    /// Removes a layer that could not be finished: it must not hold space.
    pub(super) fn give_up(&self, header: &ImageHeader) {
        let _ = self.storage.remove(&partial_of(&self.path_of(name_of(header))));
    }

    fn verify(&self, path: &Path) -> Result<(), SnapshotError> {
        let file = self.storage.open_to_read(path).map_err(SnapshotError::io(path, "open"))?;
        Layer::open(file, path)?.check()
    }

    /// Opens a layer that was written and has no name yet.
    pub(super) fn open_unfinished(&self, header: &ImageHeader) -> Result<Layer, SnapshotError> {
        let partial = partial_of(&self.path_of(name_of(header)));
        let file = self.storage.open_to_read(&partial).map_err(SnapshotError::io(&partial, "open"))?;
        Layer::open(file, &partial)
    }

    /// Moves a corrupted layer to `quarantine/`.
    ///
    /// # Errors
    /// The storage reported an error.
    pub fn quarantine(&self, name: LayerName) -> Result<PathBuf, SnapshotError> {
        let from = self.path_of(name);
        set_aside(&*self.storage, &from, &self.quarantine)
            .map_err(SnapshotError::io(&from, "move to quarantine"))
    }

    /// Removes what a crash left unfinished.
    ///
    /// # Errors
    /// The storage reported an error.
    pub fn clean(&self) -> Result<(), SnapshotError> {
        for name in self.storage.list(&self.dir).map_err(SnapshotError::io(&self.dir, "list"))? {
            if name.ends_with(".partial") {
                let path = self.dir.join(name);
                self.storage.remove(&path).map_err(SnapshotError::io(&path, "remove"))?;
            }
        }
        Ok(())
    }

    /// Where a layer is, or would be.
    #[must_use]
    pub fn path_of(&self, name: LayerName) -> PathBuf {
        self.dir.join(name.file_name())
    }

    /// The layer that an error is about, if it is about one that is damaged.
    pub(super) fn damaged(&self, error: &SnapshotError) -> Option<LayerName> {
        let SnapshotError::Corrupted { path, .. } = error else { return None };
        LayerName::parse(path.file_name()?.to_str()?).filter(|name| self.path_of(*name) == *path)
    }
}

fn name_of(header: &ImageHeader) -> LayerName {
    LayerName { last: header.last, parent: header.parent }
}
