//! MessagePack, read the careful way: bounded depth, and nothing may follow the value.

use std::io::ErrorKind;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Deepest nesting that is read; what beaver writes has three levels.
const DEPTH_MAX: usize = 64;

/// Reads one value that takes up all of `bytes`; says in words why it cannot.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut reader).map_err(|error| error.to_string())?;
    // rmp-serde is content with a prefix; we are not. Only at the very end is there no next marker.
    match IgnoredAny::deserialize(&mut reader) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(error))
            if error.kind() == ErrorKind::UnexpectedEof =>
        {
            Ok(value)
        }
        _ => Err("more bytes follow the value".to_owned()),
    }
}
