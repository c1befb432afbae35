//! Rows as record batches.
//!
//! The rows of an epoch are kept until it is complete, and then consolidated. A table whose rows are
//! [sent once](Table::is_sent_once) gives them while the epoch is open.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use differential_dataflow::VecCollection;
use differential_dataflow::consolidation::consolidate;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::progress::frontier::MutableAntichain;

use crate::columns::ShopId;
use crate::error::Result;
use crate::model::Epoch;
use crate::sinks::RowChanges;

use super::end::{EndContext, Give, TableEnd, batch_of};
use super::layout::Layout;
use super::table::Table;

/// Rows that are encoded at a time: few enough to stay in the cache while one column after the other is built.
const BATCH_ROWS: usize = 1 << 12;

/// The end of a collection of rows.
pub(crate) fn rows_end<'scope, B: Table, I: ShopId>(
    table: Arc<B>,
    rows: VecCollection<'scope, Epoch, B::Row<I>>,
    context: &EndContext,
) -> TableEnd<'scope> {
    let (layout, schema) = (Arc::clone(&context.layout), Arc::clone(&context.schema));
    let in_order = context.in_order && table.order::<I>().is_some();
    TableEnd::new(move |builder| {
        let mut end = RowsEnd::<B, I> { table, layout, schema, in_order, open: BTreeMap::new() };
        let mut receive: ReceiveRows<B::Row<I>> = if in_order {
            let mut input = builder.new_input(rows.inner, Exchange::new(|_: &(B::Row<I>, Epoch, isize)| 0));
            Box::new(move |take| input.for_each(|_, updates| take(updates)))
        } else {
            let mut input = builder.new_input(rows.inner, Pipeline);
            Box::new(move |take| input.for_each(|_, updates| take(updates)))
        };
        Box::new(move |frontiers: &[MutableAntichain<Epoch>], is_wanted: bool, give: &mut Give<'_>| {
            if !is_wanted {
                receive(&mut Vec::clear);
                end.open.clear();
                return Ok(false);
            }
            receive(&mut |updates| end.take(updates));
            end.give_ready(&frontiers[0], give).map(|()| false)
        })
    })
}

/// Calls a function with each container of updates that has arrived.
type ReceiveRows<R> = Box<dyn FnMut(&mut dyn FnMut(&mut Vec<(R, Epoch, isize)>))>;

/// The rows of a table that were not given yet.
struct RowsEnd<B: Table, I: ShopId> {
    table: Arc<B>,
    layout: Arc<Layout>,
    schema: SchemaRef,
    in_order: bool,
    open: BTreeMap<Epoch, Vec<(B::Row<I>, isize)>>,
}

impl<B: Table, I: ShopId> RowsEnd<B, I> {
    fn take(&mut self, updates: &mut Vec<(B::Row<I>, Epoch, isize)>) {
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

    /// Gives rows as batches, first the deleted ones, then the inserted ones.
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
        batch_of(self.table.name(), &self.schema, self.table.columns(rows, &self.layout)?)
    }
}
