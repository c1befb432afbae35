//! Verifying: recomputing all tables from the state, and comparing them with those that there are.

use std::sync::Arc;

use crate::durable::State;
use crate::error::{Error, Result};
use crate::model::Day;
use crate::runtime::{JobSinks, Progress, run_opened, run_with};
use crate::sinks::Checksums;
use crate::tables::RejectedTable;

use super::compare::compare;
use super::published::{Fingerprints, Published};
use super::settings::ServiceConfig;
use super::state_commands;

/// Recomputes all tables of a state, and compares them with the live ones.
///
/// # Errors
///
/// If a table differs; the message names it.
pub(super) fn compare_live(config: &ServiceConfig, state: &State, as_of: Day, live: &Fingerprints) -> Result<()> {
    let sums = Checksums::new();
    let sinks = vec![Box::new(sums.clone()) as _];
    run_with(&config.job_as_of(as_of), Arc::new(state.source()?), sinks, &Arc::new(Progress::default()))?;
    let differs = |(table, live): &(&String, &String)| sums.fingerprint(table).as_ref() != Some(*live);
    let different: Vec<_> = live.iter().filter(differs).map(|(table, _)| table.as_str()).collect();
    match different.is_empty() {
        true => Ok(()),
        false => Err(Error::failed(format!("tables differ from what is recomputed: {}", different.join(", ")))),
    }
}

/// Recomputes all tables of a stopped service, and compares them row by row with the published ones. Returns what to
/// tell.
///
/// # Errors
///
/// If the service is running, the state is damaged, its last epoch was not published, or a table differs; the message
/// has the rows.
pub fn verify(config: &ServiceConfig) -> Result<String> {
    let (_lock, state) = state_commands::open(config)?;
    let (epoch, published) = (state.epoch(), Published::read(&config.state));
    let as_of = published.as_of.unwrap_or_else(|| config.today());
    if !published.is_of(epoch, config, as_of) {
        return Err(Error::unusable(format!(
            "the state is of epoch {epoch}; published was epoch {}, or with other settings, or something else has \
             published since: start the service and stop it, then verify",
            published.epoch
        )));
    }
    let recomputed = config.state.join("recomputed");
    let mut output = config.run.output.clone();
    output.path.clone_from(&recomputed);
    let sink = || Ok((Arc::new(state.source()?) as _, JobSinks::new(vec![Box::new(output.sink()?)])));
    run_opened(&config.job_as_of(as_of), &Arc::new(Progress::default()), sink)?;
    let tables: Vec<_> = config.run.job.tables.names().chain([RejectedTable::NAME]).collect();
    let different = tables.iter().map(|table| compare(&config.run.output.path, &recomputed, table));
    let different = different.collect::<Result<Vec<_>>>();
    let _ = std::fs::remove_dir_all(&recomputed);
    let different = different?.concat();
    match different.is_empty() {
        true => Ok(format!("epoch {epoch}: {} tables are what is recomputed from the accepted rows", tables.len())),
        false => Err(Error::unusable(format!("epoch {epoch}: rows differ\n{}", different.join("\n")))),
    }
}
