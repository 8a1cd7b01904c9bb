//! How many lines of a kind the log gets: a flood of the same is told by its number.

use std::collections::BTreeMap;

/// Lines of a kind in a window; of further ones, only those that make the number left out a power of ten.
const LINES_MAX: u64 = 5;
const WINDOW_MS: u64 = 10_000;
/// Kinds that are counted apart; the rest share one count.
const KINDS_MAX: usize = 256;
const OTHERS: &str = "";

/// Counts the lines of each kind.
#[derive(Debug, Default)]
pub struct LineLimit(BTreeMap<String, LineWindow>);

#[derive(Debug, Default)]
struct LineWindow {
    began_at: u64,
    lines: u64,
    left_out: u64,
}

impl LineLimit {
    /// Whether a line of this kind is written now, `now_ms` milliseconds after some fixed moment: then how many were left
    /// out since the window began, or in the one before.
    pub fn admit(&mut self, kind: &str, now_ms: u64) -> Option<u64> {
        let kind = if self.0.len() < KINDS_MAX || self.0.contains_key(kind) { kind } else { OTHERS };
        if !self.0.contains_key(kind) {
            self.0.insert(kind.to_owned(), LineWindow { began_at: now_ms, ..LineWindow::default() });
        }
        let window = self.0.get_mut(kind)?;
        // A clock that was set back begins a window, too.
        if now_ms < window.began_at || now_ms - window.began_at >= WINDOW_MS {
            let left_out = window.left_out;
            *window = LineWindow { began_at: now_ms, lines: 1, left_out: 0 };
            return Some(left_out);
        }
        window.lines += 1;
        if window.lines <= LINES_MAX {
            return Some(0);
        }
        window.left_out += 1;
        let is_power_of_ten =
            window.left_out >= 10 && 10_u64.pow(window.left_out.ilog10()) == window.left_out;
        is_power_of_ten.then_some(window.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 92.
    #[test]
    fn a_flood_of_one_kind_is_told_by_its_number_and_hides_no_other() {
        let mut limit = LineLimit::default();
        let told: Vec<u64> =
            (0..10_000).filter_map(|number| limit.admit("mail", 1_000 + number / 2_000)).collect();
        assert_eq!(told, [0, 0, 0, 0, 0, 10, 100, 1_000]);
        assert_eq!(limit.admit("fax", 1_003), Some(0));
        assert_eq!(limit.admit("mail", 1_000 + WINDOW_MS), Some(9_995));
        assert_eq!(limit.admit("mail", 1_000 + WINDOW_MS), Some(0));
        assert_eq!(limit.admit("mail", 0), Some(0), "the clock was set back");
    }

    #[test]
    fn kinds_without_end_take_bounded_memory() {
        let mut limit = LineLimit::default();
        let told = (0..10_000).filter(|kind| limit.admit(&kind.to_string(), 0) == Some(0)).count();
        assert!(limit.0.len() <= KINDS_MAX + 1 && told <= KINDS_MAX + LINES_MAX as usize, "{told}");
    }
}
