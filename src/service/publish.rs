//! Publishing: bringing the tables into the output folder.
//!
//! ```text
//! changes = tables of the epoch − tables of the epoch `since`
//! folder has the tables of `since` (`Published::is_of`) ─▶ the changes are written: it has those of the epoch
//! otherwise                                             ─▶ the tables that differ are made anew from the state
//! ```
//!
//! The second is so at first, after a start with other settings or after a kill, after a failure, if the changes are
//! too many to be kept, and with text files or a model that is trained, whose changes are not kept at all.

use std::sync::Arc;

use crate::crash;
use crate::durable::Snapshot;
use crate::error::Result;
use crate::model::Day;
use crate::runtime::{JobSinks, Progress, new_run_id, run_opened};
use crate::sinks::{GatheredChanges, TableChanges};
use crate::tables::RejectedTable;

use super::copying;
use super::published::{Fingerprints, Published};
use super::settings::ServiceConfig;

/// The tables as they are to be published.
pub(super) struct Publication {
    pub(super) epoch: u64,
    pub(super) as_of: Day,
    pub(super) fingerprints: Fingerprints,
    /// The epoch since which these changes are; `None` if it is not known what has changed.
    pub(super) since: Option<u64>,
    pub(super) changes: GatheredChanges,
}

/// What there is to say if nothing was to be done.
const NOTHING: &str = "no table has changed";

impl Publication {
    /// Publishes; returns what was written. `snapshot` is the state of the epoch.
    ///
    /// # Errors
    ///
    /// If the output folder can't be written, or the state can't be read. The folder is as it was then.
    pub(super) fn publish(self, config: &ServiceConfig, snapshot: &Snapshot) -> Result<String> {
        let done = self.publish_here(config, snapshot)?;
        if let Err(error) = copying::publish(config) {
            // The next publication begins anew, whether or not anything has changed.
            Published::default().write(&config.state)?;
            return Err(error);
        }
        Ok(done)
    }

    fn publish_here(mut self, config: &ServiceConfig, snapshot: &Snapshot) -> Result<String> {
        let former = Published::read(&config.state);
        let is_known = self.since.is_some_and(|since| former.is_of(since, config, self.as_of));
        if is_known && let Some(changes) = std::mem::take(&mut self.changes).net()? {
            match self.update(config, &former, &changes) {
                Ok(done) => return Ok(done),
                Err(error) => tracing::warn!("{error}; the tables are written anew"),
            }
        }
        self.write_anew(config, &former, snapshot)
    }

    /// Writes what has changed.
    fn update(&self, config: &ServiceConfig, former: &Published, changes: &[TableChanges]) -> Result<String> {
        if changes.is_empty() {
            self.published(config, &former.run_id).write(&config.state)?;
            return Ok(NOTHING.to_owned());
        }
        let run_id = new_run_id();
        let update = config.run.output.sink()?.update(&former.run_id, &run_id, changes)?;
        let (tables, written, kept) = (update.tables, update.written.files, update.kept.files);
        crash::point("tables published");
        self.published(config, &run_id).write(&config.state)?;
        Ok(format!("{tables} tables, {written} files written, {kept} kept"))
    }

    /// Writes the tables that differ from those in the folder, and the rejected rows.
    fn write_anew(&self, config: &ServiceConfig, former: &Published, snapshot: &Snapshot) -> Result<String> {
        let tables = &config.run.job.tables;
        let is_there = |table: &&str| former.has(table, config, &self.fingerprints);
        let different: Vec<&str> = tables.names().filter(|table| !is_there(table)).collect();
        if different.is_empty() && is_there(&RejectedTable::NAME) {
            self.published(config, &former.run_id).write(&config.state)?;
            return Ok(NOTHING.to_owned());
        }
        let state = snapshot.read()?;
        let mut job = config.job_as_of(self.as_of);
        job.tables = tables.select(&different)?;
        let report = run_opened(&job, &Arc::new(Progress::default()), || {
            Ok((Arc::new(state.source()?), JobSinks::new(vec![Box::new(config.run.output.sink()?)])))
        })?;
        crash::point("tables published");
        self.published(config, &report.run_id).write(&config.state)?;
        Ok(format!("{} tables, written anew", different.len() + 1))
    }

    fn published(&self, config: &ServiceConfig, run_id: &str) -> Published {
        Published::new(self.epoch, config, self.as_of, run_id, self.fingerprints.clone())
    }
}
