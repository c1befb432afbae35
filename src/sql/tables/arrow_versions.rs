//! From our version of Arrow to that of DataFusion and back, by way of Arrow's IPC format.
//!
//! DataFusion 55 is on Arrow 59. This is the only file that knows; with a release on our version it goes.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use datafusion::arrow as queried;
use datafusion::arrow::datatypes::SchemaRef as QueriedSchema;
use datafusion::arrow::record_batch::RecordBatch as QueriedRows;

use crate::error::{Error, Result};

/// Columns as DataFusion has them. Counts are signed, since PostgreSQL has no others.
pub(crate) fn queried_schema(schema: &Schema) -> Result<QueriedSchema> {
    let schema = signed_schema(schema);
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(Error::failed)?;
    writer.finish().map_err(Error::failed)?;
    let bytes = writer.into_inner().map_err(Error::failed)?;
    let mut decoder = queried::ipc::reader::StreamDecoder::new();
    decoder.decode(&mut queried::buffer::Buffer::from_vec(bytes)).map_err(Error::failed)?;
    decoder.schema().ok_or_else(|| Error::failed("internal error: a schema was lost on the way to DataFusion"))
}

/// Rows as DataFusion has them, with these columns of theirs.
pub(crate) fn queried_rows(rows: &RecordBatch, schema: &QueriedSchema) -> Result<QueriedRows> {
    if rows.num_columns() == 0 {
        let options = queried::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        return QueriedRows::try_new_with_options(Arc::clone(schema), Vec::new(), &options).map_err(Error::failed);
    }
    let rows = signed(rows)?;
    let mut writer = StreamWriter::try_new(Vec::new(), rows.schema_ref()).map_err(Error::failed)?;
    writer.write(&rows).map_err(Error::failed)?;
    let mut bytes = queried::buffer::Buffer::from_vec(writer.into_inner().map_err(Error::failed)?);
    let mut decoder = queried::ipc::reader::StreamDecoder::new();
    let decoded = decoder.decode(&mut bytes).map_err(Error::failed)?;
    let decoded = decoded.ok_or_else(|| Error::failed("internal error: rows were lost on the way to DataFusion"))?;
    QueriedRows::try_new(Arc::clone(schema), decoded.columns().to_vec()).map_err(Error::failed)
}

fn signed_schema(schema: &Schema) -> Schema {
    let field = |field: &FieldRef| match field.data_type() {
        DataType::UInt64 => Arc::new(field.as_ref().clone().with_data_type(DataType::Int64)),
        _ => Arc::clone(field),
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

fn signed(rows: &RecordBatch) -> Result<RecordBatch> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let column = |column: &ArrayRef| match column.data_type() {
        DataType::UInt64 => cast_with_options(column, &DataType::Int64, &options).map_err(Error::failed),
        _ => Ok(Arc::clone(column)),
    };
    let columns = rows.columns().iter().map(column).collect::<Result<_>>()?;
    RecordBatch::try_new(Arc::new(signed_schema(rows.schema_ref())), columns).map_err(Error::failed)
}

/// Columns of an answer of DataFusion.
pub(crate) fn answered_schema(schema: &queried::datatypes::Schema) -> Result<SchemaRef> {
    let mut writer = queried::ipc::writer::StreamWriter::try_new(Vec::new(), schema).map_err(Error::failed)?;
    writer.finish().map_err(Error::failed)?;
    let bytes = writer.into_inner().map_err(Error::failed)?;
    let mut decoder = StreamDecoder::new();
    decoder.decode(&mut Buffer::from_vec(bytes)).map_err(Error::failed)?;
    decoder.schema().ok_or_else(|| Error::failed("internal error: a schema was lost on the way from DataFusion"))
}

/// Rows of an answer of DataFusion.
pub(crate) fn answered_rows(rows: &QueriedRows, schema: &SchemaRef) -> Result<RecordBatch> {
    if rows.num_columns() == 0 {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        return RecordBatch::try_new_with_options(Arc::clone(schema), Vec::new(), &options).map_err(Error::failed);
    }
    let mut writer =
        queried::ipc::writer::StreamWriter::try_new(Vec::new(), rows.schema_ref()).map_err(Error::failed)?;
    writer.write(rows).map_err(Error::failed)?;
    let mut bytes = Buffer::from_vec(writer.into_inner().map_err(Error::failed)?);
    let decoded = StreamDecoder::new().decode(&mut bytes).map_err(Error::failed)?;
    decoded.ok_or_else(|| Error::failed("internal error: rows were lost on the way from DataFusion"))
}
