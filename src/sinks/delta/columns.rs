//! The columns of a table with the types that Delta has.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};

/// Columns as Delta has them: its integers are signed, its times are microseconds in UTC.
///
/// # Errors
///
/// If a name can't be that of a column there.
pub(super) fn delta_columns(schema: &Schema) -> Result<SchemaRef> {
    let is_refused = |letter: char| " ,;{}()\n\t=".contains(letter);
    if let Some(field) = schema.fields().iter().find(|field| field.name().contains(is_refused)) {
        let cause = "Delta has no such names; wanted one without blanks and , ; { } ( ) =";
        return Err(Error::usage(format!("column {:?}: {cause}", field.name())));
    }
    Ok(Arc::new(Schema::new(schema.fields().iter().map(of_delta).collect::<Vec<_>>())))
}

fn of_delta(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), type_of_delta(field.data_type()), field.is_nullable()))
}

fn type_of_delta(data_type: &DataType) -> DataType {
    let named = |field: &FieldRef, name: &str| Arc::new(of_delta(field).as_ref().clone().with_name(name));
    match data_type {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, values) => type_of_delta(values),
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::List(of) | DataType::LargeList(of) => DataType::List(named(of, "element")),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(of_delta).collect()),
        other => other.clone(),
    }
}

/// Rows with such columns.
pub(super) fn delta_rows(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |(column, field): (&ArrayRef, &FieldRef)| {
        cast_with_options(column, field.data_type(), &options).map_err(Error::failed)
    };
    let columns = rows.columns().iter().zip(schema.fields()).map(cast).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::failed)
}
