//! Tables in memory.
//!
//! ```text
//! workers ─ batches ─▶ open epoch ─ commit: merge ─▶ rows of each table ◀─ snapshots of readers
//! ```
//!
//! Readers share the committed rows by reference and decode them outside all locks, so they never block workers. If a
//! reader still holds a snapshot of a table that the next epoch changes, the commit copies the table.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};

use crate::error::{Error, Result};
use crate::model::Epoch;

use super::changes::rebuild;
use super::sink::{Opened, PartOptions, RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport};

/// A sink that keeps tables in memory, sorted by their columns from left to right. Clones share the tables.
///
/// All tables advance to an epoch together, when it is committed.
///
/// *Cost of an epoch*: O(log rows) for each inserted or deleted row, and a copy of each changed table of which a reader
/// holds a snapshot. *State*: each row once, encoded.
#[derive(Clone)]
pub struct MemoryTables {
    tables: Option<Vec<String>>,
    committed: Arc<Mutex<TablesSnapshot>>,
    open: Arc<Mutex<OpenChanges>>,
}

/// What workers have written of epochs that are not committed.
type OpenChanges = BTreeMap<Epoch, Vec<(String, RowChanges)>>;

/// Tables as of one epoch. Cheap to clone.
#[derive(Clone, Default)]
pub struct TablesSnapshot {
    epoch: Option<Epoch>,
    tables: HashMap<String, KeptTable>,
}

#[derive(Clone)]
struct KeptTable {
    info: Arc<TableInfo>,
    converter: Arc<RowConverter>,
    rows: Arc<RowWeights>,
}

/// The rows of a table, with their weights.
#[derive(Clone, Default)]
struct RowWeights(BTreeMap<OwnedRow, isize>);

impl MemoryTables {
    /// Keeps all tables of the job.
    #[must_use]
    pub fn all() -> MemoryTables {
        MemoryTables { tables: None, committed: Arc::default(), open: Arc::default() }
    }

    /// Keeps these tables.
    #[must_use]
    pub fn of(tables: &[&str]) -> MemoryTables {
        let tables = Some(tables.iter().map(|table| (*table).to_owned()).collect());
        MemoryTables { tables, ..MemoryTables::all() }
    }

    /// A table as of the newest committed epoch, and that epoch. To read several tables as of one epoch, take a
    /// [`snapshot`](Self::snapshot).
    ///
    /// # Errors
    ///
    /// If the table is not kept, or no epoch is committed yet.
    pub fn read(&self, table: &str) -> Result<(Epoch, RecordBatch)> {
        let snapshot = self.snapshot();
        let rows = snapshot.read(table)?;
        Ok((snapshot.epoch.ok_or_else(none_committed)?, rows))
    }

    /// All tables as of the newest committed epoch. Applying further epochs does not change a snapshot.
    #[must_use]
    pub fn snapshot(&self) -> TablesSnapshot {
        lock(&self.committed).clone()
    }

    fn keeps(&self, table: &str) -> bool {
        self.tables.as_ref().is_none_or(|tables| tables.iter().any(|wanted| wanted == table))
    }
}

impl TablesSnapshot {
    /// The epoch; `None` if no epoch was committed yet.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The rows of a table.
    ///
    /// # Errors
    ///
    /// If the table is not kept, or no epoch was committed yet.
    pub fn read(&self, table: &str) -> Result<RecordBatch> {
        let unknown = || {
            let mut names: Vec<_> = self.tables.keys().map(String::as_str).collect();
            names.sort_unstable();
            Error::usage(format!("table {table} is not kept in memory; kept are {}", names.join(", ")))
        };
        let kept = self.tables.get(table).ok_or_else(unknown)?;
        self.epoch.ok_or_else(none_committed)?;
        let weights = kept.rows.0.iter();
        let each = weights.flat_map(|(row, weight)| std::iter::repeat_n(row.row(), weight.unsigned_abs()));
        let columns = kept.converter.convert_rows(each).map_err(Error::failed)?;
        rebuild(&kept.info.schema, columns)
    }
}

fn none_committed() -> Error {
    Error::usage("no epoch is committed yet")
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink for MemoryTables {
    fn open(&mut self, job: &SinkContext) -> Result<Opened> {
        job.check_has(self.tables.iter().flatten())?;
        let mut empty = TablesSnapshot::default();
        for info in job.tables.iter().filter(|table| self.keeps(&table.name)) {
            let columns = info.schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
            let converter = Arc::new(RowConverter::new(columns.collect()).map_err(Error::failed)?);
            let table = KeptTable { info: Arc::new(info.clone()), converter, rows: Arc::default() };
            empty.tables.insert(info.name.clone(), table);
        }
        *lock(&self.committed) = empty;
        lock(&self.open).clear();
        Ok(Opened::Ready)
    }

    fn wants(&self, table: &TableInfo) -> Option<PartOptions> {
        self.keeps(&table.name).then(PartOptions::default)
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Box<dyn SinkPart>> {
        Ok(Box::new(MemoryPart { open: Arc::clone(&self.open), table: table.name.clone() }))
    }

    fn commit(&mut self, epoch: Epoch, _: &mut [TableReport]) -> Result<()> {
        let changes = lock(&self.open).remove(&epoch).unwrap_or_default();
        let mut net: BTreeMap<String, RowWeights> = BTreeMap::new();
        let converters = self.snapshot();
        for (table, changes) in changes {
            let converter = &converters.tables[&table].converter;
            net.entry(table).or_default().add(&changes, converter)?;
        }
        drop(converters); // or each table would be copied
        let mut committed = lock(&self.committed);
        // All tables are checked before one is changed: readers never see half an epoch.
        if let Some((table, _)) = net.iter().find(|(table, changes)| !committed.tables[*table].rows.has_all(changes)) {
            return Err(Error::failed(format!("{table}: epoch {epoch} deletes a row that the table does not have")));
        }
        for (table, changes) in net.into_iter().filter(|(_, changes)| !changes.0.is_empty()) {
            let kept = committed.tables.get_mut(&table).expect("only kept tables have parts");
            Arc::make_mut(&mut kept.rows).apply(changes);
        }
        committed.epoch = Some(epoch);
        Ok(())
    }
}

impl RowWeights {
    /// Adds the rows of some changes.
    fn add(&mut self, changes: &RowChanges, converter: &RowConverter) -> Result<()> {
        for (batch, weight) in [(&changes.plus, 1), (&changes.minus, -1)] {
            let Some(batch) = batch else { continue };
            let rows = converter.convert_columns(batch.columns()).map_err(Error::failed)?;
            rows.iter().for_each(|row| self.add_row(row.owned(), weight));
        }
        Ok(())
    }

    /// True if these rows have all that the net changes of an epoch delete.
    fn has_all(&self, changes: &RowWeights) -> bool {
        let has = |row: &OwnedRow, weight: isize| self.0.get(row).is_some_and(|held| held + weight >= 0);
        changes.0.iter().all(|(row, weight)| *weight >= 0 || has(row, *weight))
    }

    /// Adds the net changes of an epoch.
    fn apply(&mut self, changes: RowWeights) {
        changes.0.into_iter().for_each(|(row, weight)| self.add_row(row, weight));
    }

    fn add_row(&mut self, row: OwnedRow, weight: isize) {
        match self.0.entry(row) {
            Entry::Vacant(entry) => {
                entry.insert(weight);
            }
            Entry::Occupied(entry) if *entry.get() == -weight => {
                entry.remove();
            }
            Entry::Occupied(mut entry) => *entry.get_mut() += weight,
        }
    }
}

struct MemoryPart {
    open: Arc<Mutex<OpenChanges>>,
    table: String,
}

impl SinkPart for MemoryPart {
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()> {
        lock(&self.open).entry(epoch).or_default().push((self.table.clone(), changes.clone()));
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}
