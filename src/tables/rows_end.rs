//! Rows as record batches.
//!
//! The rows of an epoch are kept until it is complete, and then consolidated. Those of the first epoch are emitted
//! while it is open if the table [sends them once](Table::is_sent_once). If no sink takes the later ones by themselves,
//! what they change is gathered until it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use differential_dataflow::VecCollection;
use differential_dataflow::consolidation::consolidate;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::progress::frontier::MutableAntichain;

use crate::columns::ShopId;
use crate::error::{Error, Result};
use crate::model::Epoch;
use crate::sinks::RowChanges;

use super::end::{EndContext, Give, Left, TableEnd, Wanted, batch_of};
use super::layout::Layout;
use super::table::Table;

/// Rows that are encoded at a time: few enough to stay in the cache while one column after the other is built.
const BATCH_ROWS: usize = 1 << 12;

/// The epoch of the load, which is mostly the largest by far.
const FIRST_EPOCH: Epoch = 0;

/// The end of a collection of rows.
pub(crate) fn rows_end<'scope, B: Table, I: ShopId>(
    table: Arc<B>,
    rows: VecCollection<'scope, Epoch, B::Row<I>>,
    context: &EndContext,
) -> TableEnd<'scope> {
    let (layout, schema) = (Arc::clone(&context.layout), Arc::clone(&context.schema));
    let (together, is_in_waves) = (context.together && !table.order().is_empty(), context.is_in_waves);
    TableEnd::new(move |builder| {
        let (first, open, gathered) = (Vec::new(), BTreeMap::new(), Gathered::default());
        let mut end = RowsEnd::<B, I> { table, layout, schema, is_in_waves, first, open, consolidated: 0, gathered };
        let mut receive: ReceiveRows<B::Row<I>> = if together {
            let mut input = builder.new_input(rows.inner, Exchange::new(|_: &(B::Row<I>, Epoch, isize)| 0));
            Box::new(move |take| input.for_each(|_, updates| take(updates)))
        } else {
            let mut input = builder.new_input(rows.inner, Pipeline);
            Box::new(move |take| input.for_each(|_, updates| take(updates)))
        };
        Box::new(move |frontiers: &[MutableAntichain<Epoch>], wanted: Option<Wanted>, give: &mut Give<'_>| {
            let Some(Wanted { from, gathering, .. }) = wanted else {
                receive(&mut Vec::clear);
                end.clear();
                return Ok(Left::Nothing);
            };
            receive(&mut |updates| end.take(updates, from));
            end.give_ready(&frontiers[0], gathering, give).map(|()| Left::Nothing)
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
    /// True if all times are of the first epoch.
    is_in_waves: bool,
    /// Rows of the first epoch that are sent once.
    first: Vec<B::Row<I>>,
    /// All others, by epoch.
    open: BTreeMap<Epoch, Vec<(B::Row<I>, isize)>>,
    /// In waves, how many of them were left when they were last consolidated.
    consolidated: usize,
    gathered: Gathered<B::Row<I>>,
}

/// What complete epochs have changed since it was last asked for.
struct Gathered<R> {
    rows: Vec<(R, isize)>,
    /// How many rows were left when they were last consolidated.
    consolidated: usize,
    /// The last epoch that was asked for and given.
    given: Epoch,
}

impl<R> Default for Gathered<R> {
    fn default() -> Self {
        Gathered { rows: Vec::new(), consolidated: 0, given: 0 }
    }
}

impl<R: Ord> Gathered<R> {
    fn add(&mut self, rows: &mut Vec<(R, isize)>) {
        self.rows.append(rows);
        consolidate_sometimes(&mut self.rows, &mut self.consolidated);
    }
}

/// Consolidates rows if there are more than twice as many as when they were last consolidated.
fn consolidate_sometimes<R: Ord>(rows: &mut Vec<(R, isize)>, consolidated: &mut usize) {
    if rows.len() > 2 * *consolidated + BATCH_ROWS {
        consolidate(rows);
        *consolidated = rows.len();
    }
}

impl<B: Table, I: ShopId> RowsEnd<B, I> {
    /// Takes updates of this epoch and later ones.
    fn take(&mut self, updates: &mut Vec<(B::Row<I>, Epoch, isize)>, from: Epoch) {
        let is_sent_once = self.table.is_sent_once();
        let is_in_waves = self.is_in_waves;
        let epoch_of = |time| if is_in_waves { FIRST_EPOCH } else { time };
        let updates = updates.drain(..).map(|(row, time, diff)| (row, epoch_of(time), diff));
        for (row, epoch, diff) in updates.filter(|(_, epoch, _)| *epoch >= from) {
            if is_sent_once && epoch == FIRST_EPOCH && diff == 1 {
                self.first.push(row);
            } else {
                self.open.entry(epoch).or_default().push((row, diff));
            }
        }
        if is_in_waves && let Some(rows) = self.open.get_mut(&FIRST_EPOCH) {
            consolidate_sometimes(rows, &mut self.consolidated);
        }
    }

    fn clear(&mut self) {
        (self.first, self.open, self.gathered) = Default::default();
    }

    fn give_ready(
        &mut self,
        frontier: &MutableAntichain<Epoch>,
        gathering: Option<Epoch>,
        give: &mut Give<'_>,
    ) -> Result<()> {
        let is_in_waves = self.is_in_waves;
        let is_complete = |epoch: &Epoch| if is_in_waves { frontier.is_empty() } else { !frontier.less_equal(epoch) };
        self.give_first(is_complete(&FIRST_EPOCH), give)?;
        // A gather excludes later epochs.
        let asked = gathering.filter(|asked| *asked > self.gathered.given);
        while let Some(entry) = self.open.first_entry().filter(|entry| is_complete(entry.key())) {
            match (gathering, *entry.key()) {
                (None, _) | (_, FIRST_EPOCH) => {
                    let (epoch, rows) = entry.remove_entry();
                    self.give_epoch(epoch, rows, give)?;
                }
                (_, epoch) if asked.is_some_and(|asked| epoch > asked) => break,
                _ => self.gathered.add(&mut entry.remove()),
            }
        }
        if let Some(asked) = asked.filter(is_complete) {
            let gathered = std::mem::take(&mut self.gathered);
            self.gathered.given = asked;
            self.give_epoch(asked, gathered.rows, give)?;
        }
        Ok(())
    }

    fn give_epoch(&self, epoch: Epoch, mut rows: Vec<(B::Row<I>, isize)>, give: &mut Give<'_>) -> Result<()> {
        consolidate(&mut rows);
        let (mut plus, mut minus) = (Vec::with_capacity(rows.len()), Vec::new());
        for (row, weight) in rows {
            let side = if weight > 0 { &mut plus } else { &mut minus };
            (1..weight.unsigned_abs()).for_each(|_| side.push(row.clone()));
            side.push(row);
        }
        self.give_rows(&minus, &mut |minus| give(epoch, RowChanges { minus: Some(minus), ..RowChanges::default() }))?;
        self.give_rows(&plus, &mut |plus| give(epoch, RowChanges { plus: Some(plus), ..RowChanges::default() }))
    }

    /// Gives rows of the first epoch that are sent once: full batches, or all rows if the epoch is complete.
    fn give_first(&mut self, is_complete: bool, give: &mut Give<'_>) -> Result<()> {
        let ready = match is_complete {
            true => self.first.len(),
            false => self.first.len() / BATCH_ROWS * BATCH_ROWS,
        };
        let mut rows = std::mem::take(&mut self.first);
        self.give_rows(&rows[..ready], &mut |plus| {
            give(FIRST_EPOCH, RowChanges { plus: Some(plus), ..RowChanges::default() })
        })?;
        if ready < rows.len() {
            rows.drain(..ready);
            self.first = rows;
        }
        Ok(())
    }

    /// Gives rows as batches.
    fn give_rows(&self, rows: &[B::Row<I>], give: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        rows.chunks(BATCH_ROWS).try_for_each(|rows| give(self.batch(rows)?))
    }

    fn batch(&self, rows: &[B::Row<I>]) -> Result<RecordBatch> {
        let columns = self.table.columns(rows, &self.layout).map_err(|error| self.with_row(rows, &error))?;
        batch_of(self.table.name(), &self.schema, columns)
    }

    /// An error, with the table and the row that it is about.
    fn with_row(&self, rows: &[B::Row<I>], error: &Error) -> Error {
        let fails = |row: &&B::Row<I>| self.table.columns(std::slice::from_ref(*row), &self.layout).is_err();
        let row = rows.iter().find(fails).map_or(String::new(), |row| format!("; the row is {row:?}"));
        Error::failed(format!("table {}: {error}{row}", self.table.name()))
    }
}
