//! The files of a data directory as bytes: looked at, compared, damaged.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::harness::Place;

const SEGMENT_HEADER_BYTES: usize = 128;
const BATCH_HEADER_BYTES: usize = 56;
const SNAPSHOT_HEADER_BYTES: usize = 64;

/// The published files of a directory with an ending, in order.
pub fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    files.sort();
    files
}

/// The segments of the log, oldest first.
pub fn segments(place: &Place) -> Vec<PathBuf> {
    files(&place.data("wal"), ".wal")
}

/// The snapshots, oldest first.
pub fn snapshots(place: &Place) -> Vec<PathBuf> {
    files(&place.data("snapshots"), ".snap")
}

/// Everything that must not change when a server refuses to start: log, its witness, and snapshots, without what was never
/// published.
pub fn durable_files(place: &Place) -> BTreeMap<PathBuf, Vec<u8>> {
    let witness = Some(place.data("witness")).filter(|path| path.exists());
    let all = [files(&place.data("wal"), ""), files(&place.data("snapshots"), ""), Vec::from_iter(witness)]
        .concat();
    let published = all.into_iter().filter(|path| path.extension().is_none_or(|ending| ending != "partial"));
    published.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Where the batches of a segment are, marks included; see the layout in `actors/src/wal/mod.rs`.
pub fn batches(segment: &[u8]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    while segment.get(at..at + 4) == Some(b"BVL1") {
        let payload = u32::from_le_bytes(segment[at + 4..at + 8].try_into().unwrap());
        let end = at + BATCH_HEADER_BYTES + payload as usize;
        batches.push(at..end);
        at = end;
    }
    batches
}

/// Batches that hold events.
pub fn event_batches(segment: &[u8]) -> Vec<Range<usize>> {
    let is_larger = |batch: &Range<usize>| batch.len() > BATCH_HEADER_BYTES;
    batches(segment).into_iter().filter(is_larger).collect()
}

/// Changes a file's bytes.
pub fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Puts the beginning of one more batch behind the last one, as a crash in the middle of its write leaves it. Returns
/// where it begins, and its bytes.
pub fn tear(segment: &Path) -> (usize, Vec<u8>) {
    let bytes = fs::read(segment).unwrap();
    let (last, end) = (event_batches(&bytes).pop().unwrap(), batches(&bytes).pop().unwrap().end);
    // Most of its header, up to a byte that is not 0 by chance: nobody could tell that one from what was never written.
    let len = (40..=BATCH_HEADER_BYTES).find(|len| bytes[last.start + len - 1] != 0).unwrap();
    let torn = &bytes[last.start..last.start + len];
    edit(segment, |bytes| bytes[end..end + len].copy_from_slice(torn));
    (end, torn.to_vec())
}

/// Turns one bit over.
pub fn flip(path: &Path, at: usize) {
    edit(path, |bytes| bytes[at] ^= 0x10);
}

/// Makes a snapshot one of another schema version, valid in itself.
pub fn set_schema_version(snapshot: &Path, version: u32) {
    edit(snapshot, |bytes| {
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        let checksum = crc32(&bytes[..SNAPSHOT_HEADER_BYTES - 4]);
        bytes[SNAPSHOT_HEADER_BYTES - 4..SNAPSHOT_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    });
}

fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 })
    })
}
