//! The input of a job, shared by its workers: each takes the next split that nobody has read yet.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use differential_dataflow::{Data, VecCollection};
use timely::dataflow::operators::Inspect;

use crate::columns::ShopId;
use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::model::{Epoch, InputTable, Line, Rejection, Tiers};
use crate::operators::{Batch, ByKey, SortedBatch};
use crate::report::InputReport;
use crate::sources::{DiscountUnit, Notes, RowDecoder, Source, SourceBatch, SourceBatches, Split};
use crate::tables::{JobId, Layout};

use super::conflicts::Conflicts;
use super::inputs::Inputs;
use super::progress::Progress;
use super::rejections::RejectionCount;

/// A source, and its row counts.
pub(super) struct Intake {
    source: Arc<dyn Source>,
    tables: Vec<TableIntake>,
    splits: Vec<Split>,
    next: AtomicUsize,
    batch_size: usize,
    progress: Arc<Progress>,
    rejections: Arc<RejectionCount>,
}

/// One table of the input, and its row counts.
struct TableIntake {
    table: InputTable,
    decoder: RowDecoder,
    read: AtomicU64,
    rejected: AtomicU64,
    /// Current rows: the last of each id.
    held: Arc<AtomicI64>,
    /// Changes applied after the first epoch.
    changes: AtomicU64,
    notes: Mutex<Notes>,
    conflicts: Arc<Mutex<Conflicts>>,
}

impl TableIntake {
    fn note(&self, noted: &Notes) {
        if !noted.is_empty() {
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            noted.iter().for_each(|(what, rows)| *notes.entry(what).or_default() += rows);
        }
    }

    fn notes(&self) -> BTreeMap<String, u64> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.iter().map(|(what, rows)| ((*what).to_owned(), *rows)).collect()
    }
}

impl Intake {
    /// Prepares to read a source.
    pub(super) fn new(source: Arc<dyn Source>, config: &JobConfig, progress: &Arc<Progress>) -> Result<Intake> {
        let table = |table: &InputTable| {
            let decoder = RowDecoder::of(&*source, *table, config.conversion())?;
            let [read, rejected, changes] = [0; 3].map(AtomicU64::new);
            Ok(TableIntake {
                table: *table,
                decoder,
                read,
                rejected,
                held: Arc::default(),
                changes,
                notes: Mutex::default(),
                conflicts: Arc::default(),
            })
        };
        let tables = InputTable::ALL.iter().map(table).collect::<Result<Vec<_>>>()?;
        let splits = source.splits();
        progress.set_total(splits.iter().filter_map(|split| split.rows).sum());
        let rejections = Arc::new(RejectionCount::new(config.max_rejected));
        let (next, batch_size, progress) = (AtomicUsize::new(0), config.batch_size, Arc::clone(progress));
        Ok(Intake { source, tables, splits, next, batch_size, progress, rejections })
    }

    /// True if one of the tables has ids of text.
    pub(super) fn has_text_ids(&self) -> bool {
        InputTable::ALL.iter().any(|table| self.source.schema(*table).text_ids().next().is_some())
    }

    pub(super) fn rejections(&self) -> &Arc<RejectionCount> {
        &self.rejections
    }

    pub(super) fn layout(&self, discount: DiscountUnit, tiers: Tiers) -> Result<Layout> {
        let schema = |table| self.source.schema(table);
        let [orders, products, customers] =
            [InputTable::Orders, InputTable::Products, InputTable::Customers].map(schema);
        Layout::new(orders, products, customers, discount, tiers)
    }

    pub(super) fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// What the source has, which other processes compare with what they see.
    pub(super) fn facts(&self) -> Result<BTreeMap<String, String>> {
        self.source.fingerprint()
    }

    /// Leaves to this process its share of the splits; all have about as many rows, as far as splits allow.
    pub(super) fn take_share(&mut self, process: usize, processes: usize) {
        let rows: Vec<u64> = self.splits.iter().map(|split| split.rows_about).collect();
        let mut owners = deal(&rows, processes).into_iter();
        self.splits.retain(|_| owners.next() == Some(process));
        self.progress.set_total(self.splits.iter().filter_map(|split| split.rows).sum());
    }

    /// A split that is now the caller's to read.
    pub(super) fn next_split(&self) -> Option<&Split> {
        self.splits.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn read(&self, split: &Split) -> Result<SourceBatches<'_>> {
        self.source.read(split, self.batch_size)
    }

    /// Sends the rows of a batch into the dataflow, those that are rejected as such.
    pub(super) fn send<I: ShopId>(
        &self,
        name: InputTable,
        batch: &SourceBatch,
        inputs: &mut Inputs<I>,
        epoch: Epoch,
    ) -> Result<()> {
        if batch.table != name {
            let (found, wanted) = (batch.table.name(), name.name());
            return Err(Error::failed(format!("{}: found rows of {found}, wanted rows of {wanted}", batch.origin)));
        }
        let table = self.table(name);
        table.read.fetch_add(batch.rows(), Ordering::Relaxed);
        self.progress.add_read(batch.rows());
        let (rejected, notes) = match name {
            InputTable::Orders => inputs.orders.send_decoded(table.decoder.orders(batch)?),
            InputTable::Products => inputs.products.send_decoded(table.decoder.products(batch)?),
            InputTable::Customers => inputs.customers.send_decoded(table.decoder.customers(batch)?),
        };
        table.note(&notes);
        table.rejected.fetch_add(rejected.len() as u64, Ordering::Relaxed);
        self.rejections.add(epoch, &rejected, 1)?;
        inputs.rejected.send_batch(&mut rejected.into_iter().map(|row| (row, epoch, 1)).collect());
        Ok(())
    }

    /// Takes back rows that were rejected.
    pub(super) fn forget<I: ShopId>(&self, rows: Vec<Rejection>, inputs: &mut Inputs<I>, epoch: Epoch) -> Result<()> {
        self.rejections.add(epoch, &rows, -1)?;
        inputs.rejected.send_batch(&mut rows.into_iter().map(|row| (row, epoch, -1)).collect());
        Ok(())
    }

    /// Counts a change.
    pub(super) fn count_change(&self, table: InputTable) {
        self.table(table).changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the ids of which the source has rows with different contents, as they are seen.
    pub(super) fn count_conflicts<I: JobId, R>(&self, table: InputTable) -> impl FnMut(&I, &R, &R) + use<I, R> {
        let (conflicts, is_expected) =
            (Arc::clone(&self.table(table).conflicts), self.source.schema(table).has_operations);
        move |id, _, _| {
            if !is_expected {
                conflicts.lock().unwrap_or_else(PoisonError::into_inner).add(id.to_any());
            }
        }
    }

    /// Counts the current rows.
    pub(super) fn count_held<'scope, R: Data>(
        &self,
        table: InputTable,
        rows: VecCollection<'scope, Epoch, R>,
    ) -> VecCollection<'scope, Epoch, R> {
        let held = Arc::clone(&self.table(table).held);
        rows.inspect_batch(move |_, updates| {
            held.fetch_add(updates.iter().map(|(_, _, diff)| *diff as i64).sum(), Ordering::Relaxed);
        })
    }

    /// Counts the current orders, from their arrangement.
    pub(super) fn count_lines<I: ShopId>(&self, lines: ByKey<'_, Epoch, Option<I>, Line<I>>) {
        let held = Arc::clone(&self.table(InputTable::Orders).held);
        lines.stream.inspect_core(move |event| {
            if let Ok((_, spans)) = event {
                let batches = spans.iter().filter_map(|span| span.inner.as_ref());
                held.fetch_add(batches.map(net_rows).sum(), Ordering::Relaxed);
            }
        });
    }

    /// Counts the current orders, given by how much their number changes.
    pub(super) fn count_orders(&self) -> impl FnMut(isize) + use<> {
        let held = Arc::clone(&self.table(InputTable::Orders).held);
        move |change| {
            held.fetch_add(change as i64, Ordering::Relaxed);
        }
    }

    /// The row counts of each table. Until the first change, rows that were read but are not current are duplicates.
    pub(super) fn reports(&self) -> Vec<InputReport> {
        let reports = self.tables.iter().map(|table| {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let (read, rejected, changes) = (count(&table.read), count(&table.rejected), count(&table.changes));
            let current = table.held.load(Ordering::Relaxed).cast_unsigned();
            let duplicates = read.wrapping_sub(rejected).wrapping_sub(current);
            let conflicts = table.conflicts.lock().unwrap_or_else(PoisonError::into_inner);
            let conflicting_id = conflicts.example.as_ref().map(ToString::to_string);
            let (name, notes) = (table.table.name().into(), table.notes());
            InputReport {
                name,
                read,
                rejected,
                duplicates,
                conflicting: conflicts.ids,
                conflicting_id,
                changes,
                current,
                notes,
            }
        });
        reports.collect()
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    fn table(&self, name: InputTable) -> &TableIntake {
        self.tables.iter().find(|table| table.table == name).expect("all three tables are there")
    }
}

/// By how much a batch changes the number of rows.
fn net_rows<I: ShopId>(batch: &Batch<Option<I>, Line<I>, Epoch>) -> i64 {
    if batch.all_diffs(|diff| *diff == 1) {
        return i64::try_from(batch.update_count()).unwrap_or(i64::MAX);
    }
    batch.rows().map(|(_, _, _, diff)| *diff as i64).sum()
}

/// Who gets each split: the largest first, always to the one that has least.
fn deal(rows: &[u64], processes: usize) -> Vec<usize> {
    let mut largest_first: Vec<usize> = (0..rows.len()).collect();
    largest_first.sort_by_key(|part| Reverse(rows[*part]));
    let (mut loads, mut owners) = (vec![0; processes], vec![0; rows.len()]);
    for part in largest_first {
        let least = (0..processes).min_by_key(|process| loads[*process]).unwrap_or(0);
        owners[part] = least;
        loads[least] += rows[part];
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::deal;

    #[test]
    fn every_split_is_dealt_and_the_loads_are_alike() {
        assert_eq!(deal(&[3, 5, 1, 4], 2), [1, 0, 0, 1]);
        assert_eq!(deal(&[7, 7], 3), [0, 1]);
        assert_eq!(deal(&[], 3), [0; 0]);
    }
}
