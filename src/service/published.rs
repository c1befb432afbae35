//! What was published last.

use std::collections::BTreeMap;
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
#[serde(default)]
pub(super) struct Published {
    pub(super) epoch: u64,
    /// As of which day.
    pub(super) as_of: Option<Day>,
    /// The settings of the job.
    job: String,
    /// The settings of the files.
    output: String,
    /// The run that made the version of the output folder.
    pub(super) run_id: String,
    /// What each table has, as [`Checksums`](crate::sinks::Checksums) tell it; those of which it is not known are left
    /// out.
    fingerprints: Fingerprints,
}

/// What tables have: equal tables have equal ones.
pub(super) type Fingerprints = BTreeMap<String, String>;

const NAME: &str = "published.json";

impl Published {
    pub(super) fn new(
        epoch: u64,
        config: &ServiceConfig,
        as_of: Day,
        run_id: &str,
        fingerprints: Fingerprints,
    ) -> Published {
        // On how many workers they were made does not change the tables.
        let job = JobConfig { workers: 1, batch_size: 1, profile: false, ..config.job_as_of(as_of) };
        let (job, output) = (format!("{job:?}"), format!("{:?}", config.run.output));
        Published { epoch, as_of: Some(as_of), job, output, run_id: run_id.into(), fingerprints }
    }

    /// What a state says; that nothing was published if it says nothing.
    pub(super) fn read(state: &Path) -> Published {
        let text = fs::read_to_string(state.join(NAME)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// True if it is of an epoch, a day and these settings, and still in its place.
    pub(super) fn is_of(&self, epoch: u64, config: &ServiceConfig, as_of: Day) -> bool {
        let wanted = Published::new(epoch, config, as_of, &self.run_id, self.fingerprints.clone());
        *self == wanted
            && self.is_in_place(config)
            && config.run.job.tables.names().all(|table| is_whole(config, table))
    }

    /// True if the output folder has a table in its place, as these fingerprints tell it.
    pub(super) fn has(&self, table: &str, config: &ServiceConfig, fingerprints: &Fingerprints) -> bool {
        let fingerprint = self.fingerprints.get(table);
        fingerprint.is_some()
            && fingerprint == fingerprints.get(table)
            && self.output == format!("{:?}", config.run.output)
            && self.is_in_place(config)
            && is_whole(config, table)
    }

    /// True if the current version of the output folder is still this one.
    fn is_in_place(&self, config: &ServiceConfig) -> bool {
        let current = fs::read_link(config.run.output.path.join(".millstream/current")).unwrap_or_default();
        current.file_name().is_some_and(|run| run == self.run_id.as_str())
    }

    pub(super) fn write(&self, state: &Path) -> Result<()> {
        let content = serde_json::to_vec(self).map_err(Error::failed)?;
        AtomicFile::replace_durably(&state.join(NAME), &content)
    }
}

fn is_whole(config: &ServiceConfig, table: &str) -> bool {
    config.run.output.path.join(table).join("_SUCCESS").is_file()
}
