//! The input of a run, shared by its workers: each takes the next part that nobody has read yet.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use differential_dataflow::{Data, VecCollection};
use timely::dataflow::operators::Inspect;

use crate::config::InputConfig;
use crate::error::{Error, Result};
use crate::io::InputTable;
use crate::io::cells::IdColumn;
use crate::io::layout::Layout;
use crate::io::read::{Batches, RawBatch, Source, Unit};
use crate::io::rejected::{Origin, Rejection};
use crate::io::rows::{Converted, Converter};
use crate::model::{Line, Order, Product, Tiers};
use crate::operators::ByKey;
use crate::report::InputReport;

use super::{Epoch, Inputs, Progress};

pub(super) struct Feed {
    tables: Vec<Table>,
    units: Vec<(InputTable, Unit)>,
    next: AtomicUsize,
    batch_size: usize,
    rejections: Mutex<Vec<Rejection>>,
    max_rejected: Option<u64>,
    progress: Arc<Progress>,
}

/// One table of the input, and what has become of its rows.
struct Table {
    table: InputTable,
    source: Source,
    converter: Converter,
    read: AtomicU64,
    rejected: AtomicU64,
    kept: Arc<AtomicU64>,
}

impl Feed {
    /// Opens the three tables; nothing has been written yet when this fails.
    pub(super) fn open(config: &InputConfig, max_rejected: Option<u64>, progress: &Arc<Progress>) -> Result<Feed> {
        let open = |table: InputTable| Source::open(&config.path, table, &config.renames(table));
        let sources = InputTable::ALL.iter().map(|table| open(*table)).collect::<Result<Vec<_>>>()?;
        let text_ids: Vec<_> = sources.iter().flat_map(|source| source.schema.text_ids()).collect();
        let table = |source: Source| {
            let table = source.schema.table;
            let converter = Converter::new(&source.schema, config.zone, &text_ids)?;
            let (read, rejected, kept) = (AtomicU64::new(0), AtomicU64::new(0), Arc::default());
            Ok(Table { table, source, converter, read, rejected, kept })
        };
        let tables = sources.into_iter().map(table).collect::<Result<Vec<_>>>()?;
        let units = tables.iter().flat_map(|table| table.source.units().into_iter().map(|unit| (table.table, unit)));
        let units: Vec<_> = units.collect();
        progress.set_there(units.iter().filter_map(|(_, unit)| unit.rows).sum());
        Ok(Feed {
            tables,
            units,
            next: AtomicUsize::new(0),
            batch_size: config.batch_size,
            rejections: Mutex::default(),
            max_rejected,
            progress: Arc::clone(progress),
        })
    }

    /// True if one of the tables names something by text.
    pub(super) fn has_text_ids(&self) -> bool {
        self.tables.iter().any(|table| table.source.schema.text_ids().next().is_some())
    }

    pub(super) fn layout(&self, tiers: Tiers) -> Result<Layout> {
        let schema = |table| &self.table(table).source.schema;
        Layout::new(schema(InputTable::Orders), schema(InputTable::Products), schema(InputTable::Customers), tiers)
    }

    /// What the input is: that other processes see the same is checked by comparing it.
    pub(super) fn facts(&self) -> Result<BTreeMap<String, String>> {
        let fact = |table: &Table| Ok((table.table.name().to_owned(), table.source.fingerprint()?));
        self.tables.iter().map(fact).collect()
    }

    /// Leaves to this process its share of the input: each part (a row group of Parquet, or a whole file of text) is one
    /// process's, and all have about as many rows, as far as parts allow.
    pub(super) fn take_share(&mut self, process: usize, processes: usize) {
        let rows: Vec<u64> =
            self.units.iter().map(|(table, unit)| self.table(*table).source.rows_about(unit)).collect();
        let mut owners = deal(&rows, processes).into_iter();
        self.units.retain(|_| owners.next() == Some(process));
        self.progress.set_there(self.units.iter().filter_map(|(_, unit)| unit.rows).sum());
    }

    /// A part of the input that is now the caller's to read.
    pub(super) fn next_unit(&self) -> Option<(InputTable, Unit)> {
        self.units.get(self.next.fetch_add(1, Ordering::Relaxed)).cloned()
    }

    pub(super) fn read(&self, table: InputTable, unit: &Unit) -> Result<Batches<'_>> {
        self.table(table).source.read(unit, self.batch_size)
    }

    /// Sends the rows of a batch into the dataflow, and keeps those that are rejected.
    pub(super) fn send<I: IdColumn>(
        &self,
        name: InputTable,
        file: usize,
        batch: &RawBatch,
        inputs: &mut Inputs<I>,
    ) -> Result<()> {
        let table = self.table(name);
        let rows = (batch.numbers.len() + batch.malformed.len()) as u64;
        table.read.fetch_add(rows, Ordering::Relaxed);
        self.progress.add_read(rows);
        let rejected = match name {
            InputTable::Orders => {
                let (mut upserts, rejected) = table.converter.orders(batch, file)?;
                inputs.orders.send_batch(&mut upserts);
                rejected
            }
            InputTable::Products => {
                let (mut upserts, rejected) = table.converter.products(batch, file)?;
                inputs.products.send_batch(&mut upserts);
                rejected
            }
            InputTable::Customers => {
                let (mut upserts, rejected) = table.converter.customers(batch, file)?;
                inputs.customers.send_batch(&mut upserts);
                rejected
            }
        };
        self.reject(table, rejected)
    }

    fn reject(&self, table: &Table, rejected: Vec<Rejection>) -> Result<()> {
        table.rejected.fetch_add(rejected.len() as u64, Ordering::Relaxed);
        self.keep_rejected(rejected)
    }

    /// Keeps rows that are rejected.
    ///
    /// # Errors
    ///
    /// If there are more than may be.
    pub(super) fn keep_rejected(&self, rejected: Vec<Rejection>) -> Result<()> {
        let mut all = self.rejections.lock().expect("no worker panicked");
        all.extend(rejected);
        match (self.max_rejected, all.last()) {
            (Some(most), Some(last)) if all.len() as u64 > most => {
                let place = match last.origin {
                    Origin::Input { table, file, number } => {
                        format!("{} row {}", self.file_name(table, file), number + 1)
                    }
                    Origin::Output(table) => format!("a row of {}", table.name()),
                };
                let cause =
                    format!("more than {most} rows rejected (max_rejected); one of them: {place}: {}", last.reason);
                Err(Error::unusable(cause))
            }
            _ => Ok(()),
        }
    }

    /// Checks that so many rows, which all processes together have rejected, are not more than may be.
    pub(super) fn check_rejected(&self, rows: u64) -> Result<()> {
        match self.max_rejected {
            Some(most) if rows > most => {
                Err(Error::unusable(format!("more than {most} rows rejected (max_rejected): {rows}")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn take_rejections(&self) -> Vec<Rejection> {
        std::mem::take(&mut self.rejections.lock().expect("no worker panicked"))
    }

    pub(super) fn file_name(&self, table: InputTable, file: usize) -> String {
        self.table(table).source.file_name(file).to_owned()
    }

    /// Counts the rows of epoch 0 that are left when of each id only the last is kept.
    pub(super) fn count_kept<'scope, R: Data>(
        &self,
        table: InputTable,
        rows: VecCollection<'scope, Epoch, R>,
    ) -> VecCollection<'scope, Epoch, R> {
        let kept = Arc::clone(&self.table(table).kept);
        rows.inspect_batch(move |epoch, updates| {
            if epoch.iter().all(|epoch| *epoch == 0) {
                kept.fetch_add(updates.len() as u64, Ordering::Relaxed);
            }
        })
    }

    /// Counts the orders of epoch 0 that are left, as [`count_kept`](Self::count_kept), without making rows of them.
    pub(super) fn count_lines<I: IdColumn>(&self, lines: ByKey<'_, Epoch, Option<I>, Line<I>>) {
        let kept = Arc::clone(&self.table(InputTable::Orders).kept);
        // Epoch 0 is over before another begins, so that its batch comes alone.
        lines.stream.inspect_core(move |event| {
            if let Ok((stamp, spans)) = event
                && stamp.iter().all(|epoch| *epoch == 0)
            {
                let updates = spans.iter().flat_map(|span| &span.inner).map(|batch| batch.updates as u64);
                kept.fetch_add(updates.sum(), Ordering::Relaxed);
            }
        });
    }

    pub(super) fn reports(&self) -> Vec<InputReport> {
        let reports = self.tables.iter().map(|table| {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let (read, rejected, kept) = (count(&table.read), count(&table.rejected), count(&table.kept));
            let duplicates = read.wrapping_sub(rejected).wrapping_sub(kept);
            InputReport { name: table.table.name().into(), read, rejected, duplicates }
        });
        reports.collect()
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// About so many orders, from all parts of the input.
    pub(super) fn sample_orders<I: IdColumn>(&self, many: usize) -> Result<Vec<(I, Order<I>)>> {
        let convert = |batch: &RawBatch, file| self.table(InputTable::Orders).converter.orders(batch, file);
        self.sample(InputTable::Orders, many, convert)
    }

    /// About so many products, from all parts of the input.
    pub(super) fn sample_products<I: IdColumn>(&self, many: usize) -> Result<Vec<(I, Arc<Product>)>> {
        let convert = |batch: &RawBatch, file| self.table(InputTable::Products).converter.products(batch, file);
        self.sample(InputTable::Products, many, convert)
    }

    fn sample<I: IdColumn, R>(
        &self,
        table: InputTable,
        many: usize,
        convert: impl Fn(&RawBatch, usize) -> Result<Converted<I, R>>,
    ) -> Result<Vec<(I, R)>> {
        let step = usize::try_from(self.table(table).read.load(Ordering::Relaxed)).map_or(1, |read| read / many.max(1));
        let mut sampled = Vec::new();
        let mut skip = 0;
        for (_, unit) in self.units.iter().filter(|(of, _)| *of == table) {
            for batch in self.read(table, unit)? {
                let (upserts, _) = convert(&batch?, unit.file)?;
                let rows = upserts.len();
                let some = upserts.into_iter().skip(skip).step_by(step.max(1));
                sampled.extend(some.filter_map(|(id, _, row)| Some((id, row?))));
                skip = (skip + step.max(1) - rows % step.max(1)) % step.max(1);
            }
        }
        sampled.truncate(many);
        Ok(sampled)
    }

    fn table(&self, name: InputTable) -> &Table {
        self.tables.iter().find(|table| table.table == name).expect("all three tables are open")
    }
}

/// Who gets each part: the largest first, always to the one that has least.
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
    fn every_part_is_dealt_and_the_loads_are_alike() {
        assert_eq!(deal(&[3, 5, 1, 4], 2), [1, 0, 0, 1]);
        assert_eq!(deal(&[7, 7], 3), [0, 1]);
        assert_eq!(deal(&[], 3), [0; 0]);
    }
}
