//! Bytes as events: the reverse of [`crate::wal::codec::encode`].

use crate::base::bytes::Take;
use crate::ids::{Seq, Timestamp};
use crate::jobs::event::{Event, EventType, NewJob};
use crate::wal::codec::envelope::{CRC_BYTES, CodecError, ENVELOPE_BYTES, HAS_CRC, VERSION};
use crate::wal::codec::events;
use crate::wal::codec::names::Names;

/// Reads events; remembers the names that it read last, as the next event mostly has the same.
#[derive(Debug, Default)]
pub struct Decoder {
    names: Names,
}

impl Decoder {
    /// One for a batch whose checksum was right: it leaves payloads on disk which can be read back from there, and does
    /// not look at the records' own checksums.
    #[must_use]
    pub fn leaving_payloads() -> Decoder {
        let mut decoder = Decoder::default();
        decoder.names.leaves_payloads = true;
        decoder
    }

    /// Gives it what [`crate::jobs::JobTable::take_emptied`] left of a job that it read. The next one mostly has the same
    /// names, and then needs neither memory nor names of its own
    /// (`docs/decisions/0020-small-measurements.md`).
    pub fn give_back(&mut self, emptied: Box<NewJob>) {
        self.names.emptied = Some(emptied);
    }

    /// Takes one event from the front of `bytes`.
    ///
    /// # Errors
    /// [`CodecError::Unknown`] for a type or version of another beaver, [`CodecError::Invalid`] for bytes that are no event.
    pub fn decode(&mut self, bytes: &mut &[u8]) -> Result<Event, CodecError> {
        self.decode_for(bytes, |event| event)
    }

    /// The same, and hands the event to `then` where it was made.
    ///
    /// # Errors
    /// [`CodecError::Unknown`] for a type or version of another beaver, [`CodecError::Invalid`] for bytes that are no event.
    #[inline]
    pub fn decode_for<T>(
        &mut self,
        bytes: &mut &[u8],
        then: impl FnOnce(Event) -> T,
    ) -> Result<T, CodecError> {
        let (event_type, body) = open(bytes, !self.names.leaves_payloads)?;
        let mut take = Take(body);
        let job_seq = match event_type.is_about_a_job() {
            true => take.uint().map(Seq),
            false => Some(Seq::ZERO),
        };
        let stamp = job_seq.zip(take.uint().map(Timestamp));
        let done = stamp.and_then(|(job_seq, at)| {
            events::take(event_type, at, &mut take, &mut self.names, |kind| then(Event { at, job_seq, kind }))
        });
        done.ok_or_else(|| {
            CodecError::Invalid(format!("{} cannot be read: its bytes are not one", event_type.name()))
        })
    }
}

/// Takes one event from the front of `bytes`.
///
/// # Errors
/// [`CodecError::Unknown`] for a type or version of another beaver, [`CodecError::Invalid`] for bytes that are no event.
pub fn decode(bytes: &mut &[u8]) -> Result<Event, CodecError> {
    Decoder::default().decode(bytes)
}

/// Takes one record from the front of `bytes`: its type and its body.
#[inline]
fn open<'a>(bytes: &mut &'a [u8], check: bool) -> Result<(EventType, &'a [u8]), CodecError> {
    let whole = *bytes;
    let Some((envelope, rest)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
        return Err(CodecError::Invalid(format!("{} bytes are left, less than an event", bytes.len())));
    };
    let len = u32::from_le_bytes(envelope[2..].try_into().expect("4 bytes")) as usize;
    let Some((body, rest)) = rest.split_at_checked(len) else {
        return Err(CodecError::Invalid(format!("an event of {len} bytes, but {} are left", rest.len())));
    };
    *bytes = rest;
    let (kind, version) = (envelope[0], envelope[1] & !HAS_CRC);
    let Some(event_type) = EventType::of_number(kind).filter(|_| version == VERSION) else {
        return Err(CodecError::Unknown { kind, version });
    };
    if envelope[1] & HAS_CRC == 0 {
        return Ok((event_type, body));
    }
    let covered = ENVELOPE_BYTES + len.saturating_sub(CRC_BYTES);
    let Some((body, crc)) = body.split_last_chunk::<CRC_BYTES>() else {
        return Err(CodecError::Invalid(format!("an event of {len} bytes has no room for its checksum")));
    };
    let found = u32::from_le_bytes(*crc);
    let expected = if check { crc32fast::hash(&whole[..covered]) } else { found };
    match expected == found {
        true => Ok((event_type, body)),
        false => {
            let problem = format!("the event's checksum is {found:08x}, its bytes give {expected:08x}");
            Err(CodecError::Invalid(problem))
        }
    }
}
