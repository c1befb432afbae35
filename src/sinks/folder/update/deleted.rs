//! Rows that are to be deleted from files.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use arrow::array::{ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};
use foldhash::fast::RandomState;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, Result};

/// How many rows are read at a time.
pub(super) const BATCH_ROWS: usize = 1 << 13;

/// Rows that are to be deleted from the files of a partition, each as often as it is here. Threads share them.
pub(super) struct DeletedRows {
    /// The positions of the key columns that the files have; of all columns if they have none.
    key: Vec<usize>,
    of_key: RowConverter,
    keys: HashSet<OwnedRow, RandomState>,
    of_row: RowConverter,
    /// How often each is still to be found.
    left: Mutex<HashMap<OwnedRow, usize, RandomState>>,
}

impl DeletedRows {
    /// The rows of a batch, in the columns of the files.
    pub(super) fn new(rows: &RecordBatch, key: &[String]) -> Result<DeletedRows> {
        let all = 0..rows.num_columns();
        let is_key = |column: &usize| key.contains(rows.schema().field(*column).name());
        let found: Vec<usize> = all.clone().filter(is_key).collect();
        let key = if found.is_empty() { all.collect() } else { found };
        let (of_key, of_row) = (converter(&key_columns(rows, &key))?, converter(rows.columns())?);
        let keys = of_key.convert_columns(&key_columns(rows, &key)).map_err(Error::failed)?;
        let keys = keys.iter().map(|key| key.owned()).collect();
        let mut left = HashMap::default();
        for row in &of_row.convert_columns(rows.columns()).map_err(Error::failed)? {
            *left.entry(row.owned()).or_default() += 1;
        }
        Ok(DeletedRows { key, of_key, keys, of_row, left: Mutex::new(left) })
    }

    /// True if a file may have some: it has their keys.
    pub(super) fn may_be_in(&self, path: &Path) -> Result<bool> {
        let file = File::open(path).map_err(Error::reading(path))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::reading(path))?;
        let columns = ProjectionMask::roots(reader.parquet_schema(), self.key.iter().copied());
        let reader = reader.with_projection(columns).with_batch_size(BATCH_ROWS).build();
        for rows in reader.map_err(Error::reading(path))? {
            let keys = self.of_key.convert_columns(rows.map_err(Error::reading(path))?.columns());
            if keys.map_err(Error::failed)?.iter().any(|key| self.keys.contains(&key.owned())) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The rows of a batch that stay.
    pub(super) fn remove_from(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let keys = self.of_key.convert_columns(&key_columns(rows, &self.key)).map_err(Error::failed)?;
        let candidates = (0..).zip(&keys).filter(|(_, key)| self.keys.contains(&key.owned()));
        let candidates: Vec<u32> = candidates.map(|(row, _)| row).collect();
        if candidates.is_empty() {
            return Ok(rows.clone());
        }
        let some = take_record_batch(rows, &UInt32Array::from(candidates.clone())).map_err(Error::failed)?;
        let some = self.of_row.convert_columns(some.columns()).map_err(Error::failed)?;
        let mut stays = vec![true; rows.num_rows()];
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, content) in candidates.into_iter().zip(&some) {
            if let Some(count) = left.get_mut(&content.owned()).filter(|count| **count > 0) {
                *count -= 1;
                stays[row as usize] = false;
            }
        }
        filter_record_batch(rows, &BooleanArray::from(stays)).map_err(Error::failed)
    }

    /// True if all were found.
    pub(super) fn are_all_found(&self) -> bool {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).values().all(|count| *count == 0)
    }
}

fn key_columns(rows: &RecordBatch, key: &[usize]) -> Vec<ArrayRef> {
    key.iter().map(|column| rows.column(*column).clone()).collect()
}

fn converter(columns: &[ArrayRef]) -> Result<RowConverter> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    RowConverter::new(fields.collect()).map_err(Error::failed)
}
