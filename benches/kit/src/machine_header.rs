//! The two lines that stand above figures: the machine, and what its disk does, measured in the same run.

use std::path::Path;

use crate::machine::{SYNCED_BYTES, SYNCS, description, load, sync_latency};

/// Processor, kernel and load; fdatasync of 4 KiB within a file below `dir`.
pub fn of(dir: &Path) -> String {
    let header = || {
        let (median, slow) = sync_latency(dir, true)?;
        std::io::Result::Ok(format!(
            "{}, load {}\nfdatasync of {SYNCED_BYTES} bytes within a file, {SYNCS} times: p50 {} us, p99 {} us",
            description()?,
            load()?,
            median.as_micros(),
            slow.as_micros(),
        ))
    };
    header().expect("the disk works, and the system says what it is")
}
