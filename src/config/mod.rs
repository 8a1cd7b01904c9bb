//! The configuration: a flag wins over the environment, that over the file, that over the default.
//!
//! [`load`] reads all four and either returns settings that fit together, each with the place it came from,
//! or an error that says what to change and where. The keys are in `keys.rs`, and for people in
//! `configs/default.yaml`.

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

pub use error::ConfigError;
pub use flags::{ConfigFlags, DataFlags};
pub use load::load;
pub use loaded::LoadedConfig;
pub use origin::{ConfigValue, Origin};
pub use settings::{FwpLimits, FwpSettings, HttpLimits, Secret, Settings};
