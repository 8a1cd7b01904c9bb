//! The note in the data directory that names its store. A log that has disappeared is noticed by it, and one that belongs to
//! another data directory.

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::storage::{Storage, read_all, write_whole};
use crate::wal::format::StoreId;

/// The note's file.
pub(crate) const STORE_FILE: &str = "store-id";
/// It is 33 bytes; somebody may have added a word.
const NOTE_BYTES_MAX: u64 = 1 << 10;

/// What the note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreNote {
    /// There is none.
    Missing,
    /// It names no store.
    Unreadable,
    /// It names this one.
    Names(StoreId),
}

impl StoreNote {
    /// The note of a data directory.
    ///
    /// # Errors
    /// The storage reported an error.
    pub fn read(storage: &dyn Storage, data_dir: &Path) -> io::Result<StoreNote> {
        let file = match storage.open_to_read(&data_dir.join(STORE_FILE)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(StoreNote::Missing),
            file => file?,
        };
        let text = match read_all(&*file, NOTE_BYTES_MAX) {
            // A file as large as that is no note.
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Vec::new(),
            text => text?,
        };
        let number =
            std::str::from_utf8(&text).ok().and_then(|text| u128::from_str_radix(text.trim(), 16).ok());
        Ok(number.map_or(StoreNote::Unreadable, |number| StoreNote::Names(StoreId(number.to_be_bytes()))))
    }

    /// Leaves the note, durably.
    ///
    /// # Errors
    /// The storage reported an error.
    pub fn write(storage: &dyn Storage, data_dir: &Path, store: StoreId) -> io::Result<()> {
        write_whole(storage, &data_dir.join(STORE_FILE), format!("{store}\n").as_bytes())
    }
}
