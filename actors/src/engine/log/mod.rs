//! The owner of the log: [`actor`] is its mailbox, [`task`] the loop behind it that does one thing after the other.
//!
//! `inbox`: what the mailbox has taken in for the loop; `timers`: what the loop does when it is time; `pace`: whether
//! the disk is fast enough to be waited for; [`thread`]: where everything else is done.

pub mod actor;
mod inbox;
mod pace;
pub mod task;
pub mod thread;
mod timers;
