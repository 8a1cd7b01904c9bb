//! Memory that was freed goes back to the system.
//!
//! The allocator keeps what was freed for some milliseconds, in case that it is needed again, and gives it back when its thread
//! allocates next: where a burst was the last that happened, that is never. So somebody has to ask.

#![expect(unsafe_code, reason = "a call of the allocator's, for which its crate has no safe name")]

use std::thread;
use std::time::Duration;

use tracing::warn;

/// As often as this.
const INTERVAL: Duration = Duration::from_secs(10);

/// Asks from now on until the process ends, on a thread that has nothing of its own to give back.
pub(super) fn spawn() {
    let asks = || {
        loop {
            thread::sleep(INTERVAL);
            // SAFETY: it takes nothing but a number, and may be called at any time from any thread.
            unsafe { libmimalloc_sys::mi_collect(true) };
        }
    };
    let thread = thread::Builder::new().name("beaver-memory".to_owned()).stack_size(64 << 10);
    if let Err(error) = thread.spawn(asks) {
        warn!("memory that was freed may be given back late: no thread for it: {error}");
    }
}
