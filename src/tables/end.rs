//! The end of a table in a dataflow, where rows become record batches.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use crate::error::{Error, Result};
use crate::model::Epoch;
use crate::sinks::RowChanges;

use super::layout::Layout;
use super::lookups::LookupQueues;

/// The name of a column, and its values.
pub type TableColumn = (Cow<'static, str>, ArrayRef);

/// The parameters of the end of a table.
pub(crate) struct EndContext {
    /// The types of columns.
    pub(crate) layout: Arc<Layout>,
    /// The columns of the table, without those computed by functions.
    pub(crate) schema: SchemaRef,
    /// True if a sink wants the table.
    pub(crate) is_wanted: bool,
    /// True if a sink wants all rows on one worker, if the table has an order.
    pub(crate) together: bool,
    /// True if there are epochs after the first.
    pub(crate) stays: bool,
    /// True if the first epoch is split into waves: all times are of it.
    pub(crate) is_in_waves: bool,
    /// The look-ups of rows of `enriched_data`, if there may be some, and the number of this worker.
    pub(crate) lookups: Option<(LookupQueues, usize)>,
}

/// The end of a table, to be connected to the operator in which all tables end.
pub(crate) struct TableEnd<'scope>(
    Box<dyn FnOnce(&mut OperatorBuilder<'scope, Epoch>) -> Box<dyn EndOfTable> + 'scope>,
);

/// The end of a table on one worker.
pub(crate) trait EndOfTable {
    /// Receives what has arrived at the inputs of this table, and gives batches of complete epochs; returns what is
    /// left to be given. `frontiers` are those of the inputs.
    ///
    /// Once the table is not wanted at all, it gives nothing and drops its state.
    fn advance(
        &mut self,
        frontiers: &[MutableAntichain<Epoch>],
        wanted: Option<Wanted>,
        give: &mut Give<'_>,
    ) -> Result<Left>;
}

/// What is left to be given of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// Nothing.
    Nothing,
    /// Rows that are looked up.
    Lookups,
    /// Rows that are gathered. Later epochs do not wait for them.
    Gathered,
    /// Batches of complete epochs.
    Epochs,
}

/// What is wanted of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The first epoch that is wanted.
    pub(crate) from: Epoch,
    /// `None` if each epoch is given by itself. Otherwise the newest epoch that asks for the changes since the last
    /// such one; those of the first epoch are always given.
    pub(crate) gathering: Option<Epoch>,
    /// True if columns may be dictionaries.
    pub(crate) dictionaries: bool,
    /// How the table may go on beside epochs.
    pub(crate) turn: Turn,
}

/// A turn of what goes on beside epochs: gathering, and look-ups.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    /// The first epoch that is not sealed, as whose changes late ones are given.
    pub(crate) open: Epoch,
    /// True if there is time now.
    pub(crate) is_free: bool,
}

/// Takes the batches of a table.
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

impl<F: FnMut(&[MutableAntichain<Epoch>], Option<Wanted>, &mut Give<'_>) -> Result<Left>> EndOfTable for F {
    fn advance(
        &mut self,
        frontiers: &[MutableAntichain<Epoch>],
        wanted: Option<Wanted>,
        give: &mut Give<'_>,
    ) -> Result<Left> {
        self(frontiers, wanted, give)
    }
}

/// The columns of some rows of a table as a record batch of its schema.
///
/// # Errors
///
/// If the columns are not those of the schema.
pub(crate) fn batch_of(table: &str, schema: &SchemaRef, columns: Vec<TableColumn>) -> Result<RecordBatch> {
    let differs = |(field, (name, column)): (&Arc<Field>, &TableColumn)| {
        field.name() != name || field.data_type() != column.data_type()
    };
    if columns.len() != schema.fields().len() || schema.fields().iter().zip(&columns).any(differs) {
        return Err(other_columns(table, schema, &columns));
    }
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(Arc::clone(schema), columns);
    batch.map_err(|cause| Error::failed(format!("table {table}: {cause}")))
}

/// The first difference between the columns of some rows and the schema.
fn other_columns(table: &str, schema: &SchemaRef, columns: &[TableColumn]) -> Error {
    let described = |name: &str, data_type: &dyn std::fmt::Display| format!("{name} ({data_type})");
    let position = schema
        .fields()
        .iter()
        .zip(columns)
        .position(|(field, (name, column))| field.name() != name || field.data_type() != column.data_type());
    let position = position.unwrap_or(columns.len().min(schema.fields().len()));
    let none = || "no column".to_owned();
    let found = columns.get(position).map_or_else(none, |(name, column)| described(name, column.data_type()));
    let wanted = schema.fields().get(position);
    let wanted = wanted.map_or_else(none, |field| described(field.name(), field.data_type()));
    Error::failed(format!(
        "table {table}: column {}: found {found}, wanted {wanted}; columns must not depend on the rows",
        position + 1
    ))
}
