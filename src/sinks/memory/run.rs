//! A sorted run of rows of a table.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{UInt32Array, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::{Error, Result};

use super::keys::KeyRange;

/// Rows of a table in the order of their keys, each with a weight. Never changed once it is made.
pub(super) struct Run {
    rows: RecordBatch,
    keys: Rows,
    /// `None` if each is 1.
    weights: Option<Vec<i64>>,
}

/// How the key of a table is encoded: as bytes that are in the order of the keys.
pub(super) struct KeyEncoder {
    converter: RowConverter,
    columns: Vec<usize>,
}

impl KeyEncoder {
    /// An encoder of these columns of a table.
    pub(super) fn new(schema: &SchemaRef, columns: Vec<usize>) -> Result<KeyEncoder> {
        let fields = columns.iter().map(|column| SortField::new(schema.field(*column).data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(Error::failed)?;
        Ok(KeyEncoder { converter, columns })
    }

    pub(super) fn columns(&self) -> &[usize] {
        &self.columns
    }

    pub(super) fn encode(&self, rows: &RecordBatch) -> Result<Rows> {
        let columns: Vec<_> = self.columns.iter().map(|column| Arc::clone(rows.column(*column))).collect();
        self.converter.convert_columns(&columns).map_err(Error::failed)
    }
}

impl Run {
    /// A run of inserted and deleted rows.
    pub(super) fn of_changes(
        schema: &SchemaRef,
        plus: &[RecordBatch],
        minus: &[RecordBatch],
        encoder: &KeyEncoder,
    ) -> Result<Run> {
        let rows = concat_batches(schema, plus.iter().chain(minus)).map_err(Error::failed)?;
        let inserted = plus.iter().map(RecordBatch::num_rows).sum();
        let weights = (rows.num_rows() > inserted).then(|| {
            let weight = |row| if row < inserted { 1 } else { -1 };
            (0..rows.num_rows()).map(weight).collect::<Vec<i64>>()
        });
        let keys = encoder.encode(&rows)?;
        let mut order: Vec<u32> = (0..u32::try_from(rows.num_rows()).map_err(Error::failed)?).collect();
        if order.is_sorted_by_key(|row| keys.row(*row as usize)) {
            return Ok(Run { rows, keys, weights });
        }
        order.sort_by_key(|row| keys.row(*row as usize));
        let rows = take_record_batch(&rows, &UInt32Array::from(order.clone())).map_err(Error::failed)?;
        let weights = weights.map(|weights| order.iter().map(|row| weights[*row as usize]).collect());
        let keys = encoder.encode(&rows)?;
        Ok(Run { rows, keys, weights })
    }

    /// A run of rows that are in the order of their keys.
    pub(super) fn of_sorted(rows: RecordBatch, weights: Vec<i64>, encoder: &KeyEncoder) -> Result<Run> {
        let keys = encoder.encode(&rows)?;
        let weights = weights.iter().any(|weight| *weight != 1).then_some(weights);
        Ok(Run { rows, keys, weights })
    }

    /// The same rows, deleted.
    pub(super) fn negated(&self, encoder: &KeyEncoder) -> Result<Run> {
        let weights = (0..self.len()).map(|row| -self.weight(row)).collect();
        Run::of_sorted(self.rows.clone(), weights, encoder)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.num_rows()
    }

    pub(super) fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The rows, with the columns at these places or with all.
    pub(super) fn columns(&self, columns: Option<&[usize]>) -> Result<RecordBatch> {
        match columns {
            Some(columns) => self.rows.project(columns).map_err(Error::failed),
            None => Ok(self.rows.clone()),
        }
    }

    pub(super) fn key(&self, row: usize) -> &[u8] {
        self.keys.row(row).data()
    }

    pub(super) fn weight(&self, row: usize) -> i64 {
        self.weights.as_ref().map_or(1, |weights| weights[row])
    }

    /// True if each row has weight 1.
    pub(super) fn is_plain(&self) -> bool {
        self.weights.is_none()
    }

    /// The first row of a range whose key is not below this one; found in steps that double, for it is often near.
    pub(super) fn first_from(&self, within: &Range<usize>, key: &[u8]) -> usize {
        let (mut low, mut step) = (within.start, 1);
        while low + step <= within.end && self.key(low + step - 1) < key {
            low += step;
            step *= 2;
        }
        let mut high = (low + step - 1).min(within.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// True if it has a key of a range.
    pub(super) fn has_keys_of(&self, range: &KeyRange) -> bool {
        let first = self.first_from(&(0..self.len()), &range.from);
        first < self.len() && range.to.as_ref().is_none_or(|to| self.key(first) < &to[..])
    }

    /// The rows whose weights have this sign, each as often as its weight says.
    pub(super) fn with_sign(&self, sign: i64) -> Result<RecordBatch> {
        let times = |row| usize::try_from(self.weight(row) * sign).unwrap_or(0);
        let places = (0..self.len()).zip(0_u64..).flat_map(|(row, place)| std::iter::repeat_n(place, times(row)));
        take_record_batch(&self.rows, &UInt64Array::from_iter_values(places)).map_err(Error::failed)
    }

    /// Its size in memory.
    pub(super) fn bytes(&self) -> usize {
        let weights = self.weights.as_ref().map_or(0, |weights| size_of_val(weights.as_slice()));
        self.rows.get_array_memory_size() + self.keys.size() + weights
    }
}
