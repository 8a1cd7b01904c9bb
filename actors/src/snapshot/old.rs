//! A snapshot file of the schemas 1 and 2, which is read and never written: header, chunks of compressed jobs, trailer
//! (little endian).
//!
//! ```text
//! header, 64 bytes
//!    0  8  magic "BVRSNAP\n"
//!    8  4  schema version (1, 2)
//!   12 16  store id
//!   28  8  position up to which it holds everything (last_seq)
//!   36  8  moment of the event there, ms since 1970
//!   44  8  taken at, ms since 1970
//!   52  8  zeros
//!   60  4  crc32 of the 60 bytes before
//! chunk: header of 24 bytes, then its data
//!    0  4  magic "BVC1"
//!    4  4  number of jobs
//!    8  4  length of the data when decompressed
//!   12  4  length of the data
//!   16  4  crc32 of the data
//!   20  4  crc32 of the 20 bytes before
//! overview: header of 16 bytes, then its data; schema version 1 has none
//!    0  4  magic "BVO1"
//!    4  4  length of the data
//!    8  4  crc32 of the data
//!   12  4  crc32 of the 12 bytes before
//! trailer, 24 bytes: an image without it was not finished
//!    0  4  magic "BVT1"
//!    4  4  number of chunks
//!    8  8  number of jobs
//!   16  4  crc32 of every byte before the trailer
//!   20  4  crc32 of the 20 bytes before
//! ```
//!
//! A chunk's data is a zstd frame of jobs in the order of their numbers: each its length (4), then a MessagePack array.
//! The overview's data is a MessagePack array: attempts that ended, attempts that failed, and the queues by name, each
//! with whether it is paused.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::msgpack;
use crate::ids::{KindName, QueueName, Seq};
use crate::jobs::record::JobRecord;
use crate::jobs::sections::queues::{Overview, QueueRecord, Totals};
use crate::snapshot::SnapshotError;
use crate::snapshot::fields::{JobFields, record_of};
use crate::snapshot::format::{HEADER_BYTES, ImageHeader, SCHEMA_OLD, read_sealed, u32_at, u64_at};
use crate::storage::StoredFile;

/// The first schema, without an overview.
const SCHEMA_WITHOUT_OVERVIEW: u32 = 1;
const CHUNK_MAGIC: [u8; 4] = *b"BVC1";
const CHUNK_HEADER_BYTES: usize = 24;
const OVERVIEW_MAGIC: [u8; 4] = *b"BVO1";
const OVERVIEW_HEADER_BYTES: usize = 16;
/// A hundred thousand queues with the longest names take 13 MB; a length beyond this is damage.
const OVERVIEW_BYTES_MAX: usize = 64 << 20;
const TRAILER_MAGIC: [u8; 4] = *b"BVT1";
const TRAILER_BYTES: usize = 24;
/// Jobs are gathered up to about this many bytes before they are compressed.
const CHUNK_BYTES_TARGET: usize = 1 << 20;
/// No chunk is larger, compressed or not: a length beyond it is damage. Only its last job can make a chunk much
/// larger than its target.
const CHUNK_BYTES_MAX: usize = 1 << 30;
/// Decompressed bytes that are held beside the job they are part of.
const RAW_BYTES_HELD: usize = 64 << 10;
/// The decompressor looks back at most 8 MiB: more than any level up to 19 asks for, and no frame allocates more.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// An overview as it is written.
#[derive(Deserialize)]
struct OverviewFields(u64, u64, Vec<(String, bool)>);

/// Reads an image from front to back, and believes nothing that its checksums do not confirm.
pub struct OldImage {
    path: PathBuf,
    file: Box<dyn StoredFile>,
    /// What it is of.
    pub header: ImageHeader,
    offset: u64,
    len: u64,
    whole: crc32fast::Hasher,
    chunks: u32,
    jobs: u64,
    last_number: Seq,
    queue: Option<QueueName>,
    kind: Option<KindName>,
    schema: u32,
    overview: Option<Overview>,
}

impl OldImage {
    /// Reads the header.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn begin(file: Box<dyn StoredFile>, path: &Path) -> Result<OldImage, SnapshotError> {
        let len = file.len().map_err(SnapshotError::io(path, "measure"))?;
        let (bytes, schema, header) = ImageHeader::read(&*file, path)?;
        if schema > SCHEMA_OLD {
            let problem = format!("schema version {schema} has no chunks");
            return Err(SnapshotError::corrupted(path, 0, problem));
        }
        let mut reader = OldImage {
            path: path.to_owned(),
            file,
            // What is now the parent was always zero then, and not looked at.
            header: ImageHeader { parent: Seq::ZERO, ..header },
            offset: HEADER_BYTES as u64,
            len,
            whole: crc32fast::Hasher::new(),
            chunks: 0,
            jobs: 0,
            last_number: Seq::ZERO,
            queue: None,
            kind: None,
            schema,
            overview: None,
        };
        reader.whole.update(&bytes);
        Ok(reader)
    }

    /// The jobs of the next chunk; none after the last, when the trailer has been checked as well.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn next_chunk(&mut self) -> Result<Option<Vec<JobRecord>>, SnapshotError> {
        match self.next_magic()? {
            OVERVIEW_MAGIC if self.schema > SCHEMA_WITHOUT_OVERVIEW => {
                self.read_overview()?;
                self.check_trailer()?;
                return Ok(None);
            }
            TRAILER_MAGIC if self.schema == SCHEMA_WITHOUT_OVERVIEW => {
                self.check_trailer()?;
                return Ok(None);
            }
            _ => {}
        }
        let bytes: [u8; CHUNK_HEADER_BYTES] = self.read_sealed("chunk", CHUNK_MAGIC.as_slice())?;
        let (count, raw_len, len) =
            (u32_at(&bytes, 4), u32_at(&bytes, 8) as usize, u32_at(&bytes, 12) as usize);
        self.whole.update(&bytes);
        if len > CHUNK_BYTES_MAX || raw_len > CHUNK_BYTES_MAX || self.offset + len as u64 > self.len {
            return Err(self.corrupted(format!("a chunk of {len} bytes cannot be")));
        }
        let mut data = vec![0; len];
        self.read_exact(&mut data)?;
        let (expected, found) = (crc32fast::hash(&data), u32_at(&bytes, 16));
        if expected != found {
            return Err(
                self.corrupted(format!("chunk checksum is {found:08x}, its bytes give {expected:08x}"))
            );
        }
        self.whole.update(&data);
        let jobs = self.decode_jobs(&data, count, raw_len)?;
        self.chunks += 1;
        self.jobs += u64::from(count);
        Ok(Some(jobs))
    }

    /// What it says beside the jobs, once all of them have been read; none in the first schema.
    #[must_use]
    pub fn overview(&self) -> Option<&Overview> {
        self.overview.as_ref()
    }

    fn read_overview(&mut self) -> Result<(), SnapshotError> {
        let bytes: [u8; OVERVIEW_HEADER_BYTES] = self.read_sealed("overview", OVERVIEW_MAGIC.as_slice())?;
        let len = u32_at(&bytes, 4) as usize;
        self.whole.update(&bytes);
        if len > OVERVIEW_BYTES_MAX || self.offset + len as u64 > self.len {
            return Err(self.corrupted(format!("an overview of {len} bytes cannot be")));
        }
        let mut data = vec![0; len];
        self.read_exact(&mut data)?;
        let (expected, found) = (crc32fast::hash(&data), u32_at(&bytes, 8));
        if expected != found {
            let problem = format!("overview checksum is {found:08x}, its bytes give {expected:08x}");
            return Err(self.corrupted(problem));
        }
        self.whole.update(&data);
        let OverviewFields(processed, failed, queues) =
            msgpack::read(&data).map_err(|problem| self.corrupted(problem))?;
        let queues = queues.into_iter().map(|(name, paused)| {
            let name = QueueName::parse(&name).map_err(|error| self.corrupted(error.to_string()))?;
            Ok(QueueRecord { name, paused })
        });
        let queues = queues.collect::<Result<_, SnapshotError>>()?;
        self.overview = Some(Overview { queues, totals: Totals { processed, failed } });
        Ok(())
    }

    /// Jobs read so far.
    #[must_use]
    pub fn jobs(&self) -> u64 {
        self.jobs
    }

    /// Size of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.len
    }

    /// Decompresses job by job: no length and no count allocates anything, only what is really there does.
    fn decode_jobs(
        &mut self,
        data: &[u8],
        count: u32,
        raw_len: usize,
    ) -> Result<Vec<JobRecord>, SnapshotError> {
        let unpack = || {
            let mut frame = zstd::stream::read::Decoder::with_buffer(data)?.single_frame();
            frame.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Ok(BufReader::with_capacity(RAW_BYTES_HELD, frame))
        };
        let mut raw = unpack().map_err(|error: std::io::Error| self.corrupted(error.to_string()))?;
        let mut jobs = Vec::new();
        let mut job = Vec::new();
        let mut left = raw_len;
        for _ in 0..count {
            if raw_len - left >= CHUNK_BYTES_TARGET {
                // Else a small file could unpack to any number of small jobs.
                return Err(self.corrupted("a job follows in a chunk that is full"));
            }
            let mut len = [0; 4];
            raw.read_exact(&mut len).map_err(|error| self.ends_within_a_job(&error))?;
            let len = u32::from_le_bytes(len) as usize;
            left = left
                .checked_sub(4 + len)
                .ok_or_else(|| self.corrupted(format!("a job of {len} bytes, but {left} are left")))?;
            job.clear();
            let read = raw.by_ref().take(len as u64).read_to_end(&mut job);
            if read.map_err(|error| self.ends_within_a_job(&error))? < len {
                return Err(self.corrupted("a chunk ends within a job"));
            }
            let fields = msgpack::read(&job).map_err(|problem| self.corrupted(problem))?;
            jobs.push(self.record(fields)?);
        }
        let follows = raw.read(&mut [0]).map_err(|error| self.corrupted(error.to_string()))?;
        if left > 0 || follows > 0 || !raw.into_inner().finish().is_empty() {
            return Err(self.corrupted("more bytes follow the jobs of a chunk"));
        }
        Ok(jobs)
    }

    fn ends_within_a_job(&self, error: &std::io::Error) -> SnapshotError {
        self.corrupted(format!("a chunk ends within a job: {error}"))
    }

    fn record(&mut self, fields: JobFields<'_>) -> Result<JobRecord, SnapshotError> {
        let invalid = |problem: String| SnapshotError::corrupted(&self.path, self.offset, problem);
        // Neighbours mostly share their queue and kind: then they share the name, too.
        let queue = match &self.queue {
            Some(queue) if queue.as_str() == fields.queue => queue.clone(),
            _ => QueueName::parse(fields.queue).map_err(|error| invalid(error.to_string()))?,
        };
        let kind = match &self.kind {
            Some(kind) if kind.as_str() == fields.kind => kind.clone(),
            _ => KindName::parse(fields.kind).map_err(|error| invalid(error.to_string()))?,
        };
        let record = record_of(fields, queue.clone(), kind.clone()).map_err(invalid)?;
        if record.number <= self.last_number || record.number > self.header.last {
            return Err(invalid(format!("job {} comes after job {}", record.number, self.last_number)));
        }
        self.last_number = record.number;
        (self.queue, self.kind) = (Some(queue), Some(kind));
        Ok(record)
    }

    fn next_magic(&mut self) -> Result<[u8; 4], SnapshotError> {
        let mut magic = [0; 4];
        let read =
            self.file.read_at(self.offset, &mut magic).map_err(SnapshotError::io(&self.path, "read"))?;
        match read {
            4 => Ok(magic),
            _ => Err(self.corrupted("it ends without a trailer")),
        }
    }

    fn check_trailer(&mut self) -> Result<(), SnapshotError> {
        let bytes: [u8; TRAILER_BYTES] = self.read_sealed("trailer", TRAILER_MAGIC.as_slice())?;
        let found = (u32_at(&bytes, 4), u64_at(&bytes, 8), u32_at(&bytes, 16));
        let expected = (self.chunks, self.jobs, self.whole.clone().finalize());
        if found != expected {
            let problem =
                format!("trailer says (chunks, jobs, checksum) {found:?}, the file has {expected:?}");
            return Err(self.corrupted(problem));
        }
        match self.len - self.offset {
            0 => Ok(()),
            left => Err(self.corrupted(format!("{left} bytes follow the trailer"))),
        }
    }

    /// Reads a block that begins with `magic` and ends with its own checksum.
    fn read_sealed<const N: usize>(&mut self, what: &str, magic: &[u8]) -> Result<[u8; N], SnapshotError> {
        let bytes = read_sealed(&*self.file, &self.path, self.offset, what, magic)?;
        self.offset += N as u64;
        Ok(bytes)
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        let read = self.file.read_at(self.offset, bytes).map_err(SnapshotError::io(&self.path, "read"))?;
        if read < bytes.len() {
            return Err(self.corrupted(format!("it ends after {read} of {} bytes", bytes.len())));
        }
        self.offset += read as u64;
        Ok(())
    }

    fn corrupted(&self, problem: impl Into<String>) -> SnapshotError {
        SnapshotError::corrupted(&self.path, self.offset, problem)
    }
}
