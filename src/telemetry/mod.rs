//! What the process tells about itself: `logging` is how, `acts` what operators do.

pub(crate) mod acts;
pub(crate) mod logging;
