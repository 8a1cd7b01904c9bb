//! Which files lie in the directories of log and snapshots, and which of them are beaver's.

use std::path::{Path, PathBuf};

use crate::api::options::EngineOptions;
use crate::recovery::boot::{LOCK_FILE, QUARANTINE};
use crate::recovery::store_note::STORE_FILE;
use crate::snapshot::chain::LayerName;
use crate::snapshot::store::SnapshotStore;
use crate::storage::Storage;
use crate::tools::doctor::error::DoctorError;
use crate::tools::doctor::files::{Found, header_of};
use crate::wal::format::segment_number;
use crate::wal::witness::WITNESS_FILE;

/// What the directories of log and snapshots hold beside snapshots.
pub(super) struct Listed {
    pub segments: Vec<Found>,
    /// Files that were never finished.
    pub unfinished: Vec<PathBuf>,
    /// Files that are not beaver's.
    pub foreign: Vec<PathBuf>,
}

impl Listed {
    /// Lists both; the snapshots at `positions` are looked at elsewhere.
    pub fn of(
        storage: &dyn Storage,
        options: &EngineOptions,
        product_files: &[&str],
        snapshots: &SnapshotStore,
        positions: &[LayerName],
    ) -> Result<Listed, DoctorError> {
        let mut listed = Listed { segments: Vec::new(), unfinished: Vec::new(), foreign: Vec::new() };
        for name in list(storage, &options.wal_dir)? {
            let path = options.wal_dir.join(&name);
            match segment_number(&name) {
                Some(named) => {
                    let header = header_of(storage, &path)?;
                    listed.segments.push(Found { named, header, path, is_in_quarantine: false });
                }
                None => listed.add(&name, path),
            }
        }
        for name in list(storage, &options.snapshot_dir)? {
            let path = options.snapshot_dir.join(&name);
            if !positions.iter().any(|position| snapshots.path_of(*position) == path) {
                listed.add(&name, path);
            }
        }
        listed.forget_our_own(storage, options, product_files);
        Ok(listed)
    }

    fn add(&mut self, name: &str, path: PathBuf) {
        match name.ends_with(".partial") {
            true => self.unfinished.push(path),
            false if name == LOCK_FILE => {}
            false => self.foreign.push(path),
        }
    }

    /// Where log or snapshots share the data directory, under any name of it, its other files are no strangers.
    fn forget_our_own(&mut self, storage: &dyn Storage, options: &EngineOptions, product_files: &[&str]) {
        let real = |dir: Option<&Path>| dir.and_then(|dir| storage.real_path(dir).ok());
        let home = real(Some(&options.data_dir));
        let usual = EngineOptions::in_dir("");
        let of_engine = [Path::new(STORE_FILE), Path::new(WITNESS_FILE), Path::new(QUARANTINE)];
        let at_home: Vec<&Path> = product_files
            .iter()
            .map(Path::new)
            .chain(of_engine)
            .chain([usual.wal_dir.as_path(), usual.snapshot_dir.as_path()])
            .collect();
        self.foreign.retain(|path| {
            let is_home_name = at_home.iter().any(|name| path.ends_with(name));
            let is_at_home = is_home_name && real(path.parent()) == home;
            !is_at_home && *path != options.wal_dir && *path != options.snapshot_dir
        });
    }
}

/// The names in a directory.
pub(super) fn list(storage: &dyn Storage, dir: &Path) -> Result<Vec<String>, DoctorError> {
    storage.list(dir).map_err(DoctorError::io(dir, "list"))
}
