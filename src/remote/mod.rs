//! Remote workers, in any protocol: `registry` knows who is connected, `status` shows it.

pub(crate) mod registry;
pub(crate) mod status;
