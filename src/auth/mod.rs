//! Who may do what, for every way in: `password` for remote workers, `web_pages` for what browsers send unasked.

pub(crate) mod password;
pub(crate) mod web_pages;
