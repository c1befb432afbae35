//! A new version of an output folder, made of the former one and of what has changed.
//!
//! ```text
//! files of the former version ─┬─ without a deleted row ─ linked ────┐
//!                              └─ others ─ rows that stay ─┐         ├─▶ next version
//!                                          inserted rows ──┴─ files ─┘
//! ```
//!
//! Rows are inserted together with those of the small files of their partition, so that files do not become ever more.
//! The partitions of a sorted table are rewritten as a whole.

mod deleted;
mod former;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::crash;
use crate::error::{Error, Result};
use crate::sinks::{TableChanges, Written};

use super::disk::create_folder;
use super::store::OutputFolder;
use super::write::{FileFormat, OutputFormat, OutputPartition, PartWriter, Placing, ShareOfRun, TableWriter};

use deleted::{BATCH_ROWS, DeletedRows};
use former::FormerFile;

/// What it took to make a new version of an output folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderUpdate {
    /// The tables that have changed.
    pub tables: u64,
    /// The files that were written.
    pub written: Written,
    /// The files of these tables that were kept.
    pub kept: Written,
}

/// Publishes what has changed since a run made the current version of a folder.
///
/// # Errors
///
/// As [`FolderSink::update`](super::FolderSink::update).
pub(super) fn update(
    root: &Path,
    format: FileFormat,
    placing: &HashMap<String, Placing>,
    (former, run_id): (&str, &str),
    changes: &[TableChanges],
) -> Result<FolderUpdate> {
    if format.format != OutputFormat::Parquet {
        return Err(Error::usage("only a folder of Parquet files can be updated"));
    }
    let names: Vec<_> = changes.iter().map(|changes| changes.table.name.clone()).collect();
    let output = OutputFolder::open(root, run_id, &names)?;
    let version = output.current_version(former)?;
    let (mut update, mut sizes) = (FolderUpdate::default(), Vec::new());
    for changes in changes {
        let table = &changes.table;
        let share = ShareOfRun { run: run_id.to_owned(), process: 0, processes: 1, syncer: output.syncer() };
        let placing = placing.get(&table.name).cloned().unwrap_or_default();
        let staging = output.staging(&table.name);
        let writer = TableWriter::create(staging.clone(), table, format, placing, share)?;
        let next = TableUpdate::new(Arc::new(writer), version.join(&table.name), staging, format, changes)?;
        let (written, kept) = next.make(&table.name)?;
        let mut all = written;
        all.add(kept);
        sizes.push((table.name.as_str(), next.writer.finish(all)?));
        update.tables += 1;
        update.written.add(written);
        update.kept.add(kept);
    }
    output.finish_syncing()?;
    crash::point("files rewritten");
    output.commit(&sizes, |_, _, _| Ok(()))?;
    Ok(update)
}

/// The next version of a table.
struct TableUpdate {
    writer: Arc<TableWriter>,
    staging: PathBuf,
    format: FileFormat,
    files: Vec<FormerFile>,
    partitions: BTreeMap<OutputPartition, PartitionChanges>,
    kept_files: AtomicU64,
    kept_bytes: AtomicU64,
}

/// What changes in a partition.
#[derive(Default)]
struct PartitionChanges {
    inserted: Vec<RecordBatch>,
    deleted: Option<DeletedRows>,
}

impl TableUpdate {
    fn new(
        writer: Arc<TableWriter>,
        former: PathBuf,
        staging: PathBuf,
        format: FileFormat,
        changes: &TableChanges,
    ) -> Result<TableUpdate> {
        let mut partitions: BTreeMap<OutputPartition, PartitionChanges> = BTreeMap::new();
        for (partition, rows) in writer.placed(&changes.plus)? {
            partitions.entry(partition).or_default().inserted.push(rows);
        }
        for (partition, rows) in writer.placed(&changes.minus)? {
            partitions.entry(partition).or_default().deleted = Some(DeletedRows::new(&rows, &changes.table.key)?);
        }
        let mut files = former::files(&former, format)?;
        files.retain(|file| writer.has_partition(&file.partition));
        let (kept_files, kept_bytes) = Default::default();
        Ok(TableUpdate { writer, staging, format, files, partitions, kept_files, kept_bytes })
    }

    /// Makes it; returns what was written, and what of the former version was kept.
    fn make(&self, table: &str) -> Result<(Written, Written)> {
        let files = Mutex::new(self.files.iter());
        let next = || files.lock().expect("no thread panics").next();
        let work = || {
            let mut part = self.writer.part();
            std::iter::from_fn(next).try_for_each(|file| self.keep_or_rewrite(file, &mut part))?;
            part.finish()
        };
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(self.files.len());
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("rewriting does not panic"))
        })?;
        let mut part = self.writer.part();
        for (partition, changed) in &self.partitions {
            if changed.deleted.as_ref().is_some_and(|deleted| !deleted.are_all_found()) {
                return Err(Error::failed(format!("{table}: the folder lacks a row that is to be deleted")));
            }
            let mut inserted = changed.inserted.iter().cloned();
            inserted.try_for_each(|rows| part.write_placed(partition.clone(), rows))?;
        }
        part.finish()?;
        let (files, bytes) = (self.kept_files.load(Ordering::Relaxed), self.kept_bytes.load(Ordering::Relaxed));
        Ok((self.writer.close_share(|| false)?, Written { rows: 0, files, bytes }))
    }

    fn keep_or_rewrite(&self, file: &FormerFile, part: &mut PartWriter) -> Result<()> {
        let Some(changed) = self.partitions.get(&file.partition) else { return self.keep(file) };
        let takes_inserted = !changed.inserted.is_empty() && file.bytes < self.format.target_bytes / 2;
        let has_deleted = || changed.deleted.as_ref().map_or(Ok(false), |deleted| deleted.may_be_in(&file.path));
        if self.writer.is_sorted() || takes_inserted || has_deleted()? {
            return self.rewrite(file, changed, part);
        }
        self.keep(file)
    }

    /// Links a file of the former version.
    fn keep(&self, file: &FormerFile) -> Result<()> {
        let mut folder = self.staging.clone();
        for name in &file.partition.folders {
            folder.push(name);
            create_folder(&folder)?;
        }
        let link = folder.join(file.path.file_name().unwrap_or_default());
        fs::hard_link(&file.path, &link).map_err(Error::writing(&link))?;
        self.kept_files.fetch_add(1, Ordering::Relaxed);
        self.kept_bytes.fetch_add(file.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the rows of a file that stay.
    fn rewrite(&self, file: &FormerFile, changed: &PartitionChanges, part: &mut PartWriter) -> Result<()> {
        let path = &file.path;
        let content = fs::File::open(path).map_err(Error::reading(path))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(content).map_err(Error::reading(path))?;
        if reader.schema().fields() != self.writer.schema().fields() {
            return Err(Error::unusable(format!("{}: it has other columns than the table", path.display())));
        }
        for rows in reader.with_batch_size(BATCH_ROWS).build().map_err(Error::reading(path))? {
            let rows = rows.map_err(Error::reading(path))?;
            let stay = match &changed.deleted {
                Some(deleted) => deleted.remove_from(&rows)?,
                None => rows,
            };
            part.write_placed(file.partition.clone(), stay)?;
        }
        Ok(())
    }
}
