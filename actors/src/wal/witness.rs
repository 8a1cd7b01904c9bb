//! A second witness of how far the log has got, in a file of its own: what a log says about itself goes with the page that
//! holds it.
//!
//! It is written when the log falls idle, at each change of segments, once a second under load, and at a clean stop; synced
//! only there and when the log is poisoned, so that it costs next to nothing. It is evidence, not data: what it says may be
//! old, and is true all the same.
//!
//! ```text
//! two slots, 4096 bytes apart, written in turn; the valid one of the higher generation counts
//!    0  8  magic "BVRWIT\r\n"
//!    8  4  least format version that can read it (1)
//!   12  8  generation: 1, 2, 3, ...
//!   20 16  store id
//!   36 16  boot id of the machine: random, another one after each start of its kernel
//!   52  8  segment number
//!   60  4  its salt
//!   64  8  where it ended when it was synced last
//!   72  4  its chain value there
//!   76  8  position up to which the log was synced
//!   84  8  position up to which it was written
//!   92  4  crc32 of the 92 bytes before
//! ```
//!
//! # What it proves
//! What was synced must be there, also after a power cut. What was written must be there too, unless the machine has been
//! started anew: as long as its kernel runs, it has the pages. Positions count in any case; where the segment ended counts
//! only as long as that segment is the one of this number and salt.

use std::io;
use std::path::Path;

use crate::base::bytes::{u32_at, u64_at};
use crate::ids::Seq;
use crate::storage::{Storage, StoredFile};
use crate::wal::WalError;
use crate::wal::format::StoreId;

/// The file's name in the data directory.
pub(crate) const WITNESS_FILE: &str = "witness";

const MAGIC: [u8; 8] = *b"BVRWIT\r\n";
const VERSION: u32 = 1;
const SLOT_BYTES: usize = 96;
/// So far apart that a write of one cannot tear the other.
const SLOTS_APART: u64 = 4096;

/// What the witness says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// Whose log it is.
    pub store: StoreId,
    /// Under which start of the machine's kernel it was written.
    pub boot_id: [u8; 16],
    /// The segment that was the last one.
    pub segment: u64,
    /// The salt in that segment's header: tells it from one that had its number before.
    pub salt: u32,
    /// Where it ended when it was synced last.
    pub len: u64,
    /// Its chain value there.
    pub chain: u32,
    /// Position up to which the log was synced.
    pub synced: Seq,
    /// Position up to which it was written.
    pub written: Seq,
}

impl Testimony {
    /// What of it must be there on a machine whose kernel has this boot id: what was written only if that is the same.
    #[must_use]
    pub fn under(self, boot_id: [u8; 16]) -> Testimony {
        let written = if self.boot_id == boot_id { self.written.max(self.synced) } else { self.synced };
        Testimony { written, ..self }
    }

    fn encode(&self, generation: u64) -> [u8; SLOT_BYTES] {
        let Testimony { store, boot_id, segment, salt, len, chain, synced, written } = self;
        let mut bytes = [0; SLOT_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&generation.to_le_bytes());
        bytes[20..36].copy_from_slice(&store.0);
        bytes[36..52].copy_from_slice(boot_id);
        bytes[52..60].copy_from_slice(&segment.to_le_bytes());
        bytes[60..64].copy_from_slice(&salt.to_le_bytes());
        bytes[64..72].copy_from_slice(&len.to_le_bytes());
        bytes[72..76].copy_from_slice(&chain.to_le_bytes());
        bytes[76..84].copy_from_slice(&synced.0.to_le_bytes());
        bytes[84..92].copy_from_slice(&written.0.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..92]);
        bytes[92..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// A slot's generation and what it says; none if it is not whole.
    fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, Testimony)> {
        let is_whole = bytes[..8] == MAGIC && crc32fast::hash(&bytes[..92]) == u32_at(bytes, 92);
        let testimony = Testimony {
            store: StoreId(bytes[20..36].try_into().expect("16 bytes")),
            boot_id: bytes[36..52].try_into().expect("16 bytes"),
            segment: u64_at(bytes, 52),
            salt: u32_at(bytes, 60),
            len: u64_at(bytes, 64),
            chain: u32_at(bytes, 72),
            synced: Seq(u64_at(bytes, 76)),
            written: Seq(u64_at(bytes, 84)),
        };
        let is_possible = testimony.synced <= Seq::MAX && testimony.written <= Seq::MAX;
        (is_whole && is_possible && u32_at(bytes, 8) == VERSION).then(|| (u64_at(bytes, 12), testimony))
    }
}

/// What the file in a data directory says; none if there is none, or nothing in it can be read.
///
/// # Errors
/// The storage reported an error.
pub fn read(storage: &dyn Storage, path: &Path) -> Result<Option<Testimony>, WalError> {
    let file = match storage.open_to_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(WalError::io(path, "open"))?,
    };
    let newest = newest(&*file).map_err(WalError::io(path, "read"))?;
    Ok(newest.map(|(_, _, testimony)| testimony))
}

/// The newest slot that is whole: which, its generation, what it says.
fn newest(file: &dyn StoredFile) -> io::Result<Option<(u64, u64, Testimony)>> {
    let mut newest: Option<(u64, u64, Testimony)> = None;
    for slot in [0, 1] {
        let mut bytes = [0; SLOT_BYTES];
        file.read_at(slot * SLOTS_APART, &mut bytes)?;
        let Some((generation, testimony)) = Testimony::decode(&bytes) else { continue };
        if newest.is_none_or(|(_, so_far, _)| generation > so_far) {
            newest = Some((slot, generation, testimony));
        }
    }
    Ok(newest)
}

/// The file, open to be written.
pub(super) struct Witness {
    file: Box<dyn StoredFile>,
    /// Where the next testimony goes, and its generation.
    slot: u64,
    generation: u64,
    said: Option<Testimony>,
}

impl Witness {
    /// Opens the file, or makes it.
    pub fn open(storage: &dyn Storage, path: &Path) -> io::Result<Witness> {
        let mut file = match storage.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => storage.create(path)?,
            file => file?,
        };
        // A full disk must not keep it from being written.
        if file.len()? < 2 * SLOTS_APART {
            file.allocate(2 * SLOTS_APART)?;
        }
        let (slot, generation) = match newest(&*file)? {
            Some((slot, generation, _)) => (1 - slot, generation + 1),
            None => (0, 1),
        };
        Ok(Witness { file, slot, generation, said: None })
    }

    /// Says this, unless it has just been said.
    pub fn say(&mut self, testimony: &Testimony) -> io::Result<()> {
        if self.said.as_ref() == Some(testimony) {
            return Ok(());
        }
        self.file.write_at(self.slot * SLOTS_APART, &testimony.encode(self.generation))?;
        (self.slot, self.generation, self.said) = (1 - self.slot, self.generation + 1, Some(*testimony));
        Ok(())
    }

    /// Makes what was said durable.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::DiskStorage;

    fn testimony(synced: u64) -> Testimony {
        Testimony {
            store: StoreId([3; 16]),
            boot_id: [4; 16],
            segment: 5,
            salt: 6,
            len: 7,
            chain: 8,
            synced: Seq(synced),
            written: Seq(synced + 2),
        }
    }

    #[test]
    fn what_was_said_last_is_read_back_and_a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(WITNESS_FILE);
        assert_eq!(read(&DiskStorage::default(), &path).unwrap(), None);
        // Opened anew each time, as by one start after the other.
        for synced in 1..=4 {
            Witness::open(&DiskStorage::default(), &path).unwrap().say(&testimony(synced)).unwrap();
            assert_eq!(read(&DiskStorage::default(), &path).unwrap(), Some(testimony(synced)));
        }
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len() as u64, 2 * SLOTS_APART);
        for at in 0..SLOT_BYTES {
            let mut torn = whole.clone();
            torn[SLOTS_APART as usize + at] ^= 1;
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(read(&DiskStorage::default(), &path).unwrap(), Some(testimony(3)), "byte {at}");
            torn[at] ^= 1;
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(read(&DiskStorage::default(), &path).unwrap(), None, "byte {at} of both");
        }
    }

    #[test]
    fn what_was_written_must_be_there_only_as_long_as_the_kernel_runs() {
        let said = testimony(10);
        assert_eq!((said.under([4; 16]).written, said.under([9; 16]).written), (Seq(12), Seq(10)));
    }
}
