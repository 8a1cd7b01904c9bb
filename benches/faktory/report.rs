//! The table of one scenario, and where the servers' processor time went.

use std::time::Duration;

use comfy_table::{CellAlignment, LineStyle, Table, presets};

use super::machine::Busy;

/// What one server did in one run.
pub struct Run {
    pub jobs: u64,
    pub took: Duration,
    /// Processor time of the client.
    pub client: Duration,
    /// Processor time of the server, by thread.
    pub busy: Busy,
}

/// All runs of one server.
pub struct Series {
    pub name: &'static str,
    pub runs: Vec<Run>,
    /// It failed, so it is not asked again.
    pub broken: bool,
}

impl Series {
    pub fn of(name: &'static str) -> Self {
        Self { name, runs: Vec::new(), broken: false }
    }

    /// Of a figure of each run: the smallest, the median and the largest.
    fn spread(&self, figure: impl Fn(&Run) -> f64) -> Option<[f64; 3]> {
        let mut figures: Vec<f64> = self.runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        Some([*figures.first()?, figures[figures.len() / 2], *figures.last()?])
    }

    fn rate(&self) -> Option<[f64; 3]> {
        self.spread(|run| run.jobs as f64 / run.took.as_secs_f64())
    }
}

/// Whether each server did what it was asked.
pub fn outcome(all: &[Series]) -> String {
    let outcome =
        |series: &Series| format!("{} {}", series.name, if series.broken { "FAILED" } else { "ok" });
    all.iter().map(outcome).collect::<Vec<_>>().join(", ")
}

/// One row per server that worked; the ratios are of medians.
pub fn table(all: &[Series]) -> Table {
    let median = |name: &str| Some(all.iter().find(|series| series.name.contains(name))?.rate()?[1]);
    let (redis, limit) = (median("Redis"), median("limit"));
    let mut table = Table::new();
    table.load_style(presets::NOTHING.header_separator(LineStyle::new('─', '─', '─', '─')));
    table.set_header([
        "server",
        "jobs/s",
        "lowest .. highest",
        "of Redis",
        "of the client's limit",
        "server's time a job",
        "client busy",
    ]);
    for series in all {
        let Some([lowest, rate, highest]) = series.rate() else { continue };
        let of = |other: Option<f64>| other.map_or("-".to_owned(), |other| format!("{:.2}", rate / other));
        let each = series.spread(|run| run.busy.values().sum::<Duration>().as_secs_f64() / run.jobs as f64);
        let client = series.spread(|run| run.client.as_secs_f64() / run.took.as_secs_f64());
        table.add_row([
            series.name.to_owned(),
            thousands(rate),
            format!("{} .. {}", thousands(lowest), thousands(highest)),
            of(redis),
            of(limit),
            each.filter(|each| each[1] > 0.0)
                .map_or("-".to_owned(), |each| format!("{:.1} µs", each[1] * 1e6)),
            client.map_or("-".to_owned(), |client| format!("{:.0} %", client[1] * 100.0)),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A line per server: how busy its threads were, the busiest first. 100 % is one core.
pub fn threads(all: &[Series]) -> String {
    let mut text = String::new();
    for series in all {
        let took: Duration = series.runs.iter().map(|run| run.took).sum();
        let mut busy = Busy::new();
        for (name, time) in series.runs.iter().flat_map(|run| &run.busy) {
            *busy.entry(name.clone()).or_default() += *time;
        }
        let mut shares: Vec<_> = busy
            .into_iter()
            .map(|(name, time)| (time.as_secs_f64() / took.as_secs_f64() * 100.0, name))
            .filter(|(share, _)| *share >= 1.0)
            .collect();
        if shares.is_empty() {
            continue;
        }
        shares.sort_by(|one, other| other.0.total_cmp(&one.0));
        let shares: Vec<_> = shares.iter().map(|(share, name)| format!("{name} {share:.0} %")).collect();
        text.push_str(&format!("threads of {}: {}\n", series.name, shares.join(", ")));
    }
    text
}

/// `75,301`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
