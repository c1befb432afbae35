//! Rows as people read them.

use std::fs::{self, File};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, Result};
use crate::report::grouped;

use super::derived::Made;
use super::layout::Layout;
use super::rejected::Rejection;
use super::tables::TableRow;

/// Rows as text, cell by cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows; a null is `–`.
    pub rows: Vec<Vec<String>>,
}

impl Shown {
    /// The rows of a batch.
    pub(crate) fn of(batch: &RecordBatch) -> Result<Shown> {
        let columns = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let row = |row| batch.columns().iter().map(|column| cell(column, row)).collect();
        Ok(Shown { columns, rows: (0..batch.num_rows()).map(row).collect::<Result<_>>()? })
    }

    /// The first rows of a Parquet table that was written.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub fn first_rows(table: &Path, rows: usize) -> Result<Shown> {
        let entries = fs::read_dir(table).map_err(Error::reading(table))?;
        let paths = entries.flatten().map(|entry| entry.path());
        let first = paths.filter(|path| path.extension().is_some_and(|ending| ending == "parquet")).min();
        let path = first.ok_or_else(|| Error::unusable(format!("{}: no Parquet file", table.display())))?;
        let file = File::open(&path).map_err(Error::reading(&path))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::reading(&path))?;
        let mut batches = reader.with_batch_size(rows).build().map_err(Error::reading(&path))?;
        let first = batches.next().transpose().map_err(Error::reading(&path))?;
        first.map_or_else(|| Ok(Shown::default()), |first| Shown::of(&first))
    }
}

/// A row as it is shown, and with all its digits, which tell it from every other.
pub(crate) struct Exact {
    pub(crate) digits: Vec<String>,
    pub(crate) shown: Shown,
}

impl Exact {
    /// A row with its derived columns; or why one of their functions rejects it.
    pub(crate) fn of<R: TableRow>(row: &R, layout: &Layout) -> Result<std::result::Result<Exact, Rejection>> {
        let Made { rows: batch, rejected } = R::batch(std::slice::from_ref(row), layout)?;
        if let Some(rejection) = rejected.into_iter().next() {
            return Ok(Err(rejection));
        }
        let digits = batch.columns().iter().map(|column| array_value_to_string(column, 0));
        let digits = digits.collect::<Result<_, _>>().map_err(Error::failed)?;
        Ok(Ok(Exact { digits, shown: Shown::of(&batch)? }))
    }
}

/// A cell; money, as all doubles, with two decimals.
fn cell(column: &ArrayRef, row: usize) -> Result<String> {
    if column.is_null(row) {
        return Ok("–".into());
    }
    if *column.data_type() == DataType::Float64 {
        let value = column.as_primitive::<Float64Type>().value(row);
        let text = format!("{:.2}", value.abs());
        let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
        let sign = if value < 0.0 { "-" } else { "" };
        return Ok(whole.parse().map_or(text.clone(), |whole| format!("{sign}{}.{cents}", grouped(whole))));
    }
    array_value_to_string(column, row).map_err(Error::failed)
}
