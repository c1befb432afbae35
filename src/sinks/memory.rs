//! Tables in memory, to be read at any time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};

use crate::error::{Error, Result};
use crate::model::Epoch;

use super::changes::rebuild;
use super::sink::{RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport};

/// A sink that keeps tables in memory, ordered by their columns in turn. Copies share the tables.
///
/// All tables move from one epoch to the next together, when the epoch is committed.
///
/// *Cost of an epoch*: O(log rows) for each row inserted or deleted. *State*: each row once, encoded.
#[derive(Clone)]
pub struct MemoryTables {
    tables: Option<Vec<String>>,
    shared: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    epoch: Option<Epoch>,
    tables: HashMap<String, Rows>,
    open: BTreeMap<Epoch, Vec<(String, RowChanges)>>,
}

struct Rows {
    info: TableInfo,
    converter: RowConverter,
    rows: BTreeMap<OwnedRow, isize>,
}

impl MemoryTables {
    /// All tables of the job.
    #[must_use]
    pub fn all() -> MemoryTables {
        MemoryTables { tables: None, shared: Arc::default() }
    }

    /// These tables.
    #[must_use]
    pub fn of(tables: &[&str]) -> MemoryTables {
        let tables = Some(tables.iter().map(|table| (*table).to_owned()).collect());
        MemoryTables { tables, shared: Arc::default() }
    }

    /// A table as of the newest committed epoch, and that epoch.
    ///
    /// # Errors
    ///
    /// If the table is not kept, or no epoch is committed yet.
    pub fn read(&self, table: &str) -> Result<(Epoch, RecordBatch)> {
        let kept = self.lock();
        let unknown = || {
            let mut names: Vec<_> = kept.tables.keys().map(String::as_str).collect();
            names.sort_unstable();
            Error::usage(format!("table {table} is not kept in memory; kept are {}", names.join(", ")))
        };
        let rows = kept.tables.get(table).ok_or_else(unknown)?;
        let epoch = kept.epoch.ok_or_else(|| Error::usage("no epoch is committed yet"))?;
        let each = rows.rows.iter().flat_map(|(row, weight)| std::iter::repeat_n(row.row(), weight.unsigned_abs()));
        let columns = rows.converter.convert_rows(each).map_err(Error::failed)?;
        Ok((epoch, rebuild(&rows.info.schema, columns)?))
    }

    fn wants(&self, table: &str) -> bool {
        self.tables.as_ref().is_none_or(|tables| tables.iter().any(|wanted| wanted == table))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for MemoryTables {
    fn open(&mut self, job: &SinkContext) -> Result<bool> {
        for wanted in self.tables.iter().flatten() {
            if job.tables.iter().all(|table| table.name != *wanted) {
                return Err(Error::usage(format!("table {wanted} is not made; add it to tables")));
            }
        }
        let mut kept = Kept::default();
        for info in job.tables.iter().filter(|table| self.wants(&table.name)) {
            let columns = info.schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
            let converter = RowConverter::new(columns.collect()).map_err(Error::failed)?;
            kept.tables.insert(info.name.clone(), Rows { info: info.clone(), converter, rows: BTreeMap::new() });
        }
        *self.lock() = kept;
        Ok(true)
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Option<Box<dyn SinkPart>>> {
        let part = || MemoryPart { shared: Arc::clone(&self.shared), table: table.name.clone() };
        Ok(self.wants(&table.name).then(|| Box::new(part()) as Box<dyn SinkPart>))
    }

    fn commit(&mut self, epoch: Epoch, _: &mut [TableReport]) -> Result<()> {
        let mut kept = self.lock();
        let changes = kept.open.remove(&epoch).unwrap_or_default();
        for (table, changes) in changes {
            let rows = kept.tables.get_mut(&table).expect("only kept tables have parts");
            rows.apply(&changes)?;
        }
        kept.epoch = Some(epoch);
        Ok(())
    }
}

impl Rows {
    fn apply(&mut self, changes: &RowChanges) -> Result<()> {
        for (batch, weight) in [(&changes.plus, 1), (&changes.minus, -1)] {
            let Some(batch) = batch else { continue };
            let batch = concat_batches(&self.info.schema, [batch]).map_err(Error::failed)?;
            let rows = self.converter.convert_columns(batch.columns()).map_err(Error::failed)?;
            for row in &rows {
                let row = row.owned();
                let total = self.rows.entry(row.clone()).or_default();
                *total += weight;
                if *total == 0 {
                    self.rows.remove(&row);
                }
            }
        }
        Ok(())
    }
}

struct MemoryPart {
    shared: Arc<Mutex<Kept>>,
    table: String,
}

impl SinkPart for MemoryPart {
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()> {
        let mut kept = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        kept.open.entry(epoch).or_default().push((self.table.clone(), changes.clone()));
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}
