//! The batch job: one epoch, then the end.

use std::sync::Arc;
use std::time::Instant;

use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::model::{AnyId, IntId};
use crate::report::Report;
use crate::sinks::Sink;
use crate::sources::Source;

use super::cluster::Cluster;
use super::commit::{commit_first_epoch, saved_model};
use super::context::{RunContext, open_sinks};
use super::failure::FirstError;
use super::intake::Intake;
use super::job_sinks::JobSinks;
use super::progress::Progress;
use super::waves::WavesOfRun;
use super::worker;

/// Runs the batch job from a source to sinks.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
/// use millstream::config::JobConfig;
/// use millstream::model::Day;
/// use millstream::runtime::{Progress, run_with};
/// use millstream::sinks::MemoryTables;
/// use millstream::sources::BatchSource;
///
/// let ids = |ids: &[i64]| Arc::new(Int64Array::from(ids.to_vec())) as _;
/// let orders = RecordBatch::try_from_iter([
///     ("order_id", ids(&[1, 2])),
///     ("customer_id", ids(&[7, 7])),
///     ("product_id", ids(&[1, 1])),
///     ("order_date", Arc::new(Date32Array::from(vec![19_844, 19_845])) as _),
///     ("quantity", ids(&[2, 1])),
///     ("discount", Arc::new(Float64Array::from(vec![0.0, 0.5])) as _),
/// ])?;
/// let products = RecordBatch::try_from_iter([
///     ("product_id", ids(&[1])),
///     ("price", Arc::new(Float64Array::from(vec![2.5])) as _),
///     ("category", Arc::new(StringArray::from(vec!["Drinks"])) as _),
/// ])?;
/// let customers = RecordBatch::try_from_iter([("customer_id", ids(&[7]))])?;
/// let schemas = [orders.schema(), products.schema(), customers.schema()];
/// let source = BatchSource::new(
///     (&schemas[0], vec![orders]),
///     (&schemas[1], vec![products]),
///     (&schemas[2], vec![customers]),
/// )?;
///
/// let config = JobConfig::new(Day::from_ymd(2024, 12, 31).expect("a day"));
/// let tables = MemoryTables::of(&["daily_sales"]);
/// let report = run_with(&config, Arc::new(source), vec![Box::new(tables.clone())], &Arc::new(Progress::default()))?;
/// assert_eq!(report.inputs.iter().map(|table| table.read).sum::<u64>(), 4);
/// assert_eq!(tables.read("daily_sales")?.1.num_rows(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// If the config is invalid, the input can't be used, a sink can't take the tables or commit them, or the run is
/// cancelled. Unless a commit fails, no sink has committed anything then.
pub fn run_with(
    config: &JobConfig,
    source: Arc<dyn Source>,
    sinks: Vec<Box<dyn Sink>>,
    progress: &Arc<Progress>,
) -> Result<Report> {
    let mut sinks = JobSinks::new(sinks);
    let done = run_opened(config, progress, || Ok((source, std::mem::take(&mut sinks))));
    // These are left if the run ended before it took them.
    sinks.end(done)
}

/// Where a run's rows come from, and where its tables go.
pub(crate) type SourceAndSinks = (Arc<dyn Source>, JobSinks);

/// As [`run_with`]. The source and the sinks are opened once all processes have joined, so that an error of one ends
/// the run in all of them.
pub(crate) fn run_opened(
    config: &JobConfig,
    progress: &Arc<Progress>,
    open: impl FnOnce() -> Result<SourceAndSinks>,
) -> Result<Report> {
    let started = Instant::now();
    config.validate()?;
    let failure = Arc::default();
    let Some(several) = config.cluster.as_ref().filter(|cluster| cluster.hosts.len() > 1) else {
        return run_process(config, None, &failure, progress, started, open);
    };
    let cluster = Arc::new(Cluster::join(config, several, &failure, progress)?);
    let done = run_process(config, Some(&cluster), &failure, progress, started, open);
    cluster.leave(done)
}

/// Runs the job, or one process's share of it.
fn run_process(
    config: &JobConfig,
    cluster: Option<&Arc<Cluster>>,
    failure: &Arc<FirstError>,
    progress: &Arc<Progress>,
    started: Instant,
    open: impl FnOnce() -> Result<SourceAndSinks>,
) -> Result<Report> {
    let (source, mut sinks) = open()?;
    let done = run_to_sinks(config, cluster, failure, progress, started, source, &mut sinks);
    sinks.end(done)
}

fn run_to_sinks(
    config: &JobConfig,
    cluster: Option<&Arc<Cluster>>,
    failure: &Arc<FirstError>,
    progress: &Arc<Progress>,
    started: Instant,
    source: Arc<dyn Source>,
    sinks: &mut JobSinks,
) -> Result<Report> {
    let intake = Intake::new(source, config, progress)?;
    let mut context = RunContext::new(config, intake, cluster, failure)?;
    context.waves = WavesOfRun::of(config);
    open_sinks(&mut context, config, sinks)?;
    context.waves.iter().try_for_each(|waves| waves.check())?;
    let model = saved_model(config, &context, sinks)?;
    let context = Arc::new(context);
    let guards = match context.intake.has_text_ids() {
        true => worker::start::<AnyId>(config, &context, worker::finish)?,
        false => worker::start::<IntId>(config, &context, worker::finish)?,
    };
    let results = guards.join();
    context.check()?;
    let panicked = |panic| Error::failed(format!("internal error: {panic}"));
    results.into_iter().collect::<Result<Vec<()>, _>>().map_err(panicked)?;
    commit_first_epoch(config, &context, sinks, model, started)
}
