//! The end of a table in a dataflow: rows become record batches, epoch by epoch.
//!
//! Rows of an epoch are kept until the epoch is over and its updates are consolidated; a table whose rows are
//! [sent once](Table::is_sent_once) hands them over while the epoch is open.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use differential_dataflow::VecCollection;
use differential_dataflow::consolidation::consolidate;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use crate::columns::ShopId;
use crate::error::{Error, Result};
use crate::sinks::{Epoch, RowChanges};

use super::{Layout, Table, TableColumn};

/// Rows that are encoded at a time: few enough that they stay in the cache while column after column is made of them.
const BATCH_ROWS: usize = 1 << 12;

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

    /// The end of a collection of rows.
    pub(crate) fn of_rows<B: Table, I: ShopId>(
        table: Arc<B>,
        rows: VecCollection<'scope, Epoch, B::Row<I>>,
        context: &EndContext,
    ) -> TableEnd<'scope> {
        let (layout, is_wanted) = (Arc::clone(&context.layout), context.is_wanted);
        let in_order = context.in_order && table.order::<I>().is_some();
        TableEnd::new(move |builder| {
            let mut end = RowsEnd::<B, I> { table, layout, in_order, open: BTreeMap::new() };
            let mut receive: Receive<B::Row<I>> = if in_order {
                let mut input = builder.new_input(rows.inner, Exchange::new(|_: &(B::Row<I>, Epoch, isize)| 0));
                Box::new(move |take| input.for_each(|_, updates| take(updates)))
            } else {
                let mut input = builder.new_input(rows.inner, Pipeline);
                Box::new(move |take| input.for_each(|_, updates| take(updates)))
            };
            Box::new(move |frontiers: &[MutableAntichain<Epoch>], give: &mut Give<'_>| {
                receive(&mut |updates| end.take(updates, is_wanted));
                end.give_ready(&frontiers[0], give).map(|()| false)
            })
        })
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

/// Shows each container of updates that has arrived.
type Receive<R> = Box<dyn FnMut(&mut dyn FnMut(&mut Vec<(R, Epoch, isize)>))>;

/// The rows of a table that were not handed over yet.
struct RowsEnd<B: Table, I: ShopId> {
    table: Arc<B>,
    layout: Arc<Layout>,
    in_order: bool,
    open: BTreeMap<Epoch, Vec<(B::Row<I>, isize)>>,
}

impl<B: Table, I: ShopId> RowsEnd<B, I> {
    fn take(&mut self, updates: &mut Vec<(B::Row<I>, Epoch, isize)>, is_wanted: bool) {
        if !is_wanted {
            return updates.clear();
        }
        let mut updates = updates.drain(..).peekable();
        while let Some((row, epoch, diff)) = updates.next() {
            let rows = self.open.entry(epoch).or_default();
            rows.push((row, diff));
            while let Some((row, _, diff)) = updates.next_if(|(_, time, _)| *time == epoch) {
                rows.push((row, diff));
            }
        }
    }

    fn give_ready(&mut self, frontier: &MutableAntichain<Epoch>, give: &mut Give<'_>) -> Result<()> {
        while let Some(entry) = self.open.first_entry().filter(|entry| !frontier.less_equal(entry.key())) {
            let (epoch, mut rows) = entry.remove_entry();
            if !self.table.is_sent_once() {
                consolidate(&mut rows);
            }
            self.give(epoch, rows, give)?;
        }
        if self.table.is_sent_once() && !self.in_order {
            let full = self.open.iter_mut().filter(|(_, rows)| rows.len() >= BATCH_ROWS);
            let full = full.map(|(epoch, rows)| (*epoch, rows.drain(..rows.len() / BATCH_ROWS * BATCH_ROWS).collect()));
            let full: Vec<(Epoch, Vec<_>)> = full.collect();
            full.into_iter().try_for_each(|(epoch, rows)| self.give(epoch, rows, give))?;
        }
        Ok(())
    }

    /// Gives rows as batches of inserted and of deleted ones.
    fn give(&self, epoch: Epoch, rows: Vec<(B::Row<I>, isize)>, give: &mut Give<'_>) -> Result<()> {
        let (mut plus, mut minus) = (Vec::with_capacity(rows.len()), Vec::new());
        for (row, weight) in rows {
            let side = if weight > 0 { &mut plus } else { &mut minus };
            (1..weight.unsigned_abs()).for_each(|_| side.push(row.clone()));
            side.push(row);
        }
        if let Some(order) = self.table.order::<I>().filter(|_| self.in_order) {
            plus.sort_by(order);
            minus.sort_by(order);
        }
        for rows in minus.chunks(BATCH_ROWS) {
            give(epoch, RowChanges { plus: None, minus: Some(self.batch(rows)?) })?;
        }
        for rows in plus.chunks(BATCH_ROWS) {
            give(epoch, RowChanges { plus: Some(self.batch(rows)?), minus: None })?;
        }
        Ok(())
    }

    fn batch(&self, rows: &[B::Row<I>]) -> Result<RecordBatch> {
        batch_of(self.table.columns(rows, &self.layout)?)
    }
}

/// Columns as a record batch.
pub(crate) fn batch_of(columns: Vec<TableColumn>) -> Result<RecordBatch> {
    let field = |(name, column): &TableColumn| Field::new(*name, column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(schema), columns).map_err(Error::failed)
}
