//! How an epoch that all workers have handed over becomes visible.

use std::time::Instant;

use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::model::Epoch;
use crate::report::Report;
use crate::sinks::{Sink, TableReport};
use crate::tables::RejectedTable;

use super::context::RunContext;
use super::progress::Phase;

/// Commits the first epoch in all sinks, or has process 0 do so, and returns its report.
pub(super) fn commit_first_epoch(
    config: &JobConfig,
    context: &RunContext,
    sinks: &mut [Box<dyn Sink>],
    started: Instant,
) -> Result<Report> {
    // Report the first failure.
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
        let none = || Error::failed("save_model: no model was trained: no order has a price");
        context.model().ok_or_else(none)?.save(path)?;
    }
    sinks.iter_mut().try_for_each(|sink| sink.commit(0, &mut report.tables))?;
    report.seconds = started.elapsed().as_secs_f64();
    context.cluster().into_iter().for_each(|cluster| cluster.announce(&report));
    Ok(report)
}

/// Makes an epoch durable in all sinks.
pub(super) fn prepare(context: &RunContext, sinks: &mut [Box<dyn Sink>], epoch: Epoch) -> Result<Vec<TableReport>> {
    let is_cancelled = || context.has_failed();
    let mut tables: Vec<TableReport> = Vec::new();
    for sink in sinks {
        tables.extend(sink.prepare(epoch, &is_cancelled)?);
    }
    // The rejected rows come last, as they are the last table that is made.
    tables.sort_by_key(|table| table.name == RejectedTable::NAME);
    Ok(tables)
}
