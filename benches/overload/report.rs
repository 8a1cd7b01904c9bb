//! The results of a load, and a row of the table that shows them.

use std::fmt;
use std::time::Duration;

use beaver_bench_kit::figures::number;
use beaver_bench_kit::quantiles::Sorted;

/// What became of the requests of one load.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) time: Duration,
    pub(crate) offered: u64,
    pub(crate) accepted: u64,
    pub(crate) busy: u64,
    pub(crate) accepted_took: Vec<Duration>,
    pub(crate) busy_took: Vec<Duration>,
}

/// One row of the table.
pub(crate) struct Row<'l> {
    pub(crate) name: String,
    pub(crate) load: &'l Load,
    /// Jobs in each request.
    pub(crate) batch: usize,
    /// Requests a second that the engine can serve.
    pub(crate) capacity: f64,
    /// Bytes by which the peak of memory grew.
    pub(crate) grown: u64,
}

impl Row<'_> {
    pub(crate) const HEADING: &'static str = "| load | requests offered/s | accepted/s | of the capacity | busy | p50 ms | p99 ms | p99 of \"busy\", ms | memory, bytes a job |\n|---|---|---|---|---|---|---|---|---|";
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { name, load, batch, capacity, grown } = self;
        let seconds = load.time.as_secs_f64();
        let [offered, accepted] = [load.offered, load.accepted].map(|count| count as f64 / seconds);
        let took = Sorted::of(load.accepted_took.clone());
        let refused = if load.busy_took.is_empty() {
            "-".to_owned()
        } else {
            number(Sorted::of(load.busy_took.clone()).micros(0.99) / 1e3)
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
