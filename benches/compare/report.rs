//! The results of one point: the runs of every server, a table of them, and where the processor time went.

use std::time::Duration;

use anyhow::Error;
use beaver_bench_kit::cpu_by_thread::CpuByThread;
use beaver_bench_kit::figures::thousands;
use comfy_table::{CellAlignment, LineStyle, Table, presets};

use super::points::{Point, Scenario};
use super::servers::Kind;

/// What one server did in one run.
pub(crate) struct Run {
    pub(crate) jobs: u64,
    pub(crate) took: Duration,
    /// Only at a scenario of latency.
    pub(crate) latency: Option<Latency>,
    /// Processor time of the client.
    pub(crate) client: Duration,
    /// Processor time of the server.
    pub(crate) server: CpuByThread,
    /// Processor time of everything else, the kernel's own threads and a virtual machine's host included.
    pub(crate) others: Duration,
    /// The run was cut off before the last answer: the server may still be working.
    pub(crate) is_behind: bool,
}

/// Of all the requests of one run.
#[derive(Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

impl Latency {
    /// `sorted` is in ascending order; none if it is empty.
    pub(crate) fn of(sorted: &[Duration]) -> Option<Latency> {
        let at = |share: usize| sorted.get(sorted.len() * share / 100).copied();
        Some(Latency { median: at(50)?, p99: at(99)? })
    }
}

/// All runs of one server.
pub(crate) struct Series {
    pub(crate) kind: Kind,
    pub(crate) runs: Vec<Run>,
    /// It failed, so it is not asked again.
    pub(crate) is_broken: bool,
    /// See [`Run::is_behind`], of the last run.
    pub(crate) is_behind: bool,
}

impl Series {
    pub(crate) fn of(kind: Kind) -> Self {
        Self { kind, runs: Vec::new(), is_broken: false, is_behind: false }
    }

    pub(crate) fn fail(&mut self, error: &Error) {
        eprintln!("error: {error:#}");
        self.is_broken = true;
    }

    /// Smallest, median and largest of a figure of each run.
    fn spread(&self, figure: impl Fn(&Run) -> Option<f64>) -> Option<[f64; 3]> {
        if self.is_broken {
            return None;
        }
        let mut figures: Vec<f64> = self.runs.iter().filter_map(figure).collect();
        figures.sort_by(f64::total_cmp);
        Some([*figures.first()?, figures[figures.len() / 2], *figures.last()?])
    }

    /// Jobs a second: lowest, median, highest.
    pub(crate) fn rates(&self) -> Option<[f64; 3]> {
        self.spread(|run| Some(run.jobs as f64 / run.took.as_secs_f64()))
    }

    /// Medians of the runs, in microseconds.
    pub(crate) fn latency(&self) -> Option<[f64; 2]> {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let median = self.spread(|run| Some(micros(run.latency?.median)))?[1];
        Some([median, self.spread(|run| Some(micros(run.latency?.p99)))?[1]])
    }
}

/// All measurements of one point.
pub(crate) struct Outcome {
    pub(crate) point: Point,
    /// Requests that were due in a second; none if the servers set their own pace.
    pub(crate) rate: Option<f64>,
    pub(crate) all: Vec<Series>,
}

impl Outcome {
    pub(crate) fn is_whole(&self) -> bool {
        self.all.iter().all(|series| !series.is_broken)
    }

    pub(crate) fn of(&self, kind: Kind) -> Option<&Series> {
        self.all.iter().find(|series| series.kind == kind)
    }

    /// Median of jobs a second.
    pub(crate) fn rate_of(&self, kind: Kind) -> Option<f64> {
        Some(self.of(kind)?.rates()?[1])
    }

    pub(crate) fn best_peer_rate(&self) -> Option<f64> {
        Kind::PEERS.into_iter().filter_map(|kind| self.rate_of(kind)).max_by(f64::total_cmp)
    }

    /// The lower rate of beaver and the best peer.
    pub(crate) fn slower_rate(&self) -> Option<f64> {
        let rates = [self.rate_of(Kind::Beaver), self.best_peer_rate()];
        rates.into_iter().flatten().min_by(f64::total_cmp)
    }

    /// Whether each server worked.
    pub(crate) fn in_short(&self) -> String {
        let outcome = |series: &Series| {
            format!("{} {}", series.kind.name(), if series.is_broken { "FAILED" } else { "ok" })
        };
        self.all.iter().map(outcome).collect::<Vec<_>>().join(", ")
    }

    /// All figures of the point.
    pub(crate) fn in_detail(&self) -> String {
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
                Some(run.server.values().sum::<Duration>().as_secs_f64() / run.jobs.max(1) as f64)
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

    /// A line per server: the load of its threads, the busiest first. 100 % is one core.
    fn threads(&self) -> String {
        let mut text = String::new();
        for series in &self.all {
            let took: Duration = series.runs.iter().map(|run| run.took).sum();
            let mut times = CpuByThread::new();
            for (name, time) in series.runs.iter().flat_map(|run| &run.server) {
                *times.entry(name.clone()).or_default() += *time;
            }
            let mut shares: Vec<_> = times
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
