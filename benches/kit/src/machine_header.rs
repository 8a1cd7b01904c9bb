//! The two lines that stand above figures: the machine, and what its disk does, measured in the same run.

#[path = "machine.rs"]
mod machine;

use std::path::Path;

use machine::{SYNCED_BYTES, SYNCS};

/// Processor, kernel and load; fdatasync of 4 KiB within a file below `dir`.
pub fn of_machine(dir: &Path) -> String {
    let facts = || {
        let (median, slow) = machine::sync_latency(dir, true)?;
        std::io::Result::Ok(format!(
            "{}, load {}\nfdatasync of {SYNCED_BYTES} bytes within a file, {SYNCS} times: p50 {} us, p99 {} us",
            machine::description()?,
            machine::load()?,
            median.as_micros(),
            slow.as_micros(),
        ))
    };
    facts().expect("the disk works, and the system says what it is")
}
