//! Gives damaged files right checksums, so that what is behind the checksums is reached.

use crate::base::bytes::u32_at;
use crate::wal::format::{BATCH_HEADER_BYTES, BATCH_MAGIC, SEGMENT_HEADER_BYTES, SegmentHeader, checksum};

/// Gives a segment, and each batch that is whole in it, the checksums and the chain of what is in them now.
pub(super) fn mend_segment(bytes: &mut [u8]) {
    let Some(header) = bytes.first_chunk_mut::<SEGMENT_HEADER_BYTES>() else { return };
    let crc = crc32fast::hash(&header[..SEGMENT_HEADER_BYTES - 4]);
    header[SEGMENT_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    let Ok(SegmentHeader { salt, .. }) = SegmentHeader::decode(header) else { return };
    let (mut chain, mut at) = (crc, SEGMENT_HEADER_BYTES);
    while bytes.get(at..at + BATCH_HEADER_BYTES).is_some_and(|header| header.starts_with(&BATCH_MAGIC)) {
        let (header, rest) = bytes[at..].split_at_mut(BATCH_HEADER_BYTES);
        let len = u32_at(header, 4) as usize;
        if let Some(payload) = rest.get(..len) {
            header[40..44].copy_from_slice(&checksum(salt, payload).to_le_bytes());
        }
        header[36..40].copy_from_slice(&chain.to_le_bytes());
        chain = checksum(salt, &header[..52]);
        header[52..].copy_from_slice(&chain.to_le_bytes());
        at += BATCH_HEADER_BYTES + len;
    }
}

/// Gives an image, each block that is whole in it, and its trailer the checksums of what is in them now.
pub(super) fn mend_image(bytes: &mut [u8]) {
    const HEADER: usize = 64;
    const BLOCK: usize = 24;
    const TRAILER: usize = 32;
    const MAGICS: [&[u8; 4]; 5] = [b"BVJ1", b"BVP1", b"BVG1", b"BVS1", b"BVD1"];
    let Some(header) = bytes.get_mut(..HEADER) else { return };
    seal(header);
    let (mut at, mut directory) = (HEADER, HEADER);
    while bytes
        .get(at..at + BLOCK)
        .is_some_and(|header| MAGICS.iter().any(|magic| header.starts_with(*magic)))
    {
        let (header, rest) = bytes[at..].split_at_mut(BLOCK);
        let len = u32_at(header, 12) as usize;
        if let Some(data) = rest.get(..len) {
            header[16..20].copy_from_slice(&crc32fast::hash(data).to_le_bytes());
        }
        seal(header);
        directory = at;
        at += BLOCK + len;
    }
    let Some(header) = bytes.get(directory..directory + BLOCK) else { return };
    let crc = crc32fast::hash(header).to_le_bytes();
    if let Some(trailer) = bytes.len().checked_sub(TRAILER).and_then(|at| bytes.get_mut(at..)) {
        trailer[24..28].copy_from_slice(&crc);
        seal(trailer);
    }
}

fn seal(block: &mut [u8]) {
    let (content, crc) = block.split_at_mut(block.len() - 4);
    crc.copy_from_slice(&crc32fast::hash(content).to_le_bytes());
}
