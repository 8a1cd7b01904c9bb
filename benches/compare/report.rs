//! What came of one point: the runs of every server, a table of them, and where the processor time went.

use std::time::Duration;

use anyhow::Error;
use comfy_table::{CellAlignment, LineStyle, Table, presets};

use super::machine::Busy;
use super::servers::Kind;
use super::{Point, Scenario};

/// What one server did in one run.
pub struct Run {
    pub jobs: u64,
    pub took: Duration,
    /// Only where it was asked for.
    pub latency: Option<Latency>,
    /// Processor time of the client.
    pub client: Duration,
    /// Processor time of the server, by thread.
    pub busy: Busy,
    /// Processor time of everything else, the kernel's own threads and a virtual machine's host included.
    pub others: Duration,
    /// It was not waited for until its last answer.
    pub is_behind: bool,
}

/// Of all the requests of one run.
#[derive(Clone, Copy)]
pub struct Latency {
    pub median: Duration,
    pub p99: Duration,
}

impl Latency {
    /// `sorted` is in order; none if it is empty.
    pub fn of(sorted: &[Duration]) -> Option<Latency> {
        let at = |share: usize| sorted.get(sorted.len() * share / 100).copied();
        Some(Latency { median: at(50)?, p99: at(99)? })
    }
}

/// All runs of one server.
pub struct Series {
    pub kind: Kind,
    pub runs: Vec<Run>,
    /// It failed, so it is not asked again.
    pub is_broken: bool,
    /// See [`Run::is_behind`], of the last run.
    pub is_behind: bool,
}

impl Series {
    pub fn of(kind: Kind) -> Self {
        Self { kind, runs: Vec::new(), is_broken: false, is_behind: false }
    }

    pub fn fail(&mut self, error: &Error) {
        eprintln!("error: {error:#}");
        self.is_broken = true;
    }

    /// Of a figure of each run: the smallest, the median and the largest.
    fn spread(&self, figure: impl Fn(&Run) -> Option<f64>) -> Option<[f64; 3]> {
        if self.is_broken {
            return None;
        }
        let mut figures: Vec<f64> = self.runs.iter().filter_map(figure).collect();
        figures.sort_by(f64::total_cmp);
        Some([*figures.first()?, figures[figures.len() / 2], *figures.last()?])
    }

    /// Jobs a second: lowest, median, highest.
    pub fn rates(&self) -> Option<[f64; 3]> {
        self.spread(|run| Some(run.jobs as f64 / run.took.as_secs_f64()))
    }

    /// Medians of the runs, in microseconds.
    pub fn latency(&self) -> Option<[f64; 2]> {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let median = self.spread(|run| Some(micros(run.latency?.median)))?[1];
        Some([median, self.spread(|run| Some(micros(run.latency?.p99)))?[1]])
    }
}

/// All that was measured at one point.
pub struct Outcome {
    pub point: Point,
    /// Requests that were due in a second, if that was not left to the server.
    pub rate: Option<f64>,
    pub all: Vec<Series>,
}

impl Outcome {
    pub fn is_whole(&self) -> bool {
        self.all.iter().all(|series| !series.is_broken)
    }

    pub fn of(&self, kind: Kind) -> Option<&Series> {
        self.all.iter().find(|series| series.kind == kind)
    }

    /// Jobs a second.
    pub fn rate_of(&self, kind: Kind) -> Option<f64> {
        Some(self.of(kind)?.rates()?[1])
    }

    pub fn best_peer_rate(&self) -> Option<f64> {
        Kind::PEERS.into_iter().filter_map(|kind| self.rate_of(kind)).max_by(f64::total_cmp)
    }

    /// Of beaver and the best peer.
    pub fn slower_rate(&self) -> Option<f64> {
        let rates = [self.rate_of(Kind::Beaver), self.best_peer_rate()];
        rates.into_iter().flatten().min_by(f64::total_cmp)
    }

    /// Whether each server did what it was asked.
    pub fn in_short(&self) -> String {
        let outcome = |series: &Series| {
            format!("{} {}", series.kind.name(), if series.is_broken { "FAILED" } else { "ok" })
        };
        self.all.iter().map(outcome).collect::<Vec<_>>().join(", ")
    }

    /// All figures of the point.
    pub fn in_detail(&self) -> String {
        let name = self.point.name();
        let rate =
            self.rate.map_or(String::new(), |rate| format!(", {} requests/s are due", thousands(rate)));
        format!("{name}{rate}\n{}\n{}", self.table(), self.threads())
    }

    /// One row per server that worked; the ratios are of medians.
    fn table(&self) -> Table {
        let is_paced = self.point.scenario == Scenario::Latency;
        let mut table = Table::new();
        table.load_style(presets::NOTHING.header_separator(LineStyle::new('─', '─', '─', '─')));
        let mut header = vec!["server", "jobs/s", "lowest .. highest"];
        header.extend(if is_paced { ["median µs", "99 % µs"] } else { ["of best peer", "of nothing"] });
        header.extend(["server's time a job", "client busy", "others busy"]);
        table.set_header(header);
        for series in &self.all {
            let Some([lowest, rate, highest]) = series.rates() else { continue };
            let of =
                |other: Option<f64>| other.map_or("-".to_owned(), |other| format!("{:.2}", rate / other));
            let [first, second] = match series.latency() {
                Some(micros) if is_paced => micros.map(thousands),
                _ => [of(self.best_peer_rate()), of(self.rate_of(Kind::Nothing))],
            };
            let each = series.spread(|run| {
                Some(run.busy.values().sum::<Duration>().as_secs_f64() / run.jobs.max(1) as f64)
            });
            let share = |time: fn(&Run) -> Duration| {
                let shares = series.spread(|run| Some(time(run).as_secs_f64() / run.took.as_secs_f64()));
                shares.map_or("-".to_owned(), |shares| format!("{:.0} %", shares[1] * 100.0))
            };
            table.add_row([
                series.kind.name().to_owned(),
                thousands(rate),
                format!("{} .. {}", thousands(lowest), thousands(highest)),
                first,
                second,
                each.map_or("-".to_owned(), |each| format!("{:.1} µs", each[1] * 1e6)),
                share(|run| run.client),
                share(|run| run.others),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// A line per server: how busy its threads were, the busiest first. 100 % is one core.
    fn threads(&self) -> String {
        let mut text = String::new();
        for series in &self.all {
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
            text.push_str(&format!("threads of {}: {}\n", series.kind.name(), shares.join(", ")));
        }
        text
    }
}

/// `75,301`.
pub fn thousands(number: f64) -> String {
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
