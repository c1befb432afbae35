//! Rows that could not be used, each with its reason: kept, never dropped.

use std::sync::Arc;

use arrow::array::{StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::LineDelimitedWriter;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};

use super::{InputTable, OutputTable};

/// A row that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rejection {
    pub(crate) origin: Origin,
    pub(crate) reason: String,
    pub(crate) json: String,
}

/// Where a row that could not be used was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// In a file: its position among its table's, and the row's number in it, from 0.
    Input { table: InputTable, file: usize, number: u64 },
    /// Among the rows of a table that is written, by a function of the config.
    Output(OutputTable),
}

impl Origin {
    fn table(self) -> &'static str {
        match self {
            Origin::Input { table, .. } => table.name(),
            Origin::Output(table) => table.name(),
        }
    }

    fn file(self) -> Option<(InputTable, usize)> {
        match self {
            Origin::Input { table, file, .. } => Some((table, file)),
            Origin::Output(_) => None,
        }
    }

    fn row_number(self) -> Option<u64> {
        match self {
            Origin::Input { number, .. } => Some(number + 1),
            Origin::Output(_) => None,
        }
    }
}

/// A row of a batch as a JSON object.
pub(crate) fn json(batch: &RecordBatch, row: usize) -> Result<String> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(&batch.slice(row, 1)).map_err(Error::failed)?;
    writer.finish().map_err(Error::failed)?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).trim_end().to_owned())
}

/// The columns of the table `rejected`; `row_number` counts from 1. A row that a function of the config rejected is of no file.
pub(crate) fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let file = Field::new("file", DataType::Utf8, true);
    let number = Field::new("row_number", DataType::UInt64, true);
    Arc::new(Schema::new(vec![text("table"), file, number, text("reason"), text("row")]))
}

/// Rows of the table `rejected`.
pub(crate) fn batch(rejections: &[Rejection], file_name: impl Fn(InputTable, usize) -> String) -> Result<RecordBatch> {
    let rows = || rejections.iter();
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows().map(|row| row.origin.table()))),
        Arc::new(StringArray::from_iter(
            rows().map(|row| row.origin.file().map(|(table, file)| file_name(table, file))),
        )),
        Arc::new(UInt64Array::from_iter(rows().map(|row| row.origin.row_number()))),
        Arc::new(StringArray::from_iter_values(rows().map(|row| &row.reason))),
        Arc::new(StringArray::from_iter_values(rows().map(|row| &row.json))),
    ];
    RecordBatch::try_new(schema(), columns).map_err(Error::failed)
}
