//! What a process takes, as the kernel counts it.

use std::fs;

/// A size from `/proc/PROCESS/status` in bytes, such as `VmRSS` (resident now) or `VmHWM` (at most so far).
pub fn memory(process: &str, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux tells about processes");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or_else(|| panic!("/proc/{process}/status has no {field}")) << 10
}
