//! What was published last.

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
}

const NAME: &str = "published.json";

impl Published {
    pub(super) fn new(epoch: u64, config: &ServiceConfig, as_of: Day) -> Published {
        // On how many workers they were made does not change the tables.
        let job = JobConfig { workers: 1, batch_size: 1, profile: false, ..config.job_as_of(as_of) };
        Published { epoch, as_of: Some(as_of), settings: format!("{:?}", (job, &config.run.output)) }
    }

    /// What a state says; that nothing was published if it says nothing.
    pub(super) fn read(state: &Path) -> Published {
        let text = std::fs::read_to_string(state.join(NAME)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub(super) fn is_of(&self, epoch: u64, config: &ServiceConfig, as_of: Day) -> bool {
        *self == Published::new(epoch, config, as_of)
    }

    pub(super) fn write(&self, state: &Path) -> Result<()> {
        let path = state.join(NAME);
        AtomicFile::clean_up(&path)?;
        let mut file = AtomicFile::replacing(&path)?;
        file.write(&serde_json::to_vec(self).map_err(Error::failed)?)?;
        file.sync()?;
        file.put_durably()
    }
}
