//! Writes a layer from front to back.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::base::bytes::put_uint;
use crate::ids::Seq;
use crate::jobs::model::profile::Profile;
use crate::jobs::model::text::AnyText;
use crate::jobs::table::packed_job::PackedJob;
use crate::jobs::{Payload, TextAt, TextPart};
use crate::snapshot::SnapshotError;
use crate::snapshot::format::{
    BLOCK_HEADER_BYTES, Block, BlockSort, ImageHeader, LayerMeta, PageSummary, TEXT_PART_BITS, TRAILER_BYTES,
    TRAILER_MAGIC, put_block, put_entry, seal,
};
use crate::snapshot::page::{PAGE_BYTES_TARGET, PageBuilder};
use crate::snapshot::texts::TextPages;
use crate::storage::StoredFile;

/// Blocks are handed to the storage in pieces of this size.
const WRITE_BYTES: usize = 256 << 10;
/// A growing layer is synced each time this many bytes were added: the log's sync waits for one piece at most, not for
/// a whole layer (`docs/decisions/0007-in-pieces.md`).
const SYNC_BYTES: u64 = 1 << 20;

/// Finds a text that is not in memory.
pub(super) type ReadText<'a> = dyn FnMut(TextAt) -> Result<Payload, SnapshotError> + 'a;

/// A layer that grows.
pub(super) struct LayerWriter {
    path: PathBuf,
    file: Box<dyn StoredFile>,
    header: ImageHeader,
    /// Bytes that the storage does not have yet, and where they belong.
    out: Vec<u8>,
    offset: u64,
    /// Up to where it is durable.
    synced: u64,
    blocks: u32,
    directory: Vec<u8>,
    jobs: PageBuilder,
    jobs_range: Option<(Seq, Seq)>,
    summary: PageSummary,
    texts: TextPageBuilder,
    gone: GoneBuilder,
    raw: Vec<u8>,
    jobs_total: u64,
    last_number: Seq,
}

impl LayerWriter {
    /// Begins a layer in an empty file.
    pub fn begin(file: Box<dyn StoredFile>, path: &Path, header: &ImageHeader) -> LayerWriter {
        LayerWriter {
            path: path.to_owned(),
            file,
            header: *header,
            out: header.encode().to_vec(),
            offset: 0,
            synced: 0,
            blocks: 0,
            directory: Vec::new(),
            jobs: PageBuilder::default(),
            jobs_range: None,
            summary: PageSummary::default(),
            texts: TextPageBuilder::default(),
            gone: GoneBuilder::default(),
            raw: Vec::new(),
            jobs_total: 0,
            last_number: Seq::ZERO,
        }
    }

    /// Whether what an event brought belongs into this layer, because none before can have it.
    pub fn owns(&self, seq: Seq) -> bool {
        seq > self.header.parent
    }

    pub fn jobs_total(&self) -> u64 {
        self.jobs_total
    }

    pub fn bytes(&self) -> u64 {
        self.offset + self.out.len() as u64
    }

    /// Adds a job; its number is larger than that of the one before. It has in memory what this layer
    /// [owns](LayerWriter::owns) of its texts.
    pub fn add(&mut self, profile: &Profile, job: PackedJob) -> Result<(), SnapshotError> {
        self.add_with(None, profile, job)
    }

    /// Adds a job of earlier layers. What this layer owns of its texts is read from them.
    pub fn add_from(
        &mut self,
        earlier: &TextPages,
        profile: &Profile,
        job: PackedJob,
    ) -> Result<(), SnapshotError> {
        self.add_reading(&mut |at| earlier.get(at), profile, job)
    }

    /// Adds a job. What this layer owns of its texts and is not in memory is read there; an empty one stands for one that is
    /// lost.
    pub fn add_reading(
        &mut self,
        read: &mut ReadText<'_>,
        profile: &Profile,
        job: PackedJob,
    ) -> Result<(), SnapshotError> {
        self.add_with(Some(read), profile, job)
    }

    fn add_with(
        &mut self,
        earlier: Option<&mut ReadText<'_>>,
        profile: &Profile,
        mut job: PackedJob,
    ) -> Result<(), SnapshotError> {
        assert!(
            job.enqueued_seq > self.last_number,
            "job {} comes after {}",
            job.enqueued_seq,
            self.last_number
        );
        self.last_number = job.enqueued_seq;
        self.put_texts(earlier, &mut job)?;
        self.jobs.add(profile, &job);
        self.summary.take(&job);
        self.jobs_range =
            Some((self.jobs_range.map_or(job.enqueued_seq, |(first, _)| first), job.enqueued_seq));
        self.jobs_total += 1;
        if self.texts.len() >= PAGE_BYTES_TARGET {
            self.end_texts()?;
        }
        if self.jobs.len() >= PAGE_BYTES_TARGET {
            self.end_jobs()?;
        }
        Ok(())
    }

    /// Writes the long texts that this layer owns; the job says from then on that they are on disk.
    fn put_texts(
        &mut self,
        mut earlier: Option<&mut ReadText<'_>>,
        job: &mut PackedJob,
    ) -> Result<(), SnapshotError> {
        let at = TextAt::payload(job.enqueued_seq);
        if self.owns(at.seq) {
            put_text(&mut self.texts, earlier.as_deref_mut(), at, &mut job.payload)?;
        }
        if job.rare().is_some() {
            let (parent, texts) = (self.header.parent, &mut self.texts);
            job.each_further_text(|at, text| match at.seq > parent {
                true => put_text(texts, earlier.as_deref_mut(), at, text),
                false => Ok(()),
            })?;
        }
        self.texts.end_job();
        Ok(())
    }

    /// Says that a job of the state before is gone; numbers come in their order.
    pub fn gone(&mut self, number: Seq) -> Result<(), SnapshotError> {
        self.gone.add(number);
        match self.gone.bytes.len() >= PAGE_BYTES_TARGET {
            true => self.end_gone(),
            false => Ok(()),
        }
    }

    /// Ends the layer, makes it durable, and returns its size in bytes.
    pub fn finish(mut self, meta: &LayerMeta) -> Result<u64, SnapshotError> {
        self.end_texts()?;
        self.end_jobs()?;
        self.end_gone()?;
        self.put(BlockSort::Beside, 1, (Seq::ZERO, Seq::ZERO), &meta.encode())?;
        let (count, entries, directory) = (self.blocks, std::mem::take(&mut self.directory), self.bytes());
        self.put(BlockSort::Directory, count, (Seq::ZERO, Seq::ZERO), &entries)?;
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..4].copy_from_slice(&TRAILER_MAGIC);
        bytes[4..8].copy_from_slice(&count.to_le_bytes());
        bytes[8..16].copy_from_slice(&directory.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.jobs_total.to_le_bytes());
        let at = (directory - self.offset) as usize;
        let crc = crc32fast::hash(&self.out[at..at + BLOCK_HEADER_BYTES]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
        seal(&mut bytes);
        self.out.extend_from_slice(&bytes);
        self.flush()?;
        self.sync()?;
        Ok(self.offset)
    }

    fn end_jobs(&mut self) -> Result<(), SnapshotError> {
        let Some(range) = self.jobs_range.take() else { return Ok(()) };
        let count = self.jobs.count();
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        self.jobs.finish(&mut raw);
        let put = self.put(BlockSort::Jobs, count, range, &raw);
        self.raw = raw;
        self.summary = PageSummary::default();
        put
    }

    fn end_texts(&mut self) -> Result<(), SnapshotError> {
        let Some(range) = self.texts.range.take() else { return Ok(()) };
        let count = self.texts.count;
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        self.texts.finish(&mut raw);
        let put = self.put(BlockSort::Texts, count, range, &raw);
        self.raw = raw;
        put
    }

    fn end_gone(&mut self) -> Result<(), SnapshotError> {
        let Some(range) = self.gone.range.take() else { return Ok(()) };
        let GoneBuilder { bytes, count, .. } = std::mem::take(&mut self.gone);
        self.put(BlockSort::Gone, count, range, &bytes)
    }

    fn put(
        &mut self,
        sort: BlockSort,
        count: u32,
        (first, last): (Seq, Seq),
        raw: &[u8],
    ) -> Result<(), SnapshotError> {
        if self.out.len() >= WRITE_BYTES {
            self.flush()?;
        }
        let offset = self.bytes();
        let (len, raw_len) =
            put_block(&mut self.out, sort, count, raw).map_err(SnapshotError::io(&self.path, "compress"))?;
        let summary = self.summary;
        let block = Block { sort, offset, len, raw_len, count, first, last, summary };
        put_entry(&mut self.directory, &block);
        self.blocks += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        self.file.write_at(self.offset, &self.out).map_err(SnapshotError::io(&self.path, "write"))?;
        self.offset += self.out.len() as u64;
        self.out.clear();
        match self.offset - self.synced >= SYNC_BYTES {
            true => self.sync(),
            false => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<(), SnapshotError> {
        self.synced = self.offset;
        self.file.sync().map_err(SnapshotError::io(&self.path, "sync"))
    }
}

/// Writes a text, if it is long or on disk only.
#[inline]
fn put_text(
    texts: &mut TextPageBuilder,
    earlier: Option<&mut ReadText<'_>>,
    at: TextAt,
    text: &mut (impl AnyText + ?Sized),
) -> Result<(), SnapshotError> {
    if text.is_stored() {
        let missing = || SnapshotError::Log(format!("{at} came with the log and is not at hand"));
        let text = earlier.ok_or_else(missing)?(at)?;
        texts.add(at, |out| out.extend_from_slice(text.as_str().as_bytes()));
    } else if text.is_long() {
        texts.add(at, |out| text.put_json(out));
        text.leave();
    }
    Ok(())
}

/// Gathers one page of texts.
#[derive(Default)]
struct TextPageBuilder {
    directory: Vec<u8>,
    texts: Vec<u8>,
    /// Those of the job that is being added, but for its payload: which, and where each is in `texts`.
    of_job: Vec<(TextAt, Range<usize>)>,
    count: u32,
    range: Option<(Seq, Seq)>,
}

impl TextPageBuilder {
    fn len(&self) -> usize {
        self.directory.len() + self.texts.len()
    }

    /// Adds a text of the job that is being added.
    fn add(&mut self, at: TextAt, put: impl FnOnce(&mut Vec<u8>)) {
        let start = self.texts.len();
        put(&mut self.texts);
        let text = start..self.texts.len();
        match at.part {
            // The first of its job.
            TextPart::Payload => self.put_entry(at, text.len()),
            _ => self.of_job.push((at, text)),
        }
    }

    /// The texts of the job are complete.
    #[inline]
    fn end_job(&mut self) {
        if !self.of_job.is_empty() {
            self.put_further();
        }
    }

    /// What its attempts left behind is in the order of the attempts, but comes sort by sort.
    fn put_further(&mut self) {
        let mut of_job = std::mem::take(&mut self.of_job);
        of_job.sort_unstable_by_key(|(at, _)| *at);
        let start = of_job.iter().map(|(_, text)| text.start).min().unwrap_or_default();
        let unsorted = self.texts.split_off(start);
        for (at, text) in of_job.drain(..) {
            self.texts.extend_from_slice(&unsorted[text.start - start..text.end - start]);
            self.put_entry(at, text.len());
        }
        self.of_job = of_job;
    }

    fn put_entry(&mut self, at: TextAt, len: usize) {
        let (first, before) = self.range.unwrap_or((at.job, Seq::ZERO));
        put_uint(&mut self.directory, at.job.0 - before.0);
        put_uint(&mut self.directory, (at.seq.0 - at.job.0) << TEXT_PART_BITS | at.part as u64);
        put_uint(&mut self.directory, len as u64);
        self.count += 1;
        self.range = Some((first, at.job));
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.directory);
        out.extend_from_slice(&self.texts);
        self.directory.clear();
        self.texts.clear();
        (self.count, self.range) = (0, None);
    }
}

/// Gathers one page of numbers.
#[derive(Default)]
struct GoneBuilder {
    bytes: Vec<u8>,
    count: u32,
    range: Option<(Seq, Seq)>,
}

impl GoneBuilder {
    fn add(&mut self, number: Seq) {
        let (first, before) = self.range.unwrap_or((number, Seq::ZERO));
        put_uint(&mut self.bytes, number.0 - before.0);
        self.count += 1;
        self.range = Some((first, number));
    }
}
