//! Rows as text for the terminal.

use std::fs::{self, File};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, Result};
use crate::grouped::grouped;

/// Rows as text, one string per cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TextTable {
    /// The names of the columns.
    pub(super) columns: Vec<String>,
    /// The rows; a null is `–`.
    pub(super) rows: Vec<Vec<String>>,
}

impl TextTable {
    /// Converts a batch.
    pub(super) fn of(batch: &RecordBatch) -> Result<TextTable> {
        let columns = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let row = |row| batch.columns().iter().map(|column| cell(column, row)).collect();
        Ok(TextTable { columns, rows: (0..batch.num_rows()).map(row).collect::<Result<_>>()? })
    }

    /// Reads the first rows of a Parquet table.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub(super) fn first_rows(table: &Path, rows: usize) -> Result<TextTable> {
        let entries = fs::read_dir(table).map_err(Error::reading(table))?;
        let paths = entries.flatten().map(|entry| entry.path());
        let first = paths.filter(|path| path.extension().is_some_and(|ending| ending == "parquet")).min();
        let path = first.ok_or_else(|| Error::unusable(format!("{}: no Parquet file", table.display())))?;
        let file = File::open(&path).map_err(Error::reading(&path))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::reading(&path))?;
        let mut batches = reader.with_batch_size(rows).build().map_err(Error::reading(&path))?;
        let first = batches.next().transpose().map_err(Error::reading(&path))?;
        first.map_or_else(|| Ok(TextTable::default()), |first| TextTable::of(&first))
    }
}

/// Formats a cell; doubles, which are money, with two decimals.
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
