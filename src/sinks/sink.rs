//! What a sink is.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Epoch;
use crate::suggest::did_you_mean;

/// A table as sinks see it.
#[derive(Clone, Debug)]
pub struct TableInfo {
    /// The name.
    pub name: String,
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// The columns, including those computed by functions.
    pub schema: SchemaRef,
    /// The columns by which rows are sorted in files.
    pub order: Vec<(String, Direction)>,
}

/// How rows are sorted by a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Nulls first.
    Ascending,
    /// Nulls last.
    Descending,
}

/// The job that a sink belongs to, as seen by one process.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// Identifies the run.
    pub run_id: String,
    /// The tables of the job; `rejected` is the last.
    pub tables: Vec<TableInfo>,
    /// The number of workers of this process.
    pub workers: usize,
    /// The number of this process, from 0.
    pub process: usize,
    /// The number of processes.
    pub processes: usize,
}

impl SinkContext {
    /// A table of the job.
    pub(crate) fn table(&self, name: &str) -> Option<&TableInfo> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Checks that the job has these tables.
    ///
    /// # Errors
    ///
    /// If it lacks one; the message names it, and the tables of the job.
    pub fn check_has<'a>(&self, wanted: impl Iterator<Item = &'a String>) -> Result<()> {
        check_known(self.tables.iter().map(|table| table.name.as_str()), wanted)
    }
}

/// Checks that tables are among those of a job.
pub(super) fn check_known<'n, 'w>(
    names: impl Iterator<Item = &'n str>,
    mut wanted: impl Iterator<Item = &'w String>,
) -> Result<()> {
    let names: Vec<_> = names.collect();
    let Some(missing) = wanted.find(|wanted| !names.contains(&wanted.as_str())) else { return Ok(()) };
    let (all, hint) = (names.join(", "), did_you_mean(missing, &names));
    Err(Error::usage(format!("table {missing} is not one of this job, which has {all}{hint}")))
}

/// The rows of a table that an epoch inserts and deletes, or some of them.
#[derive(Clone, Debug, Default)]
pub struct RowChanges {
    /// The inserted rows; a row of weight w occurs w times.
    pub plus: Option<RecordBatch>,
    /// The deleted rows.
    pub minus: Option<RecordBatch>,
    /// True if these are changes of earlier epochs, up to the last one that [asked](PartOptions::gathered) for them,
    /// which were not ready then.
    pub is_late: bool,
}

/// The result of [`Sink::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The sink can take the tables.
    Ready,
    /// Not yet, for this reason. The call is retried; after ten seconds the job fails with the reason.
    NotYet(String),
}

/// How a sink takes a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartOptions {
    /// All rows of a table that has an [order](TableInfo::order) are written to the part of one worker. The other sinks
    /// of the job then receive them there too.
    pub together: bool,
    /// The first epoch whose rows are written to the parts of this sink. Rows of earlier epochs are not encoded for it;
    /// [`seal`](SinkPart::seal) and [`commit`](Sink::commit) are still called for those epochs.
    pub from: Epoch,
    /// The changes of several epochs are gathered and come together, in the epoch in which
    /// [`Live::gather`](crate::runtime::Live::gather) asks for them, or [late](RowChanges::is_late), before it returns;
    /// the first epoch comes at once. If another sink takes the table epoch by epoch, so does this one. Buffered
    /// changes are not encoded; for `enriched_data`, only the affected customers are kept.
    pub gathered: bool,
    /// Columns of the first epoch may be dictionaries (`Dictionary(UInt32, _)`) of texts, numbers and dates, where the
    /// [schema](TableInfo::schema) has the type of the values. Batches share the values, so a part that knows them need
    /// not look at each row's. A column may be a dictionary in one batch and not in the next; values may repeat and may
    /// be null. If another sink takes the first epoch of the table without them, so does this one.
    pub dictionaries: bool,
}

/// Receives tables.
///
/// Call order: [`open`](Self::open); for each table, [`wants`](Self::wants) and its [`part`](Self::part)s; for each
/// epoch, [`prepare`](Self::prepare) and [`commit`](Self::commit); [`end`](Self::end). All calls are made by the thread
/// that runs the job; the parts are moved to the workers. Any error ends the job.
pub trait Sink: Send {
    /// Prepares for a job. With several processes, the first opens the sink before the others do.
    ///
    /// # Errors
    ///
    /// If the sink can't take the tables. Nothing was computed yet.
    fn open(&mut self, job: &SinkContext) -> Result<Opened>;

    /// Whether the sink takes a table, and how. Called once for each table; the answer is for all workers, and must be
    /// the same in all processes. By default a sink takes every table, `rejected` included, from the first epoch on.
    fn wants(&self, table: &TableInfo) -> Option<PartOptions> {
        let _ = table;
        Some(PartOptions::default())
    }

    /// Creates the part that receives a worker's share of a table. Called once for each wanted table and worker of this
    /// process.
    ///
    /// # Errors
    ///
    /// If the sink can't take the table.
    fn part(&mut self, table: &TableInfo, worker: usize) -> Result<Box<dyn SinkPart>>;

    /// Persists this process's share of an epoch, and reports its size. By default nothing is reported.
    ///
    /// # Errors
    ///
    /// If it can't be persisted, or `is_cancelled` reports that the job has ended.
    fn prepare(&mut self, epoch: Epoch, is_cancelled: &(dyn Fn() -> bool + Sync)) -> Result<Vec<TableReport>> {
        let _ = (epoch, is_cancelled);
        Ok(Vec::new())
    }

    /// Makes an epoch visible once all processes have prepared it; called in the first process only, for every epoch,
    /// also one of which nothing was written. `written` has the sizes that this sink prepared in all processes, and is
    /// what the job reports; the sink may correct it.
    ///
    /// Sinks are committed one after the other. If one fails, those before it have committed the epoch and keep it.
    ///
    /// # Errors
    ///
    /// If the epoch can't be made visible.
    fn commit(&mut self, epoch: Epoch, written: &mut [TableReport]) -> Result<()>;

    /// True if a run that was killed had committed its first epoch here. Asked once the sink is open. By default it had
    /// not.
    fn has_committed(&self, run_id: &str) -> bool {
        let _ = run_id;
        false
    }

    /// The job has ended with this outcome. Called exactly once in each process, after all other calls, and also if the
    /// job failed before the sink was opened. Epochs that are not committed by then never will be. By default nothing
    /// is done.
    fn end(&mut self, outcome: &Result<()>) {
        let _ = outcome;
    }
}

/// Receives a worker's share of a table.
pub trait SinkPart: Send {
    /// Writes rows that an epoch inserts and deletes. Called any number of times for an epoch.
    ///
    /// Updates are consolidated per worker; a row that moved between workers is deleted in one part and inserted in
    /// another. Batches and epochs come in no particular order: the rows that an epoch inserts and deletes may come in
    /// separate calls, and rows of a later epoch before the last ones of an earlier epoch. [`seal`](Self::seal) says
    /// which epochs are complete.
    ///
    /// # Errors
    ///
    /// If the rows can't be written.
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()>;

    /// All epochs before `upper` are complete on this worker: nothing will be written for them any more. At the end of
    /// the job, when no epoch will follow, `upper` is [`Epoch::MAX`]; a batch run makes only this call. It may be
    /// repeated.
    ///
    /// # Errors
    ///
    /// If what was written can't be handed over to the sink.
    fn seal(&mut self, upper: Epoch) -> Result<()>;

    /// True if the part takes no further epochs; asked after each `seal`. A finished part is dropped, and a table whose
    /// parts are all finished is no longer encoded.
    fn is_finished(&self) -> bool {
        false
    }
}

/// The size of a table, or of a process's share of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableReport {
    /// The table.
    pub name: String,
    /// Rows, files and bytes.
    #[serde(flatten)]
    pub written: Written,
}

/// A number of rows, files and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Written {
    /// Adds the share of another process.
    pub(crate) fn add(&mut self, other: Written) {
        self.rows += other.rows;
        self.files += other.files;
        self.bytes += other.bytes;
    }
}
