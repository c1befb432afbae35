//! Workers, epochs and the order of things: the one place that knows threads, time and when something is finished.
//!
//! ```text
//! source ─ splits ─▶ worker: decode, step ─▶ dataflow ─▶ ends of tables ─▶ parts of sinks ─┐
//!                    (each worker the same)                                               ├─▶ prepare ─▶ commit
//!                                                          all workers have sealed ───────┘
//! ```
//!
//! The first epoch is what the source has. A *run* closes its inputs after it, so operators hand their state on instead of keeping
//! it. A *live* job keeps them open: each set of changes is one more epoch.

mod cluster;
mod context;
mod dataflow;
mod ends;
mod failure;
mod intake;
mod live;
mod probe;
mod profile;
mod progress;
mod rejections;
mod worker;

use std::sync::Arc;
use std::time::Instant;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::model::{AnyId, IntId};
use crate::report::Report;
use crate::sinks::folder::FolderSink;
use crate::sinks::{Sink, TableReport};
use crate::sources::{FileSource, Source};
use crate::tables::RejectedTable;

use cluster::Cluster;
use context::{RunContext, open_sinks};
use failure::FirstError;
use intake::Intake;
pub use live::Live;
pub use progress::{Phase, Progress};

/// Runs the batch job: reads the input folder, makes the tables that are asked for, and puts them into the output folder.
///
/// # Errors
///
/// If the input can't be used, which is found before anything is written, or something can't be written; the tables of
/// earlier runs are then still there.
pub fn run(config: &RunConfig, progress: &Arc<Progress>) -> Result<Report> {
    run_in_cluster(config, progress, |config| {
        let source = FileSource::open(&config.input.path, &config.input.renames)?;
        Ok((Arc::new(source), vec![Box::new(folder_sink(config))]))
    })
}

/// Runs the batch job from a source of the caller's to sinks of the caller's; the input and output folder of the config are not used.
///
/// # Errors
///
/// As [`run`], and those of the source and the sinks.
pub fn run_with(
    config: &RunConfig,
    source: Arc<dyn Source>,
    sinks: Vec<Box<dyn Sink>>,
    progress: &Arc<Progress>,
) -> Result<Report> {
    run_in_cluster(config, progress, |_| Ok((source, sinks)))
}

/// The sink of a run's output folder.
#[must_use]
pub fn folder_sink(config: &RunConfig) -> FolderSink {
    FolderSink::new(&config.output, config.file_format).placing("enriched_data", config.placing.clone())
}

/// Where a run's rows come from, and where its tables go.
type SourceAndSinks = (Arc<dyn Source>, Vec<Box<dyn Sink>>);

fn run_in_cluster(
    config: &RunConfig,
    progress: &Arc<Progress>,
    open: impl FnOnce(&RunConfig) -> Result<SourceAndSinks>,
) -> Result<Report> {
    let started = Instant::now();
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
    config: &RunConfig,
    cluster: Option<&Arc<Cluster>>,
    failure: &Arc<FirstError>,
    progress: &Arc<Progress>,
    started: Instant,
    open: impl FnOnce(&RunConfig) -> Result<SourceAndSinks>,
) -> Result<Report> {
    let (source, mut sinks) = open(config)?;
    let intake = Intake::new(source, &config.input, config.max_rejected, progress)?;
    let mut context = RunContext::new(config, intake, cluster, failure)?;
    open_sinks(&mut context, config, &mut sinks)?;
    let context = Arc::new(context);
    let guards = match context.intake.has_text_ids() {
        true => worker::start::<AnyId>(config, &context, None)?,
        false => worker::start::<IntId>(config, &context, None)?,
    };
    let results = guards.join();
    context.check()?;
    let panicked = |panic| Error::failed(format!("internal error: {panic}"));
    results.into_iter().collect::<Result<Vec<()>, _>>().map_err(panicked)?;
    commit_first_epoch(config, &context, &mut sinks, started)
}

/// Commits the first epoch in all sinks, or has process 0 do so, and says what it came to.
fn commit_first_epoch(
    config: &RunConfig,
    context: &RunContext,
    sinks: &mut [Box<dyn Sink>],
    started: Instant,
) -> Result<Report> {
    // What failed first is what there is to say.
    let tables = prepare(context, sinks, 0).or_else(|error| context.check().and(Err(error)))?;
    let mut report = context.report(config, tables);
    if let Some(cluster) = context.cluster() {
        if !cluster.is_first() {
            return cluster.hand_over(report);
        }
        cluster.gather()?.iter().for_each(|share| report.add(share));
        context.rejections.check_total(report.rejected())?;
    }
    context.intake.progress().enter(Phase::Publishing);
    if let Some(path) = &config.anomaly.save_model {
        let none = || Error::failed("save_model: there is no model, for no order has a price to train one on");
        context.model().ok_or_else(none)?.save(path)?;
    }
    sinks.iter_mut().try_for_each(|sink| sink.commit(0, &mut report.tables))?;
    report.seconds = started.elapsed().as_secs_f64();
    context.cluster().into_iter().for_each(|cluster| cluster.announce(&report));
    Ok(report)
}

/// Makes an epoch durable in all sinks.
fn prepare(context: &RunContext, sinks: &mut [Box<dyn Sink>], epoch: u64) -> Result<Vec<TableReport>> {
    let is_cancelled = || context.has_failed();
    let mut tables: Vec<TableReport> = Vec::new();
    for sink in sinks {
        tables.extend(sink.prepare(epoch, &is_cancelled)?);
    }
    // The rejected rows come last, as they are the last table that is made.
    tables.sort_by_key(|table| table.name == RejectedTable::NAME);
    Ok(tables)
}
