//! The trait of tables.

use std::hash::Hash;

use differential_dataflow::{ExchangeData, VecCollection};

use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::model::Id;
use crate::pipeline::{Epochs, Job};
use crate::sinks::Direction;

use super::end::TableColumn;
use super::layout::Layout;

/// A table: its name and key, its rows, and their columns.
pub trait Table: Send + Sync + 'static {
    /// A record of the collection.
    type Row<I: Id>: ExchangeData + Hash;

    /// The name of the table, and of its folder: a plain file name that begins with neither `.` nor `_`. It is not
    /// `rejected`, which is the table of rejected rows.
    fn name(&self) -> &str;

    /// The columns that identify a row.
    fn key(&self) -> &[&str];

    /// The rows, each a record of weight 1.
    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>>;

    /// Rows as columns, with the builders of [`columns::build`](crate::columns::build) or any others of Arrow.
    ///
    /// The names and types of the columns must not depend on the rows. When the job starts, this is called without rows
    /// for the schema; a batch that differs from it ends the job.
    ///
    /// # Errors
    ///
    /// If a value can't be represented in the type of its column.
    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>>;

    /// The columns of the input that the table needs, besides those that every job needs. A run from files reads no
    /// others.
    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::All
    }

    /// True if [`rows`](Self::rows) reads the [lines by customer](Job::lines_by_customer), or what is made of them.
    /// They are not arranged if no table of a job does.
    fn reads_lines(&self) -> bool {
        true
    }

    /// True if the rows are right when a run with a [memory limit](crate::config::JobConfig::memory) splits its load
    /// into waves: each has all order lines of some customers, at a time of its own. [Sums](Job::customer_reductions)
    /// over all customers are sent at a time after the last wave.
    ///
    /// The trace of the [lines by customer](Job::lines_by_customer) is then empty, so a join with it finds only lines
    /// of the same time. Nor may an operator hold back a time until its input closes: the next wave waits for it. Rows
    /// that are not [sent once](Self::is_sent_once) are kept until the last wave.
    ///
    /// One table for which this is false keeps the run from splitting its load.
    fn allows_waves(&self) -> bool {
        false
    }

    /// The columns by which rows are sorted in files, the first one first; none if their order does not matter.
    fn order(&self) -> &[(&str, Direction)] {
        &[]
    }

    /// True if the table is one of the [defaults](super::Catalog::defaults).
    fn is_default(&self) -> bool {
        true
    }

    /// True if [`rows`](Self::rows) inserts each row of the first epoch once and deletes none, in whichever way it is
    /// [split](Self::allows_waves). Sinks then get these
    /// rows while the epoch is open, which saves the memory to keep them and the time to consolidate them. Later epochs
    /// are always consolidated.
    fn is_sent_once(&self) -> bool {
        false
    }
}
