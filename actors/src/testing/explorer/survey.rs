//! Damage to a directory at rest: boot refuses it, or finds the state as it was.

use std::path::{Path, PathBuf};

use crate::api::outcome::FailCause;
use crate::jobs::record::JobRecord;
use crate::jobs::sections::Overview;
use crate::testing::disk::SECTOR_BYTES;
use crate::testing::explorer::workload::{options, play};
use crate::testing::{SimStorage, StepEngine};

/// Every byte is the business of the tests of log and snapshots; here a boot follows, which takes longer.
const BYTES_APART: usize = 7;

/// A directory that was closed in good order, and what it holds.
pub struct ClosedDirectory {
    /// As the log left it that was closed.
    pub disk: SimStorage,
    /// The state after a boot on it.
    pub image: Vec<JobRecord>,
    /// What belongs beside the jobs.
    pub overview: Overview,
    /// Everything in `wal/` and `snapshots/`.
    pub files: Vec<PathBuf>,
}

/// The work was done and the log closed.
///
/// # Panics
/// The work cannot be done on a disk that works.
#[must_use]
pub fn closed(seed: u64) -> ClosedDirectory {
    let disk = SimStorage::new();
    let (_, engine) = play(&disk, seed);
    let mut engine = engine.expect("the disk works");
    engine.try_close().expect("the disk works");
    let booted = StepEngine::with(disk.fork(), options(), seed).expect("it boots");
    let (image, overview) = (booted.image(), booted.overview());
    let files = disk.paths("/data").into_iter().filter(|path| is_data(path)).collect();
    ClosedDirectory { disk, image, overview, files }
}

fn is_data(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "wal" || end == "snap")
}

impl ClosedDirectory {
    /// Boots after an accident; a finding if it neither refuses for damage nor gives the same state.
    #[must_use]
    pub fn after(&self, what: &str, accident: impl FnOnce(&SimStorage)) -> Option<String> {
        let disk = self.disk.fork();
        accident(&disk);
        match StepEngine::with(disk, options(), 7) {
            Ok(engine) if engine.image() == self.image && engine.overview() == self.overview => None,
            Ok(_) => Some(format!("{what}: it boots, and the state is another one")),
            Err(error) if error.cause == FailCause::Damaged => None,
            Err(error) => Some(format!("{what}: {error} ({:?})", error.cause)),
        }
    }

    /// Every file removed, replaced, cut, with a flipped bit here and there, put under another's name, replaced by one of another store; every sector
    /// lost, or written to the place of another.
    ///
    /// The log's last sector is left out where it is lost or overwritten as a whole: a write that the disk has
    /// promised and forgotten, and no other after it, leaves what a log that ended earlier looks like.
    #[must_use]
    pub fn every_accident(&self, foreign: &ClosedDirectory) -> (u64, Vec<String>) {
        let mut findings = Vec::new();
        let mut accidents = 0;
        let mut try_one = |what: String, accident: &dyn Fn(&SimStorage)| {
            accidents += 1;
            findings.extend(self.after(&what, accident));
        };
        let last = self.files.iter().rfind(|path| path.extension().is_some_and(|end| end == "wal"));
        for file in &self.files {
            let name = file.display();
            let bytes = self.disk.bytes(file);
            try_one(format!("{name} removed"), &|disk| disk.delete(file));
            try_one(format!("{name} replaced by text"), &|disk| disk.put(file, b"hello".to_vec()));
            for other in self.files.iter().filter(|other| *other != file) {
                let theirs = self.disk.bytes(other);
                try_one(format!("{name} is a copy of {}", other.display()), &|disk| {
                    disk.put(file, theirs.clone())
                });
                try_one(format!("{name} swapped with {}", other.display()), &|disk| {
                    disk.put(file, theirs.clone());
                    disk.put(other, bytes.clone());
                });
            }
            if foreign.files.contains(file) {
                let theirs = foreign.disk.bytes(file);
                try_one(format!("{name} of another store"), &|disk| disk.put(file, theirs.clone()));
            }
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            for at in (0..used).step_by(BYTES_APART) {
                try_one(format!("{name} byte {at} flipped"), &|disk| {
                    disk.tamper(file, |bytes| bytes[at] ^= 1 << (at % 8));
                });
                if Some(file) != last {
                    try_one(format!("{name} cut at byte {at}"), &|disk| {
                        disk.tamper(file, |bytes| bytes.truncate(at));
                    });
                }
            }
            let sectors = used.div_ceil(SECTOR_BYTES);
            for sector in 0..sectors {
                let range = sector * SECTOR_BYTES..((sector + 1) * SECTOR_BYTES).min(bytes.len());
                let is_tail = |sector: usize| Some(file) == last && sector > 0 && sector + 1 == sectors;
                if !is_tail(sector) {
                    try_one(format!("{name} sector {sector} lost"), &|disk| {
                        disk.tamper(file, |bytes| bytes[range.clone()].fill(0));
                    });
                    try_one(format!("{name} cut before sector {sector}"), &|disk| {
                        disk.tamper(file, |bytes| bytes.truncate(sector * SECTOR_BYTES));
                    });
                }
                for other in (0..sectors).filter(|other| *other != sector && !is_tail(*other)) {
                    let to = other * SECTOR_BYTES..((other + 1) * SECTOR_BYTES).min(bytes.len());
                    let len = range.len().min(to.len());
                    try_one(format!("{name} sector {sector} written to {other}"), &|disk| {
                        disk.tamper(file, |bytes| {
                            bytes.copy_within(range.start..range.start + len, to.start);
                        });
                    });
                }
            }
        }
        (accidents, findings)
    }
}
