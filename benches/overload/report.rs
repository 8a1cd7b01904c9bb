//! What came of a load, and the line that says so.

use std::fmt;
use std::time::Duration;

use super::quantiles::Sorted;
use super::verdict::number;

/// What came of the requests of one load.
#[derive(Default)]
pub struct Load {
    pub time: Duration,
    pub offered: u64,
    pub accepted: u64,
    pub busy: u64,
    pub accepted_took: Vec<Duration>,
    pub busy_took: Vec<Duration>,
}

/// One line of the table.
pub struct Row<'l> {
    pub name: String,
    pub load: &'l Load,
    /// Jobs in each request.
    pub batch: usize,
    /// Requests a second that are done when just as many are asked for.
    pub capacity: f64,
    /// Bytes by which the peak of memory grew.
    pub grown: u64,
}

impl Row<'_> {
    pub const HEADING: &'static str = "| load | requests offered/s | accepted/s | of the capacity | busy | p50 ms | p99 ms | p99 of \"busy\", ms | memory, bytes a job |\n|---|---|---|---|---|---|---|---|---|";
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { name, load, batch, capacity, grown } = self;
        let seconds = load.time.as_secs_f64();
        let [offered, accepted] = [load.offered, load.accepted].map(|count| count as f64 / seconds);
        let took = Sorted::of(load.accepted_took.clone());
        let refused = match load.busy_took.is_empty() {
            true => "-".to_owned(),
            false => number(Sorted::of(load.busy_took.clone()).micros(0.99) / 1e3),
        };
        write!(
            f,
            "| {name} | {} | {} | {} | {:.1} % | {} | {} | {refused} | {} |",
            number(offered),
            number(accepted),
            number(accepted / capacity),
            100.0 * load.busy as f64 / load.offered as f64,
            number(took.micros(0.5) / 1e3),
            number(took.micros(0.99) / 1e3),
            number(*grown as f64 / (load.accepted * *batch as u64) as f64),
        )
    }
}
