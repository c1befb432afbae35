//! What the workers of a run share: its input, its tables, and how it ends.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use arrow::datatypes::SchemaRef;
use timely::worker::Worker;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::io::derived::Derived;
use crate::io::layout::Layout;
use crate::io::publish::Output;
use crate::io::tables::{own_schema_of, schema_of};
use crate::io::write::{Placing, Shared, TableWriter};
use crate::io::{OutputTable, rejected};
use crate::report::{Report, TableReport};
use crate::udf::forest::Forest;

use super::cluster::Cluster;
use super::failure::Failure;
use super::feed::Feed;
use super::profile::Profile;
use super::progress::Phase;

/// What the workers of a run share.
pub(super) struct Work {
    pub(super) feed: Feed,
    pub(super) layout: Layout,
    /// The tables that are made.
    pub(super) tables: Vec<OutputTable>,
    /// Where they are written; none once they are published, and none for a job that only keeps them.
    output: Mutex<Option<Output>>,
    writers: Vec<(OutputTable, Arc<TableWriter>)>,
    run_id: String,
    /// Shares of tables that are not finished yet.
    open_parts: AtomicUsize,
    failure: Arc<Failure>,
    /// The other processes, if there are any.
    cluster: Option<Arc<Cluster>>,
    pub(super) profile: Option<Arc<Profile>>,
    /// The sum of the hashes of each table's rows: the same for the same rows, however they came about. Empty if nobody asks.
    checksums: Vec<(OutputTable, AtomicU64)>,
    /// The model that scores orders, once there is one.
    model: Mutex<Option<Arc<Forest>>>,
}

impl Work {
    /// Work whose tables are written.
    pub(super) fn begin(
        config: &RunConfig,
        feed: Feed,
        cluster: Option<&Arc<Cluster>>,
        failure: &Arc<Failure>,
    ) -> Result<Work> {
        let mut work = Work::without_output(config, feed)?;
        work.failure = Arc::clone(failure);
        work.cluster = cluster.cloned();
        let output = work.take_output(config)?;
        for table in &config.tables {
            let placing = if *table == OutputTable::EnrichedData { config.placing.clone() } else { Placing::default() };
            let writer = work.writer_in(&output, table.name(), schema_of(*table, &work.layout), config, placing)?;
            work.writers.push((*table, writer));
        }
        work.open_parts = AtomicUsize::new(work.writers.len() * config.workers);
        work.output = Mutex::new(Some(output));
        work.cluster.iter().filter(|cluster| cluster.is_first()).for_each(|cluster| cluster.begin(&work.run_id));
        Ok(work)
    }

    /// Takes hold of the output folder; in a run of several processes the first does so, when all see the same input.
    fn take_output(&mut self, config: &RunConfig) -> Result<Output> {
        let Some(cluster) = &self.cluster else { return Output::open(&config.output, &self.run_id) };
        cluster.compare(&self.feed.facts()?)?;
        self.feed.take_share(cluster.process(), cluster.processes());
        if cluster.is_first() {
            return Output::open(&config.output, &self.run_id);
        }
        self.run_id = cluster.await_begin()?;
        cluster.await_output(|| Output::join(&config.output, &self.run_id), &config.output)
    }

    /// Begins this process's share of a table.
    fn writer_in(
        &self,
        output: &Output,
        name: &str,
        schema: SchemaRef,
        config: &RunConfig,
        placing: Placing,
    ) -> Result<Arc<TableWriter>> {
        let share = self.cluster.as_ref().map_or(Shared::ALONE, |cluster| cluster.share());
        let folder = output.staging(name);
        TableWriter::create(folder, &self.run_id, schema, config.file_format, placing, share).map(Arc::new)
    }

    /// Work whose tables are only kept.
    pub(super) fn without_output(config: &RunConfig, feed: Feed) -> Result<Work> {
        let mut layout = feed.layout(config.settings.tiers.clone())?;
        let model = config.anomaly.model.as_deref().map(Forest::load).transpose()?.map(Arc::new);
        if let Some(idle) = config.derived.iter().find(|column| !config.tables.contains(&column.table)) {
            let (name, table) = (&idle.name, idle.table.name());
            return Err(Error::usage(format!("udfs: {name}: the table {table} is not made; add it to tables")));
        }
        let mut functions = config.functions.clone();
        model.iter().try_for_each(|model| functions.register(model.udf()))?;
        let profile: Option<Arc<Profile>> = config.profile.then(Arc::default);
        let functions = match &profile {
            Some(profile) => functions.map(|function| profile.timed(function)),
            None => functions,
        };
        let own_schema = |table| own_schema_of(table, &layout);
        layout.derived = Derived::new(&config.derived, &functions, own_schema, &layout.money)?;
        Ok(Work {
            feed,
            layout,
            tables: config.tables.clone(),
            output: Mutex::default(),
            writers: Vec::new(),
            run_id: run_id(),
            open_parts: AtomicUsize::new(0),
            failure: Arc::default(),
            cluster: None,
            profile,
            checksums: config
                .tables
                .iter()
                .filter(|_| config.checksums)
                .map(|table| (*table, AtomicU64::new(0)))
                .collect(),
            model: Mutex::new(model),
        })
    }

    pub(super) fn checksum(&self, table: OutputTable) -> Option<&AtomicU64> {
        self.checksums.iter().find(|(known, _)| *known == table).map(|(_, sum)| sum)
    }

    pub(super) fn model(&self) -> Option<Arc<Forest>> {
        self.model.lock().expect("no worker panicked").clone()
    }

    pub(super) fn set_model(&self, model: &Arc<Forest>) {
        *self.model.lock().expect("no worker panicked") = Some(Arc::clone(model));
    }

    pub(super) fn writer(&self, table: OutputTable) -> Option<&Arc<TableWriter>> {
        self.writers.iter().find(|(known, _)| *known == table).map(|(_, writer)| writer)
    }

    /// The other processes, if there are any.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_deref()
    }

    /// Adds what a worker does to the profile, if there is one.
    pub(super) fn follow(&self, worker: &Worker) {
        self.profile.iter().for_each(|profile| profile.follow(worker));
    }

    /// Keeps the first error, and tells all workers to stop, of all processes.
    pub(super) fn fail(&self, error: Error) {
        match &self.cluster {
            Some(cluster) => cluster.fail(error),
            None => drop(self.failure.set(error)),
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        if let Err(error) = self.feed.progress().check_not_stopped() {
            self.fail(error);
        }
        self.failure.is_set()
    }

    pub(super) fn check(&self) -> Result<()> {
        self.failure.check()
    }

    /// A worker has written its share of a table.
    pub(super) fn part_is_written(&self) {
        if self.open_parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.feed.progress().set_epochs(1);
        }
    }

    /// True when the workers have written all they have of epoch 0.
    pub(super) fn is_written(&self) -> bool {
        self.open_parts.load(Ordering::Acquire) == 0
    }

    /// Ends the tables, writes the rejected rows, and puts all in place; or has process 0 do so.
    pub(super) fn publish(&self, config: &RunConfig, started: Instant) -> Result<Report> {
        let output = self.output.lock().expect("no worker panicked").take();
        let writers = output.as_ref().map_or(Ok(Vec::new()), |output| self.close_shares(config, output));
        // What failed first is what there is to say.
        let writers = writers.or_else(|error| self.check().and(Err(error)))?;
        let (writers, tables): (Vec<_>, Vec<_>) = writers.into_iter().unzip();
        let inputs = self.feed.reports();
        let stages = self.profile.as_ref().map_or(Vec::new(), |profile| profile.stages());
        let mut report = Report::new(self.run_id.clone(), config, inputs, tables, stages);
        if let Some(cluster) = &self.cluster {
            if !cluster.is_first() {
                return cluster.hand_over(report);
            }
            cluster.gather()?.iter().for_each(|share| report.add(share));
            self.feed.check_rejected(report.tables.last().map_or(0, |rejected| rejected.written.rows))?;
        }
        self.feed.progress().enter(Phase::Publishing);
        if let Some(path) = &config.anomaly.save_model {
            let none = || Error::failed("save_model: there is no model, for no order has a price to train one on");
            self.model().ok_or_else(none)?.save(path)?;
        }
        for (writer, table) in writers.iter().zip(&mut report.tables) {
            table.written = writer.finish(table.written)?;
        }
        if let Some(output) = output {
            report.tables.iter().try_for_each(|table| output.publish(&table.name))?;
            output.finish();
        }
        report.seconds = started.elapsed().as_secs_f64();
        self.cluster.iter().for_each(|cluster| cluster.announce(&report));
        Ok(report)
    }

    /// Writes what this process has left of each table, the rejected rows last.
    fn close_shares(&self, config: &RunConfig, output: &Output) -> Result<Vec<(Arc<TableWriter>, TableReport)>> {
        let rejected = self.writer_in(output, REJECTED, rejected::schema(), config, Placing::default())?;
        let mut part = rejected.part();
        let mut rejections = self.feed.take_rejections();
        rejections.sort();
        for some in rejections.chunks(1 << 16) {
            part.write(&rejected::batch(some, |table, file| self.feed.file_name(table, file))?)?;
        }
        part.finish()?;
        let writers = self.writers.iter().map(|(table, writer)| (table.name(), writer)).chain([(REJECTED, &rejected)]);
        let close = |(name, writer): (&str, &Arc<TableWriter>)| {
            Ok((
                Arc::clone(writer),
                TableReport { name: name.into(), written: writer.close_share(|| self.has_failed())? },
            ))
        };
        writers.map(close).collect()
    }
}

/// The table of rows that could not be used.
const REJECTED: &str = "rejected";

/// A name that no other run has: when it began, and which process it is.
fn run_id() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_micros(), std::process::id())
}
