//! The fuzz targets: each takes any bytes and panics only where the engine breaks its word about them.
//!
//! | target | the bytes are | must hold |
//! |---|---|---|
//! | [`batch`] | a segment of the log | read to an end or refused; a header that is read writes itself again |
//! | [`event`] | events, one behind the other | what is read is written and read again as the same |
//! | [`directory`] | edits of a small data directory | refused and nothing touched, or booted, sound and nothing lost |
//! | [`snapshot`] | an image | what is read is written and read again as the same |
//!
//! The first byte picks how much help a target gives: checksums stop nearly every change at the door, so in some
//! modes they are mended, and what is behind the door is reached. `actors/fuzz` runs these with libFuzzer;
//! `tests/corpus` holds what it found worth keeping, and ordinary tests replay that, with some mutations of
//! [`mutate`].

use std::path::Path;

use crate::api::options::EngineOptions;
use crate::base::bytes::put_uint;
use crate::jobs::sections::Sections;
use crate::snapshot::plain::Plain;
use crate::testing::{SimStorage, StepEngine};
use crate::wal::codec;
use crate::wal::format::{BATCH_HEADER_BYTES, BatchHeader};
use crate::wal::reader::{SegmentReader, events};

mod edit;
mod mend;

use crate::testing::fuzz::mend::{mend_image, mend_segment};

pub use edit::mutate;

/// A function that takes any bytes, and panics if they bring out a mistake.
pub type Target = fn(&[u8]);

/// Every target of the engine by its name, which is also that of its corpus.
pub const TARGETS: [(&str, Target); 4] =
    [("batch", batch), ("event", event), ("directory", directory), ("snapshot", snapshot)];

/// A segment of the log: 0 as it is, 1 with its checksums and chain mended.
///
/// # Panics
/// The reader breaks its word.
pub fn batch(data: &[u8]) {
    let Some((&mode, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if let Ok((header, _)) = BatchHeader::decode(&bytes, 0) {
        assert_eq!(header.encode(0).0[..], bytes[..BATCH_HEADER_BYTES], "a header writes itself again");
    }
    if mode % 2 == 1 {
        mend_segment(&mut bytes);
    }
    let (storage, path) = (SimStorage::new(), Path::new("/0000000001.wal"));
    storage.put(path, bytes.clone());
    let Ok(mut reader) = SegmentReader::open(&storage, path) else { return };
    let mut before = reader.end();
    while let Ok(batch) = reader.next_batch() {
        assert!(batch.offset == before.len, "batches follow each other without a gap");
        let (first, count) = (batch.header.first, batch.header.count);
        let mut next = first;
        for event in events(path, batch, &mut codec::Decoder::default()) {
            let Ok((seq, _)) = event else { break };
            assert!(seq == next && seq < first.plus(u64::from(count)), "events are counted one by one");
            next = seq.next();
        }
        let end = reader.end();
        assert!(end.len > before.len && end.last >= before.last, "reading goes on, never back");
        before = end;
    }
    assert!(reader.next_batch().is_err() && reader.end() == before, "after a stop, reading gives the same");
    let rest = reader.rest().expect("what is in memory can be read");
    assert!(before.len + rest.bytes().len() as u64 <= reader.file_len(), "the rest is in the file");
    let _ = (rest.durable(), rest.batches().count());
}

/// Events: 0 as they are, 1 and 2 one event whose envelope is made around the rest, of that version, its type being
/// the next byte.
///
/// # Panics
/// The codec breaks its word.
pub fn event(data: &[u8]) {
    let Some((&mode, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if let (version @ 1..=2, Some((&kind, body))) = (mode % 3, bytes.split_first()) {
        let len = u32::try_from(body.len()).expect("fuzz inputs are small").to_le_bytes();
        bytes = [&[kind, version], &len[..], body].concat();
    }
    let mut rest = bytes.as_slice();
    loop {
        let before = rest.len();
        let Ok(event) = codec::decode(&mut rest) else { break };
        assert!(rest.len() < before, "an event takes up bytes");
        let mut written = Vec::new();
        codec::encode(&event, &mut written);
        assert_eq!(codec::decode(&mut written.as_slice()), Ok(event), "it reads back as written");
    }
}

/// An image: 0 as it is, 1 with its checksums mended, 2 one page of jobs, compressed and framed here.
///
/// # Panics
/// The reader breaks its word.
pub fn snapshot(data: &[u8]) {
    let Some((&mode, bytes)) = data.split_first() else { return };
    let bytes = match mode % 3 {
        0 => bytes.to_vec(),
        1 => {
            let mut bytes = bytes.to_vec();
            mend_image(&mut bytes);
            bytes
        }
        _ => image_around(bytes),
    };
    let storage = SimStorage::new();
    let (path, copy) = (Path::new("/0.snap"), Path::new("/1.snap"));
    storage.put(path, bytes);
    let Ok(first) = Plain::read(&storage, path) else { return };
    first.write(&storage, copy).expect("the disk works");
    let again = Plain::read(&storage, copy).expect("what was written is whole");
    assert!(first == again, "it reads back as written");
}

/// A program of edits on the data directory of `tests/fixtures/format-1/small`; then boot, and boot again.
///
/// # Panics
/// Boot panics, accepts an unsound state, forgets something between two boots, or loses a file.
pub fn directory(data: &[u8]) {
    let storage = SimStorage::new();
    edit::make_directory(data, &storage);
    let files = |storage: &SimStorage| -> Vec<_> {
        let paths = storage.paths("/data").into_iter();
        paths.map(|path| (storage.bytes(&path), path)).collect()
    };
    let before = files(&storage);
    let mut options = EngineOptions::in_dir("/data");
    options.segment_bytes = 8 << 10;
    let Ok(mut beaver) = StepEngine::with(storage.clone(), options, 1) else {
        assert!(before == files(&storage), "boot refused, and yet changed the directory");
        return;
    };
    let broken = beaver.table().check();
    assert!(broken.is_empty(), "boot accepted an unsound state: {broken:#?}");
    assert_nothing_lost(&before, &files(&storage));

    let image = beaver.image();
    storage.cut_power();
    beaver.boot().expect("a directory that has booted boots again");
    assert!(image == beaver.image(), "the second boot gave another state");
    // A log whose checksums were forged may not fold; then the snapshot is refused, and nothing else happens.
    let _ = beaver.snapshot();
    storage.cut_power();
    beaver.boot().expect("a directory boots after a snapshot, published or refused");
    let broken = beaver.table().check();
    assert!(broken.is_empty(), "a snapshot made the state unsound: {broken:#?}");
}

/// Every file is still there under its name or whole in quarantine; only unfinished ones are removed at boot.
fn assert_nothing_lost(before: &[(Vec<u8>, std::path::PathBuf)], after: &[(Vec<u8>, std::path::PathBuf)]) {
    for (bytes, path) in before {
        let is_there = after.iter().any(|(_, other)| other == path);
        let is_quarantined = || {
            let quarantined = Path::new("/data/quarantine").join(path.file_name().unwrap_or_default());
            after.iter().any(|(content, other)| *other == quarantined && content == bytes)
        };
        let is_unfinished = path.extension().is_some_and(|end| end == "partial");
        assert!(is_there || is_unfinished || is_quarantined(), "{} is gone", path.display());
    }
}

/// An image of one page of jobs: their number (2 bytes), how much the page's length is wrong, the number of the first
/// job, how far that of the last is from it (1 byte each), then the page.
fn image_around(bytes: &[u8]) -> Vec<u8> {
    let (parts, raw) = bytes.split_at(bytes.len().min(5));
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let count = u32::from(u16::from_le_bytes([part(0), part(1)]));
    let raw_len = (raw.len() as u32).saturating_add_signed(i32::from(part(2).cast_signed()));
    let numbers = (u64::from(part(3)), u64::from(part(4)));
    image_of_page(count, raw_len, numbers, &zstd::bulk::compress(raw, 1).expect("memory takes every write"))
}

/// An image up to event 1,000,000 with one page of jobs, which says of itself what it is told to, and whose checksums
/// are right. `numbers` are that of the first job and how far that of the last is from it.
#[must_use]
pub fn image_of_page(count: u32, raw_len: u32, numbers: (u64, u64), data: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 64];
    image[..12].copy_from_slice(b"BVRIMG\r\n\x01\0\0\0");
    image[28..36].copy_from_slice(&1_000_000_u64.to_le_bytes());
    let mut beside = Vec::new();
    put_uint(&mut beside, u64::from(count));
    // Nothing promoted or forgotten.
    beside.extend_from_slice(&[0; 5]);
    Sections::default().encode(&mut beside);
    let mut directory = Vec::new();
    let page = [u64::from(count), numbers.0, numbers.1];
    put_block(&mut image, &mut directory, (b"BVJ1", 0), raw_len, page, data);
    // No flag: nothing waits on the page, and nothing on it has ended.
    directory.push(0);
    put_block(&mut image, &mut directory, (b"BVS1", 3), beside.len() as u32, [1, 0, 0], &beside);
    let begins = image.len() as u64;
    let entries = directory.clone();
    put_block(&mut image, &mut directory, (b"BVD1", 4), entries.len() as u32, [2, 0, 0], &entries);
    image.extend_from_slice(b"BVT1\x02\0\0\0");
    image.extend_from_slice(&begins.to_le_bytes());
    image.extend_from_slice(&u64::from(count).to_le_bytes());
    image.extend_from_slice(&[0; 8]);
    mend_image(&mut image);
    image
}

/// Appends a block, whose checksums are for [`mend_image`], and its entry.
fn put_block(
    image: &mut Vec<u8>,
    directory: &mut Vec<u8>,
    (magic, sort): (&[u8; 4], u8),
    raw_len: u32,
    numbers: [u64; 3],
    data: &[u8],
) {
    image.extend_from_slice(magic);
    for field in [numbers[0] as u32, raw_len, data.len() as u32, 0, 0] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    image.extend_from_slice(data);
    directory.push(sort);
    let lengths = [data.len() as u64, u64::from(raw_len)];
    lengths.into_iter().chain(numbers).for_each(|number| put_uint(directory, number));
}
