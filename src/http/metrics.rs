//! The engine's counters as OpenMetrics text. Nothing is counted here: each scrape reads the engine's own atomics.

use std::fmt;
use std::sync::Arc;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use beaver_actors::base::metrics::{Counter, Gauge, Histogram, Metrics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::auth::memory::{Memory, MemoryPart};
use crate::remote::registry;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const MICROS_PER_SECOND: f64 = 1e6;

/// What `/metrics` shows.
#[derive(Debug)]
pub(super) struct MetricsPage(Registry);

impl MetricsPage {
    /// Without a registry, nothing is said about remote workers.
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        remote: Option<registry::Registry>,
        memory: Memory,
    ) -> MetricsPage {
        let mut page = Registry::default();
        page.register_collector(Box::new(MemoryMetrics(metrics.clone(), memory)));
        page.register_collector(Box::new(EngineMetrics(metrics)));
        if let Some(remote) = remote {
            page.register_collector(Box::new(RemoteMetrics(remote)));
        }
        MetricsPage(page)
    }

    pub(crate) fn response(&self) -> Response {
        ([(CONTENT_TYPE, OPEN_METRICS)], self.text()).into_response()
    }

    fn text(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.0).expect("a string takes every write");
        page
    }
}

/// The memory that clients can make the server take, and the names that they can make it know, each part with its limit.
#[derive(Debug)]
struct MemoryMetrics(Arc<Metrics>, Memory);

impl Collector for MemoryMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let MemoryMetrics(metrics, memory) = self;
        let mut page = MetricsEncoder(encoder);
        let parts = memory.parts(metrics);
        let by_part = |of: fn(&MemoryPart) -> u64| parts.iter().map(|part| (part.part, of(part))).collect();
        let used: Vec<_> = by_part(|part| part.bytes);
        page.numbers_by_part("queue_memory_bytes", "Memory that is taken, by what it is for", &used)?;
        let limits: Vec<_> = by_part(|part| part.limit_bytes);
        page.numbers_by_part("queue_memory_limit_bytes", "Memory that may be taken", &limits)?;
        let names = [("queues", &metrics.queues), ("kinds", &metrics.kinds)];
        let used = names.map(|(part, usage)| (part, usage.used.get()));
        page.numbers_by_part("queue_names", "Names that are known", &used)?;
        let limits = names.map(|(part, usage)| (part, usage.limit.get()));
        page.numbers_by_part("queue_names_limit", "Names that there may be", &limits)
    }
}

#[derive(Debug)]
struct EngineMetrics(Arc<Metrics>);

impl Collector for EngineMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &*self.0;
        let mut page = MetricsEncoder(encoder);
        // A counter's name gets its `_total` from the format.
        page.counter("queue_jobs_enqueued", "Jobs accepted and durable", &metrics.jobs_enqueued)?;
        page.counter("queue_jobs_dispatched", "Leases given to workers", &metrics.jobs_dispatched)?;
        page.counter("queue_jobs_completed", "Jobs that succeeded", &metrics.jobs_completed)?;
        page.counter("queue_jobs_failed", "Attempts that failed", &metrics.jobs_failed)?;
        page.counter(
            "queue_jobs_postponed",
            "Leases that ended before the job began, for lack of something in the server",
            &metrics.jobs_postponed,
        )?;
        page.counter("queue_jobs_dead", "Jobs that ran out of attempts", &metrics.jobs_dead)?;
        page.counter("queue_jobs_cancelled", "Jobs that were cancelled", &metrics.jobs_cancelled)?;
        page.seconds_histogram(
            "queue_job_latency_seconds",
            "From accepted or due to completed",
            &metrics.job_latency,
        )?;
        page.gauge("queue_accepts_jobs", "1 while new jobs are accepted, else 0", &metrics.accepts_jobs)?;
        page.gauge(
            "queue_clock_doubted",
            "1 while the clock is doubted and no finished job is forgotten for its age, else 0",
            &metrics.clock_doubted,
        )?;
        page.gauge("queue_jobs_pending", "Jobs pending now", &metrics.jobs_pending)?;
        page.gauge("queue_jobs_in_flight", "Jobs in flight now", &metrics.jobs_in_flight)?;
        page.seconds_gauge(
            "queue_recovery_time_seconds",
            "How long recovery at boot took",
            &metrics.recovery_micros,
        )?;
        page.seconds_histogram("queue_log_fsync_seconds", "fdatasync of the log", &metrics.log_fsync)?;
        page.histogram(
            "queue_log_batch_events",
            "Events written by one write of the log",
            &metrics.log_batch_events,
            1.0,
        )?;
        page.counter("queue_log_bytes", "Bytes written to the log", &metrics.log_bytes)?;
        page.counter("queue_snapshots", "Snapshots published", &metrics.snapshots)?;
        page.counter("queue_snapshots_failed", "Snapshots that failed", &metrics.snapshots_failed)?;
        page.counter(
            "queue_snapshots_damaged",
            "Pages of snapshots found damaged since the start",
            &metrics.snapshots_damaged,
        )?;
        page.counter(
            "queue_damage_met",
            "Times that data on disk turned out to be damaged while the server ran",
            &metrics.damage_met,
        )?;
        page.counter(
            "queue_rescues",
            "Times that the state was written out anew from memory, because of damage on disk",
            &metrics.rescues,
        )?;
        page.counter(
            "queue_payloads_lost",
            "Jobs that waited and are dead because their payload was lost by such damage",
            &metrics.payloads_lost,
        )?;
        page.gauge("queue_snapshot_bytes", "Size of the last snapshot", &metrics.snapshot_bytes)?;
        page.seconds_gauge(
            "queue_snapshot_seconds",
            "How long the last snapshot took",
            &metrics.snapshot_micros,
        )?;
        page.counters_by_actor(
            "queue_actor_restarts",
            "Restarts of actors after a crash",
            &[("worker", &metrics.restarts_worker), ("snapshot", &metrics.restarts_snapshot)],
        )?;
        page.counter(
            "queue_requests_busy",
            "Requests turned away because the server was full",
            &metrics.requests_busy,
        )
    }
}

struct RemoteMetrics(registry::Registry);

impl fmt::Debug for RemoteMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteMetrics")
    }
}

impl Collector for RemoteMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (workers, reaped) = self.0.workers();
        let mut page = MetricsEncoder(encoder);
        page.number(
            "queue_remote_connections",
            "Open connections of remote workers and producers",
            self.0.connections(),
        )?;
        page.number("queue_remote_workers", "Remote workers that are known now", workers)?;
        page.count("queue_remote_workers_given_up", "Remote workers that were silent for too long", reaped)
    }
}

struct MetricsEncoder<'e>(DescriptorEncoder<'e>);

impl MetricsEncoder<'_> {
    fn counter(&mut self, name: &str, help: &str, counter: &Counter) -> fmt::Result {
        self.count(name, help, counter.get())
    }

    fn count(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        ConstCounter::new(count).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn counters_by_actor(&mut self, name: &str, help: &str, counters: &[(&str, &Counter)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (actor, counter) in counters {
            ConstCounter::new(counter.get()).encode(family.encode_family(&[("actor", *actor)])?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, gauge: &Gauge) -> fmt::Result {
        self.number(name, help, gauge.get())
    }

    fn number(&mut self, name: &str, help: &str, number: impl TryInto<i64>) -> fmt::Result {
        let value = number.try_into().unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn numbers_by_part(&mut self, name: &str, help: &str, numbers: &[(&str, u64)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (part, number) in numbers {
            let value = i64::try_from(*number).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(family.encode_family(&[("part", *part)])?)?;
        }
        Ok(())
    }

    fn seconds_gauge(&mut self, name: &str, help: &str, micros: &Gauge) -> fmt::Result {
        ConstGauge::new(micros.get() as f64 / MICROS_PER_SECOND).encode(self.0.encode_descriptor(
            name,
            help,
            None,
            MetricType::Gauge,
        )?)
    }

    fn seconds_histogram(&mut self, name: &str, help: &str, micros: &Histogram) -> fmt::Result {
        self.histogram(name, help, micros, MICROS_PER_SECOND)
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram, per_unit: f64) -> fmt::Result {
        let (counts, sum) = histogram.read();
        let bounds = histogram.bounds().iter().map(|bound| *bound as f64 / per_unit);
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        self.0.encode_descriptor(name, help, None, MetricType::Histogram)?.encode_histogram::<NoLabelSet>(
            sum as f64 / per_unit,
            count,
            &buckets,
            None,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use beaver_actors::base::clock::SystemClock;

    use super::*;
    use crate::config::Settings;

    #[test]
    fn the_page_shows_what_the_engine_counted_under_the_promised_names() {
        let metrics = Arc::new(Metrics::default());
        let remote = registry::Registry::new(Arc::new(SystemClock::default()));
        let page = MetricsPage::new(Arc::clone(&metrics), Some(remote), Memory::of(&Settings::default()));
        metrics.queues.limit.set(150_000);
        metrics.texts.used.set(17);
        metrics.jobs_enqueued.add(100);
        metrics.jobs_dispatched.add(60);
        metrics.jobs_completed.add(50);
        metrics.jobs_failed.add(7);
        metrics.jobs_dead.add(2);
        metrics.jobs_cancelled.add(1);
        metrics.requests_busy.add(3);
        metrics.job_latency.observe_micros(Duration::from_millis(7));
        metrics.job_latency.observe_micros(Duration::from_secs(7200));
        metrics.jobs_pending.set(40);
        metrics.jobs_in_flight.set(8);
        metrics.recovery_micros.set(1_250_000);
        metrics.log_fsync.observe(150);
        metrics.log_batch_events.observe(1_000);
        metrics.log_bytes.add(12_345);
        metrics.snapshots.add(4);
        metrics.snapshots_failed.add(1);
        metrics.snapshot_bytes.set(65_536);
        metrics.snapshot_micros.set(500_000);
        metrics.restarts_worker.add(5);
        let text = page.text();
        for line in [
            "# TYPE queue_jobs_enqueued counter",
            "queue_jobs_enqueued_total 100",
            "queue_jobs_dispatched_total 60",
            "queue_jobs_completed_total 50",
            "queue_jobs_failed_total 7",
            "queue_jobs_dead_total 2",
            "queue_jobs_cancelled_total 1",
            "# TYPE queue_job_latency_seconds histogram",
            "queue_job_latency_seconds_sum 7200.007",
            "queue_job_latency_seconds_count 2",
            "queue_job_latency_seconds_bucket{le=\"0.005\"} 0",
            "queue_job_latency_seconds_bucket{le=\"0.01\"} 1",
            "queue_job_latency_seconds_bucket{le=\"3600.0\"} 1",
            "queue_job_latency_seconds_bucket{le=\"+Inf\"} 2",
            "queue_recovery_time_seconds 1.25",
            "queue_jobs_pending 40",
            "queue_jobs_in_flight 8",
            "queue_log_fsync_seconds_bucket{le=\"0.0002\"} 1",
            "queue_log_batch_events_bucket{le=\"1000.0\"} 1",
            "queue_log_batch_events_sum 1000.0",
            "queue_log_bytes_total 12345",
            "queue_snapshots_total 4",
            "queue_snapshots_failed_total 1",
            "queue_snapshot_bytes 65536",
            "queue_snapshot_seconds 0.5",
            "queue_actor_restarts_total{actor=\"worker\"} 5",
            "queue_actor_restarts_total{actor=\"snapshot\"} 0",
            "queue_requests_busy_total 3",
            "queue_memory_bytes{part=\"answers\"} 0",
            "queue_memory_limit_bytes{part=\"answers\"} 100663296",
            "queue_memory_limit_bytes{part=\"bodies\"} 268435456",
            "queue_memory_bytes{part=\"texts\"} 17",
            "queue_names_limit{part=\"queues\"} 150000",
            "queue_remote_connections 0",
            "queue_remote_workers 0",
            "queue_remote_workers_given_up_total 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));

        metrics.jobs_enqueued.add(1);
        assert!(
            page.text().contains("queue_jobs_enqueued_total 101\n"),
            "the page reads, it does not remember"
        );
    }
}
