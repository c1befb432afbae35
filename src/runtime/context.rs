//! The shared state of the workers, and the parts of the sinks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use arrow::datatypes::SchemaRef;
use timely::scheduling::SyncActivator;
use timely::worker::Worker;

use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::forest::Forest;
use crate::model::Epoch;
use crate::operators::Waves;
use crate::pipeline::Settings;
use crate::report::Report;
use crate::sinks::{Opened, PartOptions, Sink, SinkContext, SinkPart, TableInfo};
use crate::sources::Source;
use crate::tables::{AnyTable, Catalog, Derived, Layout, LookupQueues, RejectedTable};
use crate::udf::anomaly_score;

use super::cluster::{Cluster, POLL_INTERVAL};
use super::failure::FirstError;
use super::intake::Intake;
use super::job_sinks::JobSinks;
use super::operator_log::OperatorLog;
use super::profile::Profile;
use super::rejections::RejectionCount;
use super::waves::WavesOfRun;
use super::worker_epochs::WorkerEpochs;

/// How long a sink may take to become ready: files may become visible late on a network volume.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The parts of all sinks for a table on one worker.
#[derive(Default)]
pub(super) struct TableParts {
    pub(super) parts: Vec<PartOfSink>,
    /// True if a sink wants all rows on one worker.
    pub(super) together: bool,
}

/// The part of a sink for a table on one worker.
pub(super) struct PartOfSink {
    pub(super) part: Box<dyn SinkPart>,
    /// The first epoch that the sink takes.
    pub(super) from: Epoch,
    /// True if the sink takes the changes of several epochs together.
    pub(super) gathered: bool,
    /// True if the sink takes dictionaries.
    pub(super) dictionaries: bool,
}

/// The shared state of the workers of a job.
pub(super) struct RunContext {
    pub(super) intake: Intake,
    pub(super) settings: Settings,
    pub(super) layout: Arc<Layout>,
    pub(super) derived: Derived,
    /// The tables of the job.
    pub(super) tables: Catalog,
    /// The same tables as sinks see them, and `rejected` last.
    infos: Vec<TableInfo>,
    /// Their columns, without those computed by functions.
    schemas: Vec<SchemaRef>,
    run_id: String,
    /// The parts of each worker, in the order of `infos`, until the worker starts.
    parts: Mutex<Vec<Vec<TableParts>>>,
    /// The number of parts of `rejected` in this process that are not finished.
    rejected_parts: AtomicUsize,
    /// The epochs before these are handed over to the sinks.
    pub(super) sealed: WorkerEpochs,
    /// What wakes the workers.
    bells: Mutex<Vec<Option<SyncActivator>>>,
    /// True if there are epochs after the first.
    pub(super) stays: bool,
    /// How the first epoch is split, if nothing follows it and orders need not be kept.
    pub(super) waves: Option<Arc<WavesOfRun>>,
    /// The look-ups of rows of `enriched_data`, if there may be some.
    pub(super) lookups: Option<LookupQueues>,
    /// The newest epoch that was begun.
    pub(super) begun: AtomicU64,
    /// The newest epoch in which what was gathered is asked for.
    pub(super) gathering: AtomicU64,
    /// The newest such epoch for which each worker has handed everything over to the sinks.
    pub(super) gathered: WorkerEpochs,
    workers: usize,
    pub(super) rejections: Arc<RejectionCount>,
    failure: Arc<FirstError>,
    /// The other processes, if there are any.
    cluster: Option<Arc<Cluster>>,
    pub(super) profile: Option<Arc<Profile>>,
    /// What operators do, if somebody wants to know.
    pub(super) operators: Option<Arc<OperatorLog>>,
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
        config.tables.check()?;
        let layout = Arc::new(intake.layout(config.discount, config.settings.tiers.clone())?);
        let model = config.anomaly.model.as_deref().map(Forest::load).transpose()?.map(Arc::new);
        let profile: Option<Arc<Profile>> = config.profile.then(Arc::default);
        let derived = derived(config, &layout, model.as_ref(), profile.as_ref())?;
        let mut settings = config.settings.clone();
        if settings.training.is_none() && model.is_none() {
            settings.training = Some(config.anomaly.training.clone());
        }
        let rejected: &dyn AnyTable = &RejectedTable;
        let tables: Vec<_> = config.tables.iter().map(|table| &**table).chain([rejected]).collect();
        let schemas = tables.iter().map(|table| table.schema(&layout)).collect::<Result<Vec<_>>>()?;
        let infos = tables.iter().zip(&schemas).map(|(table, schema)| TableInfo {
            name: table.name().to_owned(),
            key: table.key().iter().map(|column| (*column).to_owned()).collect(),
            schema: derived.schema(table.name(), Arc::clone(schema)),
            order: table.order().iter().map(|(column, direction)| ((*column).to_owned(), *direction)).collect(),
        });
        let infos = infos.collect();
        Ok(RunContext {
            settings,
            derived,
            tables: config.tables.clone(),
            infos,
            schemas,
            run_id: new_run_id(),
            parts: Mutex::default(),
            rejected_parts: AtomicUsize::new(0),
            sealed: WorkerEpochs::new(config.workers),
            bells: Mutex::new(vec![None; config.workers]),
            stays: false,
            waves: None,
            lookups: config.with_lookups.then(|| LookupQueues::new(config.workers)),
            begun: AtomicU64::new(0),
            gathering: AtomicU64::new(0),
            gathered: WorkerEpochs::new(config.workers),
            workers: config.workers,
            rejections: Arc::clone(intake.rejections()),
            failure: Arc::clone(failure),
            cluster: cluster.cloned(),
            profile,
            operators: (config.profile || config.observed).then(Arc::default),
            model: Mutex::new(model),
            layout,
            intake,
        })
    }

    /// Takes the parts of each table on a worker, in the order of the catalog and `rejected` last.
    pub(super) fn take_parts(&self, worker: usize) -> Vec<TableParts> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.get_mut(worker).map(std::mem::take).unwrap_or_default()
    }

    /// A table of the catalog by its position, or `rejected` after the last: its name and its columns, without those
    /// computed by functions.
    pub(super) fn table(&self, position: usize) -> (&str, &SchemaRef) {
        (&self.infos[position].name, &self.schemas[position])
    }

    /// True if a sink still takes rejected rows.
    pub(super) fn takes_rejected(&self) -> bool {
        self.rejected_parts.load(Ordering::Relaxed) > 0
    }

    /// Some parts of `rejected` are finished.
    pub(super) fn finish_rejected(&self, parts: usize) {
        self.rejected_parts.fetch_sub(parts, Ordering::Relaxed);
    }

    /// How many workers this process has.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Keeps what wakes a worker.
    pub(super) fn set_bell(&self, worker: usize, bell: SyncActivator) {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)[worker] = Some(bell);
    }

    /// Wakes a worker: there is something for it. One that has ended is not there to be woken.
    pub(super) fn wake(&self, worker: usize) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = &bells[worker] {
            let _ = bell.activate();
        }
    }

    pub(super) fn model(&self) -> Option<Arc<Forest>> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_model(&self, model: &Arc<Forest>) {
        *self.model.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(model));
    }

    /// How a worker splits the first epoch into waves, if it does.
    pub(super) fn waves(self: &Arc<Self>) -> Option<Waves<Epoch>> {
        let context = Arc::clone(self);
        self.waves.as_ref().map(|waves| waves.of_worker(move |error| context.fail(error)))
    }

    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The other processes, if there are any.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_deref()
    }

    /// Adds what the operators of a worker do, if somebody wants to know.
    pub(super) fn follow(&self, worker: &Worker) {
        self.operators.iter().for_each(|operators| operators.follow(worker));
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

    /// Fails with the first failure.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.check()
    }

    /// The report so far, without tables.
    pub(super) fn report(&self, config: &JobConfig) -> Report {
        let profile = self.profile.iter().zip(&self.operators);
        let stages = profile.flat_map(|(profile, operators)| profile.stages(operators)).collect();
        let rejections = self.rejections.reports();
        let spilled_bytes = self.waves.as_ref().map_or(0, |waves| waves.spilled());
        let report = Report::new(self.run_id.clone(), config, self.intake.reports(), rejections, stages);
        Report { spilled_bytes, ..report }
    }
}

/// Checks that a job can be made of a source: that the names of its columns are distinct, and its functions have their
/// arguments.
///
/// # Errors
///
/// If it can't.
pub(crate) fn check_source(config: &JobConfig, source: Arc<dyn Source>) -> Result<()> {
    let intake = Intake::new(source, config, &Arc::default())?;
    RunContext::new(config, intake, None, &Arc::default()).map(drop)
}

/// The columns computed by functions.
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

/// Opens the sinks of a job. With several processes, it first compares their inputs; process 0 opens its sinks first.
pub(super) fn open_sinks(context: &mut RunContext, config: &JobConfig, sinks: &mut JobSinks) -> Result<()> {
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
        open(sink.as_mut(), &job, context)?;
    }
    let parts = parts(&context.infos, config.workers, sinks)?;
    // Without a sink that takes them, the rows are not joined.
    let place = context.infos.iter().position(|table| table.name == LookupQueues::TABLE);
    let is_joined = place.is_some_and(|place| parts.iter().all(|tables| !tables[place].parts.is_empty()));
    context.lookups = context.lookups.take().filter(|_| is_joined);
    let of_rejected = parts.iter().filter_map(|tables| tables.last()).map(|rejected| rejected.parts.len());
    context.rejected_parts = AtomicUsize::new(of_rejected.sum());
    context.parts = Mutex::new(parts);
    context.cluster().filter(|cluster| cluster.is_first()).into_iter().for_each(|cluster| cluster.begin(&job.run_id));
    Ok(())
}

/// Opens a sink, and waits until it is ready.
fn open(sink: &mut dyn Sink, job: &SinkContext, context: &RunContext) -> Result<()> {
    let since = Instant::now();
    while let Opened::NotYet(reason) = sink.open(job)? {
        if since.elapsed() > OPEN_TIMEOUT {
            return Err(Error::failed(reason));
        }
        if context.has_failed() {
            return context.check();
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// The parts of all sinks, by worker and table.
fn parts(tables: &[TableInfo], workers: usize, sinks: &mut JobSinks) -> Result<Vec<Vec<TableParts>>> {
    let mut parts: Vec<Vec<TableParts>> = (0..workers).map(|_| Vec::new()).collect();
    for table in tables {
        parts.iter_mut().for_each(|tables| tables.push(TableParts::default()));
        for sink in sinks.iter_mut() {
            let Some(options) = sink.wants(table) else { continue };
            for (worker, tables) in parts.iter_mut().enumerate() {
                let of_table = tables.last_mut().expect("it was just added");
                of_table.together |= options.together;
                let PartOptions { from, gathered, dictionaries, .. } = options;
                of_table.parts.push(PartOfSink { part: sink.part(table, worker)?, from, gathered, dictionaries });
            }
        }
    }
    Ok(parts)
}

/// A unique name for the run: its start time and process id.
pub(crate) fn new_run_id() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_micros(), std::process::id())
}
