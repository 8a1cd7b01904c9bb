//! All that a file holds, with bounds on what is believed of its length.

use std::io::{self, ErrorKind};

use crate::storage::StoredFile;

/// The whole content of a file that has no reason to be longer than `bytes_max`: a length is believed only up to
/// there, since a file of holes can have any. Beyond it, the error is [`ErrorKind::FileTooLarge`] and says both.
pub(crate) fn read_all(file: &dyn StoredFile, bytes_max: u64) -> io::Result<Vec<u8>> {
    let len = file.len()?;
    let fitting = usize::try_from(len).ok().filter(|_| len <= bytes_max);
    let Some(fitting) = fitting else {
        return Err(io::Error::new(ErrorKind::FileTooLarge, too_long(len, bytes_max)));
    };
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(fitting).is_err() {
        let problem = format!("there is no memory for the {len} bytes of it");
        return Err(io::Error::new(ErrorKind::OutOfMemory, problem));
    }
    bytes.resize(fitting, 0);
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// What a file that was allocated ahead holds from `offset` on, without the pieces of zeros at its end. Those take no
/// memory.
pub(crate) fn read_used(file: &dyn StoredFile, offset: u64) -> io::Result<Vec<u8>> {
    const PIECE: usize = 1 << 20;
    let mut used = Vec::new();
    let mut zeros = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read_at(offset + (used.len() + zeros) as u64, &mut piece)?;
        if read == 0 {
            return Ok(used);
        }
        if is_zero(&piece[..read]) {
            zeros += read;
            continue;
        }
        if used.try_reserve(zeros + read).is_err() {
            let problem = format!("there is no memory for the {} bytes of it", used.len() + zeros + read);
            return Err(io::Error::new(ErrorKind::OutOfMemory, problem));
        }
        used.resize(used.len() + zeros, 0);
        used.extend_from_slice(&piece[..read]);
        zeros = 0;
    }
}

/// What is wrong with a file of `len` bytes.
pub(crate) fn too_long(len: u64, bytes_max: u64) -> String {
    format!("the file has {len} bytes, but none of its sort has more than {bytes_max}")
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In chunks, which the compiler turns into wide comparisons.
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| *chunk == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}
