//! What can be done with the state of a service that has stopped.

use std::path::Path;
use std::sync::Arc;

use crate::durable::{Disk, RealDisk, State};
use crate::error::{Error, Result};

use super::lock::StateLock;
use super::settings::ServiceConfig;

/// Checks that no service has the state.
///
/// # Errors
///
/// If one has; the message names it.
pub fn check_not_running(config: &ServiceConfig) -> Result<()> {
    StateLock::take(&config.state).map(drop)
}

/// Opens the state of a service that has stopped, and keeps others from it.
pub(super) fn open(config: &ServiceConfig) -> Result<(StateLock, State)> {
    let missing = || Error::usage(format!("{}: there is no state", config.state.display()));
    if !config.state.is_dir() {
        return Err(missing());
    }
    let lock = StateLock::take(&config.state)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let state = State::open(&disk, &config.state)?.ok_or_else(missing)?;
    Ok((lock, state))
}

/// Writes the current rows of a service that has stopped as an input folder: a folder of Parquet files for each table.
///
/// # Errors
///
/// If the service is running, there is no state, it is damaged, or the folder is not empty or can't be written.
pub fn export(config: &ServiceConfig, folder: &Path) -> Result<()> {
    let (_lock, state) = open(config)?;
    state.export(folder, &config.run.job.conversion())
}
