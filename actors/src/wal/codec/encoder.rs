//! Events as bytes.

use crate::base::bytes::put_uint;
use crate::jobs::event::Event;
use crate::wal::codec::envelope::{CRC_BYTES, HAS_CRC, VERSION};
use crate::wal::codec::events;

/// Appends `event` to `out`. Allocates nothing but what `out` needs.
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    let event_type = event.kind.event_type();
    let has_crc = event.kind.carries_text();
    let record = out.len();
    let version = if has_crc { VERSION | HAS_CRC } else { VERSION };
    out.extend_from_slice(&[event_type as u8, version, 0, 0, 0, 0]);
    let start = out.len();
    if event_type.is_about_a_job() {
        put_uint(out, event.job_seq.0);
    }
    put_uint(out, event.at.0);
    events::put(out, event.at, &event.kind);
    let len = out.len() - start + if has_crc { CRC_BYTES } else { 0 };
    let len = u32::try_from(len).expect("an event is smaller than 4 GiB: payloads are bounded");
    out[start - 4..start].copy_from_slice(&len.to_le_bytes());
    if has_crc {
        let crc = crc32fast::hash(&out[record..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }
}
