//! The peak of a process's memory, from a moment on.

use std::fs;

/// Forgets how much it was.
pub fn forget_peak(process: &str) {
    fs::write(format!("/proc/{process}/clear_refs"), "5").expect("it is ours");
}

/// How much it was since then, in bytes.
pub fn peak(process: &str) -> u64 {
    super::process::memory(process, "VmHWM")
}
