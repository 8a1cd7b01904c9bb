//! The tables of README: a row per point, a ratio per target, in Markdown.

use super::Scenario;
use super::report::{Outcome, Series, thousands};
use super::servers::Kind;

/// What beaver's rate is to be, of another.
struct Target {
    what: &'static str,
    /// None where no target is set.
    least: Option<f64>,
    of: fn(&Outcome) -> Option<f64>,
}

/// What beaver's 99th percentile is to stay below, of the lower one of the peers.
const LATENCY_MOST: f64 = 1.0;

fn targets(scenario: Scenario) -> Vec<Target> {
    let best_peer = Target { what: "the best peer", least: None, of: Outcome::best_peer_rate };
    let redis = Target { what: "Redis", least: None, of: |outcome| outcome.rate_of(Kind::Redis) };
    let nothing = Target { what: "nothing", least: None, of: |outcome| outcome.rate_of(Kind::Nothing) };
    let synced =
        Target { what: "nothing, synced", least: None, of: |outcome| outcome.rate_of(Kind::NothingSynced) };
    let at_least = |least, target| Target { least: Some(least), ..target };
    match scenario {
        Scenario::Push => vec![at_least(1.3, best_peer), at_least(0.85, nothing), synced],
        Scenario::Fetch => vec![at_least(1.7, best_peer), nothing, synced],
        Scenario::Bulk => vec![at_least(1.5, redis), nothing, synced],
        Scenario::Latency => Vec::new(),
    }
}

/// All that has figures.
pub fn tables(outcomes: &[Outcome]) -> String {
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

/// README knows of one beaver.
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
                Some(least) => verdict(ratio, ratio >= least, least),
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
        row.push(shown(ratio, |ratio| verdict(ratio, ratio < LATENCY_MOST, LATENCY_MOST)));
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

/// To three digits: the others are noise.
fn rounded(number: f64) -> String {
    let unit = 10_f64.powf((number.max(1.0).log10().floor() - 2.0).max(0.0));
    thousands((number / unit).round() * unit)
}

fn verdict(ratio: f64, is_met: bool, target: f64) -> String {
    match is_met {
        true => format!("{ratio:.2}, met"),
        false => format!("{ratio:.2}, missed by {:.2}", (ratio - target).abs()),
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
