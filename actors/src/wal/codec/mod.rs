//! An event as bytes.
//!
//! ```text
//! record: type (1), version (1), length of what follows (4, little endian), the body, [crc32 of the record so far (4)]
//! body:   [number of the job, if the type is about one], moment (ms), then what the type says, see `events`
//! ```
//!
//! The highest bit of the version says that there is a checksum: a record that carries a text (a payload, a result, what
//! went wrong) can be read back later without the rest of its batch. Types of 200 and up are control records:
//! they have no position and do not count in their batch's number of events. This version knows none of them and refuses
//! what has one. Values are those of `jobs/stored.rs` and `base/bytes.rs`.
//!
//! `encoder` and `decoder`: a whole event; `envelope`: what is around the body; `events`: the bodies; `names`: those that
//! were read last.
//!
//! Formats outlive code, once there is a release: then fields are only ever appended, anything else is a new version of
//! that type, and the reader of the old one stays.

mod decoder;
mod encoder;
mod envelope;
mod events;
mod names;

pub use self::decoder::{Decoder, decode};
pub use self::encoder::encode;
pub use self::envelope::CodecError;
pub(super) use self::envelope::{CONTROL_TYPES_FROM, ENVELOPE_BYTES, record_len};

#[cfg(test)]
pub(crate) mod tests;
