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
    let model = SavedModel::save(config, context)?;
    let ProcessShare { mut report, mut written, .. } = share;
    commit(sinks, 0, &mut written)?;
    model.into_iter().for_each(SavedModel::keep);
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

/// A model that was saved before the tables are committed. Unless it is kept, the former one comes back.
struct SavedModel {
    path: PathBuf,
    /// A copy of the former file, if there was one.
    former: Option<PathBuf>,
    is_kept: bool,
}

impl SavedModel {
    fn save(config: &JobConfig, context: &RunContext) -> Result<Option<SavedModel>> {
        let Some(path) = config.anomaly.save_model.clone() else { return Ok(None) };
        let none = || Error::failed("save_model: no model was trained: no order has a price");
        let model = context.model().ok_or_else(none)?;
        let mut saved = SavedModel { former: None, is_kept: true, path };
        if saved.path.exists() {
            let mut copy = saved.path.clone().into_os_string();
            copy.push(".former");
            let copy = saved.former.insert(copy.into());
            let synced = fs::copy(&saved.path, &*copy).and_then(|_| fs::File::open(&*copy)?.sync_all());
            synced.map_err(Error::writing(copy))?;
        }
        model.save(&saved.path)?;
        saved.is_kept = false;
        Ok(Some(saved))
    }

    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for SavedModel {
    fn drop(&mut self) {
        let _ = match &self.former {
            Some(former) if self.is_kept => fs::remove_file(former),
            Some(former) => fs::rename(former, &self.path),
            None if self.is_kept => Ok(()),
            None => fs::remove_file(&self.path),
        };
    }
}
