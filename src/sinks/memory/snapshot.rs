//! All tables as of one epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::model::Epoch;
use crate::sinks::{Committed, TableInfo};

use super::kept::KeptTable;
use super::keys::KeyRange;
use super::run::KeyEncoder;
use super::scan::TableScan;

/// Tables as of one epoch. Cheap to clone.
#[derive(Clone, Default)]
pub struct TablesSnapshot {
    committed: Option<Committed>,
    tables: Arc<BTreeMap<String, KeptTable>>,
}

impl TablesSnapshot {
    pub(super) fn new(committed: Option<Committed>, tables: BTreeMap<String, KeptTable>) -> TablesSnapshot {
        TablesSnapshot { committed, tables: Arc::new(tables) }
    }

    /// The epoch; `None` if no epoch was committed yet.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.committed.map(|committed| committed.epoch)
    }

    /// The epoch, and when it was committed; `None` if no epoch was committed yet.
    #[must_use]
    pub fn committed(&self) -> Option<Committed> {
        self.committed
    }

    /// The tables that are kept.
    pub fn tables(&self) -> impl Iterator<Item = &TableInfo> {
        self.tables.values().map(|table| &*table.info)
    }

    /// A table.
    ///
    /// # Errors
    ///
    /// If it is not kept.
    pub fn info(&self, table: &str) -> Result<&TableInfo> {
        Ok(&self.table(table)?.info)
    }

    /// The number of rows of a table.
    ///
    /// # Errors
    ///
    /// If it is not kept.
    pub fn rows(&self, table: &str) -> Result<u64> {
        Ok(u64::try_from(self.table(table)?.rows).unwrap_or(0))
    }

    /// How many bytes of memory a table takes.
    ///
    /// # Errors
    ///
    /// If it is not kept.
    pub fn bytes(&self, table: &str) -> Result<usize> {
        Ok(self.table(table)?.runs.iter().map(|run| run.bytes()).sum())
    }

    /// The rows of a table, in the order of their keys.
    ///
    /// # Errors
    ///
    /// If the table is not kept, or no epoch was committed yet.
    pub fn read(&self, table: &str) -> Result<RecordBatch> {
        let batches = self.scan(table, &KeyRange::default())?.collect::<Result<Vec<_>>>()?;
        concat_batches(&self.info(table)?.schema, &batches).map_err(Error::failed)
    }

    /// What a table has now (plus) and had in another snapshot (minus); rows that are in both are left out. `None` if
    /// it had other columns.
    ///
    /// # Errors
    ///
    /// If the table is not kept.
    pub fn changes_since(&self, former: &TablesSnapshot, table: &str) -> Result<Option<(RecordBatch, RecordBatch)>> {
        let (now, before) = (self.table(table)?, former.table(table)?);
        let Some(runs) = now.difference(before)? else { return Ok(None) };
        let empty = || RecordBatch::new_empty(Arc::clone(&now.info.schema));
        match runs.first() {
            Some(run) => Ok(Some((run.with_sign(1)?, run.with_sign(-1)?))),
            None => Ok(Some((empty(), empty()))),
        }
    }

    /// The same snapshot with these of its tables.
    #[must_use]
    pub fn of(&self, tables: &[&str]) -> TablesSnapshot {
        let kept = self.tables.iter().filter(|(name, _)| tables.contains(&name.as_str()));
        TablesSnapshot::new(self.committed, kept.map(|(name, table)| (name.clone(), table.clone())).collect())
    }

    /// The rows of a table whose keys are in a range, in the order of their keys, some at a time.
    ///
    /// # Errors
    ///
    /// If the table is not kept, or no epoch was committed yet.
    pub fn scan(&self, table: &str, range: &KeyRange) -> Result<TableScan> {
        let runs = self.table(table)?.runs.clone();
        self.committed.ok_or_else(|| Error::usage("no epoch is committed yet"))?;
        Ok(TableScan::new(runs, range))
    }

    /// The keys of a table that begin with these values.
    ///
    /// # Errors
    ///
    /// If the table is not kept, or a value is not of its column's type.
    pub fn keys_with(&self, table: &str, values: &[String]) -> Result<KeyRange> {
        KeyRange::prefix(&self.table(table)?.key_columns(), values)
    }

    /// The keys of a table from these values to those. Keys that begin with the last values are in the range.
    ///
    /// # Errors
    ///
    /// If the table is not kept, or a value is not of its column's type.
    pub fn keys_between(&self, table: &str, from: Option<&[String]>, to: Option<&[String]>) -> Result<KeyRange> {
        KeyRange::between(&self.table(table)?.key_columns(), from, to)
    }

    /// The encoded keys of some rows of a table, to go on [after](KeyRange::after) one of them.
    ///
    /// # Errors
    ///
    /// If the table is not kept.
    pub fn encoded_keys(&self, table: &str, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        let keys = self.table(table)?.encoder.encode(rows)?;
        Ok(keys.iter().map(|key| key.data().to_vec()).collect())
    }

    pub(super) fn encoder(&self, table: &str) -> Result<&KeyEncoder> {
        Ok(&self.table(table)?.encoder)
    }

    pub(super) fn table(&self, table: &str) -> Result<&KeptTable> {
        self.tables.get(table).ok_or_else(|| {
            let names: Vec<_> = self.tables.keys().map(String::as_str).collect();
            Error::usage(format!("table {table} is not kept in memory; kept are {}", names.join(", ")))
        })
    }
}
