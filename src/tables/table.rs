//! What a table is.

use std::cmp::Ordering;
use std::hash::Hash;

use differential_dataflow::{ExchangeData, VecCollection};

use crate::columns::ShopId;
use crate::error::Result;
use crate::model::{Epoch, Id};
use crate::pipeline::{Epochs, Job};

use super::end::{EndContext, TableColumn, TableEnd};
use super::layout::Layout;

/// A table: its name and key, its rows, and their columns.
pub trait Table: Send + Sync + 'static {
    /// A row, as it flows in the dataflow.
    type Row<I: Id>: ExchangeData + Hash;

    /// The name of the table, and of its folder.
    fn name(&self) -> &str;

    /// The columns that identify a row.
    fn key(&self) -> &[&str];

    /// The rows, each a record of weight 1.
    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>>;

    /// Rows as columns. Names and types do not depend on the rows.
    ///
    /// # Errors
    ///
    /// If a value can't be represented in the type of its column.
    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>>;

    /// The order of the rows in files; `None` if it does not matter.
    fn order<I: Id>(&self) -> Option<RowOrder<Self::Row<I>>> {
        None
    }

    /// True if the table is made where no tables are named.
    fn is_default(&self) -> bool {
        true
    }

    /// True if [`rows`](Self::rows) never inserts and deletes the same row in one epoch. The rows of an epoch are then handed
    /// to sinks while it is still open, which takes less memory.
    fn is_sent_once(&self) -> bool {
        false
    }

    /// The end of the table in a dataflow, if its rows are not to be collected first.
    #[doc(hidden)]
    fn special_end<'scope, I: ShopId>(
        &self,
        job: &Job<'scope, Epoch, I>,
        context: &EndContext,
    ) -> Option<TableEnd<'scope>> {
        let _ = (job, context);
        None
    }
}

/// How two rows are ordered.
pub type RowOrder<R> = fn(&R, &R) -> Ordering;
