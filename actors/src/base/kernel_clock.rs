//! What the kernel says of its clock.
#![expect(unsafe_code, reason = "adjtimex, which nothing that we use wraps")]

use crate::base::failpoint;

/// Whether the kernel says that its clock is kept right, by a time server or a clock of its own. If it cannot be asked, it does
/// not.
#[must_use]
pub fn is_synchronised() -> bool {
    failpoint::pass("clock.synchronised").is_ok() && says_so()
}

fn says_so() -> bool {
    // SAFETY: `timex` is made of numbers, for which zeros are values; with no mode set the kernel only fills it in.
    let (state, status) = unsafe {
        let mut asked: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut asked), asked.status)
    };
    (0..libc::TIME_ERROR).contains(&state) && status & libc::STA_UNSYNC == 0
}
