//! What is around every event.

/// What every record begins with: type, version, length. None is shorter.
pub(in crate::wal) const ENVELOPE_BYTES: usize = 6;
/// Types from this number on are control records, which have no position.
pub(in crate::wal) const CONTROL_TYPES_FROM: u8 = 200;
/// The version of every type.
pub(super) const VERSION: u8 = 1;
/// Set in the version of a record that ends with a checksum of its own.
pub(super) const HAS_CRC: u8 = 0x80;
/// Length of that checksum.
pub(super) const CRC_BYTES: usize = 4;

/// Bytes are not an event that this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A type or version that this beaver does not know.
    #[error("unknown event type {kind} version {version}")]
    Unknown {
        /// Number of the type.
        kind: u8,
        /// Version of the type, without the bit for the checksum.
        version: u8,
    },
    /// The bytes are not what the type says.
    #[error("{0}")]
    Invalid(String),
}

/// Length of the record at the front of `bytes`; none if there is no whole one.
pub(in crate::wal) fn record_len(bytes: &[u8]) -> Option<usize> {
    let envelope = bytes.first_chunk::<ENVELOPE_BYTES>()?;
    let len = u32::from_le_bytes(envelope[2..].try_into().expect("4 bytes")) as usize;
    (bytes.len() - ENVELOPE_BYTES >= len).then_some(ENVELOPE_BYTES + len)
}
