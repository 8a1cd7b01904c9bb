//! When layers are put together: the thresholds, which tests set small.

/// When snapshots are written as a layer that tells only of what changed, and when layers are put together. Tests have
/// smaller ones, to get to every edge quickly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layering {
    /// Snapshots smaller than this are always written as a whole, so that each stands by itself.
    pub changes_from_bytes: u64,
    /// Log that goes into one layer, in bytes; what takes more memory to fold becomes several.
    pub log_bytes: usize,
    /// More layers than this upon the one that holds everything are put together.
    pub layers_max: usize,
    /// Bytes that are read and written a second while layers are put together.
    pub bytes_per_second: u64,
    /// Of a state of fewer bytes, payloads are checked at boot as well, which takes some milliseconds: while the one
    /// before it and the log are there to fall back to, and before a job needs what is damaged.
    pub checked_whole_bytes: u64,
}

impl Default for Layering {
    fn default() -> Layering {
        Layering {
            changes_from_bytes: 4 << 20,
            log_bytes: 64 << 20,
            layers_max: 8,
            bytes_per_second: 64 << 20,
            checked_whole_bytes: 32 << 20,
        }
    }
}
