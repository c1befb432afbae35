//! Rows as JSON objects.

use arrow::json::LineDelimitedWriter;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};

/// A row of a batch as a JSON object.
pub(crate) fn row_json(batch: &RecordBatch, row: usize) -> Result<String> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(&batch.slice(row, 1)).map_err(Error::failed)?;
    writer.finish().map_err(Error::failed)?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).trim_end().to_owned())
}
