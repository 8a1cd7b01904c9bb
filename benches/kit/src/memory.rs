//! Memory of a process, as the kernel counts it. A process is `self` or its number.

use std::fs;

/// Bytes that are resident now.
pub fn resident(process: &str) -> u64 {
    status_bytes(process, "VmRSS")
}

/// The most bytes that were resident since its start or the last [`forget_peak`].
pub fn peak(process: &str) -> u64 {
    status_bytes(process, "VmHWM")
}

/// The peak begins anew at what is resident now. The process must belong to the same user.
pub fn forget_peak(process: &str) {
    fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the process is ours");
}

fn status_bytes(process: &str, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux tells about processes");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or_else(|| panic!("/proc/{process}/status has no {field}")) << 10
}
