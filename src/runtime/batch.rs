//! The batch job: one epoch, then the end.

use std::sync::Arc;
use std::time::Instant;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::model::{AnyId, IntId};
use crate::report::Report;
use crate::sinks::Sink;
use crate::sinks::folder::FolderSink;
use crate::sources::{FileSource, Source};

use super::cluster::Cluster;
use super::commit::commit_first_epoch;
use super::context::{RunContext, open_sinks};
use super::failure::FirstError;
use super::intake::Intake;
use super::job_sinks::JobSinks;
use super::progress::Progress;
use super::worker;

/// Runs the batch job: reads the input folder, makes the tables that are asked for, and puts them into the output folder.
///
/// # Errors
///
/// If the input can't be used, which is found before anything is written, or something can't be written; the tables of
/// earlier runs are then still there.
pub fn run(config: &RunConfig, progress: &Arc<Progress>) -> Result<Report> {
    run_in_cluster(config, progress, |config| {
        let source = FileSource::open(&config.input.path, &config.input.renames)?;
        Ok((Arc::new(source), JobSinks::new(vec![Box::new(folder_sink(config))])))
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
    let sinks = JobSinks::new(sinks);
    run_in_cluster(config, progress, |_| Ok((source, sinks)))
}

/// The sink of a run's output folder.
#[must_use]
pub fn folder_sink(config: &RunConfig) -> FolderSink {
    FolderSink::new(&config.output, config.file_format).placing("enriched_data", config.placing.clone())
}

/// Where a run's rows come from, and where its tables go.
type SourceAndSinks = (Arc<dyn Source>, JobSinks);

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
    let done = run_to_sinks(config, cluster, failure, progress, started, source, &mut sinks);
    sinks.end(done)
}

fn run_to_sinks(
    config: &RunConfig,
    cluster: Option<&Arc<Cluster>>,
    failure: &Arc<FirstError>,
    progress: &Arc<Progress>,
    started: Instant,
    source: Arc<dyn Source>,
    sinks: &mut JobSinks,
) -> Result<Report> {
    let intake = Intake::new(source, &config.input, config.max_rejected, progress)?;
    let mut context = RunContext::new(config, intake, cluster, failure)?;
    open_sinks(&mut context, config, sinks)?;
    let context = Arc::new(context);
    let guards = match context.intake.has_text_ids() {
        true => worker::start::<AnyId>(config, &context, worker::finish)?,
        false => worker::start::<IntId>(config, &context, worker::finish)?,
    };
    let results = guards.join();
    context.check()?;
    let panicked = |panic| Error::failed(format!("internal error: {panic}"));
    results.into_iter().collect::<Result<Vec<()>, _>>().map_err(panicked)?;
    commit_first_epoch(config, &context, sinks, started)
}
