//! A layer that was opened: its directory is in memory, its pages are read one at a time.
//!
//! Nothing is believed that a checksum does not confirm: opening checks header, trailer, directory and what is beside the jobs; reading a page checks
//! that page.

use std::path::{Path, PathBuf};

use crate::base::bytes::{Take, u32_at, u64_at};
use crate::ids::Seq;
use crate::jobs::{Payload, TextAt, TextPart};
use crate::snapshot::SnapshotError;
use crate::snapshot::format::{
    BLOCK_HEADER_BYTES, Block, BlockReader, BlockSort, HEADER_BYTES, ImageHeader, LayerMeta, PageSummary,
    TEXT_PART_BITS, TRAILER_BYTES, TRAILER_MAGIC, decode_directory, read_sealed,
};
use crate::snapshot::page::{Page, PageDecoder};
use crate::snapshot::policy::LayerFigures;
use crate::storage::StoredFile;

/// A layer: a file of a snapshot, with its directory in memory.
pub struct Layer {
    path: PathBuf,
    file: Box<dyn StoredFile>,
    header: ImageHeader,
    figures: LayerFigures,
    /// Where the blocks end and the directory begins.
    blocks_end: u64,
    meta: LayerMeta,
    pub(super) jobs: Vec<Block>,
    pub(super) gone: Vec<Block>,
    texts: Vec<TextPagePlace>,
}

/// Where a page of texts is.
#[derive(Clone, Copy)]
struct TextPagePlace {
    first: Seq,
    offset: u64,
    len: u32,
    raw_len: u32,
    count: u32,
}

/// What one reads pages with.
#[derive(Default)]
pub(super) struct PageReader {
    blocks: BlockReader,
    pages: PageDecoder,
}

/// A decompressed page of texts.
pub(super) struct TextPage {
    /// Which text, and where it begins and ends.
    places: Vec<(TextAt, u32, u32)>,
    texts: String,
}

impl TextPage {
    /// The text that is kept under this.
    pub fn get(&self, text: TextAt) -> Option<Payload> {
        let at = self.places.binary_search_by_key(&text, |(text, ..)| *text).ok()?;
        let (_, start, end) = self.places[at];
        Some(Payload::trusted(&self.texts[start as usize..end as usize]))
    }
}

impl Layer {
    /// Opens a layer.
    ///
    /// # Errors
    /// It is cut off or of another version, a checksum does not match, or its directory does not fit it; or the storage
    /// reported an error.
    pub(super) fn open(file: Box<dyn StoredFile>, path: &Path) -> Result<Layer, SnapshotError> {
        let corrupted = |at, problem: String| SnapshotError::corrupted(path, at, problem);
        let header = ImageHeader::read(&*file, path)?;
        let len = file.len().map_err(SnapshotError::io(path, "measure"))?;
        let end = len.checked_sub(TRAILER_BYTES as u64).filter(|end| *end >= HEADER_BYTES as u64);
        let end = end.ok_or_else(|| corrupted(0, format!("it ends after {len} bytes")))?;
        let trailer: [u8; TRAILER_BYTES] = read_sealed(&*file, path, end, "trailer", &TRAILER_MAGIC)?;
        let (count, begins, jobs_said) = (u32_at(&trailer, 4), u64_at(&trailer, 8), u64_at(&trailer, 16));
        let cannot_be = || corrupted(end, format!("its directory cannot be at byte {begins}"));
        let room = end.checked_sub(begins).filter(|room| *room >= BLOCK_HEADER_BYTES as u64);
        let room = room.ok_or_else(cannot_be)?;
        let mut head = [0; BLOCK_HEADER_BYTES];
        file.read_at(begins, &mut head).map_err(SnapshotError::io(path, "read"))?;
        if crc32fast::hash(&head) != u32_at(&trailer, 24) {
            return Err(corrupted(begins, "this is not the directory that the trailer means".to_owned()));
        }
        let directory = Block {
            sort: BlockSort::Directory,
            offset: begins,
            len: u32_at(&head, 12),
            raw_len: u32_at(&head, 8),
            count,
            first: Seq::ZERO,
            last: Seq::ZERO,
            summary: PageSummary::default(),
        };
        if u64::from(directory.len) + BLOCK_HEADER_BYTES as u64 != room {
            return Err(cannot_be());
        }
        let mut layer = Layer {
            path: path.to_owned(),
            file,
            header,
            figures: LayerFigures { bytes: len, ..LayerFigures::default() },
            blocks_end: begins,
            meta: LayerMeta::default(),
            jobs: Vec::new(),
            gone: Vec::new(),
            texts: Vec::new(),
        };
        let mut reader = BlockReader::default();
        let raw = reader.read(&*layer.file, path, &directory, end)?;
        let mut beside = None;
        let mut blocks_end = HEADER_BYTES as u64;
        let mut take = |block: Block| {
            blocks_end = block.end();
            layer.take_block(block, &mut beside)
        };
        decode_directory(raw, count, &mut take).map_err(|problem| corrupted(begins, problem))?;
        if blocks_end != begins || layer.figures.jobs != jobs_said {
            return Err(corrupted(begins, "the directory does not fit the file".to_owned()));
        }
        let beside =
            beside.ok_or_else(|| corrupted(begins, "there is nothing beside the jobs".to_owned()))?;
        let raw = reader.read(&*layer.file, path, &beside, begins)?;
        layer.meta = LayerMeta::decode(raw).map_err(|problem| corrupted(beside.offset, problem))?;
        Ok(layer)
    }

    fn take_block(&mut self, block: Block, beside: &mut Option<Block>) -> Result<(), String> {
        let Block { sort, offset, len, raw_len, count, first, last, .. } = block;
        let before = match sort {
            BlockSort::Jobs => self.jobs.last().map(|block| block.last),
            BlockSort::Gone => self.gone.last().map(|block| block.last),
            // Only its first number is kept.
            BlockSort::Texts => self.texts.last().map(|place| place.first),
            BlockSort::Beside if beside.is_none() => {
                *beside = Some(block);
                return Ok(());
            }
            BlockSort::Beside | BlockSort::Directory => {
                return Err(format!("a second block beside the jobs, or a directory, at byte {offset}"));
            }
        };
        let is_in_order = before.unwrap_or_default() < first && last <= self.header.last && count > 0;
        if !is_in_order {
            return Err(format!("numbers {first} to {last} come after {}", before.unwrap_or_default()));
        }
        self.figures.raw_bytes += u64::from(raw_len);
        match sort {
            BlockSort::Jobs => {
                self.figures.jobs += u64::from(count);
                self.jobs.push(block);
            }
            BlockSort::Gone => {
                self.figures.gone += u64::from(count);
                self.gone.push(block);
            }
            _ => self.texts.push(TextPagePlace { first, offset, len, raw_len, count }),
        }
        Ok(())
    }

    /// The file, with its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is of.
    #[must_use]
    pub fn header(&self) -> &ImageHeader {
        &self.header
    }

    /// Size of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.figures.bytes
    }

    /// Jobs in it, which need not be all of the state.
    #[must_use]
    pub fn jobs_total(&self) -> u64 {
        self.figures.jobs
    }

    /// Jobs of the state before that are gone.
    #[must_use]
    #[cfg(feature = "testing")]
    pub fn gone_total(&self) -> u64 {
        self.figures.gone
    }

    /// What the policy looks at.
    pub(super) fn figures(&self) -> LayerFigures {
        self.figures
    }

    pub(super) fn meta(&self) -> &LayerMeta {
        &self.meta
    }

    pub(super) fn page(&self, reader: &mut PageReader, block: &Block) -> Result<Page, SnapshotError> {
        let raw = reader.blocks.read(&*self.file, &self.path, block, self.blocks_end)?;
        reader
            .pages
            .decode(raw, block.count, block.first, block.last)
            .map_err(|problem| SnapshotError::corrupted(&self.path, block.offset, problem))
    }

    pub(super) fn gone_page(
        &self,
        reader: &mut PageReader,
        block: &Block,
    ) -> Result<Vec<Seq>, SnapshotError> {
        let raw = reader.blocks.read(&*self.file, &self.path, block, self.blocks_end)?;
        let mut take = Take(raw);
        let mut numbers = Vec::with_capacity((block.count as usize).min(raw.len()));
        let mut before = 0_u64;
        for nth in 0..block.count {
            let number = take.uint().and_then(|step| before.checked_add(step));
            before = number.filter(|number| nth == 0 || *number > before).ok_or_else(|| {
                SnapshotError::corrupted(&self.path, block.offset, format!("number {nth} cannot be read"))
            })?;
            numbers.push(Seq(before));
        }
        let found = (numbers.first().copied(), numbers.last().copied(), take.end());
        match found == (Some(block.first), Some(block.last), Some(())) {
            true => Ok(numbers),
            false => {
                let problem = format!("a page of numbers should go from {} to {}", block.first, block.last);
                Err(SnapshotError::corrupted(&self.path, block.offset, problem))
            }
        }
    }

    /// Which page of texts would hold those of this job.
    pub(super) fn text_page_of(&self, number: Seq) -> Option<usize> {
        self.texts.partition_point(|place| place.first <= number).checked_sub(1)
    }

    pub(super) fn text_page(&self, reader: &mut PageReader, nth: usize) -> Result<TextPage, SnapshotError> {
        let block = self.text_block(nth);
        let raw = reader.blocks.read(&*self.file, &self.path, &block, self.blocks_end)?;
        decode_text_page(raw, &block).ok_or_else(|| {
            SnapshotError::corrupted(&self.path, block.offset, "a page of texts cannot be read")
        })
    }

    fn text_block(&self, nth: usize) -> Block {
        let TextPagePlace { first, offset, len, raw_len, count } = self.texts[nth];
        let last = self.texts.get(nth + 1).map_or(self.header.last.next(), |next| next.first);
        let summary = PageSummary::default();
        Block { sort: BlockSort::Texts, offset, len, raw_len, count, first, last, summary }
    }

    /// Confirms by its checksums that a page of texts is as it was written, and returns its size in bytes; `None`
    /// behind the last page. The page is not decompressed: that it can be read was seen when it was written
    /// (`docs/decisions/0017-payloads-confirmed-at-boot.md`).
    pub(super) fn confirm_texts(
        &self,
        reader: &mut PageReader,
        nth: usize,
    ) -> Result<Option<u64>, SnapshotError> {
        if nth >= self.texts.len() {
            return Ok(None);
        }
        let block = self.text_block(nth);
        reader.blocks.confirm(&*self.file, &self.path, &block, self.blocks_end)?;
        Ok(Some(u64::from(block.len)))
    }

    /// Reads one page, counted over all sorts, and says how many bytes that were; none behind the last.
    pub(super) fn check_block(
        &self,
        reader: &mut PageReader,
        nth: usize,
    ) -> Result<Option<u64>, SnapshotError> {
        let (jobs, gone) = (self.jobs.len(), self.gone.len());
        let len = if let Some(block) = self.jobs.get(nth) {
            self.page(reader, block)?;
            block.len
        } else if let Some(block) = self.gone.get(nth.wrapping_sub(jobs)) {
            self.gone_page(reader, block)?;
            block.len
        } else if let Some(place) = self.texts.get(nth.wrapping_sub(jobs + gone)) {
            self.text_page(reader, nth - jobs - gone)?;
            place.len
        } else {
            return Ok(None);
        };
        Ok(Some(u64::from(len)))
    }

    /// Confirms all texts, which loading the jobs does not read.
    ///
    /// # Errors
    /// Something is not as it was written.
    pub fn confirm_all_texts(&self) -> Result<(), SnapshotError> {
        let mut reader = PageReader::default();
        (0..self.texts.len()).try_for_each(|nth| self.confirm_texts(&mut reader, nth).map(drop))
    }

    /// Reads everything.
    ///
    /// # Errors
    /// Something is not as it was written.
    pub fn check(&self) -> Result<(), SnapshotError> {
        let mut reader = PageReader::default();
        let mut blocks = 0..self.jobs.len() + self.gone.len() + self.texts.len();
        blocks.try_for_each(|nth| self.check_block(&mut reader, nth).map(drop))
    }
}

fn decode_text_page(raw: &[u8], block: &Block) -> Option<TextPage> {
    let mut take = Take(raw);
    let mut places: Vec<(TextAt, u32, u32)> = Vec::with_capacity((block.count as usize).min(raw.len()));
    let (mut number, mut end) = (0_u64, 0_u32);
    for _ in 0..block.count {
        number = number.checked_add(take.uint()?)?;
        let key = take.uint()?;
        let seq = number.checked_add(key >> TEXT_PART_BITS)?;
        let part = TextPart::ALL[(key & ((1 << TEXT_PART_BITS) - 1)) as usize];
        let at = TextAt { job: Seq(number), seq: Seq(seq), part };
        if places.last().is_some_and(|(before, ..)| *before >= at) {
            return None;
        }
        let start = end;
        end = start.checked_add(take.uint32()?)?;
        places.push((at, start, end));
    }
    let texts = std::str::from_utf8(take.0).ok()?;
    let is_in_range = places.first()?.0.job == block.first && places.last()?.0.job < block.last;
    let is_cut_well = end as usize == texts.len()
        && places.iter().all(|(_, start, _)| texts.is_char_boundary(*start as usize));
    (is_in_range && is_cut_well).then(|| TextPage { places, texts: texts.to_owned() })
}
