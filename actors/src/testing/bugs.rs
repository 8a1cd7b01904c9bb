//! Switches a deliberate bug on, for the current thread and as long as its guard lives.

use crate::base::bugs::{self, Bug};

/// The bug is there until this is dropped.
#[must_use = "the bug is gone when this is dropped"]
pub struct Planted {
    before: Option<Bug>,
}

/// Plants a bug into everything of the engine that runs on this thread.
pub fn plant(bug: Bug) -> Planted {
    Planted { before: bugs::set(Some(bug)) }
}

impl Drop for Planted {
    fn drop(&mut self) {
        bugs::set(self.before);
    }
}
