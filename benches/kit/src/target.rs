//! A figure beside its target, and whether it is met.

use std::ops::{RangeFrom, RangeToInclusive};

use crate::figures::number;

/// A target: `2e6..` if more is better, `..=120.0` if less is.
pub trait Target {
    /// The sign before the target, the target, and the share of it by which `value` misses it (0 or less if met).
    fn judge(&self, value: f64) -> (&'static str, f64, f64);
}

impl Target for RangeFrom<f64> {
    fn judge(&self, value: f64) -> (&'static str, f64, f64) {
        (">=", self.start, 1.0 - value / self.start)
    }
}

impl Target for RangeToInclusive<f64> {
    fn judge(&self, value: f64) -> (&'static str, f64, f64) {
        ("<=", self.end, value / self.end - 1.0)
    }
}

/// One line: what was measured, the figure, the target, and by how many per cent it is missed if it is.
pub fn line(what: &str, value: f64, unit: &str, target: impl Target) -> String {
    let (sign, wanted, missed) = target.judge(value);
    let result = if missed > 0.0 { format!("MISSED by {:.0} %", missed * 100.0) } else { "met".to_owned() };
    format!("{what}: {} {unit} (target {sign} {}: {result})", number(value), number(wanted))
}
