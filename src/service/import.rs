//! The first start: what the input folder has becomes the first epoch of the log.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::atomic_file::AtomicFile;
use crate::durable::{Commit, Disk, Durability, LogWriter, State};
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::runtime::Progress;
use crate::sources::{Conversion, RowDecoder, Source, Split};

use super::copying;
use super::first_input::FirstInput;
use super::made_by::MadeBy;
use super::offsets::now_ms;
use super::settings::ServiceConfig;

/// Makes a state of the input folder, and of the tables of the database that is followed.
///
/// # Errors
///
/// If a table is missing, a file can't be read, or the state can't be written. The next start begins anew then.
pub(super) fn import(config: &ServiceConfig, disk: &Arc<dyn Disk>, progress: &Progress) -> Result<State> {
    copying::fetch_input(config, progress)?;
    let source = FirstInput::open(config, progress)?;
    let schemas: Vec<_> = InputTable::ALL.iter().map(|table| source.schema(*table).clone().with_operations()).collect();
    ImportSettings::of(config).write(&config.state)?;
    let state = State::create(disk, &config.state, schemas.iter())?;
    // What is imported is read back from the file.
    let durability = if config.durability == Durability::None { Durability::Os } else { config.durability };
    let log = Mutex::new(state.log(durability));
    let conversion = config.run.job.conversion();
    let (splits, next) = (source.splits(), AtomicUsize::new(0));
    let work = || {
        while let Some(split) = splits.get(next.fetch_add(1, Ordering::Relaxed)) {
            copy(&source, split, &state, &log, config.run.job.batch_size, &conversion, progress)?;
        }
        Ok::<_, Error>(())
    };
    let copied = thread::scope(|scope| {
        let threads: Vec<_> = (0..config.run.job.workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("reading does not panic"))
    });
    copied?;
    let mut log = log.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut offsets = source.offsets(&config.run.input.path)?;
    if config.is_followed() {
        offsets.extend([MadeBy::new(config, config.today(), &state).offset()]);
    }
    log.commit(&Commit { epoch: 1, time_ms: now_ms(), offsets, ..Commit::default() })?;
    log.sync()?;
    drop(log);
    State::open(disk, &config.state)?.ok_or_else(|| Error::failed("internal error: the state is gone"))
}

/// What of the configuration is part of a state: from which columns its rows were read.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ImportSettings {
    columns: String,
    version: String,
}

impl ImportSettings {
    const NAME: &str = "columns.json";

    fn of(config: &ServiceConfig) -> ImportSettings {
        let [(_, columns), (_, version), ..] = config.run.input.facts();
        ImportSettings { columns, version }
    }

    fn write(&self, state: &Path) -> Result<()> {
        let content = serde_json::to_vec(self).map_err(Error::failed)?;
        AtomicFile::replace_durably(&state.join(Self::NAME), &content)
    }

    /// Checks that a state was made with the columns of a configuration.
    ///
    /// # Errors
    ///
    /// If it was made with others.
    pub(super) fn check(config: &ServiceConfig) -> Result<()> {
        let path = config.state.join(Self::NAME);
        let text = fs::read(&path).map_err(Error::reading(&path))?;
        let made: ImportSettings = serde_json::from_slice(&text).map_err(Error::reading(&path))?;
        let ImportSettings { columns, version } = ImportSettings::of(config);
        for (key, made, found) in [("columns", made.columns, columns), ("version", made.version, version)] {
            if made != found {
                let state = config.state.display();
                return Err(Error::usage(format!(
                    "{key}: found {found}, but the rows of {state} were read with {made}; wanted the same, or another \
                     state"
                )));
            }
        }
        Ok(())
    }
}

/// Copies the rows of a split to the log.
fn copy(
    source: &dyn Source,
    split: &Split,
    state: &State,
    log: &Mutex<LogWriter>,
    batch_size: usize,
    conversion: &Conversion,
    progress: &Progress,
) -> Result<()> {
    let schema = state.schema(split.table);
    let decoder = RowDecoder::of(source, split.table, conversion.clone())?;
    for batch in source.read(split, batch_size)? {
        progress.check_not_stopped()?;
        let frame = LogWriter::encode(schema, &decoder.settled(batch?)?)?;
        log.lock().unwrap_or_else(PoisonError::into_inner).frame(&frame)?;
    }
    Ok(())
}
