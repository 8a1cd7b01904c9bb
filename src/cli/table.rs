//! Tables for people, the same everywhere.

use comfy_table::{CellAlignment, LineStyle, Table, presets};
use jiff::SignedDuration;

/// An empty table with a header; the columns from the second on hold numbers and stand on the right.
pub(crate) fn of_numbers(header: impl IntoIterator<Item = impl Into<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING.header_separator(LineStyle::new('─', '─', '─', '─')));
    table.set_header(header.into_iter().map(Into::into).collect::<Vec<String>>());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A table of `name  value` rows without lines.
pub(crate) fn of_facts() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// `250ms`, `1m 30s`, `2d 3h`: from a second on without what is below it.
pub(crate) fn time(ms: u64) -> String {
    const DAY_S: i64 = 24 * 60 * 60;
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    match seconds {
        0 => format!("{ms}ms"),
        _ if seconds < DAY_S => format!("{:#}", SignedDuration::from_secs(seconds)),
        _ => format!("{}d {}h", seconds / DAY_S, seconds % DAY_S / 3_600),
    }
}

/// `1 job`, `2 jobs`.
pub(crate) fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_as_exact_as_anybody_wants_to_know() {
        for (ms, told) in [
            (0, "0ms"),
            (250, "250ms"),
            (1_999, "1s"),
            (90_500, "1m 30s"),
            (3_600_000, "1h"),
            (183_600_000, "2d 3h"),
        ] {
            assert_eq!(time(ms), told);
        }
        assert!(time(u64::MAX).ends_with('h'));
    }
}
