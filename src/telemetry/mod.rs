//! What the program says about itself while it works: `logging`.

pub(crate) mod logging;
