//! What was published last.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic_file::AtomicFile;
use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::model::Day;

use super::settings::ServiceConfig;

/// What was published last: of which epoch, and with which settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) epoch: u64,
    /// As of which day.
    pub(super) as_of: Option<Day>,
    settings: String,
    /// The run that made the tables.
    run_id: String,
}

const NAME: &str = "published.json";

impl Published {
    pub(super) fn new(epoch: u64, config: &ServiceConfig, as_of: Day, run_id: &str) -> Published {
        // On how many workers they were made does not change the tables.
        let job = JobConfig { workers: 1, batch_size: 1, profile: false, ..config.job_as_of(as_of) };
        Published {
            epoch,
            as_of: Some(as_of),
            settings: format!("{:?}", (job, &config.run.output)),
            run_id: run_id.into(),
        }
    }

    /// What a state says; that nothing was published if it says nothing.
    pub(super) fn read(state: &Path) -> Published {
        let text = fs::read_to_string(state.join(NAME)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// True if it is of an epoch, a day and these settings, and still in its place.
    pub(super) fn is_of(&self, epoch: u64, config: &ServiceConfig, as_of: Day) -> bool {
        let output = &config.run.output.path;
        let current = fs::read_link(output.join(".millstream/current")).unwrap_or_default();
        let is_in_place = current.file_name().is_some_and(|run| run == self.run_id.as_str());
        let is_whole = |table: &str| output.join(table).join("_SUCCESS").is_file();
        *self == Published::new(epoch, config, as_of, &self.run_id)
            && is_in_place
            && config.run.job.tables.names().all(is_whole)
    }

    pub(super) fn write(&self, state: &Path) -> Result<()> {
        let content = serde_json::to_vec(self).map_err(Error::failed)?;
        AtomicFile::replace_durably(&state.join(NAME), &content)
    }
}
