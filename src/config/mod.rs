//! The configuration: a flag wins over the environment, that over the file, that over the default.
//!
//! [`load()`] reads all four and either returns settings that fit together, each with the place it came from,
//! or an error that says what to change and where. The keys are in `keys`, and for people in
//! `configs/default.yaml`.
//!
//! `flags` and `file` carry text, `units` reads it, `load` lays one over the other; the outcome is `loaded`, which has
//! the `settings` for the program and the `origin` of each value for people. `error` says what is wrong.

mod error;
mod file;
mod flags;
mod keys;
mod load;
mod loaded;
mod origin;
mod settings;
mod units;

#[cfg(test)]
mod tests;

pub(crate) use flags::{ConfigFlags, DataFlags};
pub(crate) use keys::LOG_KEY;
pub(crate) use load::load;
pub(crate) use loaded::LoadedConfig;
pub(crate) use origin::Origin;
pub(crate) use settings::{FwpLimits, FwpSettings, HttpLimits};
pub use settings::{Secret, Settings};
