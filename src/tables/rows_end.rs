//! Rows as record batches.
//!
//! Rows of an epoch are kept until the epoch is over and its updates are consolidated; a table whose rows are
//! [sent once](Table::is_sent_once) hands them over while the epoch is open.

use std::collections::BTreeMap;
use std::sync::Arc;

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

/// Rows that are encoded at a time: few enough that they stay in the cache while column after column is made of them.
const BATCH_ROWS: usize = 1 << 12;

/// The end of a collection of rows.
pub(crate) fn rows_end<'scope, B: Table, I: ShopId>(
    table: Arc<B>,
    rows: VecCollection<'scope, Epoch, B::Row<I>>,
    context: &EndContext,
) -> TableEnd<'scope> {
    let (layout, is_wanted) = (Arc::clone(&context.layout), context.is_wanted);
    let in_order = context.in_order && table.order::<I>().is_some();
    TableEnd::new(move |builder| {
        let mut end = RowsEnd::<B, I> { table, layout, in_order, open: BTreeMap::new() };
        let mut receive: ReceiveRows<B::Row<I>> = if in_order {
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

/// Shows each container of updates that has arrived.
type ReceiveRows<R> = Box<dyn FnMut(&mut dyn FnMut(&mut Vec<(R, Epoch, isize)>))>;

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
