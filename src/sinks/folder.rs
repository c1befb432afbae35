//! The folder sink: writes the tables of the first epoch as files.
//!
//! ```text
//! record batches ─ chunks ─ files (staging) ─▶ prepare: close and sync ─▶ commit: publish
//! ```

mod count;
mod delta;
mod disk;
mod store;
mod update;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::Epoch;

use super::{Opened, PartOptions, RowChanges, Sink, SinkContext, SinkPart, TableChanges, TableInfo, TableReport};

pub(crate) use count::{count_rows, uncompressed};
pub(crate) use disk::create_folders;
use store::OutputFolder;
pub use update::FolderUpdate;
pub use write::{Codec, FileFormat, OutputFormat, Placing};
use write::{PartWriter, ShareOfRun, TableWriter};

/// A sink that writes the tables of the first epoch to an output folder.
///
/// Readers see the former tables until the commit.
pub struct FolderSink {
    root: PathBuf,
    /// Of the files; those of Delta are Parquet.
    format: FileFormat,
    /// True if each table is to have a log of Delta.
    is_delta: bool,
    /// Partitioning, bucketing and sort order, by table name.
    placing: HashMap<String, Placing>,
    output: Option<OutputFolder>,
    tables: Vec<(String, Arc<TableWriter>)>,
    /// The run, once it is committed and the output folder is not locked any more.
    committed: Option<String>,
    job: Option<SinkContext>,
}

impl FolderSink {
    /// Creates a sink that writes files below `root`.
    #[must_use]
    pub fn new(root: &Path, format: FileFormat) -> FolderSink {
        let (root, placing, tables) = (root.to_owned(), HashMap::new(), Vec::new());
        let is_delta = format.format == OutputFormat::Delta;
        let of_files = if is_delta { OutputFormat::Parquet } else { format.format };
        let format = FileFormat { format: of_files, ..format };
        FolderSink { root, format, is_delta, placing, output: None, tables, committed: None, job: None }
    }

    /// Sets the partitioning, bucketing and sort order of a table. It has no effect if the job does not have the table.
    #[must_use]
    pub fn placing(mut self, table: &str, placing: Placing) -> FolderSink {
        self.placing.insert(table.to_owned(), placing);
        self
    }

    /// Publishes what has changed since a run made the current version: as a new version, which shares all files
    /// without a deleted row with the former one.
    ///
    /// *Cost*: the key columns of the changed tables are read, and the files with deleted rows are rewritten.
    ///
    /// # Errors
    ///
    /// If the files are not Parquet, the current version is another one or lacks a deleted row, or the folder can't be
    /// written. It is as it was then.
    pub fn update(self, former: &str, run_id: &str, changes: &[TableChanges]) -> Result<FolderUpdate> {
        update::update(&self.root, self.format, &self.placing, (former, run_id), changes)
    }

    fn job(&self) -> &SinkContext {
        self.job.as_ref().expect("the sink is open")
    }

    fn writer(&mut self, table: &TableInfo) -> Result<Arc<TableWriter>> {
        if let Some((_, writer)) = self.tables.iter().find(|(name, _)| *name == table.name) {
            return Ok(Arc::clone(writer));
        }
        let job = self.job();
        let output = self.output.as_ref().expect("the sink is open");
        let (process, processes) = (job.process, job.processes);
        let share = ShareOfRun { run: job.run_id.clone(), process, processes, syncer: output.syncer() };
        let placing = self.placing.get(&table.name).cloned().unwrap_or_default();
        let writer = TableWriter::create(output.staging(&table.name), table, self.format, placing, share)?;
        let writer = Arc::new(writer);
        self.tables.push((table.name.clone(), Arc::clone(&writer)));
        Ok(writer)
    }
}

impl Sink for FolderSink {
    fn open(&mut self, job: &SinkContext) -> Result<Opened> {
        let output = match job.process {
            0 => {
                let tables: Vec<_> = job.tables.iter().map(|table| table.name.clone()).collect();
                Some(OutputFolder::open(&self.root, &job.run_id, &tables)?)
            }
            _ => OutputFolder::join(&self.root, &job.run_id),
        };
        self.job = Some(job.clone());
        self.output = output;
        Ok(match self.output {
            Some(_) => Opened::Ready,
            None => Opened::NotYet(format!(
                "{}: the staging folder of process 0 is not visible here; all processes must share one output \
                 folder",
                self.root.display()
            )),
        })
    }

    fn wants(&self, table: &TableInfo) -> Option<PartOptions> {
        let placing = self.placing.get(&table.name).cloned().unwrap_or_default();
        // Where rows are sorted, they are taken from many batches at a time, whose dictionaries would all be merged.
        // And each encoder keeps a map of the dictionary, which is too large to have one for each of many folders.
        let is_plain = placing.is_trivial() && placing.order_of(table).is_empty() && !self.is_delta;
        let dictionaries = self.format.format == OutputFormat::Parquet && is_plain;
        Some(PartOptions { together: true, dictionaries, ..PartOptions::default() })
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Box<dyn SinkPart>> {
        let of_delta = if self.is_delta { Some(delta::table(table)?) } else { None };
        let part = self.writer(of_delta.as_ref().unwrap_or(table))?.part();
        Ok(Box::new(FirstEpoch { table: table.name.clone(), part: Some(part), of_delta }))
    }

    fn prepare(&mut self, epoch: Epoch, is_cancelled: &(dyn Fn() -> bool + Sync)) -> Result<Vec<TableReport>> {
        if epoch > 0 {
            return Ok(Vec::new());
        }
        let close = |(name, writer): &(String, Arc<TableWriter>)| {
            Ok(TableReport { name: name.clone(), written: writer.close_share(is_cancelled)? })
        };
        let closed = self.tables.iter().map(close).collect::<Result<_>>()?;
        self.output.iter().try_for_each(OutputFolder::finish_syncing)?;
        Ok(closed)
    }

    fn commit(&mut self, epoch: Epoch, written: &mut [TableReport]) -> Result<()> {
        let Some(output) = self.output.as_ref().filter(|_| epoch == 0) else { return Ok(()) };
        let mut sizes = Vec::new();
        for (name, writer) in &self.tables {
            let missing = || Error::failed(format!("table {name} was not prepared"));
            let report = written.iter_mut().find(|report| report.name == *name).ok_or_else(missing)?;
            report.written = writer.finish(report.written)?;
            sizes.push((name.as_str(), report.written));
        }
        let (job, is_delta) = (self.job.as_ref(), self.is_delta);
        output.commit(&sizes, |name, staged, former| match job.and_then(|job| job.table(name)) {
            Some(table) if is_delta => delta::log(table, staged, former),
            _ => Ok(()),
        })?;
        self.tables.clear();
        self.committed = self.output.take().map(|_| self.job().run_id.clone());
        Ok(())
    }

    fn has_committed(&self, run_id: &str) -> bool {
        self.committed.as_deref() == Some(run_id)
            || self.output.as_ref().is_some_and(|output| output.has_committed(run_id))
    }

    /// Removes the staging folder of a job that has failed, and unlocks the output folder.
    fn end(&mut self, _: &Result<()>) {
        self.tables.clear();
        self.output = None;
    }
}

/// Writes a worker's share of a table, of the first epoch only.
struct FirstEpoch {
    table: String,
    part: Option<PartWriter>,
    /// The table as Delta has it, if that is what it is written as.
    of_delta: Option<TableInfo>,
}

impl SinkPart for FirstEpoch {
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()> {
        let Some(part) = self.part.as_mut().filter(|_| epoch == 0) else { return Ok(()) };
        if changes.minus.is_some() {
            let table = &self.table;
            return Err(Error::failed(format!("{table}: the first epoch deletes a row, wanted insertions only")));
        }
        changes.plus.iter().try_for_each(|rows| match &self.of_delta {
            Some(table) => part.write(&delta::rows(rows, table)?),
            None => part.write(rows),
        })
    }

    fn seal(&mut self, upper: Epoch) -> Result<()> {
        match self.part.take_if(|_| upper > 0) {
            Some(part) => part.finish(),
            None => Ok(()),
        }
    }

    fn is_finished(&self) -> bool {
        self.part.is_none()
    }
}
