//! What can be done with the state of a service that has stopped.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

use crate::durable::{Compaction, Disk, Durability, RealDisk, Snapshot, State};
use crate::error::{Error, Result};
use crate::model::Rejection;
use crate::sources::{RowDecoder, Source};

use super::lock::StateLock;
use super::settings::ServiceConfig;

/// How many rows are read at a time.
const BATCH_ROWS: usize = 10_000;

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

/// Calls a function with each rejected row of a service that has stopped.
///
/// # Errors
///
/// If the service is running, there is no state, or it is damaged; and those of the function.
pub fn each_rejected(config: &ServiceConfig, mut row: impl FnMut(&Rejection) -> Result<()>) -> Result<()> {
    let (_lock, state) = open(config)?;
    let source = state.source()?;
    let mut decoders = BTreeMap::new();
    for split in source.splits() {
        let decoder = match decoders.entry(split.table) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(RowDecoder::of(&source, split.table, config.run.job.conversion())?),
        };
        for batch in source.read(&split, BATCH_ROWS)? {
            decoder.rejections(&batch?)?.iter().try_for_each(&mut row)?;
        }
    }
    Ok(())
}

/// Forgets the rejected rows of a service that has stopped.
///
/// # Errors
///
/// If the service is running, there is no state, it is damaged, or it can't be written.
pub fn drop_rejected(config: &ServiceConfig) -> Result<()> {
    let (_lock, state) = open(config)?;
    let mut log = state.log(Durability::Fsync);
    let snapshot = Snapshot::of(&mut log)?.read()?;
    Compaction::of(&log).without_unusable().run(&snapshot, &config.run.job.conversion())
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
