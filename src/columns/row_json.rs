//! Rows as JSON objects.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, StructArray};
use arrow::datatypes::{DataType, Field};
use arrow::json::LineDelimitedWriter;
#[cfg(any(feature = "http", feature = "kafka"))]
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{Error, Result};

/// A row of a batch as a JSON object. Values that JSON has no form for are written as text.
pub(crate) fn row_json(batch: &RecordBatch, row: usize) -> Result<String> {
    let row = batch.slice(row, 1);
    written(&row).or_else(|_| written(&as_texts(&row)?))
}

/// Rows as JSON objects, one in each line. Nulls are written.
#[cfg(any(feature = "http", feature = "kafka"))]
pub(crate) fn json_lines(rows: &RecordBatch) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut bytes);
    writer.write(rows).and_then(|()| writer.finish()).map_err(Error::failed)?;
    drop(writer);
    Ok(bytes)
}

/// The columns that can't be written, as text.
fn as_texts(row: &RecordBatch) -> Result<RecordBatch> {
    let schema = row.schema();
    let columns = schema.fields().iter().zip(row.columns()).map(|(field, column)| {
        let alone = RecordBatch::from(StructArray::from(vec![(Arc::clone(field), Arc::clone(column))]));
        if written(&alone).is_ok() {
            return (Arc::clone(field), Arc::clone(column));
        }
        let options = FormatOptions::default().with_display_error(false);
        let text = ArrayFormatter::try_new(column.as_ref(), &options).and_then(|cells| cells.value(0).try_to_string());
        let text: ArrayRef = Arc::new(StringArray::from(vec![text.ok()]));
        (Arc::new(Field::new(field.name(), DataType::Utf8, true)), text)
    });
    Ok(RecordBatch::from(StructArray::from(columns.collect::<Vec<_>>())))
}

fn written(row: &RecordBatch) -> Result<String> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(row).map_err(Error::failed)?;
    writer.finish().map_err(Error::failed)?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).trim_end().to_owned())
}
