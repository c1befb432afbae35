//! The end of a table in a dataflow, which gives record batches, epoch by epoch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use crate::error::{Error, Result};
use crate::model::Epoch;
use crate::sinks::RowChanges;

use super::layout::Layout;

/// The name of a column, and its values.
pub type TableColumn = (&'static str, ArrayRef);

/// What the end of a table needs to know.
pub struct EndContext {
    /// The types of columns.
    pub(crate) layout: Arc<Layout>,
    /// True if a sink wants the table; if not, its rows are dropped.
    pub(crate) is_wanted: bool,
    /// True if a sink wants all rows on one worker, in order.
    pub(crate) in_order: bool,
    /// True if there are epochs after the first.
    pub(crate) stays: bool,
}

/// The end of a table, to be connected to the operator in which all tables end.
pub struct TableEnd<'scope>(Box<dyn FnOnce(&mut OperatorBuilder<'scope, Epoch>) -> Box<dyn EndOfTable> + 'scope>);

/// The end of a table on one worker.
pub(crate) trait EndOfTable {
    /// Takes what has arrived, and gives the batches of epochs that are over; true if there are more of them to give.
    ///
    /// The frontiers are those of the inputs of this table.
    fn advance(&mut self, frontiers: &[MutableAntichain<Epoch>], give: &mut Give<'_>) -> Result<bool>;
}

/// What takes the batches of a table.
pub(crate) type Give<'a> = dyn FnMut(Epoch, RowChanges) -> Result<()> + 'a;

impl<'scope> TableEnd<'scope> {
    /// An end that a function connects.
    pub(crate) fn new(
        connect: impl FnOnce(&mut OperatorBuilder<'scope, Epoch>) -> Box<dyn EndOfTable> + 'scope,
    ) -> TableEnd<'scope> {
        TableEnd(Box::new(connect))
    }

    /// Makes the table's streams inputs of an operator.
    pub(crate) fn connect(self, builder: &mut OperatorBuilder<'scope, Epoch>) -> Box<dyn EndOfTable> {
        (self.0)(builder)
    }
}

impl<F: FnMut(&[MutableAntichain<Epoch>], &mut Give<'_>) -> Result<bool>> EndOfTable for F {
    fn advance(&mut self, frontiers: &[MutableAntichain<Epoch>], give: &mut Give<'_>) -> Result<bool> {
        self(frontiers, give)
    }
}

/// Columns as a record batch.
pub(crate) fn batch_of(columns: Vec<TableColumn>) -> Result<RecordBatch> {
    let field = |(name, column): &TableColumn| Field::new(*name, column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(schema), columns).map_err(Error::failed)
}
