//! The tables to publish: a row per point, a ratio per target, in Markdown.

use beaver_bench_kit::figures::thousands;

use super::points::Scenario;
use super::report::{Outcome, Series};
use super::servers::Kind;

/// A target for beaver's rate divided by that of another server.
struct RatioTarget {
    what: &'static str,
    /// The ratio is at least this; none if it is only shown.
    least: Option<f64>,
    of: fn(&Outcome) -> Option<f64>,
}

/// Beaver's 99th percentile divided by that of the faster peer is below this.
const LATENCY_MOST: f64 = 1.0;

fn targets(scenario: Scenario) -> Vec<RatioTarget> {
    let best_peer = RatioTarget { what: "the best peer", least: None, of: Outcome::best_peer_rate };
    let redis = RatioTarget { what: "Redis", least: None, of: |outcome| outcome.rate_of(Kind::Redis) };
    let nothing = RatioTarget { what: "nothing", least: None, of: |outcome| outcome.rate_of(Kind::Nothing) };
    let synced = RatioTarget {
        what: "nothing, synced",
        least: None,
        of: |outcome| outcome.rate_of(Kind::NothingSynced),
    };
    let at_least = |least, target| RatioTarget { least: Some(least), ..target };
    match scenario {
        Scenario::Push => vec![at_least(1.3, best_peer), at_least(0.85, nothing), synced],
        Scenario::Fetch => vec![at_least(1.7, best_peer), nothing, synced],
        Scenario::Bulk => vec![at_least(1.5, redis), nothing, synced],
        Scenario::Latency => Vec::new(),
    }
}

/// A table for each scenario that was measured.
pub(crate) fn tables(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for scenario in Scenario::ALL {
        let rows: Vec<&Outcome> =
            outcomes.iter().filter(|outcome| outcome.point.scenario == scenario).collect();
        if rows.is_empty() {
            continue;
        }
        text.push_str(&match scenario {
            Scenario::Latency => latencies(&rows),
            _ => rates(scenario, &rows),
        });
        text.push('\n');
    }
    text
}

/// The published tables show one build of beaver.
fn shown_kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::BeaverBefore)
}

fn rates(scenario: Scenario, rows: &[&Outcome]) -> String {
    let what = match scenario {
        Scenario::Push => "jobs/s, one job per request",
        Scenario::Fetch => "jobs/s, fetch and acknowledge",
        Scenario::Bulk | Scenario::Latency => "jobs/s, 1,000 jobs per request",
    };
    let targets = targets(scenario);
    let mut header = vec![what.to_owned()];
    header.extend(shown_kinds().map(|kind| kind.name().to_owned()));
    header.extend(targets.iter().map(|target| match target.least {
        Some(least) => format!("beaver of {} (target {least})", target.what),
        None => format!("beaver of {}", target.what),
    }));
    let row = |outcome: &&Outcome| {
        let mut row = vec![place(outcome)];
        row.extend(shown_kinds().map(|kind| shown(outcome.of(kind).and_then(Series::rates), spread)));
        row.extend(targets.iter().map(|target| {
            let ratio = outcome.rate_of(Kind::Beaver).zip((target.of)(outcome)).map(|(rate, of)| rate / of);
            shown(ratio, |ratio| match target.least {
                Some(least) => met_or_missed(ratio, ratio >= least, least),
                None => format!("{ratio:.2}"),
            })
        }));
        row
    };
    markdown(&header, rows.iter().map(row))
}

fn latencies(rows: &[&Outcome]) -> String {
    let mut header = vec!["µs, median / 99 %, at half load".to_owned(), "requests/s".to_owned()];
    header.extend(shown_kinds().map(|kind| kind.name().to_owned()));
    header.push("99 %: beaver of the lower peer (target below 1)".to_owned());
    let row = |outcome: &&Outcome| {
        let mut row = vec![place(outcome), shown(outcome.rate, thousands)];
        row.extend(shown_kinds().map(|kind| {
            shown(outcome.of(kind).and_then(Series::latency), |micros| micros.map(thousands).join(" / "))
        }));
        let p99 = |kind| Some(outcome.of(kind)?.latency()?[1]);
        let lower = Kind::PEERS.into_iter().filter_map(p99).min_by(f64::total_cmp);
        let ratio = p99(Kind::Beaver).zip(lower).map(|(beaver, lower)| beaver / lower);
        row.push(shown(ratio, |ratio| met_or_missed(ratio, ratio < LATENCY_MOST, LATENCY_MOST)));
        row
    };
    markdown(&header, rows.iter().map(row))
}

/// `16 connections, 100 B`.
fn place(outcome: &Outcome) -> String {
    let plural = if outcome.point.connections == 1 { "" } else { "s" };
    let payload = match outcome.point.payload_bytes {
        bytes if bytes.is_multiple_of(1024) => format!("{} KiB", bytes / 1024),
        bytes => format!("{bytes} B"),
    };
    format!("{} connection{plural}, {payload}", outcome.point.connections)
}

fn spread([lowest, median, highest]: [f64; 3]) -> String {
    format!("{} ({} to {})", rounded(median), rounded(lowest), rounded(highest))
}

/// To three digits: the rest is noise.
fn rounded(number: f64) -> String {
    let unit = 10_f64.powf((number.max(1.0).log10().floor() - 2.0).max(0.0));
    thousands((number / unit).round() * unit)
}

fn met_or_missed(ratio: f64, is_met: bool, target: f64) -> String {
    if is_met {
        format!("{ratio:.2}, met")
    } else {
        format!("{ratio:.2}, missed by {:.2}", (ratio - target).abs())
    }
}

fn shown<T>(figure: Option<T>, text: impl FnOnce(T) -> String) -> String {
    figure.map_or("-".to_owned(), text)
}

fn markdown(header: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(header) + &format!("|{}\n", "---|".repeat(header.len()));
    rows.for_each(|row| text.push_str(&line(&row)));
    text
}
