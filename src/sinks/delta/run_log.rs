//! The log of a table that a run has written: a commit that replaces all files of the run before.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::json;

use crate::error::{Error, Result};
use crate::sinks::delivery_status::now_ms;
use crate::sinks::sink::TableInfo;

use super::columns::{delta_columns, delta_rows};
use super::log::{AddedFile, CommitOutcome, LogEngine, SINK, TableCommit, TableLog};
use super::settings::DeltaMode;
use super::store::LakeStore;

/// Runs own their tables under this name.
const RUN: &str = "run";
const LOG: &str = "_delta_log";
/// A checkpoint is written after so many runs.
const CHECKPOINT_EVERY: u64 = 10;

/// A table as a run writes it in the format of Delta.
///
/// # Errors
///
/// If a name can't be that of a column there.
pub(crate) fn delta_table(table: &TableInfo) -> Result<TableInfo> {
    let named = |error: Error| Error::new(error.kind(), format!("table {}: {error}", table.name));
    Ok(TableInfo { schema: delta_columns(&table.schema).map_err(named)?, ..table.clone() })
}

/// Rows of such a table.
pub(crate) fn rows_for_run(rows: &RecordBatch, table: &TableInfo) -> Result<RecordBatch> {
    delta_rows(rows, &table.schema)
}

/// Writes the log of a staged table: that of the version before, and a commit with the files that are staged.
///
/// # Errors
///
/// If it can't be written, or the log of the version before is another one's.
pub(crate) fn log_version(table: &TableInfo, staged: &Path, former: Option<&Path>) -> Result<()> {
    let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", staged.display()));
    log_files(table, staged, former).map_err(named)
}

fn log_files(table: &TableInfo, staged: &Path, former: Option<&Path>) -> Result<()> {
    let added = added(staged)?;
    let folder = staged.parent().ok_or_else(|| Error::failed("internal error: a table without a folder"))?;
    let store = LakeStore::open(folder)?;
    let engine = LogEngine::new(Arc::clone(&store.store))?;
    if let Some(former) = former.map(|former| former.join(LOG)).filter(|log| log.is_dir()) {
        copy_log(&former, &store, &table.name)?;
    }
    let (url, columns) = (store.url_of(&table.name)?, Arc::clone(&table.schema));
    let mut log = match TableLog::load(&engine, url.clone(), Arc::clone(&columns))? {
        Some(log) => log,
        None => {
            let description = DeltaMode::Rows.description(&table.name);
            TableLog::create(&engine, url, columns, &description, &[(SINK, RUN.to_owned())])?
        }
    };
    log.check_owner(RUN)?;
    let removed = log.files()?;
    only_us(log.commit(&TableCommit { added, removed, ..TableCommit::default() })?)?;
    if log.version() % CHECKPOINT_EVERY == 0 {
        log.checkpoint()?;
    }
    Ok(())
}

/// Copies the log of the version before, from its newest checkpoint on: nobody reads former versions, whose files are
/// gone after two runs.
fn copy_log(former: &Path, store: &LakeStore, table: &str) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(former).map_err(Error::reading(former))? {
        let path = entry.map_err(Error::reading(former))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.extend(path.is_file().then_some((name, path)));
    }
    let version = |name: &str| name.split('.').next()?.parse::<u64>().ok();
    let checkpoints = files.iter().filter(|(name, _)| name.contains(".checkpoint."));
    let from = checkpoints.filter_map(|(name, _)| version(name)).max().unwrap_or(0);
    for (name, path) in files.iter().filter(|(name, _)| version(name).is_none_or(|version| version >= from)) {
        let bytes = fs::read(path).map_err(Error::reading(path))?;
        store.put(&format!("{table}/{LOG}/{name}"), bytes)?;
    }
    Ok(())
}

fn only_us(outcome: CommitOutcome) -> Result<()> {
    match outcome {
        CommitOutcome::Committed => Ok(()),
        CommitOutcome::Conflict => Err(Error::failed("something else writes to its log")),
    }
}

/// The staged files.
fn added(staged: &Path) -> Result<Vec<AddedFile>> {
    let mut added = Vec::new();
    for entry in fs::read_dir(staged).map_err(Error::reading(staged))? {
        let path: PathBuf = entry.map_err(Error::reading(staged))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(['_', '.']) {
            continue;
        }
        let file = fs::File::open(&path).map_err(Error::reading(&path))?;
        let bytes = file.metadata().map_err(Error::reading(&path))?.len();
        let footer = SerializedFileReader::new(file).map_err(Error::reading(&path))?;
        let rows = footer.metadata().file_metadata().num_rows();
        let stats = json!({ "numRecords": rows, "tightBounds": true }).to_string();
        added.push(AddedFile { name, bytes, time_ms: now_ms(), stats });
    }
    added.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(added)
}
