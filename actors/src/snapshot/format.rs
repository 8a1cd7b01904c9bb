//! A layer of an image: header, blocks, directory, trailer (little endian).
//!
//! ```text
//! header, 64 bytes
//!    0  8  magic "BVRIMG\r\n"
//!    8  4  schema version (1)
//!   12 16  store id
//!   28  8  position up to which it holds everything (last_seq)
//!   36  8  moment of the event there, ms since 1970
//!   44  8  taken at, ms since 1970
//!   52  8  position of the state that it changes; 0: of none, it holds everything
//!   60  4  crc32 of the 60 bytes before
//! block: header of 24 bytes, then its data
//!    0  4  magic: "BVJ1" jobs, "BVP1" texts, "BVG1" numbers of jobs that are gone, "BVS1" what is beside the jobs,
//!          "BVD1" directory
//!    4  4  number of jobs, texts, numbers; 1; number of blocks
//!    8  4  length of the data when decompressed
//!   12  4  length of the data; a zstd frame if it is shorter than that
//!   16  4  crc32 of the data
//!   20  4  crc32 of the 20 bytes before
//! trailer, 32 bytes: a layer without it was not finished
//!    0  4  magic "BVT1"
//!    4  4  number of blocks before the directory
//!    8  8  where the directory begins
//!   16  8  number of jobs
//!   24  4  crc32 of the header of the directory
//!   28  4  crc32 of the 28 bytes before
//! ```
//!
//! Blocks follow each other without a gap, in the order in which they got full; what is beside the jobs and the directory come last.
//! The directory tells of every block, in their order: sort (1), length, length when decompressed, count, first and
//! last number (as its distance), and for jobs what they wait for or how they ended: flags (1), then for each that is
//! set the least and the greatest (as its distance). Numbers are those of `bytes.rs`.
//!
//! A page of texts: for each the number of its job - that of the one before, 4 x (position of the event that brought it - that
//! number) + which of that event's texts it is, and its length; then the texts. They are in the order of job, position, part:
//! 0 payload, 1 what travels with the job unread, 2 result, 3 failure (as JSON). A page of numbers: each as its distance to
//! the one before. Beside the jobs: how many there are in the state, up to which waiting job all
//! have been promoted (moment, number), up to which completed, dead and cancelled jobs have been forgotten, then the
//! sections (see [`crate::jobs::sections`]).

use std::cell::RefCell;
use std::path::Path;

use zstd::bulk::{Compressor, Decompressor};

use crate::base::bytes::{Take, put_uint, u32_at, u64_at};
use crate::ids::{Seq, Timestamp};
use crate::jobs::sections::Sections;
use crate::jobs::table::finished_index;
use crate::jobs::table::packed_job::{IndexedAs, PackedJob};
use crate::snapshot::SnapshotError;
use crate::storage::StoredFile;

/// Version of the schema.
pub const SCHEMA_VERSION: u32 = 1;
pub(super) const MAGIC: [u8; 8] = *b"BVRIMG\r\n";
/// First bytes of snapshots from before the first release, which nobody reads any more.
const OUTDATED_MAGIC: [u8; 8] = *b"BVRSNAP\n";
pub(super) const HEADER_BYTES: usize = 64;
pub(super) const BLOCK_HEADER_BYTES: usize = 24;
pub(super) const TRAILER_MAGIC: [u8; 4] = *b"BVT1";
pub(super) const TRAILER_BYTES: usize = 32;
/// No block is larger, compressed or not: a length beyond it is damage. Only one job can make a block much larger
/// than the target.
const BLOCK_BYTES_MAX: u32 = 1 << 30;
/// A block whose header names at most this length is decompressed at once, into that much memory.
const RAW_BYTES_TRUSTED: usize = 1 << 20;
/// Fast: level 1 compresses about as quickly as the disk writes.
const ZSTD_LEVEL: i32 = 1;
/// The decompressor looks back at most 8 MiB: more than any level up to 19 asks for, and no frame allocates more.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// A block is compressed only if that saves one byte in this number: an uncompressed one is read faster.
const ZSTD_PAYS: usize = 8;

/// Bits of a text's key that say which of its event's texts it is.
pub(super) const TEXT_PART_BITS: u32 = 2;

/// What a layer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// The store that it belongs to.
    pub store: [u8; 16],
    /// Position up to which it holds everything.
    pub last: Seq,
    /// Latest moment of an event up to there.
    pub last_at: Timestamp,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Position of the state that it changes; zero if it holds everything by itself.
    pub parent: Seq,
}

impl ImageHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&SCHEMA_VERSION.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.store);
        bytes[28..36].copy_from_slice(&self.last.0.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.last_at.0.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.taken_at.0.to_le_bytes());
        bytes[52..60].copy_from_slice(&self.parent.0.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// Reads the header of an image.
    pub(super) fn read(file: &dyn StoredFile, path: &Path) -> Result<ImageHeader, SnapshotError> {
        let mut magic = [0; MAGIC.len()];
        file.read_at(0, &mut magic).map_err(SnapshotError::io(path, "read"))?;
        if magic == OUTDATED_MAGIC {
            return Err(SnapshotError::Outdated { path: path.to_owned() });
        }
        let bytes: [u8; HEADER_BYTES] = read_sealed(file, path, 0, "header", &MAGIC)?;
        let found = u32_at(&bytes, 8);
        if found != SCHEMA_VERSION {
            let path = path.to_owned();
            return Err(SnapshotError::IncompatibleVersion { path, found, expected: SCHEMA_VERSION });
        }
        let header = ImageHeader {
            store: bytes[12..28].try_into().expect("16 bytes"),
            last: Seq(u64_at(&bytes, 28)),
            last_at: Timestamp(u64_at(&bytes, 36)),
            taken_at: Timestamp(u64_at(&bytes, 44)),
            parent: Seq(u64_at(&bytes, 52)),
        };
        if header.last > Seq::MAX {
            let problem = format!("no log gets to event {}", header.last);
            return Err(SnapshotError::corrupted(path, 0, problem));
        }
        if header.parent >= header.last && header.parent > Seq::ZERO {
            let problem = format!("it goes from event {} back to {}", header.parent, header.last);
            return Err(SnapshotError::corrupted(path, 0, problem));
        }
        Ok(header)
    }
}

/// What a block holds. In the directory by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockSort {
    Jobs,
    Texts,
    Gone,
    Beside,
    Directory,
}

impl BlockSort {
    /// By their numbers on disk.
    const ALL: [BlockSort; 5] =
        [BlockSort::Jobs, BlockSort::Texts, BlockSort::Gone, BlockSort::Beside, BlockSort::Directory];

    fn magic(self) -> &'static [u8; 4] {
        match self {
            BlockSort::Jobs => b"BVJ1",
            BlockSort::Texts => b"BVP1",
            BlockSort::Gone => b"BVG1",
            BlockSort::Beside => b"BVS1",
            BlockSort::Directory => b"BVD1",
        }
    }

    fn name(self) -> &'static str {
        match self {
            BlockSort::Jobs => "page of jobs",
            BlockSort::Texts => "page of texts",
            BlockSort::Gone => "page of numbers",
            BlockSort::Beside => "what is beside the jobs",
            BlockSort::Directory => "directory",
        }
    }
}

/// A block, as the directory tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub sort: BlockSort,
    /// Where its header begins.
    pub offset: u64,
    /// Length of the data.
    pub len: u32,
    pub raw_len: u32,
    pub count: u32,
    pub first: Seq,
    pub last: Seq,
    pub summary: PageSummary,
}

impl Block {
    /// Where the next one begins.
    pub fn end(&self) -> u64 {
        self.offset + BLOCK_HEADER_BYTES as u64 + u64::from(self.len)
    }
}

/// What tells of a page of jobs whether an event about many may touch it: the least and the greatest moment that one waits
/// for, positions at which completed, dead and cancelled ones ended, and at which those in flight were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PageSummary(pub [Option<(u64, u64)>; 5]);

impl PageSummary {
    /// The moment that a job waits for; the three parts behind it are for how it ended.
    pub const WAITING: usize = 0;
    /// By which event its lease was given.
    pub const IN_FLIGHT: usize = 4;

    pub fn take(&mut self, job: &PackedJob) {
        let (part, value) = match job.indexed_as() {
            IndexedAs::Line => return,
            IndexedAs::Waiting(at) => (PageSummary::WAITING, at.0),
            IndexedAs::Leased(lease) => (PageSummary::IN_FLIGHT, lease.token.seq.0),
            IndexedAs::Finished(finish) => (1 + finished_index(job.status()), finish.seq.0),
        };
        let (least, greatest) = self.0[part].unwrap_or((value, value));
        self.0[part] = Some((least.min(value), greatest.max(value)));
    }
}

/// Appends the directory's entry of a block.
pub(super) fn put_entry(out: &mut Vec<u8>, block: &Block) {
    out.push(block.sort as u8);
    put_uint(out, u64::from(block.len));
    put_uint(out, u64::from(block.raw_len));
    put_uint(out, u64::from(block.count));
    put_uint(out, block.first.0);
    put_uint(out, block.last.0 - block.first.0);
    if block.sort == BlockSort::Jobs {
        let parts = block.summary.0.iter().enumerate();
        out.push(parts.map(|(nth, part)| u8::from(part.is_some()) << nth).sum());
        for (least, greatest) in block.summary.0.iter().flatten() {
            put_uint(out, *least);
            put_uint(out, greatest - least);
        }
    }
}

/// Reads the directory; one block after the other, the first behind the header.
pub(super) fn decode_directory(
    raw: &[u8],
    count: u32,
    take_block: &mut dyn FnMut(Block) -> Result<(), String>,
) -> Result<(), String> {
    let mut take = Take(raw);
    let mut offset = HEADER_BYTES as u64;
    for nth in 0..count {
        let block =
            block_of(&mut take, offset).ok_or_else(|| format!("entry {nth} of the directory cannot be"))?;
        offset = block.end();
        take_block(block)?;
    }
    take.end().ok_or_else(|| "more bytes follow the entries of the directory".to_owned())
}

fn block_of(take: &mut Take<'_>, offset: u64) -> Option<Block> {
    let sort = *BlockSort::ALL.get(usize::from(take.byte()?))?;
    let len = take.uint32()?;
    let raw_len = take.uint32()?;
    let count = take.uint32()?;
    let first = take.uint()?;
    let last = first.checked_add(take.uint()?)?;
    let mut summary = PageSummary::default();
    if sort == BlockSort::Jobs {
        let flags = take.byte().filter(|flags| *flags < 1 << summary.0.len())?;
        for (nth, part) in summary.0.iter_mut().enumerate() {
            if flags & 1 << nth != 0 {
                let least = take.uint()?;
                *part = Some((least, least.checked_add(take.uint()?)?));
            }
        }
    }
    offset.checked_add(BLOCK_HEADER_BYTES as u64 + u64::from(len))?;
    let (first, last) = (Seq(first), Seq(last));
    Some(Block { sort, offset, len, raw_len, count, first, last, summary })
}

/// Appends a block to `out`. Returns its lengths, as it is and decompressed.
pub(super) fn put_block(
    out: &mut Vec<u8>,
    sort: BlockSort,
    count: u32,
    raw: &[u8],
) -> std::io::Result<(u32, u32)> {
    let packed = pack(raw)?;
    let pays = packed.len() + raw.len() / ZSTD_PAYS < raw.len();
    let data = if pays { &packed[..] } else { raw };
    let mut header = [0; BLOCK_HEADER_BYTES];
    header[..4].copy_from_slice(sort.magic());
    header[4..8].copy_from_slice(&count.to_le_bytes());
    header[8..12].copy_from_slice(&len_u32(raw.len()).to_le_bytes());
    header[12..16].copy_from_slice(&len_u32(data.len()).to_le_bytes());
    header[16..20].copy_from_slice(&crc32fast::hash(data).to_le_bytes());
    seal(&mut header);
    out.extend_from_slice(&header);
    out.extend_from_slice(data);
    Ok((len_u32(data.len()), len_u32(raw.len())))
}

thread_local! {
    // Kept, as making one asks the processor what it can do, which a virtual machine answers slowly
    // (`docs/decisions/0020-small-measurements.md`).
    static PACKER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn pack(raw: &[u8]) -> std::io::Result<Vec<u8>> {
    PACKER.with_borrow_mut(|packer| match packer {
        Some(packer) => packer.compress(raw),
        None => packer.insert(Compressor::new(ZSTD_LEVEL)?).compress(raw),
    })
}

/// What one reads blocks with: the buffers of the last one are used for the next.
#[derive(Default)]
pub(super) struct BlockReader {
    data: Vec<u8>,
    raw: Vec<u8>,
}

impl BlockReader {
    /// The decompressed data of a block, after its checksums have confirmed it. `limit` is where the file's blocks
    /// end.
    pub fn read(
        &mut self,
        file: &dyn StoredFile,
        path: &Path,
        block: &Block,
        limit: u64,
    ) -> Result<&[u8], SnapshotError> {
        self.confirm(file, path, block, limit)?;
        let data = &self.data[BLOCK_HEADER_BYTES..];
        if block.len == block.raw_len {
            return Ok(data);
        }
        unpack(data, block.raw_len as usize, &mut self.raw).map_err(|problem| {
            SnapshotError::corrupted(path, block.offset, format!("{}: {problem}", block.sort.name()))
        })?;
        Ok(&self.raw)
    }

    /// Reads a block and sees whether its checksums confirm it: these are the bytes that were written.
    pub fn confirm(
        &mut self,
        file: &dyn StoredFile,
        path: &Path,
        block: &Block,
        limit: u64,
    ) -> Result<(), SnapshotError> {
        let what = block.sort.name();
        let corrupted = |problem| SnapshotError::corrupted(path, block.offset, problem);
        if block.end() > limit || block.len > BLOCK_BYTES_MAX || block.raw_len > BLOCK_BYTES_MAX {
            return Err(corrupted(format!("a {what} of {} bytes cannot be", block.len)));
        }
        self.data.resize(BLOCK_HEADER_BYTES + block.len as usize, 0);
        let read = file.read_at(block.offset, &mut self.data).map_err(SnapshotError::io(path, "read"))?;
        if read < self.data.len() {
            return Err(corrupted(format!("a {what} ends after {read} of {} bytes", self.data.len())));
        }
        let (header, data) = self.data.split_at(BLOCK_HEADER_BYTES);
        check_block_header(header, block).map_err(corrupted)?;
        let (expected, found) = (crc32fast::hash(data), u32_at(header, 16));
        if expected != found {
            let problem = format!("{what}: checksum is {found:08x}, its bytes give {expected:08x}");
            return Err(corrupted(problem));
        }
        Ok(())
    }
}

fn check_block_header(header: &[u8], block: &Block) -> Result<(), String> {
    let what = block.sort.name();
    if !header.starts_with(block.sort.magic()) {
        return Err(format!("expected a {what}, found {:02x?}", &header[..4]));
    }
    let (expected, found) =
        (crc32fast::hash(&header[..BLOCK_HEADER_BYTES - 4]), u32_at(header, BLOCK_HEADER_BYTES - 4));
    if expected != found {
        return Err(format!("{what}: header checksum is {found:08x}, its bytes give {expected:08x}"));
    }
    let found = (u32_at(header, 4), u32_at(header, 8), u32_at(header, 12));
    let expected = (block.count, block.raw_len, block.len);
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: it says {found:?} of itself, the directory {expected:?}")),
    }
}

/// Decompresses a frame into `raw`. No length allocates much, only what is really there does.
fn unpack(data: &[u8], raw_len: usize, raw: &mut Vec<u8>) -> Result<(), String> {
    raw.clear();
    if raw_len <= RAW_BYTES_TRUSTED {
        raw.reserve(raw_len);
        let unpacked = UNPACKER.with_borrow_mut(|unpacker| match unpacker {
            Some(unpacker) => unpacker.decompress_to_buffer(data, raw),
            None => unpacker.insert(Decompressor::new()?).decompress_to_buffer(data, raw),
        });
        unpacked.map_err(|error| error.to_string())?;
    } else {
        use std::io::Read;
        let mut frame = zstd::stream::read::Decoder::with_buffer(data).map_err(|error| error.to_string())?;
        frame.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| error.to_string())?;
        frame.take(raw_len as u64 + 1).read_to_end(raw).map_err(|error| error.to_string())?;
    }
    match raw.len() == raw_len {
        true => Ok(()),
        false => Err(format!("it should have {raw_len} bytes, and does not have as many")),
    }
}

/// What a layer says beside its jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LayerMeta {
    pub sections: Sections,
    /// Jobs in the state that it completes.
    pub jobs: u64,
    /// The waiting job up to which all have been promoted, by moment and number.
    pub promoted: (Timestamp, Seq),
    /// Positions up to which completed, dead and cancelled jobs have been forgotten.
    pub forgotten: [Seq; 3],
}

impl LayerMeta {
    /// As it is written: jobs, promoted, forgotten, then the sections.
    pub fn encode(&self) -> Vec<u8> {
        let LayerMeta { sections, jobs, promoted: (due, number), forgotten } = self;
        let mut out = Vec::new();
        let numbers = [*jobs, due.0, number.0].into_iter().chain(forgotten.iter().map(|seq| seq.0));
        numbers.for_each(|number| put_uint(&mut out, number));
        sections.encode(&mut out);
        out
    }

    pub fn decode(raw: &[u8]) -> Result<LayerMeta, String> {
        let mut take = Take(raw);
        let mut numbers = || {
            let (jobs, promoted) = (take.uint()?, (Timestamp(take.uint()?), Seq(take.uint()?)));
            Some((jobs, promoted, [Seq(take.uint()?), Seq(take.uint()?), Seq(take.uint()?)]))
        };
        let (jobs, promoted, forgotten) =
            numbers().ok_or("what a layer says beside its jobs ends too early")?;
        let sections = Sections::decode(&mut take)?;
        take.end().ok_or("more bytes follow the sections")?;
        Ok(LayerMeta { sections, jobs, promoted, forgotten })
    }
}

/// Reads a block that begins with `magic` and ends with its own checksum.
pub(super) fn read_sealed<const N: usize>(
    file: &dyn StoredFile,
    path: &Path,
    offset: u64,
    what: &str,
    magic: &[u8],
) -> Result<[u8; N], SnapshotError> {
    let corrupted = |problem| SnapshotError::corrupted(path, offset, problem);
    let mut bytes = [0; N];
    let read = file.read_at(offset, &mut bytes).map_err(SnapshotError::io(path, "read"))?;
    if read < N {
        return Err(corrupted(format!("the {what} ends after {read} of {N} bytes")));
    }
    if !bytes.starts_with(magic) {
        return Err(corrupted(format!("expected a snapshot's {what}, found {:02x?}", &bytes[..4])));
    }
    let (expected, found) = (crc32fast::hash(&bytes[..N - 4]), u32_at(&bytes, N - 4));
    if expected != found {
        return Err(corrupted(format!("{what} checksum is {found:08x}, its bytes give {expected:08x}")));
    }
    Ok(bytes)
}

/// Writes the checksum of a block into its last four bytes.
pub(super) fn seal(block: &mut [u8]) {
    let (content, crc) = block.split_at_mut(block.len() - 4);
    crc.copy_from_slice(&crc32fast::hash(content).to_le_bytes());
}

pub(super) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("a block is far smaller than 4 GiB: payloads are bounded")
}
