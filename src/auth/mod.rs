//! Who may do what, for every way in: `password` and `guesses` for remote workers, `known_hosts` and `web_pages` for what browsers send
//! unasked;
//! `handshake_gate`: where it is computed who somebody is; `places`: how many are served; and `memory`: what they may make the server take.

pub(crate) mod guesses;
pub(crate) mod handshake_gate;
pub(crate) mod known_hosts;
pub(crate) mod memory;
pub(crate) mod password;
pub(crate) mod places;
pub(crate) mod web_pages;
