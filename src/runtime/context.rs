//! What the workers of a job share, and what sinks are told of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use timely::worker::Worker;

use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::forest::Forest;
use crate::pipeline::Settings;
use crate::report::Report;
use crate::sinks::{Sink, SinkContext, SinkPart, TableInfo, TableReport};
use crate::tables::{Catalog, Derived, Layout, RejectedTable, Table};
use crate::udf::anomaly_score;

use super::cluster::Cluster;
use super::failure::FirstError;
use super::intake::Intake;
use super::probe::SealedEpochs;
use super::profile::Profile;
use super::rejections::RejectionCount;

/// What the workers of a job share.
pub(super) struct RunContext {
    pub(super) intake: Intake,
    pub(super) settings: Settings,
    pub(super) layout: Arc<Layout>,
    pub(super) derived: Derived,
    /// The tables that are made.
    pub(super) tables: Catalog,
    /// How sinks see them, the rejected rows last.
    infos: Vec<TableInfo>,
    run_id: String,
    /// By worker, what takes its share of each table, until the worker starts.
    parts: Mutex<Vec<Vec<(String, Vec<Box<dyn SinkPart>>)>>>,
    pub(super) sealed: SealedEpochs,
    /// True if there are epochs after the first.
    pub(super) stays: bool,
    /// True if there is a sink.
    pub(super) has_sinks: bool,
    workers: usize,
    pub(super) rejections: Arc<RejectionCount>,
    failure: Arc<FirstError>,
    /// The other processes, if there are any.
    cluster: Option<Arc<Cluster>>,
    pub(super) profile: Option<Arc<Profile>>,
    /// The model that scores orders, once there is one.
    model: Mutex<Option<Arc<Forest>>>,
}

impl RunContext {
    pub(super) fn new(
        config: &JobConfig,
        intake: Intake,
        cluster: Option<&Arc<Cluster>>,
        failure: &Arc<FirstError>,
    ) -> Result<RunContext> {
        let layout = Arc::new(intake.layout(config.settings.tiers.clone())?);
        let model = config.anomaly.model.as_deref().map(Forest::load).transpose()?.map(Arc::new);
        let profile: Option<Arc<Profile>> = config.profile.then(Arc::default);
        let derived = derived(config, &layout, model.as_ref(), profile.as_ref())?;
        let mut settings = config.settings.clone();
        if settings.training.is_none() && model.is_none() {
            settings.training = Some(config.anomaly.training.clone());
        }
        let info = |name: &str, key: &[&str], schema| TableInfo {
            name: name.to_owned(),
            key: key.iter().map(|column| (*column).to_owned()).collect(),
            schema: derived.schema(name, schema),
        };
        let mut infos = Vec::new();
        for table in config.tables.iter() {
            infos.push(info(table.name(), table.key(), table.schema(&layout)?));
        }
        let rejected = &RejectedTable as &dyn crate::tables::AnyTable;
        infos.push(info(RejectedTable::NAME, Table::key(&RejectedTable), rejected.schema(&layout)?));
        Ok(RunContext {
            settings,
            derived,
            tables: config.tables.clone(),
            infos,
            run_id: run_id(),
            parts: Mutex::default(),
            sealed: SealedEpochs::new(config.workers),
            stays: false,
            has_sinks: false,
            workers: config.workers,
            rejections: Arc::clone(intake.rejections()),
            failure: Arc::clone(failure),
            cluster: cluster.cloned(),
            profile,
            model: Mutex::new(model),
            layout,
            intake,
        })
    }

    /// What takes a worker's share of each table.
    pub(super) fn take_parts(&self, worker: usize) -> Vec<(String, Vec<Box<dyn SinkPart>>)> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.get_mut(worker).map(std::mem::take).unwrap_or_default()
    }

    /// How many workers this process has.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    pub(super) fn model(&self) -> Option<Arc<Forest>> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_model(&self, model: &Arc<Forest>) {
        *self.model.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(model));
    }

    /// The other processes, if there are any.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_deref()
    }

    /// Adds what a worker does to the profile, if there is one.
    pub(super) fn follow(&self, worker: &Worker) {
        self.profile.iter().for_each(|profile| profile.follow(worker));
    }

    /// Keeps the first error, which stops the workers of all processes.
    pub(super) fn fail(&self, error: Error) {
        match &self.cluster {
            Some(cluster) => cluster.fail(error),
            None => drop(self.failure.set(error)),
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        if let Err(error) = self.intake.progress().check_not_stopped() {
            self.fail(error);
        }
        self.failure.is_set()
    }

    /// Fails with what failed first.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.check()
    }

    /// What the job has come to so far.
    pub(super) fn report(&self, config: &JobConfig, tables: Vec<TableReport>) -> Report {
        let stages = self.profile.as_ref().map_or(Vec::new(), |profile| profile.stages());
        Report::new(self.run_id.clone(), config, self.intake.reports(), tables, stages)
    }
}

/// The columns that functions make.
fn derived(
    config: &JobConfig,
    layout: &Layout,
    model: Option<&Arc<Forest>>,
    profile: Option<&Arc<Profile>>,
) -> Result<Derived> {
    let mut functions = config.all_functions()?;
    model.into_iter().try_for_each(|model| functions.register(anomaly_score(model)))?;
    if let Some(profile) = profile {
        functions = functions.map(|function| profile.timed(function));
    }
    let schema = |table: &str| config.tables.get(table, "udfs.table")?.schema(layout);
    Derived::new(&config.derived, &functions, schema, &layout.money)
}

/// Opens the sinks of a job, in a job of several processes when all see the same input, and process 0 first.
pub(super) fn open_sinks(context: &mut RunContext, config: &JobConfig, sinks: &mut [Box<dyn Sink>]) -> Result<()> {
    if let Some(cluster) = context.cluster.clone() {
        cluster.compare(&context.intake.facts()?)?;
        context.intake.take_share(cluster.process(), cluster.processes());
        if !cluster.is_first() {
            context.run_id = cluster.await_begin()?;
        }
    }
    let job = SinkContext {
        run_id: context.run_id.clone(),
        tables: context.infos.clone(),
        workers: config.workers,
        process: context.cluster().map_or(0, Cluster::process),
        processes: context.cluster().map_or(1, Cluster::processes),
    };
    for sink in sinks.iter_mut() {
        match context.cluster() {
            Some(cluster) if !cluster.is_first() => cluster.await_opened(|| sink.open(&job))?,
            _ => drop(sink.open(&job)?),
        }
    }
    let mut parts = Vec::new();
    for worker in 0..config.workers {
        let mut of_worker = Vec::new();
        for table in &context.infos {
            let of_sinks = sinks.iter_mut().filter_map(|sink| sink.part(table, worker).transpose());
            of_worker.push((table.name.clone(), of_sinks.collect::<Result<Vec<_>>>()?));
        }
        parts.push(of_worker);
    }
    (context.parts, context.has_sinks) = (Mutex::new(parts), !sinks.is_empty());
    context.cluster().filter(|cluster| cluster.is_first()).into_iter().for_each(|cluster| cluster.begin(&job.run_id));
    Ok(())
}

/// A name that no other run has: when it began, and which process it is.
fn run_id() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_micros(), std::process::id())
}
