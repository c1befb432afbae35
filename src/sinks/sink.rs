//! What a sink is.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::Epoch;

/// A table as sinks see it.
#[derive(Clone, Debug)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// Its columns.
    pub schema: SchemaRef,
}

/// The job that a sink belongs to, as one process sees it.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// Identifies the run.
    pub run_id: String,
    /// The tables that are made.
    pub tables: Vec<TableInfo>,
    /// How many workers this process has.
    pub workers: usize,
    /// The number of this process.
    pub process: usize,
    /// How many processes there are.
    pub processes: usize,
}

/// The rows of a table that an epoch inserts and deletes, or some of them.
#[derive(Clone, Debug, Default)]
pub struct RowChanges {
    /// The rows that are inserted; a row of weight w is there w times.
    pub plus: Option<RecordBatch>,
    /// The rows that are deleted.
    pub minus: Option<RecordBatch>,
}

/// A place where tables go.
///
/// Of the calls of a job, `open` is the first; then come all of `part`; then, for each epoch in turn, `prepare` and `commit`.
/// Calls are made by the thread that runs the job; parts are moved to the workers. If anything fails, the job ends with that error.
pub trait Sink: Send {
    /// Gets ready for a job; false if what the first process opened can't be seen by this one yet, and the call is to be repeated.
    ///
    /// # Errors
    ///
    /// If the sink can't take the tables. Nothing was computed yet.
    fn open(&mut self, job: &SinkContext) -> Result<bool>;

    /// What takes a worker's share of a table; `None` if the sink does not want the table.
    ///
    /// # Errors
    ///
    /// If the sink can't take the table.
    fn part(&mut self, table: &TableInfo, worker: usize) -> Result<Option<Box<dyn SinkPart>>>;

    /// Makes durable what all parts of this process have of an epoch, and says how much that is.
    ///
    /// # Errors
    ///
    /// If it can't be, or `is_cancelled` says that the job has ended.
    fn prepare(&mut self, epoch: Epoch, is_cancelled: &(dyn Fn() -> bool + Sync)) -> Result<Vec<TableReport>> {
        let _ = (epoch, is_cancelled);
        Ok(Vec::new())
    }

    /// Makes an epoch visible that all processes have prepared; called in the first process only. `written` has what
    /// they prepared, and is what the job reports.
    ///
    /// # Errors
    ///
    /// If it can't be.
    fn commit(&mut self, epoch: Epoch, written: &mut [TableReport]) -> Result<()>;
}

/// A worker's share of a table, as a sink takes it.
pub trait SinkPart: Send {
    /// True if all rows of the table are to come to one worker, in the table's order.
    fn wants_order(&self) -> bool {
        false
    }

    /// Takes rows that an epoch inserts and deletes. An epoch may come in several calls; rows that cancel within an epoch do not
    /// come, but for rows that moved from one worker to another, which leave here and enter there.
    ///
    /// # Errors
    ///
    /// If the sink can't take them.
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()>;

    /// All epochs before `upper` are over on this worker.
    ///
    /// # Errors
    ///
    /// If what is left of them can't be handed over.
    fn seal(&mut self, upper: Epoch) -> Result<()>;

    /// True if the part takes no more epochs, and can be dropped.
    fn is_finished(&self) -> bool {
        false
    }
}

/// What a sink has of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableReport {
    /// The table.
    pub name: String,
    /// Rows, files and bytes.
    #[serde(flatten)]
    pub written: Written,
}

/// How much was written of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// How many rows.
    pub rows: u64,
    /// In how many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
}
