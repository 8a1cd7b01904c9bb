//! Files that an interrupted repair has moved away already. They are not in place any more, but a person who is asked to
//! accept a loss must be told of them, too.
//!
//! A repair leaves a note in its directory as long as it runs. A note that was left behind although the directory has
//! gone on since (its positions are other events now) is not believed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ids::Seq;
use crate::snapshot::store::SnapshotStore;
use crate::storage::{Storage, write_whole};
use crate::tools::doctor::error::DoctorError;
use crate::tools::doctor::files::{Found, header_of, open_segment, read_batches, store_of};
use crate::tools::doctor::listing::list;
use crate::wal::format::{StoreId, segment_number};

/// The note in the directory of a repair that has not ended.
const UNFINISHED: &str = "unfinished";
/// What the name of a repair's directory begins with.
pub(super) const DIR_STEM: &str = "doctor-";

/// What repairs that did not end have moved.
#[derive(Default)]
pub(super) struct Moved {
    /// Segments of this store that are no longer in place.
    pub segments: Vec<Found>,
    /// Copies of segments that are in place, but perhaps cut half by now.
    pub copies: Vec<PathBuf>,
    /// The largest position that the copies, and snapshots that are no longer in place, say to have been durable.
    pub proven: Seq,
    /// What is odd about what was moved away, in words for people.
    pub findings: Vec<String>,
}

/// Notes that a repair begins.
pub(super) fn note(storage: &dyn Storage, dir: &Path) -> Result<(), DoctorError> {
    let path = dir.join(UNFINISHED);
    let text = b"this repair has not ended: `beaver doctor` says how to go on\n";
    write_whole(storage, &path, text).map_err(DoctorError::io(&path, "write"))
}

/// Takes back all notes: the data directory is whole.
pub(super) fn take_back_notes(storage: &dyn Storage, quarantine: &Path) -> Result<(), DoctorError> {
    for dir in unfinished(storage, quarantine)? {
        let path = dir.join(UNFINISHED);
        storage.remove(&path).map_err(DoctorError::io(&path, "remove"))?;
        storage.sync_dir(&dir).map_err(DoctorError::io(&dir, "sync"))?;
    }
    Ok(())
}

/// Looks at what such repairs have moved, beside the segments that are `in_place`. Changes nothing.
pub(super) fn moved_by_repairs(
    storage: &Arc<dyn Storage>,
    quarantine: &Path,
    store: Option<StoreId>,
    in_place: &[Found],
) -> Result<Moved, DoctorError> {
    let mut all = Moved::default();
    for dir in unfinished(&**storage, quarantine)? {
        let mut moved = Vec::new();
        for name in list(&**storage, &dir)? {
            let Some(named) = segment_number(&name) else { continue };
            let path = dir.join(name);
            let found = Found { named, header: header_of(&**storage, &path)?, path, is_in_quarantine: true };
            moved.extend(found.header_in(store).map(|header| (header, found)));
        }
        let twin = |number: u64| {
            let headers = in_place.iter().filter_map(|found| found.header_in(store));
            headers.filter(|header| header.number == number).collect::<Vec<_>>()
        };
        let is_stale = moved.iter().any(|(header, _)| {
            let twins = twin(header.number);
            !twins.is_empty() && !twins.contains(header)
        });
        if is_stale {
            continue;
        }
        let (gone, copies): (Vec<_>, Vec<_>) =
            moved.into_iter().partition(|(header, _)| twin(header.number).is_empty());
        let gone: Vec<Found> = gone.into_iter().map(|(_, found)| found).collect();
        for (_, Found { path, .. }) in copies {
            let Some(mut reader) = open_segment(&**storage, &path)? else { continue };
            read_batches(&mut reader, None, &mut |_, _| Ok(()))?;
            all.proven = all.proven.max(reader.durable()).max(reader.rest()?.durable());
            all.copies.push(path);
        }
        let snapshots = SnapshotStore::new(storage.clone(), &dir, &dir);
        for name in snapshots.list()? {
            let of = store_of(&snapshots, name)?;
            if of.is_some() && of == store {
                all.proven = all.proven.max(name.last);
            }
        }
        let events = match gone.is_empty() {
            true => String::new(),
            false => {
                let names = gone.iter().filter_map(|found| found.path.file_name());
                let names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
                format!("; what it has moved there ({}) counts as lost", names.join(", "))
            }
        };
        all.findings.push(format!("{}: a repair was cut off{events}", dir.display()));
        all.segments.extend(gone);
    }
    Ok(all)
}

/// The directories of repairs that have not ended.
fn unfinished(storage: &dyn Storage, quarantine: &Path) -> Result<Vec<PathBuf>, DoctorError> {
    let names = list(storage, quarantine)?.into_iter().filter(|name| name.starts_with(DIR_STEM));
    let mut found = Vec::new();
    for dir in names.map(|name| quarantine.join(name)) {
        if list(storage, &dir)?.iter().any(|name| name == UNFINISHED) {
            found.push(dir);
        }
    }
    Ok(found)
}
