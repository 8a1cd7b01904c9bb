//! A figure beside its target, and whether it is met.

use std::ops::{RangeFrom, RangeToInclusive};

/// A target: `2e6..` if more is better, `..=120.0` if less is.
pub trait Target {
    /// How it is written, and by how much of it a value misses it; 0 or less if it does not.
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

/// One line: what was measured, the figure, the target, and by how much of it it is missed if it is.
pub fn line(what: &str, value: f64, unit: &str, target: impl Target) -> String {
    let (sign, wanted, missed) = target.judge(value);
    let verdict = match missed > 0.0 {
        true => format!("MISSED by {:.0} %", missed * 100.0),
        false => "met".to_owned(),
    };
    format!("{what}: {} {unit} (target {sign} {}: {verdict})", number(value), number(wanted))
}

/// Three or more digits that mean something, with commas between thousands.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut grouped = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}
