//! Rows of a table in the order of their keys.

use std::collections::HashSet;

use arrow::array::{BooleanArray, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::{Error, Result};
use crate::sinks::sink::TableInfo;

/// How the rows of a table are ordered: by the bytes of their keys.
pub(super) struct KeyOrder {
    converter: RowConverter,
    /// The places of the key columns.
    places: Vec<usize>,
}

/// Rows in the order of their keys.
pub(super) struct KeyedRows {
    pub(super) rows: RecordBatch,
    keys: Rows,
}

impl KeyOrder {
    pub(super) fn of(table: &TableInfo) -> Result<KeyOrder> {
        let place = |name: &String| table.schema.index_of(name).map_err(Error::failed);
        let places = table.key.iter().map(place).collect::<Result<Vec<_>>>()?;
        let field = |place: &usize| SortField::new(table.schema.field(*place).data_type().clone());
        let converter = RowConverter::new(places.iter().map(field).collect()).map_err(Error::failed)?;
        Ok(KeyOrder { converter, places })
    }

    /// The keys of rows.
    pub(super) fn keys(&self, rows: &RecordBatch) -> Result<Rows> {
        let columns: Vec<_> = self.places.iter().map(|place| rows.column(*place).clone()).collect();
        self.converter.convert_columns(&columns).map_err(Error::failed)
    }

    /// The rows in their order.
    pub(super) fn ordered(&self, rows: RecordBatch) -> Result<KeyedRows> {
        let keys = self.keys(&rows)?;
        if (1..rows.num_rows()).all(|row| keys.row(row - 1) <= keys.row(row)) {
            return Ok(KeyedRows { rows, keys });
        }
        let count = u32::try_from(rows.num_rows()).map_err(|_| Error::failed("a table has too many rows for Delta"))?;
        let mut places: Vec<u32> = (0..count).collect();
        places.sort_unstable_by_key(|row| keys.row(*row as usize));
        let rows = take_record_batch(&rows, &UInt32Array::from(places)).map_err(Error::failed)?;
        Ok(KeyedRows { keys: self.keys(&rows)?, rows })
    }

    /// Some rows without those of these keys, and how many had one.
    pub(super) fn without(&self, rows: &RecordBatch, gone: &HashSet<&[u8]>) -> Result<(RecordBatch, usize)> {
        let keys = self.keys(rows)?;
        let kept: BooleanArray = keys.iter().map(|key| Some(!gone.contains(key.as_ref()))).collect();
        let kept = filter_record_batch(rows, &kept).map_err(Error::failed)?;
        let dropped = rows.num_rows() - kept.num_rows();
        Ok((kept, dropped))
    }

    /// Rows of two batches in their order.
    pub(super) fn merged(&self, one: &RecordBatch, other: &RecordBatch) -> Result<KeyedRows> {
        self.ordered(concat_batches(one.schema_ref(), [one, other]).map_err(Error::failed)?)
    }
}

impl KeyedRows {
    /// The key of a row, as bytes.
    pub(super) fn key(&self, row: usize) -> &[u8] {
        self.keys.row(row).data()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// The first row from this one on whose key is not below another one.
    pub(super) fn first_from(&self, from: usize, key: &[u8]) -> usize {
        let (mut low, mut high) = (from, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.key(middle) < key { low = middle + 1 } else { high = middle }
        }
        low
    }
}
