//! Commits: an epoch that is sealed on all workers is persisted and made visible.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::model::Epoch;
use crate::report::{ProcessShare, Report};
use crate::sinks::TableReport;

use super::context::RunContext;
use super::job_sinks::JobSinks;
use super::progress::Phase;

/// Commits the first epoch in all sinks, or has process 0 do so, and returns its report.
pub(super) fn commit_first_epoch(
    config: &JobConfig,
    context: &RunContext,
    sinks: &mut JobSinks,
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
        context.rejections.check_total(share.rejected)?;
    }
    context.intake.progress().enter(Phase::Publishing);
    let model = StagedModel::save(config, context)?;
    let ProcessShare { mut report, mut written, .. } = share;
    commit(sinks, 0, &mut written)?;
    model.map_or(Ok(()), StagedModel::publish)?;
    report.tables = written.into_iter().flatten().collect();
    report.seconds = started.elapsed().as_secs_f64();
    context.cluster().into_iter().for_each(|cluster| cluster.announce(&report));
    Ok(report)
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

/// A model that is saved beside its place before the tables are committed, and moved there afterwards.
struct StagedModel {
    staged: PathBuf,
    path: PathBuf,
}

impl StagedModel {
    fn save(config: &JobConfig, context: &RunContext) -> Result<Option<StagedModel>> {
        let Some(path) = config.anomaly.save_model.clone() else { return Ok(None) };
        let none = || Error::failed("save_model: no model was trained: no order has a price");
        let model = context.model().ok_or_else(none)?;
        let mut staged = path.clone().into_os_string();
        staged.push(".staged");
        let staged = StagedModel { staged: staged.into(), path };
        model.save(&staged.staged)?;
        Ok(Some(staged))
    }

    fn publish(self) -> Result<()> {
        fs::rename(&self.staged, &self.path).map_err(Error::writing(&self.path))
    }
}

/// If the tables can't be committed, the former model stays.
impl Drop for StagedModel {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.staged);
    }
}
