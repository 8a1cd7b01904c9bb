//! Tables for people, the same everywhere. What does not fit the terminal is told line by line.

use std::io::{self, IsTerminal};

use comfy_table::{Cell, CellAlignment, LineStyle, Row, Table, presets};
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

/// A table as text that fits the terminal: if its rows are too wide, each becomes lines of `name  value`. Nothing is cut,
/// and a word such as an id stays in one piece, even if it is wider.
pub(crate) fn fitted(table: &Table) -> String {
    fitted_to(columns_of_terminal(), table)
}

/// Text that fits the terminal, too.
pub(crate) fn fitted_text(text: &str) -> String {
    match columns_of_terminal() {
        Some(columns) => wrapped(text, columns, "  "),
        None => text.to_owned(),
    }
}

/// None if it goes to a file or a program.
fn columns_of_terminal() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then(|| size.ws_col.into())
}

fn fitted_to(columns: Option<usize>, table: &Table) -> String {
    let text = table.trim_fmt();
    let Some(columns) = columns else { return text };
    if text.lines().all(|line| line.chars().count() <= columns) {
        return text;
    }
    let names = table.header().map(cells);
    let rows = table.row_iter().map(cells);
    match names {
        Some(names) => {
            let blocks = rows
                .map(|row| facts(names.iter().zip(&row).filter(|(_, value)| !is_nothing(value)), columns));
            blocks.collect::<Vec<_>>().join("\n\n")
        }
        None => {
            let rows: Vec<_> = rows.filter(|row| row.len() == 2).collect();
            facts(rows.iter().map(|row| (&row[0], &row[1])), columns)
        }
    }
}

fn cells(row: &Row) -> Vec<String> {
    row.cell_iter().map(Cell::content).collect()
}

fn is_nothing(value: &str) -> bool {
    value.is_empty() || value == "0"
}

fn facts<'t>(pairs: impl Iterator<Item = (&'t String, &'t String)>, columns: usize) -> String {
    let pairs: Vec<_> = pairs.collect();
    let name_width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let indent = " ".repeat(name_width + 3);
    let lines = pairs.iter().map(|(name, value)| {
        let line = wrapped(&format!(" {name:name_width$}  {value}"), columns, &indent);
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Breaks lines between words; what follows the first stands behind `indent`.
fn wrapped(text: &str, columns: usize, indent: &str) -> String {
    let (mut out, mut at) = (String::new(), 0);
    for (number, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if number > 0 {
            if at + 1 + width > columns && at > indent.len() {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                out.push_str(indent);
                at = indent.len();
            } else {
                out.push(' ');
                at += 1;
            }
        }
        out.push_str(word);
        at += width;
    }
    out
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

    /// Row 94.
    #[test]
    fn a_table_that_is_too_wide_becomes_lines_and_ids_stay_whole() {
        let mut jobs = of_facts();
        jobs.set_header(["id", "queue", "last error"]);
        jobs.add_row(["a-rather-long-name-of-a-job-0", "mail", "no such file or directory"]);
        jobs.add_row(["b", "mail", ""]);
        assert_eq!(fitted_to(None, &jobs), jobs.trim_fmt());
        assert_eq!(fitted_to(Some(200), &jobs), jobs.trim_fmt());
        let lines = "\
\x20id          a-rather-long-name-of-a-job-0
 queue       mail
 last error  no such file
             or directory

 id     b
 queue  mail";
        assert_eq!(fitted_to(Some(27), &jobs), lines);
        let mut facts = of_facts();
        facts.add_row(["server", "serving, version 0.1.0, and more"]);
        assert_eq!(fitted_to(Some(26), &facts), " server  serving, version\n         0.1.0, and more");
        let mut counts = of_numbers(["queue", "pending", "dead"]);
        counts.add_row(["mail", "12,000", "0"]);
        assert_eq!(fitted_to(Some(17), &counts), " queue    mail\n pending  12,000");
    }

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
