//! A disk that lies, for those deliberate bugs that can be told as lies of the disk (see [`crate::base::bugs`]): so the code that
//! writes and syncs has no branch for them. It stands around the simulated disk and around the machine's.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::bugs::{self, Bug};
use crate::base::bytes::{u32_at, u64_at};
use crate::storage::{FileIdentity, Storage, StoredFile};

/// The lies that it knows.
const LIES: [Bug; 3] = [Bug::AckBeforeFsync, Bug::NoDirectorySync, Bug::RecycledWithoutSalt];

/// The disk that is given, or one that lies about it if such a bug is planted now.
pub(crate) fn lying_if_planted(truthful: Arc<dyn Storage>) -> Arc<dyn Storage> {
    match LIES.into_iter().find(|bug| bugs::has(*bug)) {
        Some(lie) => Arc::new(LyingStorage { truthful, lie }),
        None => truthful,
    }
}

struct LyingStorage {
    truthful: Arc<dyn Storage>,
    lie: Bug,
}

impl LyingStorage {
    /// Only of the log's segments is there something to lie about.
    fn file(&self, path: &Path, truthful: Box<dyn StoredFile>) -> Box<dyn StoredFile> {
        let is_segment = path.file_name().is_some_and(|name| name.to_string_lossy().contains(".wal"));
        match is_segment {
            true => Box::new(LyingFile {
                truthful,
                path: path.to_owned(),
                storage: self.truthful.clone(),
                lie: self.lie,
            }),
            false => truthful,
        }
    }
}

impl Storage for LyingStorage {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.truthful.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.truthful.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        Ok(self.file(path, self.truthful.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        Ok(self.file(path, self.truthful.open(path)?))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.truthful.open_to_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.truthful.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.truthful.remove(path)
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        self.truthful.identity(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match self.lie {
            Bug::NoDirectorySync => Ok(()),
            _ => self.truthful.sync_dir(dir),
        }
    }

    fn real_path(&self, dir: &Path) -> io::Result<PathBuf> {
        self.truthful.real_path(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        self.truthful.lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        self.truthful.lock_shared(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.truthful.free_bytes(dir)
    }

    fn boot_id(&self) -> [u8; 16] {
        self.truthful.boot_id()
    }

    fn in_background(&self, work: Box<dyn FnOnce() + Send>) {
        self.truthful.in_background(work);
    }
}

struct LyingFile {
    truthful: Box<dyn StoredFile>,
    path: PathBuf,
    storage: Arc<dyn Storage>,
    lie: Bug,
}

impl StoredFile for LyingFile {
    fn identity(&self) -> io::Result<FileIdentity> {
        self.truthful.identity()
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // A segment that follows another one begins with its header and nothing else.
        if self.lie == Bug::RecycledWithoutSalt && offset == 0 && bytes.len() == SEGMENT_HEADER_BYTES {
            self.recycle(bytes)?;
        }
        self.truthful.write_at(offset, bytes)
    }

    fn write_parts_at(&mut self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.truthful.write_parts_at(offset, parts)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.truthful.read_at(offset, bytes)
    }

    fn used_len(&self) -> io::Result<u64> {
        self.truthful.used_len()
    }

    fn len(&self) -> io::Result<u64> {
        self.truthful.len()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.truthful.set_len(len)
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        self.truthful.allocate(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.lie {
            Bug::AckBeforeFsync => Ok(()),
            _ => self.truthful.sync(),
        }
    }

    fn take_over(&mut self) -> io::Result<bool> {
        self.truthful.take_over()
    }
}

// The log's layout, the part that a lie has to know; it is drawn in `wal`.
const SEGMENT_HEADER_BYTES: usize = 128;
const BATCH_HEADER_BYTES: usize = 56;
const BATCH_MAGIC: [u8; 4] = *b"BVL1";
const SALT_AT: usize = 12;
const PREDECESSOR_AT: usize = 48;

impl LyingFile {
    /// Puts into a new segment what its predecessor holds, with checksums that are right for the new one: that is how it
    /// would be if both had the same salt.
    fn recycle(&mut self, header: &[u8]) -> io::Result<()> {
        let predecessor = u64_at(header, PREDECESSOR_AT);
        let before = self.path.with_file_name(format!("{predecessor:010}.wal"));
        let before = self.storage.open_to_read(&before)?;
        let len = self.truthful.len()?.min(before.len()?);
        let mut stale = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let read = before.read_at(0, &mut stale)?;
        stale.truncate(read);
        salt_anew(&mut stale, u32_at(header, SALT_AT));
        self.truthful.write_at(0, &stale)
    }
}

fn salt_anew(segment: &mut [u8], salt: u32) {
    let checksum = |bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new_with_initial(salt);
        hasher.update(bytes);
        hasher.finalize().to_le_bytes()
    };
    let mut at = SEGMENT_HEADER_BYTES;
    let mut chain: Option<[u8; 4]> = None;
    while segment.get(at..at + BATCH_HEADER_BYTES).is_some_and(|header| header.starts_with(&BATCH_MAGIC)) {
        let (header, rest) = segment[at..].split_at_mut(BATCH_HEADER_BYTES);
        let len = u32_at(header, 4) as usize;
        let Some(payload) = rest.get(..len) else { return };
        if let Some(chain) = chain {
            header[36..40].copy_from_slice(&chain);
        }
        header[40..44].copy_from_slice(&checksum(payload));
        let crc = checksum(&header[..52]);
        header[52..].copy_from_slice(&crc);
        chain = Some(crc);
        at += BATCH_HEADER_BYTES + len;
    }
}
