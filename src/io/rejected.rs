//! Rows that could not be used, each with its reason: kept, never dropped.

use std::sync::Arc;

use arrow::array::{StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};

use super::InputTable;

/// A row that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rejection {
    pub(crate) table: InputTable,
    /// The position of the file among its table's.
    pub(crate) file: usize,
    /// The row's number in the file, from 0.
    pub(crate) number: u64,
    pub(crate) reason: String,
    pub(crate) json: String,
}

/// The columns of the table `rejected`; `row_number` counts from 1.
pub(crate) fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let number = Field::new("row_number", DataType::UInt64, false);
    Arc::new(Schema::new(vec![text("table"), text("file"), number, text("reason"), text("row")]))
}

/// Rows of the table `rejected`.
pub(crate) fn batch(rejections: &[Rejection], file_name: impl Fn(InputTable, usize) -> String) -> Result<RecordBatch> {
    let rows = || rejections.iter();
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows().map(|row| row.table.name()))),
        Arc::new(StringArray::from_iter_values(rows().map(|row| file_name(row.table, row.file)))),
        Arc::new(UInt64Array::from_iter_values(rows().map(|row| row.number + 1))),
        Arc::new(StringArray::from_iter_values(rows().map(|row| &row.reason))),
        Arc::new(StringArray::from_iter_values(rows().map(|row| &row.json))),
    ];
    RecordBatch::try_new(schema(), columns).map_err(Error::failed)
}
