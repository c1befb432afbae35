//! Commits: an epoch that is sealed on all workers is persisted and made visible.

use std::time::Instant;

use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::model::Epoch;
use crate::report::{ProcessShare, Report, check_share};
use crate::sinks::TableReport;

use super::cluster::Cluster;
use super::context::RunContext;
use super::job_sinks::JobSinks;
use super::rejections::check_most;
use super::saved_model::SavedModel;

/// Commits the first epoch in all sinks, or has process 0 do so, and returns its report.
pub(super) fn commit_first_epoch(
    config: &JobConfig,
    context: &RunContext,
    sinks: &mut JobSinks,
    model: Option<SavedModel>,
    started: Instant,
) -> Result<Report> {
    // Report the first failure.
    let written = prepare(context, sinks, 0).or_else(|error| context.check().and(Err(error)))?;
    let mut share = ProcessShare { report: context.report(config), written, rejected: context.rejections.rows() };
    if let Some(cluster) = context.cluster() {
        if !cluster.is_first() {
            return cluster.hand_over(share);
        }
        cluster.gather()?.into_iter().for_each(|other| share.add(other));
        check_most(config.max_rejected, share.rejected, &share.report.rejections)?;
    }
    check_share(config.max_rejected_share, &share.report.inputs, &share.report.rejections)?;
    context.intake.progress().enter_publishing()?;
    let model = model.map(|saved| stage(saved, context)).transpose()?;
    let ProcessShare { mut report, mut written, .. } = share;
    if let Err(error) = commit(sinks, 0, &mut written) {
        // A sink may have committed the run all the same.
        if has_committed(sinks, context.run_id()) {
            model.into_iter().for_each(SavedModel::leave);
        }
        return Err(error);
    }
    model.into_iter().try_for_each(SavedModel::put_in_place)?;
    report.tables = written.into_iter().flatten().collect();
    report.seconds = started.elapsed().as_secs_f64();
    context.cluster().into_iter().for_each(|cluster| cluster.announce(&report));
    Ok(report)
}

/// Prepares to save the model, if the job saves one and this process is the first. The sinks are open.
pub(super) fn saved_model(
    config: &JobConfig,
    context: &RunContext,
    sinks: &mut JobSinks,
) -> Result<Option<SavedModel>> {
    let path = config.anomaly.save_model.as_ref();
    let path = path.filter(|_| context.cluster().is_none_or(Cluster::is_first));
    path.map(|path| SavedModel::open(path, context.run_id(), |run| has_committed(sinks, run))).transpose()
}

fn has_committed(sinks: &mut JobSinks, run: &str) -> bool {
    sinks.iter_mut().any(|sink| sink.has_committed(run))
}

fn stage(mut saved: SavedModel, context: &RunContext) -> Result<SavedModel> {
    let model =
        context.model().ok_or_else(|| Error::failed("save_model: no model was trained: no order has a price"))?;
    saved.stage(&model)?;
    Ok(saved)
}

/// Persists an epoch in all sinks; returns the sizes of the tables of each sink.
pub(super) fn prepare(context: &RunContext, sinks: &mut JobSinks, epoch: Epoch) -> Result<Vec<Vec<TableReport>>> {
    context.rejections.check()?;
    let is_cancelled = || context.has_failed();
    sinks.iter_mut().map(|sink| sink.prepare(epoch, &is_cancelled)).collect()
}

/// Makes an epoch visible in all sinks, one after the other.
pub(super) fn commit(sinks: &mut JobSinks, epoch: Epoch, written: &mut [Vec<TableReport>]) -> Result<()> {
    sinks.iter_mut().zip(written).try_for_each(|(sink, written)| sink.commit(epoch, written))
}
