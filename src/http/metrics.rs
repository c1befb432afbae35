//! Metrics, in the text format of OpenMetrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::service::{EpochStats, Posted};

/// What is measured of a service and its server.
pub(super) struct Metrics {
    registry: Registry,
    pub(super) epoch: Gauge,
    pub(super) committed_at: Gauge<f64, AtomicU64>,
    epochs: Counter,
    rows: Family<OfTable, Counter>,
    rejected: Family<OfTable, Counter>,
    epoch_rows: Histogram,
    commit_seconds: Histogram,
    visible_seconds: Histogram,
    pub(super) ready: Gauge,
    pub(super) behind_seconds: Gauge<f64, AtomicU64>,
    pub(super) waiting_rows: Gauge,
    pub(super) waiting_bytes: Gauge,
    pub(super) memory_bytes: Gauge,
    pub(super) task_succeeded: Family<OfTask, Gauge>,
    pub(super) task_began: Family<OfTask, Gauge<f64, AtomicU64>>,
    pub(super) log_bytes: Gauge,
    pub(super) checkpoint_bytes: Gauge,
    pub(super) table_rows: Family<OfTable, Gauge>,
    pub(super) table_bytes: Family<OfTable, Gauge>,
    received_bytes: Family<OfTable, Counter>,
    requests: Family<OfRequest, Counter>,
    request_seconds: Family<OfRoute, Histogram, fn() -> Histogram>,
    pub(super) followers: Gauge,
    pub(super) sink_epoch: Family<OfSink, Gauge>,
    pub(super) sink_behind: Family<OfSink, Gauge<f64, AtomicU64>>,
    pub(super) sink_rows: Family<OfSink, Counter>,
    pub(super) sink_up: Family<OfSink, Gauge>,
    pub(super) source_up: Family<OfSource, Gauge>,
    pub(super) source_held_bytes: Family<OfSource, Gauge>,
    pub(super) source_lag: Family<OfSource, Gauge>,
    repeated: Counter,
}

/// The label of what is measured for each table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfTable {
    table: String,
}

/// The label of what is measured of each kind of task in the background.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfTask {
    pub(super) task: String,
}

/// The label of what is measured of a sink in another system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfSink {
    pub(super) sink: String,
}

/// The label of what is measured of a source in another system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfSource {
    pub(super) source: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoute {
    method: String,
    route: String,
}

impl OfTable {
    pub(super) fn named(table: &str) -> OfTable {
        OfTable { table: table.to_owned() }
    }
}

/// From a tenth of a millisecond to about 50 seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 20))
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("millstream"),
            epoch: Gauge::default(),
            committed_at: Gauge::default(),
            epochs: Counter::default(),
            rows: Family::default(),
            rejected: Family::default(),
            epoch_rows: Histogram::new(exponential_buckets(1.0, 4.0, 10)),
            commit_seconds: seconds(),
            visible_seconds: seconds(),
            ready: Gauge::default(),
            behind_seconds: Gauge::default(),
            memory_bytes: Gauge::default(),
            task_succeeded: Family::default(),
            task_began: Family::default(),
            waiting_rows: Gauge::default(),
            waiting_bytes: Gauge::default(),
            log_bytes: Gauge::default(),
            checkpoint_bytes: Gauge::default(),
            table_rows: Family::default(),
            table_bytes: Family::default(),
            received_bytes: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            followers: Gauge::default(),
            sink_epoch: Family::default(),
            sink_behind: Family::default(),
            sink_rows: Family::default(),
            sink_up: Family::default(),
            source_up: Family::default(),
            source_held_bytes: Family::default(),
            source_lag: Family::default(),
            repeated: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("epoch", "The newest epoch that is durable and in all tables", self.epoch.clone());
        let name = "committed_timestamp";
        let help = "When that epoch was committed, since 1970";
        registry.register_with_unit(name, help, Unit::Seconds, self.committed_at.clone());
        registry.register("epochs", "Epochs since the start", self.epochs.clone());
        registry.register(
            "input_rows",
            "Rows that were applied, accepted or rejected, by input table",
            self.rows.clone(),
        );
        registry.register("input_rejected_rows", "Rows that were rejected, by input table", self.rejected.clone());
        registry.register("epoch_rows", "Rows of an epoch", self.epoch_rows.clone());
        let help = "From the time an epoch is begun until it is on stable storage";
        registry.register_with_unit("epoch_commit", help, Unit::Seconds, self.commit_seconds.clone());
        let help = "From the time an epoch is begun until it is in all tables";
        registry.register_with_unit("epoch_visible", help, Unit::Seconds, self.visible_seconds.clone());
        registry.register("ready", "1 if tables can be read and rows are taken, otherwise 0", self.ready.clone());
        let help = "How long what waits longest to be applied has waited; 0 if nothing waits";
        registry.register_with_unit("behind", help, Unit::Seconds, self.behind_seconds.clone());
        registry.register("waiting_rows", "Rows that were read and wait to be applied", self.waiting_rows.clone());
        let help = "Their size in the form of the log";
        registry.register_with_unit("waiting", help, Unit::Bytes, self.waiting_bytes.clone());
        let help = "The log that is not in the checkpoint yet";
        registry.register_with_unit("log", help, Unit::Bytes, self.log_bytes.clone());
        registry.register_with_unit("checkpoint", "The checkpoint", Unit::Bytes, self.checkpoint_bytes.clone());
        registry.register_with_unit("memory", "The memory of the process", Unit::Bytes, self.memory_bytes.clone());
        let help = "Whether the last task of a kind in the background succeeded: 1, otherwise 0";
        registry.register("task_succeeded", help, self.task_succeeded.clone());
        let help = "When the last task of a kind in the background began, since 1970";
        registry.register_with_unit("task_began_timestamp", help, Unit::Seconds, self.task_began.clone());
        registry.register("table_rows", "Rows of a table that can be read", self.table_rows.clone());
        let help = "The memory of a table that can be read";
        registry.register_with_unit("table", help, Unit::Bytes, self.table_bytes.clone());
        let help = "Bodies of posted rows, decompressed, by input table";
        registry.register_with_unit("received", help, Unit::Bytes, self.received_bytes.clone());
        let help = "Posts that were answered without being applied again, because of their idempotency key";
        registry.register("repeated_posts", help, self.repeated.clone());
        registry.register("http_requests", "Requests, by method, route and status", self.requests.clone());
        let help = "From the time a request is received until its answer begins, by method and route";
        registry.register_with_unit("http_request", help, Unit::Seconds, self.request_seconds.clone());
        registry.register("followers", "Clients that follow changes", self.followers.clone());
        self.register_connectors();
    }

    /// What is measured of sources and sinks in other systems.
    fn register_connectors(&mut self) {
        let registry = &mut self.registry;
        let help = "1 unless the last delivery to another system failed, by sink";
        registry.register("sink_up", help, self.sink_up.clone());
        registry.register("sink_epoch", "The epoch that the other system has, by sink", self.sink_epoch.clone());
        let help = "How long the oldest epoch has waited that the other system does not have, by sink";
        registry.register_with_unit("sink_behind", help, Unit::Seconds, self.sink_behind.clone());
        registry.register(
            "sink_delivered_rows",
            "Rows inserted and deleted since the start, by sink",
            self.sink_rows.clone(),
        );
        let help = "1 while another system is followed, 0 while it can't be, by source";
        registry.register("source_up", help, self.source_up.clone());
        let help = "The log that a database keeps for a source";
        registry.register_with_unit("source_held", help, Unit::Bytes, self.source_held_bytes.clone());
        let help = "Records of topics that were not taken yet, by source";
        registry.register("source_lag_records", help, self.source_lag.clone());
    }

    /// All metrics as text.
    pub(super) fn text(&self) -> Result<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(Error::failed)?;
        Ok(text)
    }

    /// An epoch is visible.
    pub(super) fn epoch(&self, stats: &EpochStats) {
        self.epochs.inc();
        for of_table in &stats.tables {
            let label = OfTable::named(of_table.table.name());
            self.rows.get_or_create(&label).inc_by(of_table.rows);
            self.rejected.get_or_create(&label).inc_by(of_table.rejected);
        }
        self.epoch_rows.observe(stats.rows() as f64);
        self.commit_seconds.observe(stats.committed.as_secs_f64());
        self.visible_seconds.observe(stats.visible.as_secs_f64());
        self.log_bytes.set(i64::try_from(stats.log_bytes).unwrap_or(i64::MAX));
        self.checkpoint_bytes.set(i64::try_from(stats.checkpoint_bytes).unwrap_or(i64::MAX));
    }

    /// The size of the log that is not in the checkpoint, and of the checkpoint, as of the last epoch.
    pub(super) fn state_bytes(&self) -> (u64, u64) {
        let bytes = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        (bytes(&self.log_bytes), bytes(&self.checkpoint_bytes))
    }

    /// A body was received.
    pub(super) fn received(&self, table: InputTable, bytes: u64) {
        self.received_bytes.get_or_create(&OfTable::named(table.name())).inc_by(bytes);
    }

    /// A post is answered.
    pub(super) fn posted(&self, posted: &Posted) {
        self.repeated.inc_by(posted.is_repeated.into());
    }

    /// A request is answered.
    pub(super) fn answered(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.request_seconds.get_or_create(&OfRoute { method: method.clone(), route: route.clone() }).observe(seconds);
        self.requests.get_or_create(&OfRequest { method, route, status }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All metrics as a table: name, type, unit, meaning.
    fn documentation() -> String {
        let metrics = Metrics::new();
        let table = OfTable::named("orders");
        drop(metrics.rows.get_or_create(&table));
        drop(metrics.rejected.get_or_create(&table));
        drop(metrics.table_rows.get_or_create(&table));
        drop(metrics.table_bytes.get_or_create(&table));
        drop(metrics.received_bytes.get_or_create(&table));
        let task = OfTask { task: "verify".to_owned() };
        drop(metrics.task_succeeded.get_or_create(&task));
        drop(metrics.task_began.get_or_create(&task));
        let (sink, source) = (OfSink { sink: "bi".to_owned() }, OfSource { source: "db".to_owned() });
        drop(metrics.sink_epoch.get_or_create(&sink));
        drop(metrics.sink_behind.get_or_create(&sink));
        drop(metrics.sink_rows.get_or_create(&sink));
        drop(metrics.sink_up.get_or_create(&sink));
        drop(metrics.source_up.get_or_create(&source));
        drop(metrics.source_held_bytes.get_or_create(&source));
        drop(metrics.source_lag.get_or_create(&source));
        metrics.answered("GET", "/v1/tables", 200, 0.0);
        let text = metrics.text().expect("text");
        let mut page = "# Metrics\n\n`/metrics` of the [server](http.md), in the text format of OpenMetrics.\n\n\
                        | metric | type | labels | meaning |\n|---|---|---|---|\n"
            .to_owned();
        for help in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, help) = help.split_once(' ').expect("a name");
            let of = |what: &str| {
                let prefix = format!("# {what} {name} ");
                text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default()
            };
            let sample = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            let labels =
                sample.split_once('{').map_or("", |(_, labels)| labels.split_once('}').map_or("", |(own, _)| own));
            let labels = labels.split(',').filter_map(|label| label.split_once('='));
            let labels: Vec<_> = labels.map(|(name, _)| format!("`{name}`")).filter(|name| name != "`le`").collect();
            let name = if of("TYPE") == "counter" { format!("{name}_total") } else { name.to_owned() };
            page.push_str(&format!(
                "| `{name}` | {} | {} | {} |\n",
                of("TYPE"),
                labels.join(", "),
                help.trim_end_matches('.')
            ));
        }
        page
    }

    #[test]
    fn the_documentation_has_all_metrics() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("MILLSTREAM_WRITE_DOCS").is_some() {
            std::fs::write(path, documentation()).expect("written");
        }
        assert_eq!(std::fs::read_to_string(path).expect("it is there"), documentation());
    }
}
