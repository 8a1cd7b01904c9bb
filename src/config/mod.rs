//! The configuration: a flag wins over the environment, that over the file, that over the default.
//!
//! [`load()`] reads all four and either returns settings that fit together, each with the place it came from,
//! or an error that says what to change and where. The keys are in `keys` (`key`: what one is), and for people in
//! `configs/default.yaml`.
//!
//! `flags` and `file` carry text, `units` and `lists` read it, `load` lays one over the other; the outcome is `loaded`, which has
//! the `settings` for the program and the `origin` of each value for people. `faktory` is what was set up for another server.
//! `error` says what is wrong.

mod error;
pub(crate) mod faktory;
mod file;
mod flags;
mod key;
mod keys;
mod lists;
mod load;
mod loaded;
mod origin;
mod settings;
mod units;

#[cfg(test)]
mod tests;

pub(crate) use flags::{ConfigFlags, DataFlags};
pub(crate) use keys::LOG_KEY;
pub(crate) use load::{CONFIG_VARIABLE, load};
pub(crate) use loaded::LoadedConfig;
pub(crate) use origin::Origin;
pub(crate) use settings::{FwpLimits, FwpSettings, HttpLimits};
pub use settings::{Secret, Settings};
pub(crate) use units::{BadDuration, DURATION_MAX, read_duration};
